"""Who comes to a topic and who goes: newcomers, streamers, counts, lost and new histories."""

import asyncio
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from broadcast.backends import HistoryLimits
from broadcast.exceptions import CloseCode
from broadcast.hub.listeners import Listener
from broadcast.hub.topics import tell_all
from broadcast.publications import Draft, Mark
from broadcast.wire.frames import PLAIN_MESSAGES, V1_MESSAGES, event
from tests.rig.clock import clock, in_clock_loop, settle
from tests.rig.topics import WIDE, FakeSink, House, numbers


class FakeStreamer:
    def __init__(self, id: str) -> None:
        self.id = id
        self.counts: list[tuple[float, int]] = []
        self.is_replaced = False

    def count(self, listeners: int) -> None:
        # It is often the number that was told before; a streamer passes on what is news.
        if not self.counts or self.counts[-1][1] != listeners:
            self.counts.append((clock().time(), listeners))

    def overtake(self) -> None:
        self.is_replaced = True

    def hear_leaving(self, streamer: str, left: bool) -> None:
        """It waits for nobody."""


# -- where a listener begins ----------------------------------------------------------------


@in_clock_loop
async def test_a_listener_hears_everything_after_its_cursor() -> None:
    house = await House.build()
    await house.publish(4)
    assert house.listen().heard == []
    assert house.listen(cursor=2).heard == ["3", "4"]
    assert house.listen(cursor=0).heard == numbers(1, 4)


@in_clock_loop
async def test_a_listener_that_history_brought_further_hears_nothing_twice() -> None:
    house = await House.build()
    await house.publish(2)
    late = await house.keep(3)
    sink = house.listen(cursor=4)
    house.topic.append(late[:1])
    house.topic.append(late[1:2])
    await settle()
    assert sink.heard == []
    house.topic.append(late[2:])
    await settle()
    await house.publish(1)
    await settle()
    assert sink.heard == ["5", "6"]


@in_clock_loop
async def test_a_listener_further_than_the_topic_is_not_hurt_by_a_gap_before_it() -> None:
    house = await House.build()
    await house.keep(5)
    sink = house.listen(cursor=5, encoding=PLAIN_MESSAGES)
    house.topic.jump(5)
    await house.publish(1)
    await settle()
    assert (sink.heard, sink.closed) == (["6"], None)


@in_clock_loop
async def test_the_header_goes_before_everything() -> None:
    house = await House.build()
    [header] = (await house.backend.append("s", [Draft.of("h", Mark.HEADER)], WIDE)).publications
    house.topic.append([header])
    await house.publish(3)
    sink = house.listen(cursor=3, opening=header)
    await house.publish(1)
    await settle()
    assert sink.heard == [("header",), "h", "4", "5"]
    plain = house.listen(cursor=5, opening=header, encoding=PLAIN_MESSAGES)
    assert plain.heard == ["h"]


@in_clock_loop
async def test_a_header_waits_for_a_socket_that_is_full_already() -> None:
    house = await House.build()
    [header] = (await house.backend.append("s", [Draft.of("h", Mark.HEADER)], WIDE)).publications
    house.topic.append([header])
    sink = FakeSink(space=1)
    sink.listener = Listener(house.topic, sink, V1_MESSAGES, 1, header)
    sink.listener.tell(event("joined"))
    house.topic.add(sink.listener)
    assert sink.heard == [("joined",)]
    sink.drain()
    assert sink.heard == [("joined",), ("header",), "h"]


@in_clock_loop
async def test_who_was_removed_hears_no_more() -> None:
    house = await House.build()
    sinks = [house.listen(), house.listen(space=1), house.listen(cursor=1)]
    await house.publish(1)
    for sink in sinks:
        house.topic.remove(sink.listener)
        house.topic.remove(sink.listener)
    await house.publish(2)
    sinks[1].drain()
    await settle()
    assert [sink.heard for sink in sinks] == [["1"], ["1"], []]
    assert not house.topic.in_use


