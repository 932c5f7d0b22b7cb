"""The hub: rings, cursors, flushes, slow listeners; in a loop whose clock the test owns."""

import asyncio
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from broadcast.backends import HistoryLimits
from broadcast.exceptions import CloseCode
from broadcast.wire.frames import PLAIN_MESSAGES, event
from tests.rig.clock import in_clock_loop, settle
from tests.rig.topics import House, numbers

# -- flushes --------------------------------------------------------------------------------


@in_clock_loop
async def test_the_first_publication_after_a_pause_goes_out_at_once() -> None:
    house = await House.build()
    v1, plain = house.listen(), house.listen(encoding=PLAIN_MESSAGES)
    await house.publish(1)
    assert v1.heard == plain.heard == ["1"]


@in_clock_loop
async def test_what_comes_while_flushes_take_long_goes_out_together() -> None:
    house = await House.build()
    sink = house.listen(seconds=0.010)
    await house.publish(1)
    for _ in range(5):
        await house.publish(1)
    assert len(sink.writes) == 1
    await asyncio.sleep(0.1)
    assert [len(data) for data in sink.writes] == [1, 5]
    pause = sink.times[1] - sink.times[0] - 0.010
    assert 0.005 <= round(pause, 6) <= 0.010, "as long as the last flush took, or half of that"
    # After a pause there is nothing to wait for again.
    await house.publish(1)
    assert len(sink.writes) == 3


@in_clock_loop
async def test_a_flush_in_which_the_process_was_frozen_holds_nobody_up_as_long() -> None:
    house = await House.build()
    sink = house.listen(seconds=600)
    await house.publish(1)
    await house.publish(1)
    await asyncio.sleep(0.5)
    assert sink.heard == ["1", "2"]


@in_clock_loop
async def test_everybody_at_the_live_edge_is_handed_the_same_object() -> None:
    house = await House.build()
    sinks = [house.listen() for _ in range(3)]
    await house.publish(2)
    assert sinks[0].writes[0] is sinks[1].writes[0] is sinks[2].writes[0]


@in_clock_loop
async def test_a_flush_is_cut_into_slices(settings: Settings) -> None:
    settings.BROADCAST_SLICE_BYTES = 30
    house = await House.build()
    sink = house.listen(encoding=PLAIN_MESSAGES)
    await house.publish(8, pad=10)
    assert sink.sizes() == [30, 30, 20]


# -- the ring -------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "size", "kept"), [(5, 1000, 5), (1000, 50, 5), (2, 1000, 2)])
@in_clock_loop
async def test_the_ring_is_bounded(settings: Settings, count: int, size: int, kept: int) -> None:
    settings.BROADCAST_RING_COUNT, settings.BROADCAST_RING_BYTES = count, size
    house = await House.build()
    sink = house.listen()
    for _ in range(4):
        await house.publish(3, pad=10)
        assert len(house.topic.ring.publications) <= kept
    assert [one.offset for one in house.topic.ring.publications] == list(range(13 - kept, 13))
    assert house.topic.ring.first == 13 - kept
    assert house.topic.ring.size == 10 * kept
    assert sink.heard == numbers(1, 12, pad=10)


@in_clock_loop
async def test_what_is_larger_than_the_ring_reaches_everybody_all_the_same(
    settings: Settings,
) -> None:
    settings.BROADCAST_RING_BYTES = 10
    house = await House.build()
    edge, full = house.listen(), house.listen(space=1)
    await house.publish(1)
    await house.publish(1, pad=50)
    assert (len(house.topic.ring.publications), house.topic.ring.size) == (0, 0)
    full.drain()
    await settle()
    assert edge.heard == full.heard == ["1", f"{2:050}"]


# -- slow listeners -------------------------------------------------------------------------


@in_clock_loop
async def test_a_full_socket_gets_one_slice_at_a_time(settings: Settings) -> None:
    settings.BROADCAST_SLICE_BYTES = 30
    house = await House.build()
    sink = house.listen(space=1, encoding=PLAIN_MESSAGES)
    await house.publish(1, pad=10)
    await house.publish(7, pad=10)
    await settle()
    assert sink.sizes() == [10]
    sink.drain(space=1)
    assert sink.sizes() == [10, 30]
    sink.drain()
    assert sink.sizes() == [10, 30, 30, 10]
    await house.publish(1, pad=10)
    assert sink.heard == numbers(1, 9, pad=10)


