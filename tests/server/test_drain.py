"""The end of our own server: what its clients are told, and what is left of it."""

import asyncio
import signal
import time
import uuid
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest

from broadcast.rooms import signaling
from broadcast.server.server import DRAIN_STEP
from tests.rig.doors import V1, Closed, InProcessDoor, ServerDoor, Socket, door_of, eventually
from tests.rig.drains import exit_status, refuses, running, tell
from tests.rig.floods import flood, never_reading
from tests.rig.processes import ServerProcess
from tests.rig.raw import BINARY, CLOSE, frame
from tests.rig.rooms import PATH, answers

#: Seconds a drain takes here, and some in which nothing but an exit at once can happen.
DRAIN = 2
LONG_DRAIN = 60


def process_of(tmp_path_factory: pytest.TempPathFactory, seconds: int) -> Iterator[ServerProcess]:
    with ServerProcess(
        "broadcast",
        tmp_path_factory.mktemp("drain"),
        DJANGO_SETTINGS_MODULE="tests.settings",
        BROADCAST_DRAIN_SECONDS=str(seconds),
    ) as process:
        yield process


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    yield from process_of(tmp_path_factory, DRAIN)


@pytest.fixture(scope="module")
def patient_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    yield from process_of(tmp_path_factory, LONG_DRAIN)


@pytest.fixture
def draining_door(process: ServerProcess) -> Iterator[ServerDoor]:
    """A server that drains within `DRAIN` seconds; each test may stop it."""
    yield from door_of(running(process))


@pytest.fixture
def patient_door(patient_process: ServerProcess) -> Iterator[ServerDoor]:
    """A server that takes `LONG_DRAIN` seconds for it."""
    yield from door_of(running(patient_process))


# -- SIGTERM and SIGINT --------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_everybody_is_told_and_closed_over_the_time(
    draining_door: ServerDoor, number: signal.Signals
) -> None:
    slugs = [await draining_door.stream() for _ in range(4)]
    listeners = [await draining_door.listener(slug) for slug in slugs * 10]
    started = time.monotonic()
    closed: list[float] = []

    async def hear(listener: Socket) -> None:
        assert await listener.event() == {"event": "shutdown", "seconds": DRAIN}
        assert await listener.rest() == ([], 4200)
        closed.append(time.monotonic() - started)

    tell(draining_door, number)
    await asyncio.gather(*map(hear, listeners))
    assert await exit_status(draining_door) == 0
    assert len([one for one in closed if one > DRAIN / 3]) > len(closed) / 3, closed
    assert max(closed) < DRAIN + 5, closed


@pytest.mark.parametrize("socket", ["listener", "streamer"])
@pytest.mark.parametrize("protocols", [(), (V1,)], ids=["plain", "v1"])
async def test_every_socket_is_closed_with_4200(
    draining_door: ServerDoor, socket: str, protocols: tuple[str, ...]
) -> None:
    slug = await draining_door.stream()
    if protocols:
        opened = await getattr(draining_door, socket)(slug)
    else:
        opened = await getattr(draining_door, f"plain_{socket}")(slug)
    tell(draining_door, signal.SIGTERM)
    frames, code = await opened.rest()
    assert code == 4200
    if not protocols:
        assert frames == []
    assert await exit_status(draining_door) == 0


async def test_nobody_comes_in_any_more(draining_door: ServerDoor) -> None:
    slug = await draining_door.stream()
    listeners = [await draining_door.listener(slug) for _ in range(5)]
    tell(draining_door, signal.SIGTERM)
    for listener in listeners:
        await listener.until("shutdown")
    assert await refuses(draining_door)
    assert await listeners[-1].closed() == 4200
    assert await exit_status(draining_door) == 0


async def test_without_sockets_it_exits_at_once(patient_door: ServerDoor) -> None:
    slug = await patient_door.stream()
    await (await patient_door.listener(slug)).close()
    await patient_door.until_listeners(slug, 0)
    tell(patient_door, signal.SIGTERM)
    assert await exit_status(patient_door) == 0


@pytest.mark.parametrize("part", [0, 20], ids=["nothing", "half a line"])
async def test_a_client_that_was_accepted_and_has_yet_to_ask_is_answered(
    patient_door: ServerDoor, part: int
) -> None:
    slug = await patient_door.stream()
    request = b"GET /healthz?live HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", patient_door.process.port)
    writer.write(request[:part])
    # It was accepted before this one, which is answered.
    await patient_door.describe(slug)
    tell(patient_door, signal.SIGTERM)
    await eventually(lambda: refuses(patient_door))
    # More than the two turns after which a drain that has nothing to do ends.
    await asyncio.sleep(5 * DRAIN_STEP)
    writer.write(request[part:])
    assert (await reader.read()).startswith(b"HTTP/1.1 200")
    writer.close()
    assert await exit_status(patient_door) == 0


async def test_a_connection_that_asks_for_nothing_does_not_hold_up_the_end(
    patient_door: ServerDoor,
) -> None:
    slug = await patient_door.stream()
    _, writer = await asyncio.open_connection("127.0.0.1", patient_door.process.port)
    await patient_door.describe(slug)
    tell(patient_door, signal.SIGTERM)
    assert await exit_status(patient_door) == 0
    writer.close()


