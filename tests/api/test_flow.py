"""Event streams whose clients do not read, and what becomes of them when the server goes."""

import asyncio
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.rig.doors import ServerDoor, Socket, door_of
from tests.rig.events import ServerHearing, hear
from tests.rig.processes import ServerProcess
from tests.rig.raw import RawSocket

KIB = 1024
MIB = 1024 * KIB
TEXT = "x" * (64 * KIB)
#: 19 MiB: more than all buffers of the kernel and the history of a stream hold.
FLOOD = 300
#: Long, so that an exit at once can be told from one that waited.
DRAIN = 30


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(
        "broadcast",
        tmp_path_factory.mktemp("flow"),
        DJANGO_SETTINGS_MODULE="tests.settings",
        BROADCAST_DRAIN_SECONDS=str(DRAIN),
        BROADCAST_SLOW_SECONDS="1",
        BROADCAST_WATCH_SECONDS="0.2",
    ) as process:
        yield process


@pytest.fixture
def impatient_door(process: ServerProcess) -> Iterator[ServerDoor]:
    """A server that closes listeners after a second in which they took nothing."""
    if process.process is None or process.process.poll() is not None:
        process.start()
    yield from door_of(process)


@pytest.fixture(params=["broadcast", "uvicorn"])
def memory_door(request: Any, servers: Callable[[str], ServerProcess]) -> Iterator[ServerDoor]:
    """A server that keeps all in its memory, ours or another one."""
    yield from door_of(servers(request.param))


async def never_reading(stack: AsyncExitStack, door: ServerDoor, slug: str) -> RawSocket:
    before = await door.listeners(slug)
    raw = await stack.enter_async_context(door.raw(receive_buffer=4096))
    await raw.send(f"GET /api/streams/{slug}/events/ HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    await door.until_listeners(slug, before + 1)
    return raw


async def flood(streamer: Socket, hearing: ServerHearing) -> None:
    """Publish so much, and see that the client hears it all meanwhile."""
    heard = asyncio.Semaphore(32)

    async def listen() -> None:
        for number in range(FLOOD):
            assert (await hearing.until("message")).data == f"{number}{TEXT}"
            heard.release()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(listen())
        for number in range(FLOOD):
            await heard.acquire()
            await streamer.publish(f"{number}{TEXT}")


async def test_who_never_reads_costs_a_bounded_amount_and_nobody_else_notices(
    memory_door: ServerDoor,
) -> None:
    slug = await memory_door.stream()
    streamer = await memory_door.streamer(slug)
    async with AsyncExitStack() as stack:
        hearing = await stack.enter_async_context(hear(memory_door, slug, limit=4 * MIB))
        await hearing.event()
        for _ in range(20):
            await never_reading(stack, memory_door, slug)
        before = memory_door.process.memory
        await flood(streamer, hearing)
        # 20 of them were to get 375 MiB. Each may have a slice and a full buffer; and there are
        # the stream's history and its ring.
        assert memory_door.process.memory - before < 50 * MIB
        assert await memory_door.listeners(slug) == 21
    await memory_door.until_listeners(slug, 0)


async def test_who_reads_again_gets_what_there_is_and_is_told_what_it_missed(
    memory_door: ServerDoor,
) -> None:
    slug = await memory_door.stream()
    streamer = await memory_door.streamer(slug)
    async with AsyncExitStack() as stack:
        hearing = await stack.enter_async_context(hear(memory_door, slug, limit=4 * MIB))
        await hearing.event()
        slow = await stack.enter_async_context(hear(memory_door, slug, limit=1024))
        await slow.event()
        await flood(streamer, hearing)
        numbers = []
        position = 0
        while position < FLOOD:
            event = await slow.event()
            if event.name == "skipped":
                assert event.fields["from"] == position + 1
                position = event.fields["to"]
            elif event.name == "message":
                position += 1
                numbers.append(int(event.data.rstrip("x")))
            assert event.id.endswith(f":{position}")
        assert len(numbers) < FLOOD and numbers[-1] == FLOOD - 1
        await streamer.publish("live")
        assert await slow.texts(1) == ["live"]


async def test_who_takes_nothing_for_long_is_cut_off(impatient_door: ServerDoor) -> None:
    slug = await impatient_door.stream()
    streamer = await impatient_door.streamer(slug)
    async with AsyncExitStack() as stack:
        hearing = await stack.enter_async_context(hear(impatient_door, slug, limit=4 * MIB))
        await hearing.event()
        await never_reading(stack, impatient_door, slug)
        await flood(streamer, hearing)
        await impatient_door.until_listeners(slug, 1)


# -- the end of the server -----------------------------------------------------------------------


async def exit_after_sigterm(door: ServerDoor) -> float:
    """Seconds until the server is gone, with status 0."""
    started = time.monotonic()
    assert await asyncio.to_thread(door.process.stop, signal.SIGTERM) == 0
    return time.monotonic() - started


async def test_a_server_that_goes_says_so_ends_the_streams_and_waits_for_none(
    impatient_door: ServerDoor,
) -> None:
    slug = await impatient_door.stream()
    streamer = await impatient_door.streamer(slug)
    async with AsyncExitStack() as stack:
        for _ in range(3):
            await never_reading(stack, impatient_door, slug)
        hearings = [
            await stack.enter_async_context(hear(impatient_door, slug, limit=4 * MIB))
            for _ in range(5)
        ]
        for hearing in hearings:
            await hearing.event()
        await streamer.publish("the last one")
        await streamer.accepted(1)
        await streamer.close()
        seconds = await exit_after_sigterm(impatient_door)
        for hearing in hearings:
            events, whole = await hearing.rest()
            names = [event.name for event in events if event.name not in ("live", "idle")]
            assert (names, whole) == (["message", "shutdown"], True)
        assert seconds < DRAIN / 2


async def test_full_ones_do_not_hold_a_server_that_goes_either(impatient_door: ServerDoor) -> None:
    slug = await impatient_door.stream()
    streamer = await impatient_door.streamer(slug)
    async with AsyncExitStack() as stack:
        await never_reading(stack, impatient_door, slug)
        for _ in range(16):
            await streamer.publish(b"x" * MIB)
        await streamer.accepted(16)
        await streamer.close()
        assert await exit_after_sigterm(impatient_door) < DRAIN / 2
