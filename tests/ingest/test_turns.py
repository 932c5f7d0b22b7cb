"""Streamers in turn: what was sent before a clean close is published once, in its turn."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.request import Request, urlopen
from uuid import uuid4

import msgpack
import pytest

from broadcast.backends import get_backend, new_streamer
from broadcast.exceptions import Unavailable
from broadcast.hub.relay import get_relay
from broadcast.hub.topics import Topic
from broadcast.ingest import intake, turns
from broadcast.ingest.turns import SILENT_SECONDS, TAKE_OVER_SECONDS, Turn
from broadcast.media import segments
from broadcast.models import Stream
from broadcast.streams import streamer as streamers
from tests.rig import turns_model
from tests.rig.clock import in_clock_loop
from tests.rig.doors import InProcessDoor, ServerDoor, Socket, eventually
from tests.rig.films import VOID, block, cluster, element, webm
from tests.rig.processes import Installation, ServerProcess
from tests.rig.rpc import Client, connected
from tests.rig.viewers import recordings_on

#: Schedules of the model, in so many tests.
SCHEDULES, CHUNK = 2000, 200


@pytest.mark.parametrize(
    "first", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(CHUNK, SCHEDULES, CHUNK))]
)
def test_what_must_hold_does_in_any_schedule(first: int) -> None:
    # How many, and what they may show when something is wrong: `turns_schedules`.
    for seed in range(first, first + CHUNK):
        turns_model.run(seed)


# -- real processes -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Three servers on one Redis, from which all of them are far away."""
    directory = tmp_path_factory.mktemp("turns")
    with Installation(
        directory,
        servers=3,
        RECORDINGS_DIR=str(directory / "recordings"),
        CHANNEL_LAYER="tests.rig.faulty_layer.LateLayer",
        BACKEND="tests.rig.faulty_layer.LateBackend",
    ) as installation:
        yield installation


@pytest.fixture(params=["memory", "redis"])
def any_doors(request: Any) -> Iterator[list[ServerDoor]]:
    """Doors into one installation: a server with all in its memory, or three on Redis."""
    if request.param == "redis":
        yield request.getfixturevalue("doors")
    else:
        process: ServerProcess = request.getfixturevalue("servers")("broadcast")
        yield [ServerDoor(process)]
        process.assert_clean_log()


async def history(door: ServerDoor, slug: str) -> list[Any]:
    """What was published, in its order."""

    def read() -> list[Any]:
        with urlopen(f"{door.process.url}/api/streams/{slug}/publications/?limit=1000") as answer:
            found: list[Any] = [one["data"] for one in json.load(answer)["publications"]]
        return found

    return await asyncio.to_thread(read)


@asynccontextmanager
async def plain(door: ServerDoor, slug: str) -> AsyncIterator[Callable[[str], Any]]:
    socket = await door.plain_streamer(slug)
    yield socket.send
    await closes_cleanly(socket)


@asynccontextmanager
async def v1(door: ServerDoor, slug: str) -> AsyncIterator[Callable[[str], Any]]:
    """One that does not wait until it is told that it is ready."""
    socket = await door.connect(f"/ws/streamer/{slug}/", "broadcast.v1")
    yield socket.publish
    await closes_cleanly(socket)


@asynccontextmanager
async def run(door: ServerDoor, slug: str) -> AsyncIterator[Callable[[str], Any]]:
    socket = await door.streamer(slug, f"?run={uuid4()}")
    yield socket.publish
    await closes_cleanly(socket)


@asynccontextmanager
async def program(door: ServerDoor, slug: str) -> AsyncIterator[Callable[[str], Any]]:
    async with connected(door.process) as client:
        assert (await client.call("feed", slug))[2] is None
        yield lambda data: notify(client, slug, data)
        client.writer.write_eof()
        assert await client.is_closed()


@asynccontextmanager
async def http(door: ServerDoor, slug: str) -> AsyncIterator[Callable[[str], Any]]:
    def post(data: str) -> None:
        headers = {"Content-Type": "text/plain"}
        path = f"{door.process.url}/api/streams/{slug}/publications/"
        urlopen(Request(path, data.encode(), headers), timeout=20).close()

    yield lambda data: asyncio.to_thread(post, data)


async def notify(client: Client, slug: str, data: str) -> None:
    await client.say(msgpack.packb([2, "publish", [slug, data]]))


async def closes_cleanly(socket: Socket) -> None:
    """Close it; the answer says that all that it sent is published."""
    await socket.close()
    assert socket.connection.close_code == 1000  # type: ignore[attr-defined]


async def test_streamers_of_all_kinds_one_after_the_other_lose_nothing(
    any_doors: list[ServerDoor],
) -> None:
    slug = await any_doors[0].stream("long")
    chance, expected = random.Random(1), list[str]()
    for number in range(100):
        kind = chance.choice((plain, v1, run, program, http))
        async with kind(chance.choice(any_doors), slug) as send:
            for part in "ab":
                expected.append(f"{number}{part} by {kind.__name__}")
                await send(expected[-1])
    assert await history(any_doors[0], slug) == expected


