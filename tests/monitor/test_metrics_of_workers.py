"""`/metrics` of several workers: the sum of all, whatever happens to one of them."""

import asyncio
import http.client
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.rig.doors import ServerDoor, Socket, door_of, eventually
from tests.rig.processes import RedisProcess, prepared_database
from tests.rig.scrapes import Figures, get, scrape
from tests.rig.workers import (
    WORKERS,
    WorkersProcess,
    exit_status,
    listeners_at_all,
    replace_all,
    runs,
    until,
)

#: Files that one worker counts into: of counters, gauges and histograms.
FILES = 3


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkersProcess]:
    directory = tmp_path_factory.mktemp("counting")
    (directory / "db.sqlite3").write_bytes(prepared_database())
    with RedisProcess(directory) as redis:
        process = WorkersProcess(directory, REDIS_URL=redis.url, TMPDIR=str(directory))
        yield process
        process.kill()


@pytest.fixture
def process(running: WorkersProcess) -> WorkersProcess:
    """A parent with all its workers; each test may end it."""
    if running.process is None or running.process.poll() is not None:
        running.start()
    return running


@pytest.fixture
def door(process: WorkersProcess) -> Iterator[ServerDoor]:
    yield from door_of(process)


def directories(process: WorkersProcess) -> list[Path]:
    """Where its workers count."""
    return list(Path(process.environment["TMPDIR"]).glob("broadcast-metrics-*"))


async def figures(door: ServerDoor) -> Figures:
    return await asyncio.to_thread(scrape, door.process)


async def grown(door: ServerDoor, before: Figures, *names: str) -> dict[str, float]:
    return (await figures(door)).since(before, *names)


async def all_say(door: ServerDoor, **expected: float) -> None:
    """Until scrape after scrape says so: whichever worker answers."""

    async def say() -> bool:
        answers = [await figures(door) for _ in range(8)]
        return all(answer[name] == expected[name] for answer in answers for name in expected)

    await eventually(say)


async def exchange(streamer: Socket, listeners: list[Socket], count: int) -> None:
    for number in range(count):
        await streamer.publish(number)
    for listener in listeners:
        await listener.told_many(count)


@asynccontextmanager
async def never_going_backwards(door: ServerDoor) -> AsyncIterator[None]:
    """Meanwhile no counter does, whichever worker is asked."""

    async def watch() -> None:
        before = await figures(door)
        while True:
            now = await figures(door)
            for name in before.counters:
                assert now[name] >= before[name], name
            before = now

    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(watch())
        yield
        watching.cancel()


async def test_a_scrape_of_any_worker_is_the_sum_over_all_and_survives_the_death_of_one(
    door: ServerDoor, process: WorkersProcess
) -> None:
    slug = await door.stream()
    listeners = await listeners_at_all(door, slug)
    heard = len(door.sockets)
    streamer = await door.streamer(slug)
    await exchange(streamer, list(listeners.values()), 100)
    await all_say(
        door,
        processes=WORKERS,
        listeners=heard,
        streamers=1,
        publications_total=100,
        deliveries_total=100 * heard,
    )
    joined = (await figures(door))["joins_total{new}"]
    victim = process.worker_of(streamer)
    left = [socket for socket in door.sockets if process.worker_of(socket) != victim]
    async with never_going_backwards(door):
        os.kill(victim, signal.SIGKILL)
        # What it had is gone, and what it did is not.
        await all_say(door, processes=WORKERS - 1, listeners=len(left), streamers=0)
        await until(lambda: len(process.workers) == WORKERS)
        await all_say(door, processes=WORKERS, publications_total=100)
    # The next worker goes on where the killed one was. Two of the sockets are streamers.
    back = await listeners_at_all(door, slug)
    await exchange(await door.streamer(slug), list(back.values()), 10)
    await all_say(
        door,
        publications_total=110,
        deliveries_total=100 * heard + 10 * (len(left) + len(door.sockets) - heard - 2),
    )
    assert (await figures(door))["joins_total{new}"] == joined + len(door.sockets) - heard - 2


async def test_one_worker_tells_what_others_do_before_they_are_asked(
    door: ServerDoor, process: WorkersProcess
) -> None:
    slug = await door.stream()
    connection = http.client.HTTPConnection("127.0.0.1", process.port)

    def ask() -> Figures:
        connection.request("GET", "/metrics")
        with connection.getresponse() as response:
            return Figures(response.read().decode())

    before = await asyncio.to_thread(ask)
    (asked,) = process.holders(process.port, connection.sock.getsockname()[1])
    listeners = await listeners_at_all(door, slug)
    assert set(listeners) - {asked}
    deliveries = 10 * len(door.sockets)
    await exchange(await door.streamer(slug), list(listeners.values()), 10)

    async def has_told() -> bool:
        now = await asyncio.to_thread(ask)
        return now.since(before, "deliveries_total") == {"deliveries_total": deliveries}

    await eventually(has_told)
    connection.close()


async def test_a_worker_that_is_told_to_leave_counts_all_that_it_did(
    door: ServerDoor, process: WorkersProcess
) -> None:
    slug = await door.stream()
    before = await figures(door)
    listener = await door.listener(slug)
    streamer = await door.streamer(slug)
    leaving = process.worker_of(listener)
    await exchange(streamer, [listener], 50)
    # Nothing to wait for: it is gone before it would have looked around once more.
    await listener.close()
    await streamer.close()
    os.kill(leaving, signal.SIGTERM)
    await until(lambda: not runs(leaving))
    assert await grown(door, before, "deliveries_total") == {"deliveries_total": 50}
    await until(lambda: len(process.workers) == WORKERS)
    await all_say(door, processes=WORKERS, listeners=0)


async def test_every_worker_says_whether_it_is_ready(door: ServerDoor) -> None:
    for _ in range(8):
        answer = await asyncio.to_thread(get, door.process, "/healthz")
        assert answer.status == 200, answer


async def test_replacing_all_workers_loses_no_count_and_leaves_no_file(
    door: ServerDoor, process: WorkersProcess
) -> None:
    slug = await door.stream()
    listener = await door.listener(slug)
    before = await figures(door)
    # Counted in plain numbers until it leaves.
    await exchange(await door.streamer(slug), [listener], 50)
    (directory,) = directories(process)
    async with never_going_backwards(door):
        await replace_all(process)
    # For a while there was one worker more.
    assert len(list(directory.iterdir())) <= FILES * (WORKERS + 1)
    counted = await grown(door, before, "publications_total", "deliveries_total")
    assert counted == {"publications_total": 50, "deliveries_total": 50}
    await all_say(door, processes=WORKERS, listeners=0)


async def test_who_counts_where_is_nobody_elses_business_and_over_with_the_parent(
    process: WorkersProcess,
) -> None:
    (directory,) = directories(process)
    assert directory.stat().st_mode & 0o777 == 0o700
    process.tell(signal.SIGTERM)
    assert await exit_status(process) == 0
    assert not directories(process)


async def test_workers_whose_parent_was_killed_remove_what_they_counted(
    process: WorkersProcess,
) -> None:
    workers = process.workers
    process.tell(signal.SIGKILL)
    await until(lambda: not any(map(runs, workers)))
    assert not directories(process)