async def test_what_was_accepted_before_reaches_everybody(draining_door: ServerDoor) -> None:
    slug = await draining_door.stream()
    speaking = [await draining_door.listener(slug) for _ in range(5)]
    plain = [await draining_door.plain_listener(slug) for _ in range(5)]
    streamer = await draining_door.streamer(slug)
    for number in range(1, 501):
        await streamer.publish(number)
    await streamer.accepted(500)
    tell(draining_door, signal.SIGTERM)
    for listener in speaking:
        assert await listener.told_many(501) == [
            *[(number, number) for number in range(1, 501)],
            ("shutdown", {"seconds": DRAIN}),
        ]
        assert await listener.closed() == 4200
    for listener in plain:
        assert await listener.rest() == ([str(number) for number in range(1, 501)], 4200)
    assert await exit_status(draining_door) == 0


async def test_what_was_sent_before_is_published(draining_door: ServerDoor) -> None:
    slug = await draining_door.stream()
    streamer = await draining_door.streamer(slug)
    others = [await draining_door.listener(slug) for _ in range(3)]
    listener = await draining_door.listener(slug)
    for number in range(1, 201):
        await streamer.publish(number)
    tell(draining_door, signal.SIGTERM)
    told = [one for one in await listener.told_many(201) if one[0] != "shutdown"]
    assert told == [(number, number) for number in range(1, 201)]
    assert [await other.closed() for other in others] == [4200] * 3
    assert await exit_status(draining_door) == 0


async def test_clients_that_neither_read_nor_answer_do_not_hold_it_up(
    draining_door: ServerDoor,
) -> None:
    slug = await draining_door.stream()
    async with AsyncExitStack() as stack:
        await never_reading(stack, draining_door, slug)
        await never_reading(stack, draining_door, slug, V1)
        silent = await stack.enter_async_context(draining_door.raw())
        await silent.open(f"/ws/streamer/{await draining_door.stream()}/")
        await silent.send(frame(BINARY, b"half")[:3])
        unfinished = await stack.enter_async_context(draining_door.raw())
        await unfinished.send(b"GET /ws/listener/demo/ HTTP/1.1\r\n")
        listener = await draining_door.listener(slug)
        await flood(await draining_door.streamer(slug), listener)
        started = time.monotonic()
        tell(draining_door, signal.SIGTERM)
        assert await exit_status(draining_door) == 0
        assert time.monotonic() - started < DRAIN + 8
        assert (await silent.frame())[0] == CLOSE


async def test_who_comes_to_the_rooms_meanwhile_is_told_what_is_left(
    in_process: InProcessDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await in_process.connect(PATH)
    loop = asyncio.get_running_loop()
    earlier = loop.time() - LONG_DRAIN / 2
    with monkeypatch.context() as patch:
        patch.setattr(loop, "time", lambda: earlier)
        signaling.announce_end(LONG_DRAIN)
    assert await before.event() == {"event": "shutdown", "seconds": LONG_DRAIN}
    late = await in_process.connect(PATH)
    (said,) = await answers(late)
    assert said["event"] == "shutdown"
    assert 0 < said["seconds"] <= LONG_DRAIN / 2


# -- twice, and without a word -------------------------------------------------------------------


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_everybody_is_told_at_once_and_a_second_signal_exits_at_once(
    patient_door: ServerDoor, second: signal.Signals
) -> None:
    slugs = [await patient_door.stream() for _ in range(4)]
    listeners = [await patient_door.listener(slug) for slug in slugs * 5]
    started = time.monotonic()
    tell(patient_door, signal.SIGTERM)
    for listener in listeners:
        assert await listener.event() == {"event": "shutdown", "seconds": LONG_DRAIN}
    # So late only on a very busy machine, and still before half of them were closed.
    assert time.monotonic() - started < LONG_DRAIN / 2
    tell(patient_door, second)
    assert await exit_status(patient_door) == 0
    assert {await listener.closed() for listener in listeners} <= {1006, 4200}


async def test_killed_with_clients_connected_it_starts_again(draining_door: ServerDoor) -> None:
    slug = await draining_door.stream()
    run = uuid.uuid4()
    listener = await draining_door.listener(slug)
    streamer = await draining_door.streamer(slug, f"?run={run}")
    for number in range(1, 11):
        await streamer.publish(number)
    await streamer.accepted(10)
    assert await asyncio.to_thread(draining_door.process.stop, signal.SIGKILL) == -9
    assert await listener.closed() == 1006
    with pytest.raises(Closed):
        await streamer.until("nothing")
    await asyncio.to_thread(draining_door.process.start)
    # Its memory is gone, and it says so: an old position is never mistaken for a new one.
    former = listener.first["epoch"]
    again = await draining_door.streamer(slug, f"?run={run}")
    assert (again.first["accepted"], again.first["offset"]) == (0, 0)
    assert again.first["epoch"] != former
    for number in range(20):
        await again.publish(number)
    await again.accepted(20)
    listener = await draining_door.listener(slug, f"?epoch={former}&since=5")
    assert (listener.first["recovered"], listener.first["offset"]) == (False, 20)