async def test_who_comes_before_a_close_is_answered_publishes_after_it(
    any_doors: list[ServerDoor],
) -> None:
    slug = await any_doors[0].stream("long")
    chance, expected, closing = random.Random(2), list[str](), list[asyncio.Task[None]]()
    for number in range(60):
        socket = await chance.choice(any_doors).plain_streamer(slug)
        for part in "abc"[: chance.randint(0, 3)]:
            expected.append(f"{number}{part}")
            await socket.send(expected[-1])
        closing.append(asyncio.create_task(socket.close()))
        await asyncio.sleep(0)
    await asyncio.gather(*closing)
    assert await history(any_doors[0], slug) == expected


def tagged_film(tag: str) -> list[bytes]:
    """A film whose bytes are like no other's."""
    header = webm().replace(VOID, element(0xEC, tag.encode().ljust(9, b"\0")))
    content = tag.encode()
    pictures = cluster(block(key=True, content=content), block(content=content * 20))
    data = header + pictures * 3
    return [data[at : at + 50] for at in range(0, len(data), 50)]


async def test_each_recording_has_exactly_its_streamers_bytes(
    any_doors: list[ServerDoor],
) -> None:
    slug = await any_doors[0].stream("recorded")
    chance, expected, closing = random.Random(3), list[bytes](), list[asyncio.Task[None]]()
    for number in range(12):
        socket = await chance.choice(any_doors).plain_streamer(slug)
        for part in tagged_film(f"film {number}"):
            await socket.send(part)
        expected.append(b"".join(tagged_film(f"film {number}")))
        closing.append(asyncio.create_task(socket.close()))
        if chance.random() < 0.5:
            await closing[-1]
    await asyncio.gather(*closing)

    def recorded() -> list[bytes]:
        return sorted(recordings_on(any_doors[0].process, slug))

    async def are_there() -> bool:
        return len(await asyncio.to_thread(recorded)) == len(expected)

    await eventually(are_there)
    assert recorded() == sorted(expected)


async def test_a_close_that_comes_too_late_for_its_frames_is_answered_with_another_code(
    tmp_path: Path,
) -> None:
    with Installation(tmp_path, servers=1) as installation:
        door = ServerDoor(installation.servers[0])
        slug = await door.stream()
        socket = await door.streamer(slug)
        with installation.outage():
            await socket.publish("lost")
            await socket.close()
            assert socket.connection.close_code == 4200  # type: ignore[attr-defined]
        said = "The last frames of a streamer of 'free-1' are not published"
        assert said in installation.servers[0].new_log()
        assert await history(door, slug) == []


async def test_a_streamer_that_never_leaves_is_waited_for_within_bounds_and_it_is_told(
    in_process: InProcessDoor, caplog: pytest.LogCaptureFixture
) -> None:
    slug = await in_process.stream()
    await get_backend().enter(slug, new_streamer(0))
    streamer = await in_process.streamer(slug)
    said = await streamer.until("error")
    assert "did not end in time" in said["message"]
    assert "1 streamers of 'free-1' did not end in time" in caplog.text
    await streamer.publish("goes on")
    await streamer.accepted(1)
    # The next one does not wait for it again.
    assert await get_backend().replaced(slug) == []


@in_clock_loop
async def test_one_that_answers_is_waited_for_and_one_that_stopped_answering_is_not() -> None:
    loop, started = asyncio.get_running_loop(), asyncio.get_running_loop().time()
    for id in ("1-dies", "2-slow", "3-waits"):
        await get_backend().enter("s", id)
    source: Any = SimpleNamespace(id="3-waits")
    turn = Turn(Stream(slug="s"), Topic("s", "epoch", 0), source)
    turn.formers = {"1-dies", "2-slow"}
    # The first one has answered once, and then its process was killed.
    turn.hear_leaving("1-dies", left=False)
    waiting = asyncio.create_task(turn.wait())
    while loop.time() < started + SILENT_SECONDS + 1:
        turn.hear_leaving("2-slow", left=False)
        await asyncio.sleep(0.25)
    assert turn.formers == {"2-slow"} and not waiting.done()
    turn.hear_leaving("2-slow", left=True)
    assert await waiting is False
    assert await get_backend().replaced("s") == ["2-slow"]


@in_clock_loop
async def test_nobody_is_taken_for_silent_while_one_after_another_leaves() -> None:
    formers = [f"{number:02}" for number in range(40)]
    for id in (*formers, "waits"):
        await get_backend().enter("s", id)
    source: Any = SimpleNamespace(id="waits")
    turn = Turn(Stream(slug="s"), Topic("s", "epoch", 0), source)
    turn.formers = set(formers)
    waiting = asyncio.create_task(turn.wait())
    for former in formers[:-1]:
        await asyncio.sleep(0.1)
        await get_backend().leave("s", former)
        turn.hear_leaving(former, left=True)
    # The last one is asked for the first time now.
    await asyncio.sleep(0.5)
    assert turn.formers == {formers[-1]} and not waiting.done()
    turn.hear_leaving(formers[-1], left=True)
    assert await waiting is True


