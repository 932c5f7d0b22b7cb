"""What comes while an append of the stream is under way goes together into the next one."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from channels.layers import InMemoryChannelLayer, channel_layers

from broadcast import apublish, backends
from broadcast.backends import Appended, HistoryLimits, Run
from broadcast.backends.memory import MemoryBackend
from broadcast.exceptions import RunGap, Unavailable
from broadcast.hub import appending, bus
from broadcast.hub.appending import MESSAGE_BYTES, append
from broadcast.models import Stream
from broadcast.publications import Draft, Publication, unpack

#: Rows that are not in a database: nobody looks for them there.
S, T = (Stream(slug=slug, title=slug) for slug in ("s", "t"))


class SlowBackend(MemoryBackend):
    """Appends when it is told to, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.asked = asyncio.Event()
        self.open = asyncio.Event()
        self.fail = False

    async def append(
        self,
        stream: str,
        drafts: Sequence[Draft],
        limits: HistoryLimits,
        run: Run | None = None,
        key: str = "",
    ) -> Appended:
        self.sizes.append(len(drafts))
        self.asked.set()
        await self.open.wait()
        if self.fail:
            raise Unavailable("away")
        return await super().append(stream, drafts, limits, run, key)


class Layer(InMemoryChannelLayer):  # type: ignore[misc]
    """Remembers the offsets of each message."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[list[int]] = []

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        self.messages.append([one.offset for one in unpack(message["publications"])])


@pytest.fixture
def layer() -> Layer:
    made = Layer()
    channel_layers.set("broadcast", made)
    return made


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch, layer: Layer) -> SlowBackend:
    made = SlowBackend()
    monkeypatch.setattr(backends, "_backend", made)
    return made


async def begun(slow: SlowBackend, first: Any, *others: Any) -> list[asyncio.Task[Any]]:
    """The calls, all of which wait: the first one for the backend, the others for it."""
    tasks = [asyncio.ensure_future(first)]
    await slow.asked.wait()
    slow.asked.clear()
    tasks += [asyncio.ensure_future(call) for call in others]
    await asyncio.sleep(0)
    return tasks


async def test_what_waits_is_one_append_and_one_message(slow: SlowBackend, layer: Layer) -> None:
    tasks = await begun(slow, *(apublish(S, str(number)) for number in range(1, 11)))
    slow.open.set()
    positions = await asyncio.gather(*tasks)
    assert [position.offset for position in positions] == list(range(1, 11))
    assert slow.sizes == [1, 9]
    assert layer.messages == [[1], list(range(2, 11))]
    _, found = await slow.read("s", 0, 100, 10_000)
    assert [one.payload for one in found] == [str(number).encode() for number in range(1, 11)]


async def test_each_call_is_told_of_its_own(slow: SlowBackend) -> None:
    calls = [append(S, [Draft.of(f"{number}")] * number) for number in (1, 2, 3)]
    tasks = await begun(slow, *calls)
    slow.open.set()
    told = await asyncio.gather(*tasks)
    assert [one.offset for one in told] == [1, 3, 6]
    offsets = [[publication.offset for publication in one.publications] for one in told]
    assert offsets == [[1], [2, 3], [4, 5, 6]]


async def test_runs_and_keys_keep_their_place_and_their_meaning(
    slow: SlowBackend, layer: Layer
) -> None:
    draft = [Draft.of("x")]
    tasks = await begun(
        slow,
        append(S, draft),
        append(S, draft),
        append(S, draft, key="k"),
        append(S, draft, key="k"),
        append(S, draft * 2, Run("r", 1)),
        append(S, draft * 2, Run("r", 2)),
        append(S, draft, Run("r", 9)),
        append(S, draft),
        append(S, draft),
    )
    slow.open.set()
    told = await asyncio.gather(*tasks, return_exceptions=True)
    gap = told.pop(6)
    assert isinstance(gap, RunGap)
    assert [one.offset for one in told] == [1, 2, 3, 3, 5, 6, 7, 8]
    assert [len(one.publications) for one in told] == [1, 1, 1, 0, 2, 1, 1, 1]
    assert [one.accepted for one in told[4:6]] == [2, 3]
    assert slow.sizes == [1, 1, 1, 1, 2, 2, 1, 2]
    assert layer.messages == [[1], list(range(2, 9))]


async def test_streams_do_not_wait_for_each_other(slow: SlowBackend) -> None:
    tasks = await begun(slow, apublish(S, "x"), apublish(T, "x"))
    await slow.asked.wait()
    assert slow.sizes == [1, 1]
    slow.open.set()
    assert [one.offset for one in await asyncio.gather(*tasks)] == [1, 1]


async def test_an_append_that_fails_is_told_to_all_of_it_and_ends_nothing(
    slow: SlowBackend, layer: Layer
) -> None:
    tasks = await begun(slow, *(apublish(S, "x") for _ in range(3)))
    slow.fail = True
    slow.open.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in outcomes] == [Unavailable] * 3
    assert layer.messages == []
    slow.fail = False
    assert (await apublish(S, "x")).offset == 1


async def test_who_goes_meanwhile_disturbs_nobody(slow: SlowBackend) -> None:
    tasks = await begun(slow, *(apublish(S, "x") for _ in range(3)))
    for task in tasks[:2]:
        task.cancel()
    slow.open.set()
    # Cancelled, it may have been published all the same.
    assert (await tasks[2]).offset == 3


async def test_an_append_has_some_size_at_most(slow: SlowBackend) -> None:
    large = "x" * (MESSAGE_BYTES // 2)
    tasks = await begun(slow, *(apublish(S, large) for _ in range(8)))
    slow.open.set()
    await asyncio.gather(*tasks)
    assert slow.sizes == [1, 3, 3, 1]


async def test_a_message_of_the_layer_has_no_holes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two appends of this process another one may have had its own."""
    sent: list[list[int]] = []

    async def tell_stream(message: bus.Published) -> None:
        sent.append([one.offset for one in unpack(message.publications)])

    monkeypatch.setattr(bus, "tell_stream", tell_stream)
    offsets = ((1, 2), (4, 5), (6,))
    of = [[Publication(offset, 0, b"x", 0, 0.0) for offset in one] for one in offsets]
    await appending.hand_over("s", [Appended("e", one[-1].offset, one, 0) for one in of])
    assert sent == [[1, 2], [4, 5, 6]]
