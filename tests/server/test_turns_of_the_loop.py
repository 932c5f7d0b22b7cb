"""What a stranger sends is worked through in bounded parts: others get their turn between."""

import asyncio
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from broadcast.backends import get_backend
from broadcast.exceptions import BadRequest, CloseCode
from broadcast.hub.appending import append
from broadcast.hub.listeners import Listener
from broadcast.hub.relay import get_relay
from broadcast.media.segments import PIECES, TURN, Segmenter
from broadcast.media.steps import MOST, STEPS, Steps
from broadcast.publications import Draft, Mark
from broadcast.server.inbound import TURN_BYTES, TURN_COUNT, InboundQueue
from broadcast.streams.streamer import get_cutting
from broadcast.wire.frames import V1_MESSAGES
from tests.rig.doors import InProcessDoor
from tests.rig.films import block, cluster, webm

#: A part of 32 bytes; so many of them are a legal frame of 4 MiB.
VOID = bytes([0xEC, 0x80 | 30]) + bytes(30)
HEADER = webm()
OPENING = webm(cluster(block(key=True)))


def frame(parts: int) -> bytes:
    return cluster() + VOID * parts


def cut(segmenter: Segmenter, data: bytes) -> list[Draft]:
    found: list[Draft] = []
    for _ in segmenter.feed_in_turns(data, found):
        pass
    return found


# -- video ---------------------------------------------------------------------------------------


def test_a_frame_of_small_parts_is_cut_in_bounded_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    made = count()
    make = Steps.make

    def counting(steps: Steps) -> None:
        next(made)
        make(steps)

    monkeypatch.setattr(Steps, "make", counting)
    segmenter = Segmenter()
    segmenter.feed(HEADER)
    before, turns = next(made), []
    for _ in segmenter.feed_in_turns(frame(10_000), []):
        turns.append(next(made) - before)
        before = next(made)
    assert len(turns) >= 10_000 // TURN
    # One part may have as many within it as its bytes allow.
    assert max(turns) <= TURN + MOST + STEPS


def test_in_turns_the_same_comes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broadcast.media.segments.TURN", 1)
    data = webm(cluster(block(key=True), *(block() for _ in range(9))), cluster(block(key=True)))
    for size in (1, 7, 100, len(data)):
        whole, in_turns = Segmenter(), Segmenter()
        for start in range(0, len(data), size):
            part = data[start : start + size]
            assert cut(in_turns, part) == whole.feed(part)
        assert in_turns.snapshot() == whole.snapshot()


def test_while_a_frame_is_cut_a_snapshot_is_what_it_was_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("broadcast.media.segments.TURN", 1)
    first, second = webm(cluster(block(key=True), block(content=bytes(500))))[:-400], bytes(400)
    segmenter, other = Segmenter(), Segmenter()
    segmenter.feed(first)
    other.feed(first)
    wanted = other.snapshot()
    turns = segmenter.feed_in_turns(second + cluster(block(key=True), *[block()] * 9), [])
    next(turns)
    state, held, goes_on = segmenter.snapshot()
    assert (state, held, goes_on) == wanted and held
    next(turns)
    # The same bytes are not kept twice.
    assert segmenter.snapshot() == (state, b"", True)
    for _ in turns:
        pass
    assert segmenter.snapshot() != (state, b"", True)


