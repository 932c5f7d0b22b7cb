"""The relay: a history that is not the one that was heard becomes a new epoch."""

import asyncio
from typing import Any

import pytest

from broadcast import backends
from broadcast.backends import get_backend
from broadcast.backends.memory import MemoryBackend
from broadcast.exceptions import CloseCode
from broadcast.hub.relay import get_relay
from tests.rig.clock import in_clock_loop
from tests.rig.relays import WATCH, FaultyLayer, listen, publish
from tests.rig.topics import numbers

pytestmark = pytest.mark.usefixtures("unhurried")


class ForgetfulBackend(MemoryBackend):
    """An engine that comes back with what it had some time ago."""

    def lose_end(self, offset: int) -> None:
        history = self.history("s")
        while history.offset > offset:
            history.size -= len(history.publications.pop().payload)
            history.offset -= 1


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> ForgetfulBackend:
    made = ForgetfulBackend()
    monkeypatch.setattr(backends, "_backend", made)
    return made


async def heard_from_a_new_epoch(epoch: str, count: int) -> None:
    """Somebody who comes now is in a new epoch, and hears what history holds and what comes."""
    assert (await get_backend().state("s")).epoch != epoch
    sink = await listen(cursor=0)
    await asyncio.sleep(0.001)
    assert len(sink.heard) == count
    await publish(100, 100)
    await asyncio.sleep(0.001)
    assert sink.heard[-1] == "100"


@in_clock_loop
async def test_a_history_that_lost_its_end_is_found_by_its_newest_offset(
    forgetful: ForgetfulBackend, layer: FaultyLayer, caplog: Any
) -> None:
    sink = await listen()
    await publish(1, 10)
    epoch = (await forgetful.state("s")).epoch
    forgetful.lose_end(7)
    await asyncio.sleep(2 * WATCH)
    assert sink.heard == numbers(1, 10)
    assert sink.closed == CloseCode.SLOW
    await heard_from_a_new_epoch(epoch, 7)
    assert "lost its end" in caplog.text


@in_clock_loop
async def test_a_history_that_lost_its_end_and_went_on_further_is_found_by_what_it_says(
    forgetful: ForgetfulBackend, layer: FaultyLayer
) -> None:
    sink = await listen()
    await publish(1, 10)
    epoch = (await forgetful.state("s")).epoch
    forgetful.lose_end(7)
    # The layer was away too.
    layer.errors["group_send"] = 100
    await publish(58, 70)
    layer.errors.clear()
    await asyncio.sleep(3 * WATCH)
    assert sink.heard == numbers(1, 10)
    assert sink.closed == CloseCode.SLOW
    await heard_from_a_new_epoch(epoch, 20)


@in_clock_loop
async def test_what_is_repeated_of_the_same_history_is_no_loss(
    forgetful: ForgetfulBackend, layer: FaultyLayer
) -> None:
    sink = await listen()
    await publish(1, 10)
    layer.errors["group_send"] = 5
    await publish(11, 15)
    await asyncio.sleep(3 * WATCH)
    assert sink.heard == numbers(1, 15)
    assert sink.closed is None


@in_clock_loop
async def test_a_streamer_that_the_engine_forgot_is_not_told_to_be_gone(
    forgetful: ForgetfulBackend, layer: FaultyLayer
) -> None:
    sink = await listen()
    async with get_relay().topic("s") as topic:
        await forgetful.enter("s", "streamer")
        topic.streamers.add(Streamer("streamer"))
        topic.set_streamer("streamer")
        forgetful.streamers.clear()
        await asyncio.sleep(3 * WATCH)
        assert topic.live
        topic.streamers.here.clear()
        await asyncio.sleep(3 * WATCH)
        assert not topic.live
    assert sink.heard == [("live",), ("idle",)]


class Streamer:
    """A streamer's socket that nobody looks at."""

    def __init__(self, id: str) -> None:
        self.id = id

    def count(self, listeners: int) -> None:
        """Nothing is told."""

    def overtake(self) -> None:
        raise AssertionError("nobody overtakes it")

    def hear_leaving(self, streamer: str, left: bool) -> None:
        raise AssertionError("nobody leaves")
