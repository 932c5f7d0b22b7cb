"""Listeners that read too slowly or not at all, on our own server."""

from contextlib import AsyncExitStack

import pytest

from tests.rig.doors import V1, ServerDoor
from tests.rig.floods import FLOOD, flood, never_reading, payload
from tests.rig.raw import BINARY, TEXT

#: How many of them history holds: 8 MiB.
KEPT = 128


def decoded(frames: list[tuple[int, bytes]]) -> list[int]:
    """The numbers of plain publications."""
    numbers = [int.from_bytes(data[:4], "big") for _, data in frames]
    assert frames == [(BINARY, payload(number)) for number in numbers]
    return numbers


# -- one that stops reading ----------------------------------------------------------------------


async def test_a_listener_that_fell_behind_gets_what_history_holds_and_is_told_what_it_missed(
    our_door: ServerDoor,
) -> None:
    slug = await our_door.stream()
    async with AsyncExitStack() as stack:
        slow = await never_reading(stack, our_door, slug, V1)
        listener = await our_door.listener(slug)
        streamer = await our_door.streamer(slug)
        # It stands still, and the others do not notice.
        await flood(streamer, listener)
        numbers: list[int] = []
        skipped = []
        while not numbers or numbers[-1] < FLOOD:
            opcode, data = await slow.frame()
            if opcode == BINARY:
                numbers.append(int.from_bytes(data[:8], "big"))
                assert data[8:] == payload(numbers[-1])
            elif b'"skipped"' in data:
                skipped.append(data)
                reached = len(numbers)
        assert skipped == [b'{"event":"skipped","from":%d,"to":%d}' % (reached + 1, FLOOD - KEPT)]
        expected = [*range(1, reached + 1), *range(FLOOD - KEPT + 1, FLOOD + 1)]
        assert numbers == expected
        # And it is one like all others again.
        await streamer.publish("live")
        opcode, data = await slow.frame()
        assert (opcode, b'"live"' in data, b"%d" % (FLOOD + 1) in data) == (TEXT, True, True)


async def test_a_plain_listener_that_fell_behind_gets_an_unbroken_beginning_and_4408(
    our_door: ServerDoor,
) -> None:
    slug = await our_door.stream()
    async with AsyncExitStack() as stack:
        slow = await never_reading(stack, our_door, slug)
        listener = await our_door.listener(slug)
        await flood(await our_door.streamer(slug), listener)
        frames, code = await slow.rest()
        numbers = decoded(frames)
        assert code == 4408
        assert 1 <= len(numbers) < FLOOD - KEPT
        assert numbers == list(range(1, len(numbers) + 1))
        slow.cut()
        await our_door.until_listeners(slug, 1)


@pytest.mark.parametrize("protocols", [(), (V1,)], ids=["plain", "v1"])
async def test_who_falls_behind_no_further_than_history_misses_nothing(
    our_door: ServerDoor, protocols: tuple[str, ...]
) -> None:
    slug = await our_door.stream()
    async with AsyncExitStack() as stack:
        slow = await never_reading(stack, our_door, slug, *protocols)
        listener = await our_door.listener(slug)
        streamer = await our_door.streamer(slug)
        for start in range(1, 481, 120):
            # More than the ring holds, and less than history does; then it reads.
            await flood(streamer, listener, start, start + 119)
            number = start
            while number < start + 120:
                opcode, data = await slow.frame()
                assert b"skipped" not in data
                if opcode == BINARY:
                    prefix = number.to_bytes(8, "big") if protocols else b""
                    assert data == prefix + payload(number)
                    number += 1


@pytest.mark.parametrize("protocols", [(), (V1,)], ids=["plain", "v1"])
async def test_a_listener_that_takes_nothing_for_long_is_closed(
    impatient_door: ServerDoor, protocols: tuple[str, ...]
) -> None:
    slug = await impatient_door.stream()
    async with AsyncExitStack() as stack:
        slow = await never_reading(stack, impatient_door, slug, *protocols)
        listener = await impatient_door.listener(slug)
        streamer = await impatient_door.streamer(slug)
        await flood(streamer, listener)
        await streamer.until("listeners", count=1)
        frames, code = await slow.rest()
        assert code == 4408
        if not protocols:
            numbers = decoded(frames)
            assert numbers == list(range(1, len(numbers) + 1))
    await streamer.publish("to who is left")
    assert await listener.told() == (FLOOD + 1, "to who is left")


async def test_a_quiet_listener_is_not_a_slow_one(impatient_door: ServerDoor) -> None:
    slug = await impatient_door.stream()
    quiet = await impatient_door.listener(slug)
    other = await impatient_door.stream()
    async with AsyncExitStack() as stack:
        slow = await never_reading(stack, impatient_door, other)
        listener = await impatient_door.listener(other)
        streamer = await impatient_door.streamer(other)
        await flood(streamer, listener)
        # By the time that one is closed, the quiet one has taken nothing for as long.
        await streamer.until("listeners", count=1)
        assert (await slow.rest())[1] == 4408
    await (await impatient_door.streamer(slug)).publish("x")
    assert await quiet.told() == (1, "x")


async def test_slow_listeners_may_go_at_any_time(our_door: ServerDoor) -> None:
    slug = await our_door.stream()
    listener = await our_door.listener(slug)
    streamer = await our_door.streamer(slug)
    async with AsyncExitStack() as stack:
        slow = [
            await never_reading(stack, our_door, slug, *protocols) for protocols in ((), (V1,)) * 3
        ]
        await flood(streamer, listener, 1, 300)
        for raw in slow[:4]:
            raw.cut()
        await flood(streamer, listener, 301, 400)
    await our_door.until_listeners(slug, 1)
