"""Channel layers that fail as the real one may, and more often: for `CHANNEL_LAYER`."""

import os
import random
from typing import Any

from channels_redis.pubsub import RedisPubSubChannelLayer

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