def test_a_frame_of_too_many_pieces_is_refused() -> None:
    segmenter = Segmenter()
    segmenter.feed(HEADER)
    pieces = cluster(block(key=True))
    assert len(segmenter.feed(pieces * PIECES)) == 1 + PIECES  # and the header
    with pytest.raises(BadRequest, match="too small"):
        segmenter.feed(pieces * (PIECES + PIECES // 8))


async def test_while_a_streamer_sends_such_a_frame_others_get_their_turns(
    in_process: InProcessDoor,
) -> None:
    slug = await in_process.stream("film")
    streamer = await in_process.plain_streamer(slug)
    await streamer.send(OPENING + frame(10_000))
    turns = 0
    while (await get_backend().state(slug)).offset < 2:
        turns += 1
        await asyncio.sleep(0)
    assert turns >= 10_000 // TURN


def test_small_frames_are_cut_in_bounded_turns_together() -> None:
    segmenter, small = Segmenter(), TURN // 4
    segmenter.feed(OPENING)
    turns = sum(1 for _ in range(100) for _ in segmenter.feed_in_turns(frame(small), []))
    assert turns >= 100 * small // TURN


async def test_of_several_streamers_one_at_a_time_goes_on_with_such_a_frame(
    in_process: InProcessDoor,
) -> None:
    slugs = [await in_process.stream("film") for _ in range(5)]
    # None goes on before all have begun.
    async with get_cutting():
        for slug in slugs:
            await (await in_process.plain_streamer(slug)).send(OPENING + frame(5_000))
    turns = 0
    for slug in slugs:
        while (await get_backend().state(slug)).offset < 2:
            turns += 1
            await asyncio.sleep(0)
    # Each has its first part at once.
    assert turns >= 5 * (5_000 // TURN - 1)


async def test_who_is_overtaken_in_the_middle_of_such_a_frame_has_it_published_whole(
    in_process: InProcessDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    slug = await in_process.stream("film")
    cutting = asyncio.Event()
    feed = Segmenter.feed_in_turns

    def feeding(self: Segmenter, data: bytes, found: list[Draft]) -> Iterator[None]:
        for turn in feed(self, data, found):
            cutting.set()
            yield turn

    monkeypatch.setattr(Segmenter, "feed_in_turns", feeding)
    former = await in_process.plain_streamer(slug)
    # Of the last block half is missing: that is held back.
    frames = [OPENING, frame(20_000) + cluster(block(key=True)) + block()[:-2]]
    for one in frames:
        await former.send(one)
    await cutting.wait()
    newcomer = await in_process.plain_streamer(slug)
    assert (await former.rest())[1] == CloseCode.REPLACED
    await newcomer.leave()
    _, found = await get_backend().read(slug, 0, 1000, 1 << 30)
    assert b"".join(one.payload for one in found) == b"".join(frames)
    # As it would have been cut.
    assert [one.marks & Mark.ENTRY for one in found] == [0, Mark.ENTRY, 0, Mark.ENTRY, 0]


async def test_a_frame_that_turns_out_to_be_none_leaves_what_came_before_it(
    in_process: InProcessDoor,
) -> None:
    slug = await in_process.stream("film")
    streamer = await in_process.plain_streamer(slug)
    await streamer.send(OPENING)
    await streamer.send(frame(5_000) + b"\0nonsense")
    assert (await streamer.rest())[1] == CloseCode.BAD_REQUEST
    _, found = await get_backend().read(slug, 0, 1000, 1 << 30)
    assert b"".join(one.payload for one in found) == OPENING


# -- other doors ---------------------------------------------------------------------------------


class Socket:
    """Whose messages wait."""

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading


async def taken_in_a_turn(size: int) -> int:
    queue = InboundQueue(Socket())  # type: ignore[arg-type]
    for _ in range(1000):
        queue.put_nowait({"type": "websocket.receive", "bytes": bytes(size)})
    taken = 0

    async def take() -> None:
        nonlocal taken
        while True:
            await queue.get()
            taken += 1

    task = asyncio.create_task(take())
    await asyncio.sleep(0)
    in_one = taken
    while queue.messages:
        before = taken
        await asyncio.sleep(0)
        assert taken - before <= in_one
    task.cancel()
    return in_one


async def test_an_application_takes_so_many_messages_in_a_turn() -> None:
    assert await taken_in_a_turn(0) == TURN_COUNT
    assert await taken_in_a_turn(TURN_BYTES // 4) == 4
    assert await taken_in_a_turn(4 * TURN_BYTES) == 1


async def test_who_comes_back_for_a_long_history_is_handed_it_in_turns(
    db: None, settings: Settings
) -> None:
    settings.BROADCAST_RING_COUNT = 10
    settings.BROADCAST_HISTORY_COUNT = 1000
    await append("s", [Draft.of("x") for _ in range(1000)])

    class Sink:
        written = 0

        def write(self, messages: list[Any]) -> bool:
            self.written += len(messages)
            return True

        def close(self, code: CloseCode, reason: str) -> None:
            raise AssertionError(reason)

    async with get_relay().topic("s") as topic:
        sink = Sink()
        topic.add(Listener(topic, sink, V1_MESSAGES, 0))
        most = 0
        while sink.written < 1000:
            before = sink.written
            await asyncio.sleep(0)
            most = max(most, sink.written - before)
    assert most <= 20
