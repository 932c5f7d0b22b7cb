"""The promise to every listener, under interleavings that a seeded chance makes up.

Each publication exactly once, in order, or a `skipped` that names what is missing; a plain
listener gets a prefix of that without gaps, and then 4408.
"""

import asyncio
import random
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from broadcast.backends import HistoryLimits, get_backend
from broadcast.exceptions import CloseCode
from broadcast.hub.listeners import Listener
from broadcast.hub.topics import Topic
from broadcast.publications import Draft
from broadcast.wire.frames import PLAIN_MESSAGES, V1_MESSAGES, Encoding, Message, event
from tests.rig.clock import clock, in_clock_loop
from tests.rig.topics import told

#: Small enough that a few publications overtake a cursor, first the ring and then history.
RING, HISTORY, SLICE = 5, 12, 20


class ChanceSink:
    """Full after a random number of writes. It follows what it is handed and objects at once."""

    def __init__(self, world: "World", encoding: Encoding, cursor: int) -> None:
        self.world = world
        self.encoding = encoding
        self.cursor = cursor
        self.epoch = world.topic.epoch
        self.space = world.random.randint(1, 4)
        self.full = False
        self.gone = False
        self.live: list[str] = []
        self.closed: CloseCode | None = None
        self.listener = Listener(world.topic, self, encoding, cursor)

    def write(self, data: list[Message]) -> bool:
        assert not self.full, "written to while full"
        assert self.closed is None, "written to after the close"
        if self.gone:
            # As a lost socket, it takes everything.
            return True
        payloads = [said for said in map(told, data) if isinstance(said, str)]
        assert len(payloads) < 2 or sum(map(len, payloads)) <= SLICE, "more than a slice"
        for message in data:
            self.take(told(message))
        clock().now += self.world.random.choice((0, 0, 0.001))
        self.space -= 1
        self.full = self.space == 0
        return not self.full

    def take(self, said: Any) -> None:
        if isinstance(said, str):
            self.cursor += 1
            assert said == self.world.payloads[self.epoch][self.cursor - 1]
        elif said[0] == "skipped":
            assert self.encoding.tells and said[1] == self.cursor + 1 <= said[2]
            # What is said to be missing is not to be had any more.
            assert said[2] < self.world.backend.histories["s"].first
            self.cursor = said[2]
        elif said[0] != "pong":
            assert self.live[-1:] != [said[0]], "told twice"
            self.live.append(said[0])

    def close(self, code: CloseCode, reason: str) -> None:
        self.closed = self.closed or code

    def drain(self) -> None:
        if self.full and not self.gone:
            self.full = False
            self.space = self.world.random.randint(1, 4)
            self.listener.resume()


