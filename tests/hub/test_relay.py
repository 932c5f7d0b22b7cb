"""The relay: what a channel layer that drops, doubles, reorders and fails does not take away."""

import asyncio
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from channels.layers import channel_layers
from prometheus_client import REGISTRY
from pytest_django.fixtures import Settings

from broadcast import apublish
from broadcast.backends import get_backend
from broadcast.exceptions import CloseCode
from broadcast.hub import bus
from broadcast.hub.relay import REJOIN_SECONDS, get_relay
from broadcast.wire.frames import PLAIN_MESSAGES
from tests.rig.clock import in_clock_loop
from tests.rig.doors import Closed, InProcessDoor
from tests.rig.relays import GROUP, LINGER, WATCH, FaultyLayer, listen, publish
from tests.rig.topics import FakeSink, numbers

pytestmark = pytest.mark.usefixtures("unhurried")


async def go(sink: FakeSink) -> None:
    """What the consumer does when its socket has gone."""
    sink.listener.topic.remove(sink.listener)
    await get_relay().changed(sink.listener.topic)


# -- nothing is lost ------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
@in_clock_loop
async def test_a_layer_that_drops_doubles_and_reorders_loses_nothing(seed: int) -> None:
    layer = FaultyLayer(seed)
    channel_layers.set("broadcast", layer)
    v1, plain = await listen(), await listen(PLAIN_MESSAGES)
    for number in range(1, 201):
        await publish(number, number)
        await asyncio.sleep(layer.random.choice((0, 0, 0, 0.001, 0.5)))
    await asyncio.sleep(3 * WATCH)
    assert v1.heard == plain.heard == numbers(1, 200)


@in_clock_loop
async def test_a_gap_is_filled_without_waiting_for_the_next_look(layer: FaultyLayer) -> None:
    sink = await listen()
    layer.deaf = True
    await publish(1, 3)
    layer.deaf = False
    await publish(4, 4)
    await asyncio.sleep(0.001)
    assert sink.heard == numbers(1, 4)


@in_clock_loop
async def test_a_lost_last_publication_is_found(layer: FaultyLayer) -> None:
    sink = await listen()
    layer.deaf = True
    await publish(1, 1)
    await asyncio.sleep(2.1 * WATCH)
    assert sink.heard == ["1"]


@in_clock_loop
async def test_what_history_lost_is_named(settings: Settings, layer: FaultyLayer) -> None:
    settings.BROADCAST_HISTORY_COUNT = 5
    v1, plain = await listen(), await listen(PLAIN_MESSAGES)
    layer.deaf = True
    await publish(1, 20)
    await asyncio.sleep(2.1 * WATCH)
    assert v1.heard == [("skipped", 1, 15), *numbers(16, 20)]
    assert (plain.heard, plain.closed) == ([], CloseCode.SLOW)


@in_clock_loop
async def test_what_was_fetched_and_what_was_lost_is_counted(
    settings: Settings, layer: FaultyLayer
) -> None:
    def counted() -> list[float]:
        names = ("gaps_repaired", "repaired_publications", "lost_publications")
        return [REGISTRY.get_sample_value(f"broadcast_{name}_total") or 0 for name in names]

    settings.BROADCAST_HISTORY_COUNT = 5
    before = counted()
    await listen()
    await publish(1, 2)
    layer.deaf = True
    await publish(3, 5)
    layer.deaf = False
    await publish(6, 6)
    await asyncio.sleep(0.001)
    # The one that showed the gap was fetched, too.
    assert counted() == [before[0] + 1, before[1] + 4, before[2]]
    layer.deaf = True
    await publish(7, 26)
    await asyncio.sleep(2.1 * WATCH)
    assert counted() == [before[0] + 2, before[1] + 9, before[2] + 15]


