"""The streamers of a topic: the current one, wherever it is, and those connected here."""

import asyncio
from collections.abc import Collection
from typing import Protocol


class Streamer(Protocol):
    """A streamer that is connected to this process."""

    id: str

    def count(self, listeners: int) -> None:
        """So many hear it now; often the number it was told before."""

    def overtake(self) -> None:
        """Another one seems to feed the topic: if so, publish what has come, and go."""

    def hear_leaving(self, streamer: str, left: bool) -> None:
        """Another one, which was replaced, is about to leave, or has left."""


class Streamers:
    """The streamers of a topic, and how many listeners they are told of.

    `audience`: those who hear the topic in this process.
    """

    def __init__(self, streamer: str, audience: Collection[object]) -> None:
        #: The id of the current one's socket, in whatever process that is; "" while it is idle.
        self.current = streamer
        #: Those that are connected here, by id: replaced ones too, until they have left.
        self.here: dict[str, Streamer] = {}
        #: How many hear the topic in other processes, as far as is known.
        self.elsewhere = 0
        self._audience = audience
        self._next_count = 0.0
        self._count_timer: asyncio.TimerHandle | None = None

    def overtake_others(self, streamer: str) -> None:
        """`streamer` came, or waits: each other streamer here looks whether it is overtaken, and
        answers if it is.
        """
        for other in list(self.here.values()):
            if streamer and other.id != streamer:
                other.overtake()

    def add(self, streamer: Streamer) -> None:
        self.here[streamer.id] = streamer
        self._next_count = asyncio.get_running_loop().time() + 1
        streamer.count(len(self._audience) + self.elsewhere)

    def remove(self, streamer: Streamer) -> None:
        self.here.pop(streamer.id, None)

    def hear_leaving(self, streamer: str, left: bool) -> None:
        for other in list(self.here.values()):
            other.hear_leaving(streamer, left)

    def count_elsewhere(self, listeners: int) -> None:
        if listeners != self.elsewhere:
            self.elsewhere = listeners
            self.count()

    def count(self) -> None:
        """Tell the streamers how many listen: soon, and at most once a second."""
        if self.here and self._count_timer is None:
            loop = asyncio.get_running_loop()
            self._count_timer = loop.call_at(max(self._next_count, loop.time()), self._tell_count)

    def _tell_count(self) -> None:
        self._count_timer = None
        self._next_count = asyncio.get_running_loop().time() + 1
        for streamer in list(self.here.values()):
            streamer.count(len(self._audience) + self.elsewhere)