class World:
    """A topic, its history, a channel layer that may lose, and listeners that come and go."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.backend: Any = get_backend()
        self.topic: Topic
        #: Epoch: everything that was published in it.
        self.payloads: dict[str, list[str]] = {}
        self.sinks: list[ChanceSink] = []
        self.tasks: set[asyncio.Task[None]] = set()

    async def begin(self) -> None:
        state = await self.backend.state("s")
        self.topic = Topic("s", state.epoch, state.offset, "")
        self.payloads[state.epoch] = []
        read = self.backend.read

        async def slow_read(*args: Any) -> Any:
            # As an engine elsewhere: others get their turns before and after it looks.
            await asyncio.sleep(self.random.choice((0, 0.001, 0.005)))
            found = await read(*args)
            await asyncio.sleep(self.random.choice((0, 0.001, 0.005)))
            return found

        self.backend.read = slow_read
        self.read = read

    async def publish(self) -> None:
        count = self.random.randint(1, 4)
        sent = self.payloads[self.topic.epoch]
        new = [f"{len(sent) + n}".zfill(self.random.randint(1, 9)) for n in range(1, count + 1)]
        sent.extend(new)
        limits = HistoryLimits(HISTORY, 10_000, 3600)
        await self.backend.append("s", [Draft.of(payload) for payload in new], limits)
        if self.random.random() < 0.8:
            await self.hear()

    async def hear(self) -> None:
        """What the relay does: everything that history has, or a jump over what it lost."""
        _, found = await self.read("s", self.topic.offset, 100, 10_000)
        if found and found[0].offset > self.topic.offset + 1:
            self.topic.jump(found[0].offset - 1)
        if found:
            self.topic.append(found)

    async def come(self) -> None:
        state = await self.backend.state("s")
        if state.epoch != self.topic.epoch:
            return
        cursor = self.random.randint(state.first - 1, state.offset)
        sink = ChanceSink(self, self.random.choice((V1_MESSAGES, PLAIN_MESSAGES)), cursor)
        self.sinks.append(sink)
        self.topic.add(sink.listener)

    async def go(self) -> None:
        for sink in self.some():
            sink.gone = True
            self.topic.remove(sink.listener)

    async def drain(self) -> None:
        for sink in self.some():
            sink.drain()

    async def turn(self) -> None:
        await asyncio.sleep(self.random.choice((0, 0, 0.001, 0.01)))

    async def tell(self) -> None:
        self.topic.set_streamer(self.random.choice(("", "streamer")))
        for sink in self.some():
            if sink.closed is None and not sink.gone and not sink.listener.full_since:
                sink.listener.tell(event("pong"))

    async def restart(self) -> None:
        await self.backend.clear("s")
        epoch = (await self.backend.state("s")).epoch
        self.payloads[epoch] = []
        self.topic.restart(epoch, 0)
        assert not self.topic.listeners
        assert all(sink.closed for sink in self.sinks if not sink.gone)

    def some(self) -> list[ChanceSink]:
        return self.random.sample(self.sinks, min(len(self.sinks), self.random.randint(1, 3)))

    async def end(self) -> None:
        """Let everybody take everything."""
        await self.hear()
        for _ in range(200):
            for sink in self.sinks:
                sink.drain()
            await asyncio.sleep(0.02)
        for sink in self.sinks:
            self.check(sink)

    def check(self, sink: ChanceSink) -> None:
        if sink.gone or sink.closed:
            # Its payloads were checked one by one as they came.
            assert sink.closed in (None, CloseCode.SLOW)
            return
        assert sink.epoch == self.topic.epoch
        assert sink.cursor == len(self.payloads[sink.epoch]) == self.topic.offset
        assert sink.listener in self.topic.edge.by_encoding[sink.encoding]
        assert sink.listener not in self.topic.full | self.topic.ahead

    def assert_bounded(self) -> None:
        assert len(self.topic.ring.publications) <= RING
        assert self.topic.ring.size == sum(len(one.payload) for one in self.topic.ring.publications)
        assert self.topic.ring.first + len(self.topic.ring.publications) == self.topic.offset + 1


async def live_through(
    settings: Settings, caplog: pytest.LogCaptureFixture, seed: int, *also: str
) -> World:
    settings.BROADCAST_RING_COUNT, settings.BROADCAST_SLICE_BYTES = RING, SLICE
    world = World(seed)
    await world.begin()
    chances = {"publish": 8, "come": 3, "go": 1, "drain": 8, "turn": 6}
    chances.update(dict.fromkeys(also, 1))
    for action in world.random.choices(list(chances), list(chances.values()), k=200):
        await getattr(world, action)()
        world.assert_bounded()
    await world.end()
    # What a sink objects to while history is read for it, the hub logs and ends the listener.
    assert not caplog.records
    return world


@pytest.mark.parametrize("seed", range(60))
@in_clock_loop
async def test_each_listener_gets_each_publication_once_or_is_told(
    settings: Settings, caplog: pytest.LogCaptureFixture, seed: int
) -> None:
    world = await live_through(settings, caplog, seed)
    assert any(sink.closed for sink in world.sinks), "nobody was ever too slow"
    assert any(not sink.closed and not sink.gone for sink in world.sinks), "nobody stayed"


@pytest.mark.parametrize("seed", range(20))
@in_clock_loop
async def test_new_histories_end_every_listener_and_confuse_none(
    settings: Settings, caplog: pytest.LogCaptureFixture, seed: int
) -> None:
    await live_through(settings, caplog, seed, "restart")


@pytest.mark.parametrize("seed", range(20))
@in_clock_loop
async def test_events_in_between_cost_no_publication(
    settings: Settings, caplog: pytest.LogCaptureFixture, seed: int
) -> None:
    await live_through(settings, caplog, seed, "tell")