@in_clock_loop
async def test_what_history_never_kept_is_named(settings: Settings, layer: FaultyLayer) -> None:
    settings.BROADCAST_HISTORY_COUNT = 0
    sink = await listen()
    await publish(1, 1)
    layer.deaf = True
    await publish(2, 3)
    await asyncio.sleep(2.1 * WATCH)
    layer.deaf = False
    await publish(4, 4)
    await asyncio.sleep(0.001)
    assert sink.heard == ["1", ("skipped", 2, 3), "4"]


@in_clock_loop
async def test_what_comes_while_the_group_is_joined_is_heard_once(layer: FaultyLayer) -> None:
    async def publish_meanwhile() -> None:
        layer.hooks.clear()
        await layer.group_add(GROUP, get_relay().channel)
        await publish(1, 1)

    layer.hooks["group_add"] = publish_meanwhile
    sink = await listen(cursor=0)
    await publish(2, 2)
    await asyncio.sleep(0.001)
    assert sink.heard == ["1", "2"]


# -- a new history --------------------------------------------------------------------------


@pytest.mark.parametrize("told", [True, False])
@in_clock_loop
async def test_a_new_epoch_sends_everybody_away(layer: FaultyLayer, told: bool) -> None:
    sinks = [await listen(), await listen(PLAIN_MESSAGES)]
    await publish(1, 3)
    await asyncio.sleep(0.001)
    await get_backend().clear("s")
    if told:
        await publish(1, 1)
        await asyncio.sleep(0.001)
    else:
        await asyncio.sleep(2.1 * WATCH)
    assert [sink.closed for sink in sinks] == [CloseCode.SLOW] * 2
    assert [sink.heard for sink in sinks] == [numbers(1, 3)] * 2
    newcomer = await listen()
    await publish(2, 3)
    await asyncio.sleep(0.001)
    assert newcomer.heard == ["2", "3"]


