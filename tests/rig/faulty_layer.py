"""Channel layers that fail as the real one may, and more often: for `CHANNEL_LAYER`.

And a backend that is far away, for `BACKEND`.
"""

import asyncio
import os
import random
from typing import Any

from channels_redis.pubsub import RedisPubSubChannelLayer

from broadcast.backends.redis import RedisBackend

#: Parts of the messages that never come, come twice, and come behind the next one.
DROPPED = DOUBLED = DELAYED = 0.05


class FaultyLayer(RedisPubSubChannelLayer):  # type: ignore[misc]
    """What it does to a message depends on `FAULTS_SEED` and on those sent before it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.random = random.Random(os.environ["FAULTS_SEED"])
        self.delayed: list[tuple[str, dict[str, Any]]] = []

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        lot = self.random.random()
        if lot < DROPPED:
            return
        if lot < DROPPED + DELAYED:
            self.delayed.append((group, message))
            return
        times = 2 if lot < DROPPED + DELAYED + DOUBLED else 1
        delayed, self.delayed = self.delayed, []
        for sent in [(group, message)] * times + delayed:
            await self._get_layer().group_send(*sent)


class SilentLayer(RedisPubSubChannelLayer):  # type: ignore[misc]
    """All that is sent is lost."""

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        pass


class LateLayer(RedisPubSubChannelLayer):  # type: ignore[misc]
    """What is sent is on its way for a while, and messages overtake each other."""

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        async def send() -> None:
            await asyncio.sleep(late())
            await self._get_layer().group_send(group, message)

        task = asyncio.ensure_future(send())
        SENDING.add(task)
        task.add_done_callback(SENDING.discard)


class LateBackend(RedisBackend):
    """Each script takes a while to get to Redis, in its turn, and its answer to come back."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.turn = asyncio.Lock()

    async def _run(self, *args: Any) -> Any:
        async with self.turn:
            await asyncio.sleep(late())
            running = asyncio.ensure_future(super()._run(*args))
        answer = await running
        await asyncio.sleep(late())
        return answer


SENDING: set[asyncio.Task[None]] = set()


def late() -> float:
    """Some seconds: often none, and at most 30 ms."""
    return 0.03 * random.random() ** 3 if random.random() < 0.5 else 0.0
