"""Coming back: listeners resume where they were, runs of publications are counted."""

import asyncio
import random
import uuid

import pytest

from tests.rig.doors import Closed, Door, Socket
from tests.rig.streamers import published


def back(listener: Socket, since: int) -> str:
    """The query of a listener that comes back after offset `since`."""
    return f"?epoch={listener.first['epoch']}&since={since}"


# -- listeners -----------------------------------------------------------------------------------


@pytest.mark.parametrize("since", [0, 1, 3, 4])
async def test_who_comes_back_gets_all_it_missed_and_then_what_is_live(
    door: Door, since: int
) -> None:
    slug = await door.stream()
    former = await door.listener(slug)
    streamer = await published(door, slug, 1, b"2", "3", None)
    await former.leave()
    listener = await door.listener(slug, back(former, since))
    assert listener.first["offset"] == since
    assert listener.first["recovered"] is True
    assert listener.first["epoch"] == former.first["epoch"]
    await streamer.publish("live")
    everything = list(enumerate([1, b"2", "3", None, "live"], 1))
    assert await listener.told_many(5 - since) == everything[since:]


async def test_a_plain_listener_can_come_back(door: Door) -> None:
    slug = await door.stream()
    former = await door.listener(slug)
    streamer = await published(door, slug, 1, 2, 3)
    listener = await door.plain_listener(slug, back(former, 1))
    await streamer.publish(4)
    assert await listener.receive_many(3) == ["2", "3", "4"]


async def test_who_comes_back_needs_no_header_again(door: Door) -> None:
    slug = await door.stream()
    streamer = await published(door, slug, ("header", b"h"), ("entry", b"2"), ("entry", b"3"))
    former = await door.listener(slug)
    listener = await door.listener(slug, back(former, 1))
    assert listener.first["recovered"] is True
    await streamer.publish(b"4")
    assert await listener.told_many(3) == [(2, b"2"), (3, b"3"), (4, b"4")]


@pytest.mark.parametrize("since", [4, 1000, 2**63, 10**20 - 1])
async def test_a_position_beyond_the_newest_is_not_recovered(door: Door, since: int) -> None:
    slug = await door.stream()
    former = await door.listener(slug)
    streamer = await published(door, slug, 1, 2, 3)
    listener = await door.listener(slug, back(former, since))
    assert listener.first["recovered"] is False
    assert listener.first["offset"] == 3
    await streamer.publish(4)
    assert await listener.told() == (4, 4)


@pytest.mark.parametrize("epoch", ["another", "", "%00", "%C3%BC"])
async def test_another_epoch_is_not_recovered(door: Door, epoch: str) -> None:
    slug = await door.stream()
    streamer = await published(door, slug, ("header", 1), 2, 3)
    listener = await door.listener(slug, f"?epoch={epoch}&since=2")
    assert listener.first["recovered"] is False
    assert listener.first["epoch"] == (await door.listener(slug)).first["epoch"]
    await streamer.publish(4)
    assert await listener.told_many(3) == [("header", {"offset": 1}), (1, 1), (4, 4)]


@pytest.mark.parametrize(("since", "recovered"), [(9, False), (10, True), (20, True)])
async def test_it_recovers_as_long_as_history_holds_everything(
    door: Door, since: int, recovered: bool
) -> None:
    slug = await door.stream("short")
    former = await door.listener(slug)
    streamer = await published(door, slug, *range(1, 21))
    listener = await door.listener(slug, back(former, since))
    start = since if recovered else 20
    assert (listener.first["recovered"], listener.first["offset"]) == (recovered, start)
    await streamer.publish(21)
    assert await listener.told_many(21 - start) == [(n, n) for n in range(start + 1, 22)]


async def test_who_cannot_recover_starts_as_a_newcomer(door: Door) -> None:
    slug = await door.stream("short")
    former = await door.listener(slug)
    await published(door, slug, ("header", "h"), *range(15), ("entry", "e"), "x")
    listener = await door.listener(slug, back(former, 1))
    assert listener.first["recovered"] is False
    assert listener.first["offset"] == 16
    told = await listener.told_many(4)
    assert told == [("header", {"offset": 1}), (1, "h"), (17, "e"), (18, "x")]


async def test_history_is_for_those_who_cannot_recover(door: Door) -> None:
    slug = await door.stream()
    former = await door.listener(slug)
    await published(door, slug, 1, 2, 3, 4)
    recovered = await door.listener(slug, back(former, 3) + "&history=2")
    assert await recovered.told() == (4, 4)
    newcomer = await door.listener(slug, "?epoch=another&since=1&history=2")
    assert newcomer.first["offset"] == 2
    assert await newcomer.told_many(2) == [(3, 3), (4, 4)]


async def test_nothing_is_missing_or_doubled_over_reconnects_while_a_streamer_floods(
    door: Door,
) -> None:
    chance = random.Random(1)
    slug = await door.stream()
    streamer = await door.plain_streamer(slug)
    heard = 0
    advanced = asyncio.Event()

    async def flood() -> None:
        for number in range(1, 6001):
            # History holds a thousand: who comes back can have all that it missed.
            while number - heard > 800:
                advanced.clear()
                await advanced.wait()
            await streamer.send(str(number))

    async with asyncio.TaskGroup() as tasks:
        listener = await door.listener(slug)
        tasks.create_task(flood())
        while heard < 6000:
            for _ in range(min(chance.randrange(300), 6000 - heard)):
                assert await listener.told() == (heard + 1, str(heard + 1))
                heard += 1
                advanced.set()
            await listener.leave()
            query = back(listener, heard)
            listener = await door.listener(slug, query)
            assert (listener.first["recovered"], listener.first["offset"]) == (True, heard)


