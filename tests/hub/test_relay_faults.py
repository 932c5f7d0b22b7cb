"""The relay under errors of the channel layer and of history, and with names nobody expects."""

import asyncio
import contextlib
from typing import Any

import pytest
from channels.layers import InMemoryChannelLayer
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django.fixtures import Settings

from broadcast.backends import get_backend
from broadcast.exceptions import Unavailable
from broadcast.groups import channel_start, everybody, group_name
from broadcast.hub.relay import get_relay
from tests.rig.clock import in_clock_loop, settle
from tests.rig.relays import GROUP, LINGER, WATCH, FaultyLayer, listen, publish
from tests.rig.topics import numbers

pytestmark = pytest.mark.usefixtures("unhurried")


@in_clock_loop
async def test_errors_of_receive_do_not_end_the_relay(
    layer: FaultyLayer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    sink = await listen()
    layer.errors["receive"] = 3
    await publish(1, 5)
    await asyncio.sleep(2 * WATCH)
    assert sink.heard == numbers(1, 5)
    assert "no receive now" in caplog.text


@in_clock_loop
async def test_a_layer_that_is_away_is_not_asked_without_pause(
    layer: FaultyLayer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # More errors than that would come in ten seconds of asking with pauses; then it is back.
    layer.errors["receive"] = 500
    sink = await listen()
    await asyncio.sleep(10)
    assert layer.calls["receive"] < 200
    assert sink.closed is None


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"type": "broadcast.publications"},
        {"type": "unknown", "stream": "s"},
        {"type": "broadcast.publications", "stream": "s", "epoch": "e", "publications": b"\xc1"},
        {"type": "broadcast.publications", "stream": "s", "epoch": "e", "publications": b"\x90"},
        {"type": "broadcast.publications", "stream": ["s"]},
    ],
)
@in_clock_loop
async def test_a_message_that_makes_no_sense_ends_nothing(
    layer: FaultyLayer,
    message: dict[str, Any],
) -> None:
    sink = await listen()
    await layer.group_send(GROUP, message)
    await publish(1, 2)
    await asyncio.sleep(0.001)
    assert (sink.heard, sink.closed) == (["1", "2"], None)


@in_clock_loop
async def test_what_could_not_be_sent_is_found_in_history(
    layer: FaultyLayer,
) -> None:
    sink = await listen()
    layer.errors["group_send"] = 2
    for number in range(1, 4):
        with contextlib.suppress(ConnectionError):
            await publish(number, number)
    await asyncio.sleep(2 * WATCH)
    assert sink.heard == numbers(1, 3)


@in_clock_loop
async def test_a_group_that_could_not_be_joined_is_joined_by_the_next(
    layer: FaultyLayer,
) -> None:
    layer.errors["group_add"] = 1
    with pytest.raises(Unavailable):
        await listen()
    sink = await listen()
    await publish(1, 1)
    await asyncio.sleep(0.001)
    assert sink.heard == ["1"]


@in_clock_loop
async def test_a_group_that_could_not_be_left_hurts_nobody(
    layer: FaultyLayer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with get_relay().topic("s"):
        layer.errors["group_discard"] = 1
    await asyncio.sleep(5)
    sink = await listen()
    await publish(1, 1)
    await asyncio.sleep(0.001)
    assert sink.heard == ["1"]


@pytest.mark.parametrize("action", ["read", "state", "positions"])
@in_clock_loop
async def test_history_that_cannot_be_read_is_asked_again(
    layer: FaultyLayer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    action: str,
) -> None:
    sink = await listen()
    backend: Any = get_backend()
    works, left = getattr(backend, action), 3

    async def fail(*args: Any) -> Any:
        nonlocal left
        left -= 1
        if left >= 0:
            raise ConnectionError("gone")
        return await works(*args)

    monkeypatch.setattr(backend, action, fail)
    layer.deaf = True
    await publish(1, 3)
    layer.deaf = False
    await publish(4, 4)
    await asyncio.sleep(6 * WATCH)
    assert sink.heard == numbers(1, 4)
    assert action == "state" or "trying again" in caplog.text


# -- names ----------------------------------------------------------------------------------

HOSTILE = [
    *("", " ", "a b", "ä", "日本", "a/b", "..", "a\n", "\n", "\x00", "a!b", "a:b", "🎥"),
    *("\ud800", "x" * 60, "x" * 61, "x" * 10_000, "hashed.a", "A", "a", "a-b_c.d", "-", "."),
]


@pytest.mark.parametrize("prefix", ["p", "P" * 20, "a-_Z"])
def test_every_name_has_a_group_of_its_own_that_a_layer_takes(
    prefix: str, settings: Settings
) -> None:
    settings.BROADCAST_PREFIX = prefix
    layer = InMemoryChannelLayer()
    groups = [everybody(), *map(group_name, HOSTILE)]
    assert len(set(groups)) == len(HOSTILE) + 1
    for group in groups:
        layer.require_valid_group_name(group)
        assert group.startswith(f"broadcast.{prefix}.")
    layer.require_valid_channel_name(f"{channel_start()}.{'0' * 32}!{'0' * 32}")


@hypothesis_settings(deadline=None, max_examples=200, derandomize=True)
@given(st.text(), st.text())
def test_any_two_names_have_two_groups(one: str, other: str) -> None:
    InMemoryChannelLayer().require_valid_group_name(group_name(one))
    assert (group_name(one) == group_name(other)) == (one == other)


def test_a_name_that_looks_like_the_hash_of_another_is_not_taken_for_it() -> None:
    hashed = group_name("a b")
    assert group_name(hashed.removeprefix("broadcast.")) != hashed


@in_clock_loop
async def test_topics_that_are_joined_at_once_share_one_channel(layer: FaultyLayer) -> None:
    opened: list[str] = []
    new_channel = layer.new_channel

    async def slowly(prefix: str) -> str:
        await asyncio.sleep(0.01)
        opened.append(await new_channel(prefix))
        return opened[-1]

    layer.new_channel = slowly  # type: ignore[method-assign]

    async def hear(name: str) -> None:
        async with get_relay().topic(name):
            pass

    await asyncio.gather(*(hear(f"s{number}") for number in range(10)))
    assert opened == [get_relay().channel]
    assert all(set(members) == set(opened) for members in layer.groups.values())


@in_clock_loop
async def test_a_topic_that_is_left_when_a_look_at_it_has_just_begun_is_no_fault(
    layer: FaultyLayer, caplog: pytest.LogCaptureFixture
) -> None:
    async with get_relay().topic("s"):
        await asyncio.sleep(WATCH - LINGER)
    await asyncio.sleep(2 * WATCH)
    assert not get_relay().topics
    assert not caplog.records


@pytest.mark.parametrize("fails", ["layer", "engine"])
@in_clock_loop
async def test_a_group_that_could_not_be_joined_or_read_is_not_stayed_in(
    layer: FaultyLayer, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    async def fail(*args: Any) -> None:
        # As channels-redis does: it joins again when Redis is back.
        layer.groups.setdefault(GROUP, {})[get_relay().channel] = 0.0
        raise Unavailable("away")

    thing, action = {"layer": (layer, "group_add"), "engine": (get_backend(), "state")}[fails]
    with monkeypatch.context() as patched:
        patched.setattr(thing, action, fail)
        with pytest.raises(Unavailable):
            await listen()
    await settle()
    assert GROUP not in layer.groups and GROUP not in get_relay()._groups
    sink = await listen()
    await publish(1, 3)
    await asyncio.sleep(WATCH)
    assert sink.heard == numbers(1, 3)