@in_clock_loop
async def test_who_was_overtaken_by_the_ring_catches_up_from_history(settings: Settings) -> None:
    settings.BROADCAST_RING_COUNT, settings.BROADCAST_SLICE_BYTES = 4, 30
    house = await House.build()
    sink = house.listen(space=1, encoding=PLAIN_MESSAGES)
    for _ in range(20):
        await house.publish(1, pad=10)
    for writes in range(2, 8):
        sink.drain(space=1)
        await settle()
        assert len(sink.writes) == writes
    sink.drain()
    await settle()
    assert max(sink.sizes()) == 30
    assert sink.heard == numbers(1, 20, pad=10)
    await house.publish(1)
    assert sink.heard[-1] == "21"


@in_clock_loop
async def test_what_history_lost_is_named_and_the_rest_follows(settings: Settings) -> None:
    settings.BROADCAST_RING_COUNT = 3
    house = await House.build()
    sink = house.listen(space=1)
    for _ in range(20):
        await house.publish(1, limits=HistoryLimits(8, 2**20, 3600))
    sink.drain()
    await settle()
    assert sink.heard == ["1", ("skipped", 2, 12), *numbers(13, 20)]


@in_clock_loop
async def test_a_plain_listener_that_missed_something_is_closed(settings: Settings) -> None:
    settings.BROADCAST_RING_COUNT = 3
    house = await House.build()
    sink = house.listen(space=1, encoding=PLAIN_MESSAGES)
    for _ in range(20):
        await house.publish(1, limits=HistoryLimits(8, 2**20, 3600))
    sink.drain()
    await settle()
    assert (sink.heard, sink.closed) == (["1"], CloseCode.SLOW)
    assert not house.topic.in_use


@in_clock_loop
async def test_a_ring_longer_than_history_saves_who_is_behind() -> None:
    house = await House.build()
    sink = house.listen(space=1, encoding=PLAIN_MESSAGES)
    for _ in range(20):
        await house.publish(1, limits=HistoryLimits(2, 2**20, 3600))
    sink.drain()
    assert sink.heard == numbers(1, 20)


@pytest.mark.parametrize("what", ["live", "pong"])
@in_clock_loop
async def test_an_event_that_fills_a_socket_at_the_live_edge_repeats_nothing(what: str) -> None:
    house = await House.build()
    sink = house.listen(space=3)
    await house.publish(1)
    await house.publish(1)
    await settle()
    if what == "live":
        house.topic.set_streamer("streamer")
    else:
        sink.listener.tell(event("pong"))
    assert sink.full
    sink.drain()
    await house.publish(1)
    await settle()
    assert sink.heard == ["1", "2", (what,), "3"]


@in_clock_loop
async def test_an_event_that_fills_a_socket_is_the_last_until_it_drains() -> None:
    house = await House.build()
    sink = house.listen(space=1)
    house.topic.set_streamer("streamer")
    await house.publish(1)
    await settle()
    assert sink.heard == [("live",)]
    sink.drain()
    assert sink.heard == [("live",), "1"]


@in_clock_loop
async def test_a_socket_that_takes_nothing_is_closed(settings: Settings) -> None:
    house = await House.build()
    stuck, slow, quick = house.listen(space=1), house.listen(space=1), house.listen()
    await house.publish(1)
    await asyncio.sleep(20)
    slow.drain(space=1)
    await house.publish(1)
    await asyncio.sleep(15)
    house.topic.close_stuck(30)
    assert [sink.closed for sink in (stuck, slow, quick)] == [CloseCode.SLOW, None, None]
    assert stuck.listener not in house.topic.listeners
    stuck.drain()
    assert stuck.heard == ["1"]


@in_clock_loop
async def test_history_that_cannot_be_read_closes_who_needs_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings.BROADCAST_RING_COUNT = 1
    house = await House.build()
    behind, quick = house.listen(space=1), house.listen()
    for _ in range(3):
        await house.publish(1)

    async def fail(*args: Any) -> Any:
        raise ConnectionError("gone")

    monkeypatch.setattr(house.backend, "read", fail)
    behind.drain()
    await settle()
    assert (behind.closed, quick.closed) == (CloseCode.SLOW, None)
    assert "could not read history" in caplog.text