@in_clock_loop
async def test_a_late_message_of_the_old_history_is_not_taken_for_the_new_one(
    layer: FaultyLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await listen()
    await apublish("s", "old 1")
    layer.deaf = True
    await apublish("s", "old 2")
    layer.deaf = False
    await get_backend().clear("s")
    backend: Any = get_backend()
    read = backend.read

    async def slow_read(*args: Any) -> Any:
        await asyncio.sleep(0.1)
        return await read(*args)

    monkeypatch.setattr(backend, "read", slow_read)
    await apublish("s", "new 1")
    await asyncio.sleep(0.05)
    # History is being read; what is one offset further than that will be comes late.
    await layer.release()
    await asyncio.sleep(0.1)
    newcomer = await listen(cursor=1)
    await apublish("s", "new 2")
    await asyncio.sleep(0.2)
    assert newcomer.heard == ["new 2"]


@pytest.mark.django_db
async def test_who_comes_when_a_new_history_began_hears_nothing_of_the_old(
    settings: Settings, in_process: InProcessDoor
) -> None:
    settings.BROADCAST_WATCH_SECONDS = 60
    slug = await in_process.stream()
    former = await in_process.listener(slug)
    await apublish(slug, "old 1")
    assert await former.told() == (1, "old 1")
    await get_backend().clear(slug)
    newcomer = await in_process.listener(slug)
    epoch = (await get_backend().state(slug)).epoch
    assert (newcomer.first["epoch"], newcomer.first["offset"]) == (epoch, 0)
    await apublish(slug, "new 1")
    # It may be sent away with the others, to come back; not told what is not of its history.
    try:
        assert await newcomer.told() == (1, "new 1")
    except Closed as closed:
        assert closed.code == CloseCode.SLOW


# -- groups ---------------------------------------------------------------------------------


@in_clock_loop
async def test_the_first_listener_joins_the_group_and_the_last_leaves_it_later(
    layer: FaultyLayer,
) -> None:
    first, second = await listen(), await listen()
    assert layer.calls["group_add"] == 1 and len(layer.groups[GROUP]) == 1
    await go(first)
    await asyncio.sleep(5 * LINGER)
    assert GROUP in layer.groups
    await go(second)
    await asyncio.sleep(0.9 * LINGER)
    assert GROUP in layer.groups
    await asyncio.sleep(0.2 * LINGER)
    assert GROUP not in layer.groups
    assert layer.calls["group_discard"] == 1
    assert not get_relay().topics


@in_clock_loop
async def test_a_storm_of_reconnects_does_not_thrash_the_layer(layer: FaultyLayer) -> None:
    for _ in range(50):
        sinks = [await listen() for _ in range(20)]
        for sink in sinks:
            await go(sink)
        await asyncio.sleep(0.9 * LINGER)
    assert layer.calls["group_add"] == 1
    assert layer.calls["group_discard"] == 0
    await asyncio.sleep(2 * LINGER)
    assert layer.calls["group_discard"] == 1


@in_clock_loop
async def test_who_comes_while_the_group_is_left_hears_everything(layer: FaultyLayer) -> None:
    leaving, left = asyncio.Event(), asyncio.Event()

    async def take_long() -> None:
        leaving.set()
        await left.wait()

    layer.hooks["group_discard"] = take_long
    await go(await listen())
    await leaving.wait()
    coming = asyncio.ensure_future(listen())
    await asyncio.sleep(0.1)
    left.set()
    sink = await coming
    await publish(1, 1)
    await asyncio.sleep(0.001)
    assert sink.heard == ["1"]


@in_clock_loop
async def test_many_who_come_at_once_join_once(layer: FaultyLayer) -> None:
    layer.hooks["group_add"] = lambda: asyncio.sleep(0.1)
    sinks = await asyncio.gather(*(listen() for _ in range(50)))
    assert layer.calls["group_add"] == 1
    await publish(1, 1)
    await asyncio.sleep(0.001)
    assert all(sink.heard == ["1"] for sink in sinks)


@in_clock_loop
async def test_live_is_heard_through_the_layer(layer: FaultyLayer) -> None:
    sink = await listen()
    await bus.tell_stream(bus.StreamerCame("s", "one"))
    await asyncio.sleep(0.001)
    await bus.tell_stream(bus.StreamerCame("s", ""))
    await asyncio.sleep(0.001)
    assert sink.heard == [("live",), ("idle",)]


@in_clock_loop
async def test_a_streamer_that_others_wait_for_is_asked_as_often_as_they_ask(
    layer: FaultyLayer,
) -> None:
    sink = await listen()
    topic, asked = sink.listener.topic, list[str]()
    for id in ("one", "two"):
        streamer: Any = SimpleNamespace(id=id, overtake=partial(asked.append, id))
        topic.streamers.here[id] = streamer
    for times in (1, 2, 3):
        # What it answered the last time may have been lost.
        await bus.tell_stream(bus.StreamerWaits("s", "two"))
        await asyncio.sleep(0.001)
        assert asked == ["one"] * times


@in_clock_loop
async def test_listeners_are_counted_when_one_of_a_topic_left_long_ago_goes(
    layer: FaultyLayer,
) -> None:
    async def counted() -> int:
        return (await get_backend().presence(["s"]))["s"].listeners

    closed, passing = await listen(), await listen()
    # The hub is done with it, its socket takes long to go.
    closed.listener.close(CloseCode.SLOW, "too far behind")
    await go(passing)
    await asyncio.sleep(2 * LINGER)
    await listen()
    assert await counted() == 1
    await go(closed)
    assert await counted() == 1


@in_clock_loop
async def test_groups_are_joined_anew_before_a_layer_forgets_them(layer: FaultyLayer) -> None:
    sink = await listen()
    await asyncio.sleep(REJOIN_SECONDS + 2 * WATCH)
    assert layer.calls["group_add"] == 2
    await go(sink)
    await asyncio.sleep(REJOIN_SECONDS + 2 * WATCH)
    # Nobody is there any more.
    assert layer.calls["group_add"] == 2