@in_clock_loop
async def test_of_those_that_do_not_leave_the_oldest_is_given_up_first() -> None:
    for id in ("1-stuck", "2-waits-for-it", "3-waits"):
        await get_backend().enter("s", id)
    source: Any = SimpleNamespace(id="3-waits")
    turn = Turn(Stream(slug="s"), Topic("s", "epoch", 0), source)
    turn.formers = {"1-stuck", "2-waits-for-it"}
    waiting = asyncio.create_task(turn.wait())
    for _ in range(int(TAKE_OVER_SECONDS / 0.25) + 2):
        for former in tuple(turn.formers):
            turn.hear_leaving(former, left=False)
        await asyncio.sleep(0.25)
    # The second one has given it up by now, and publishes.
    assert turn.formers == {"2-waits-for-it"} and not waiting.done()
    turn.hear_leaving("2-waits-for-it", left=True)
    assert await waiting is False


async def test_a_streamer_that_goes_on_sending_is_overtaken_all_the_same(
    in_process: InProcessDoor,
) -> None:
    slug = await in_process.stream("long")
    former = await in_process.plain_streamer(slug)
    done = asyncio.Event()

    async def go_on() -> None:
        number = 0
        while not done.is_set():
            await former.send(f"{number}")
            number += 1
            await asyncio.sleep(0.005)

    going_on = asyncio.create_task(go_on())
    newcomer = await in_process.streamer(slug)
    await newcomer.publish("x")
    await newcomer.accepted(1)
    assert await former.closed() == 4501
    done.set()
    await going_on
    _, found = await get_backend().read(slug, 0, 10_000, 1_000_000)
    assert found[-1].data == "x"
    assert [one.data for one in found[:-1]] == [str(number) for number in range(len(found) - 1)]


async def test_a_streamer_is_overtaken_although_the_engine_was_silent_when_it_looked_who_is_newer(
    in_process: InProcessDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    slug = await in_process.stream()
    former = await in_process.streamer(slug)
    (turn,) = get_relay().topics[slug].streamers.here.values()
    assert isinstance(turn, Turn)
    is_overtaken, silence = turn._is_overtaken, [None, None]

    async def silent_at_first() -> bool | None:
        return silence.pop() if silence else await is_overtaken()

    monkeypatch.setattr(turn, "_is_overtaken", silent_at_first)
    newcomer = await in_process.streamer(slug)
    assert await former.closed() == 4501
    await newcomer.publish("x")
    await newcomer.accepted(1)
    assert not silence


async def test_who_comes_late_hears_that_all_of_those_before_are_still_there(
    in_process: InProcessDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    slug = await in_process.stream()
    topic_of = get_relay().topics
    first = await in_process.streamer(slug)
    may_append, append = asyncio.Event(), streamers.append

    async def append_late(*args: Any) -> Any:
        await may_append.wait()
        return await append(*args)

    monkeypatch.setattr(streamers, "append", append_late)
    await first.publish("of the first")
    waiting: list[Socket] = []
    for _ in range(2):
        waiting.append(await in_process.connect(f"/ws/streamer/{slug}/", "broadcast.v1"))
        came = asyncio.get_running_loop().time()

        async def is_answered(came: float = came) -> bool:
            turn = list(topic_of[slug].streamers.here.values())[-1]
            assert isinstance(turn, turns.Turn) and len(turn.formers) == len(waiting)
            return all(turn.answered[former] > came for former in turn.formers)

        await eventually(is_answered)
    may_append.set()
    for socket in waiting:
        await socket.publish("of a later one")
    assert (await waiting[-1].event())["offset"] == 2
    assert await first.closed() == await waiting[0].closed() == 4501


async def test_what_a_streamer_sends_while_it_fails_keeps_no_connection(
    in_process: InProcessDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "TURN", 1)
    monkeypatch.setattr(intake, "MOST_BYTES", 1)
    slug = await in_process.stream("recorded")
    streamer = await in_process.streamer(slug)
    (turn,) = get_relay().topics[slug].streamers.here.values()
    assert isinstance(turn, turns.Turn) and isinstance(turn.source, streamers.StreamerConsumer)
    source = turn.source

    async def fail_while_more_comes(*args: Any) -> Any:
        while not source.intake.cutting:  # noqa: ASYNC110
            await asyncio.sleep(0)
        raise Unavailable("away")

    monkeypatch.setattr(streamers, "append", fail_while_more_comes)
    await streamer.send(webm() + cluster(block(key=True)))
    await streamer.send(cluster(block(key=True), *[block()] * 8) * 2)
    assert await streamer.closed() == 4200
    assert not source.blocked
