"""A relay beside a channel layer that drops, doubles, reorders and fails."""

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from channels.layers import InMemoryChannelLayer

from broadcast import apublish
from broadcast.hub.listeners import Listener
from broadcast.hub.relay import get_relay
from broadcast.wire.frames import V1_MESSAGES, Encoding
from tests.rig.processes import PREFIX
from tests.rig.topics import FakeSink

LINGER, WATCH = 1.0, 2.0
GROUP = f"broadcast.{PREFIX}.stream.s"


class FaultyLayer(InMemoryChannelLayer):  # type: ignore[misc]
    """Counts its calls; a deed that has an `error` raises it, one with a `hook` waits for that.

    With `losses` it drops, doubles and holds back messages by chance.
    """

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(capacity=10_000)
        self.random = random.Random(seed)
        self.losses = seed is not None
        self.deaf = False
        self.held: list[dict[str, Any]] = []
        self.calls: Counter[str] = Counter()
        self.errors: dict[str, int] = {}
        self.hooks: dict[str, Callable[[], Any]] = {}

    async def _before(self, deed: str) -> None:
        self.calls[deed] += 1
        if self.errors.get(deed, 0) > 0:
            self.errors[deed] -= 1
            raise ConnectionError(f"no {deed} now")
        if deed in self.hooks:
            await self.hooks[deed]()

    async def group_add(self, group: str, channel: str) -> None:
        await self._before("group_add")
        await super().group_add(group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        await self._before("group_discard")
        await super().group_discard(group, channel)

    async def receive(self, channel: str) -> Any:
        await self._before("receive")
        return await super().receive(channel)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        await self._before("group_send")
        if self.deaf:
            self.held.append(message)
            return
        chance = self.random.random() if self.losses else 1
        if chance < 0.3:
            self.held.append(message)
        elif chance >= 0.4:
            # Between the two it is dropped.
            await super().group_send(group, message)
        if chance < 0.2 or 0.4 <= chance < 0.5:
            await self.release(group)

    async def release(self, group: str = GROUP) -> None:
        """Send what was held back: late, in disorder, some of it twice."""
        self.random.shuffle(self.held)
        for message in self.held:
            await super().group_send(group, message)
        self.held = self.held[: self.random.randint(0, 1)] if self.losses else []


async def listen(
    encoding: Encoding = V1_MESSAGES, space: int = -1, cursor: int | None = None
) -> FakeSink:
    sink = FakeSink(space)
    async with get_relay().topic("s") as topic:
        start = topic.offset if cursor is None else cursor
        sink.listener = Listener(topic, sink, encoding, start)
        topic.add(sink.listener)
    return sink


async def publish(first: int, last: int) -> None:
    for number in range(first, last + 1):
        await apublish("s", str(number))