@in_clock_loop
async def test_who_goes_while_history_is_read_for_it_hears_no_more(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.BROADCAST_RING_COUNT = 1
    house = await House.build()
    await house.publish(3)
    read, reading, go = house.backend.read, asyncio.Event(), asyncio.Event()

    async def slow_read(*args: Any) -> Any:
        reading.set()
        await go.wait()
        return await read(*args)

    monkeypatch.setattr(house.backend, "read", slow_read)
    sink = house.listen(cursor=0)
    await reading.wait()
    house.topic.remove(sink.listener)
    go.set()
    await settle()
    assert sink.heard == []


# -- what is told ---------------------------------------------------------------------------


@in_clock_loop
async def test_live_and_idle_are_told_once_to_who_understands_it() -> None:
    house = await House.build()
    v1, plain = house.listen(), house.listen(encoding=PLAIN_MESSAGES)
    for streamer in ("one", "one", "two", "", ""):
        house.topic.set_streamer(streamer)
    newcomer = house.listen()
    assert v1.heard == [("live",), ("idle",)]
    assert plain.heard == newcomer.heard == []


@in_clock_loop
async def test_a_full_socket_is_told_later_and_only_what_still_holds() -> None:
    house = await House.build()
    came, came_and_went = house.listen(space=1), house.listen(space=1)
    await house.publish(1)
    house.topic.set_streamer("one")
    house.topic.set_streamer("")
    came_and_went.drain()
    house.topic.set_streamer("one")
    house.topic.set_streamer("")
    house.topic.set_streamer("one")
    came.drain()
    assert came.heard == ["1", ("live",)]
    assert came_and_went.heard == ["1", ("live",), ("idle",), ("live",)]


@in_clock_loop
async def test_the_last_word_goes_to_all_who_understand_it_full_or_not() -> None:
    house = await House.build()
    sinks = [house.listen(), house.listen(space=1), house.listen(encoding=PLAIN_MESSAGES)]
    await house.publish(1)
    sinks[1].full = False
    tell_all([house.topic], event("shutdown", seconds=5))
    assert [sink.heard for sink in sinks] == [["1", ("shutdown",)], ["1", ("shutdown",)], ["1"]]


# -- streamers ------------------------------------------------------------------------------


@in_clock_loop
async def test_a_new_streamer_replaces_the_others() -> None:
    house = await House.build()
    one, two = FakeStreamer("one"), FakeStreamer("two")
    house.topic.streamers.add(one)
    house.topic.set_streamer("one")
    assert house.topic.live and not one.is_replaced
    house.topic.streamers.add(two)
    house.topic.set_streamer("two")
    assert (one.is_replaced, two.is_replaced) == (True, False)
    house.topic.streamers.remove(one)
    house.topic.set_streamer("")
    assert not (house.topic.live or two.is_replaced)
    house.topic.streamers.remove(two)
    assert not house.topic.in_use


@in_clock_loop
async def test_a_streamer_is_told_how_many_listen_when_it_comes() -> None:
    house = await House.build()
    house.listen()
    streamer = FakeStreamer("one")
    house.topic.streamers.add(streamer)
    await asyncio.sleep(1)
    assert [count for _, count in streamer.counts] == [1]


@in_clock_loop
async def test_counts_are_told_at_most_once_a_second_and_the_last_one_always() -> None:
    house = await House.build()
    await asyncio.sleep(5)
    streamer = FakeStreamer("one")
    house.topic.streamers.add(streamer)
    for _ in range(35):
        house.listen()
        await asyncio.sleep(0.1)
    await asyncio.sleep(2)
    assert streamer.counts[-1][1] == 35
    # The 0 at its coming is no news to a streamer, which supposes nobody is there.
    times = [time for time, count in streamer.counts if count]
    assert all(later - earlier > 0.999 for earlier, later in zip(times, times[1:], strict=False))
    assert len(times) >= 4


@in_clock_loop
async def test_a_count_told_at_the_coming_is_one_of_those_once_a_second() -> None:
    house = await House.build()
    house.listen()
    await asyncio.sleep(5)
    streamer = FakeStreamer("one")
    house.topic.streamers.add(streamer)
    house.listen()
    await asyncio.sleep(2)
    assert streamer.counts[-1][1] == 2
    first, *later = [time for time, _ in streamer.counts]
    assert all(time - first > 0.999 for time in later)


# -- a history that is lost -----------------------------------------------------------------


@in_clock_loop
async def test_a_jump_names_what_is_lost_to_everybody_who_had_it_not() -> None:
    house = await House.build()
    v1, full, plain = house.listen(), house.listen(space=1), house.listen(encoding=PLAIN_MESSAGES)
    await house.publish(1)
    await house.keep(3, limits=HistoryLimits(0, 0, 0))
    house.topic.jump(4)
    await settle()
    full.drain()
    await settle()
    await house.publish(1)
    await settle()
    assert v1.heard == full.heard == ["1", ("skipped", 2, 4), "5"]
    assert (plain.heard, plain.closed) == (["1"], CloseCode.SLOW)


@in_clock_loop
async def test_before_a_jump_everybody_gets_what_was_waiting() -> None:
    house = await House.build()
    sink = house.listen(seconds=0.01)
    await house.publish(1)
    await house.publish(1)
    await house.keep(3, limits=HistoryLimits(0, 0, 0))
    house.topic.jump(5)
    await settle()
    assert sink.heard == ["1", "2", ("skipped", 3, 5)]


@in_clock_loop
async def test_a_new_history_sends_everybody_away() -> None:
    house = await House.build()
    sinks = [
        *(house.listen(), house.listen(space=1), house.listen(encoding=PLAIN_MESSAGES)),
        house.listen(cursor=7),
    ]
    await house.publish(1)
    await house.backend.clear("s")
    epoch = (await house.backend.state("s")).epoch
    house.topic.restart(epoch, 0)
    assert [sink.closed for sink in sinks] == [CloseCode.SLOW] * 4
    assert not house.topic.in_use
    newcomer = house.listen()
    await house.publish(2)
    await settle()
    assert newcomer.heard == ["1", "2"]
    assert house.topic.epoch == epoch


@in_clock_loop
async def test_a_history_that_began_anew_is_not_taken_for_the_old_one(settings: Settings) -> None:
    settings.BROADCAST_RING_COUNT = 1
    house = await House.build()
    sink = house.listen(space=1)
    for _ in range(5):
        await house.publish(1)
    await house.backend.clear("s")
    await house.keep(9)
    sink.drain()
    await settle()
    assert (sink.heard, sink.closed) == (["1"], CloseCode.SLOW)