# -- runs ----------------------------------------------------------------------------------------


async def test_ready_says_how_many_of_the_run_are_in(door: Door) -> None:
    slug = await door.stream()
    run, other = uuid.uuid4(), uuid.uuid4()
    streamer = await door.streamer(slug, f"?run={run}")
    assert streamer.first["accepted"] == 0
    for number in range(3):
        await streamer.publish(number)
    assert await streamer.accepted(3) == {"event": "accepted", "accepted": 3, "offset": 3}
    another = await door.streamer(slug, f"?run={other}")
    assert (another.first["accepted"], another.first["offset"]) == (0, 3)
    await another.publish("x")
    assert await another.accepted(1) == {"event": "accepted", "accepted": 1, "offset": 4}
    again = await door.streamer(slug, f"?run={run}")
    assert (again.first["accepted"], again.first["offset"]) == (3, 4)
    await again.publish("y")
    assert await again.accepted(4) == {"event": "accepted", "accepted": 4, "offset": 5}


async def test_a_run_is_the_same_however_it_is_written(door: Door) -> None:
    slug = await door.stream()
    run = uuid.uuid4()
    streamer = await door.streamer(slug, f"?run={run}")
    await streamer.publish("x")
    await streamer.accepted(1)
    again = await door.streamer(slug, f"?run={str(run).upper()}")
    assert again.first["accepted"] == 1


async def test_marks_and_nonsense_are_not_counted(door: Door) -> None:
    slug = await door.stream()
    streamer = await door.streamer(slug, f"?run={uuid.uuid4()}")
    await streamer.tell("mark", **{"as": "entry"})
    await streamer.send("nonsense")
    await streamer.tell("reset")
    await streamer.publish("x")
    await streamer.send("[]")
    await streamer.publish("y")
    assert (await streamer.accepted(2))["offset"] == 2


async def test_plain_publications_of_a_run_are_counted_too(door: Door) -> None:
    slug = await door.stream()
    run = uuid.uuid4()
    listener = await door.listener(slug)
    plain = await door.plain_streamer(slug, f"?run={run}")
    for number in range(3):
        await plain.send(str(number))
    await listener.told_many(3)
    assert (await door.streamer(slug, f"?run={run}")).first["accepted"] == 3


async def test_publications_that_are_under_way_twice_stand_once(door: Door) -> None:
    slug = await door.stream()
    listener = await door.listener(slug)
    run = uuid.uuid4()
    former = await door.streamer(slug, f"?run={run}")
    for number in range(1, 301):
        await former.publish(number)
    # The former connection is not known to be gone; some of its publications are still to come.
    streamer = await door.streamer(slug, f"?run={run}")
    for number in range(streamer.first["accepted"] + 1, 401):
        await streamer.publish(number)
    await streamer.accepted(400)
    assert await listener.told_many(400) == [(n, n) for n in range(1, 401)]
    assert await former.closed() == 4501


async def test_every_publication_of_a_run_stands_once_and_in_order_over_broken_connections(
    door: Door,
) -> None:
    chance = random.Random(2)
    slug = await door.stream()
    listener = await door.listener(slug)
    query = f"?run={uuid.uuid4()}"
    connections = accepted = 0

    async def send_until_it_breaks() -> int:
        """How many are in, by what the server says first."""
        streamer = await door.streamer(slug, query)
        start = int(streamer.first["accepted"])
        last = min(start + chance.randrange(1, 600), 5000)
        for number in range(start + 1, last + 1):
            await streamer.publish(number if number % 3 else number.to_bytes(4, "big"))
        if last == 5000:
            await streamer.accepted(5000)
            return 5000
        if chance.random() < 0.5:
            # Half of the times something of it has arrived for sure.
            await streamer.until("accepted")
        await streamer.leave()
        return start

    async def hear() -> None:
        for number in range(1, 5001):
            payload = number if number % 3 else number.to_bytes(4, "big")
            assert await listener.told() == (number, payload)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(hear())
        while accepted < 5000:
            before = accepted
            accepted = await send_until_it_breaks()
            assert accepted >= before
            connections += 1
    assert connections > 10
    await (await door.streamer(slug)).publish("end")
    assert await listener.told() == (5001, "end")


async def test_a_run_goes_on_after_its_socket_was_closed_for_a_frame(door: Door) -> None:
    slug = await door.stream()
    run = uuid.uuid4()
    listener = await door.listener(slug)
    streamer = await door.streamer(slug, f"?run={run}")
    await streamer.publish("1")
    try:
        await streamer.publish(b"x" * (2**20 + 1))
        await streamer.publish("3")
    except Closed as closed:
        assert closed.code in (1006, 1009)
    await streamer.closed()
    # "3" came after a publication of the run that is not in.
    again = await door.streamer(slug, f"?run={run}")
    assert again.first["accepted"] == 1
    await again.publish("2")
    assert await listener.told_many(2) == [(1, "1"), (2, "2")]
