"""Redis killed, frozen and cut off while publications flow: nothing is lost, nothing doubled.

Three real server processes, and a Redis that has every write on disk before it answers.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

import pytest

from tests.rig.clients import ResumingListener, flowing
from tests.rig.doors import ServerDoor
from tests.rig.processes import DURABLE, Installation, RedisProcess
from tests.rig.rpc import connected


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    directory = tmp_path_factory.mktemp("faults")
    with Installation(directory, servers=3, options=DURABLE) as installation:
        yield installation


async def test_nothing_is_lost_when_redis_is_killed_and_comes_back_with_its_data(
    doors: list[ServerDoor], redis: RedisProcess, slug: str
) -> None:
    async with flowing(doors, slug) as flow:
        for _ in range(2):
            await flow.goes_on()
            with redis.away():
                await flow.stands_still()
        await flow.goes_on()
    flow.assert_nothing_lost()
    assert set(flow.streamer.codes) == {4200}


async def test_nothing_is_lost_when_redis_is_frozen(
    doors: list[ServerDoor], redis: RedisProcess, slug: str
) -> None:
    async with flowing(doors, slug) as flow:
        await flow.goes_on()
        with redis.frozen():
            await flow.stands_still()
        await flow.goes_on()
    flow.assert_nothing_lost()
    assert set(flow.streamer.codes) == {4200}


async def test_nothing_is_lost_when_the_channel_layer_is_cut_off_again_and_again(
    doors: list[ServerDoor], redis: RedisProcess, slug: str
) -> None:
    async with flowing(doors, slug) as flow:
        await flow.goes_on()
        killed = 0
        # Each server comes back about a second later.
        while killed < 3 * len(doors):
            killed += redis.command("CLIENT", "KILL", "TYPE", "pubsub")
            await asyncio.sleep(0.05)
        await flow.goes_on()
    flow.assert_nothing_lost()
    assert flow.streamer.codes == []
    assert [listener.codes for listener in flow.listeners] == [[], [], []]


async def test_nothing_is_lost_when_every_connection_to_redis_is_cut_again_and_again(
    doors: list[ServerDoor], redis: RedisProcess, slug: str
) -> None:
    async with flowing(doors, slug) as flow:
        await flow.goes_on()
        for _ in range(15):
            redis.command("CLIENT", "KILL", "TYPE", "normal")
            redis.command("CLIENT", "KILL", "TYPE", "pubsub")
            await asyncio.sleep(0.1)
        await flow.goes_on()
    flow.assert_nothing_lost()


async def test_what_a_caller_was_told_is_in_is_there_once_and_what_failed_at_most_once(
    doors: list[ServerDoor], redis: RedisProcess, slug: str
) -> None:
    told: dict[str, str | None] = {}

    async def call(door: ServerDoor, name: str) -> None:
        async with connected(door.process) as client:
            for number in range(300):
                _, _, told[f"{name} {number}"], _ = await client.call(
                    "publish", slug, f"{name} {number}"
                )

    async with ResumingListener(doors, slug) as listener:
        calls = [asyncio.create_task(call(door, str(at))) for at, door in enumerate(doors)]
        while not all(task.done() for task in calls):
            redis.command("CLIENT", "KILL", "TYPE", "normal")
            await asyncio.sleep(0.01)
        await asyncio.gather(*calls)
        assert (await asyncio.to_thread(doors[0].process.manage, "publish", slug, "last")).stdout
        await listener.until_heard("last")
    heard = Counter(listener.everything)
    assert all(heard[text] == 1 for text, error in told.items() if error is None)
    assert all(heard[text] <= 1 for text in told)
    assert {error.split(":")[0] for error in told.values() if error} <= {"Unavailable"}


class LossyWay:
    """A way to Redis that is cut in place of the answer to the first script with `mark` in it."""

    def __init__(self, redis: RedisProcess, mark: bytes) -> None:
        self.redis, self.mark = redis, mark
        self.lost = False
        self.connections: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def url(self) -> AsyncIterator[str]:
        async with await asyncio.start_server(self.connect, "127.0.0.1", 0) as server:
            yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
        for task in self.connections:
            task.cancel()
        await asyncio.gather(*self.connections, return_exceptions=True)

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self.connections.add(task)
        answers, calls = await asyncio.open_connection("127.0.0.1", self.redis.port)
        marked = asyncio.Event()
        try:
            await asyncio.gather(
                self.forward(reader, calls, marked), self.bring_back(answers, writer, marked)
            )
        finally:
            for end in (calls, writer):
                end.close()
                with suppress(ConnectionError):
                    await end.wait_closed()

    async def forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, marked: asyncio.Event
    ) -> None:
        while data := await reader.read(65536):
            if self.mark in data:
                marked.set()
            writer.write(data)
        writer.close()

    async def bring_back(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, marked: asyncio.Event
    ) -> None:
        while data := await reader.read(65536):
            # A script that Redis does not know yet has not run.
            if marked.is_set() and not self.lost and not data.startswith(b"-NOSCRIPT"):
                self.lost = True
                break
            writer.write(data)
        writer.close()


async def test_a_publication_whose_answer_is_lost_is_not_published_again(
    installation: Installation, redis: RedisProcess, slug: str
) -> None:
    way = LossyWay(redis, b"only once")
    async with ResumingListener([ServerDoor(installation.servers[0])], slug) as listener:
        async with way.url() as url:
            publisher = installation.new_server(REDIS_URL=url)
            done = await asyncio.to_thread(publisher.manage, "publish", slug, "only once")
        assert way.lost
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1, done.stderr
        await listener.until_heard("only once")
        sound = installation.servers[0]
        assert (await asyncio.to_thread(sound.manage, "publish", slug, "last")).returncode == 0
        await listener.until_heard("last")
    assert listener.everything == ["only once", "last"]
