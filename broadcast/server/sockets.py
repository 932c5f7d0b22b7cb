"""All WebSockets of a server, and the pings that find out which clients are still there.

A client of which nothing was heard for `ping_interval` seconds is pinged, and one that was silent
for `ping_timeout` seconds after that is cut off. Looking at all clients at once would hold
everybody up for as long as it takes: they are spread over `PARTS` parts, which are looked at in
turn.
"""

import asyncio
import math
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from ..loops import Failures

#: Into how many parts the sockets are divided.
PARTS = 128
#: How often a socket is looked at in one interval between pings.
LOOKS = 2


class Pinged(Protocol):
    """A WebSocket, as this module sees it."""

    #: Looks since something was heard of its client.
    quiet: int

    def ping(self) -> None:
        """Ask whether its client is still there; refuse one that waits for its answer so long."""

    def abort(self) -> None:
        """Cut it off."""


P = TypeVar("P", bound=Pinged)


class Sockets(Generic[P]):
    """The WebSockets of a server: they come, and go by themselves. `ping_interval` 0: no pings."""

    def __init__(self, ping_interval: float, ping_timeout: float) -> None:
        self._parts: list[set[P]] = [set() for _ in range(PARTS)]
        self._next = 0
        self._looked = 0
        self._step = ping_interval / LOOKS
        #: After so many looks in silence a client is given up.
        self._most = LOOKS + math.ceil(ping_timeout / self._step) if ping_interval else 0
        self._failures = Failures("pings")
        self._timer: asyncio.TimerHandle | None = None

    def __iter__(self) -> Iterator[P]:
        for part in self._parts:
            yield from part

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def add(self, socket: P) -> set[P]:
        """A socket came. It removes itself from the part that this answers."""
        part = self._parts[self._next]
        self._next = (self._next + 1) % PARTS
        part.add(socket)
        return part

    def start(self) -> None:
        """Ping from now on."""
        if self._step:
            self._timer = asyncio.get_running_loop().call_later(self._step / PARTS, self._look)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self.start()
        self._looked = (self._looked + 1) % PARTS
        try:
            self._look_at(self._parts[self._looked])
        except Exception as error:
            self._failures.note(error)
        else:
            self._failures.end()

    def _look_at(self, part: set[P]) -> None:
        for socket in part:
            socket.quiet += 1
            if socket.quiet == LOOKS:
                socket.ping()
            elif socket.quiet >= self._most:
                socket.abort()
