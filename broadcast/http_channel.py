"""One TCP connection of our server, until it becomes a WebSocket. What differs from Twisted's:

* *It counts from its accept*: see `limits`. One too many may ask once, within `REFUSED_SECONDS`, so
  that it can be told.
* *Times are absolute.* In Twisted each byte begins the time anew, and a client that sends one now
  and then stays for ever. Here a request's line and headers come within `HEADER_SECONDS`, counted
  from the accept or the first byte; its body within `BODY_SECONDS`. Between two requests a
  connection may be silent for `IDLE_SECONDS`. When it is closed, its client takes the rest of the
  answer within `SLOW_SECONDS`, or is cut off.
* *A request waits until the answer before it was taken*, for so long, too. Of a client that sends
  many at once and reads nothing, Twisted keeps all answers.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import daphne.server  # noqa: F401 (first: it installs the reactor)
from twisted.web.http import HTTPChannel

from . import limits, metrics
from .conf import conf
from .exceptions import TooSlow
from .limits import Place

#: Seconds in which a connection that is one too many asks for something, to be told so.
REFUSED_SECONDS = 5.0


class Channel(HTTPChannel):  # type: ignore[misc]
    #: What it counts as, until a WebSocket takes it over.
    place: Place | None = None
    #: What happens if it is late, and whether it is waited for the first byte of a request.
    late: asyncio.TimerHandle | None = None
    is_idle = True
    #: A request that is answered, while its client has to take what there is of answers.
    answered: Any = None

    def connectionMade(self) -> None:
        # Twisted's time is not absolute.
        self.timeOut = None
        super().connectionMade()
        peer = getattr(self.transport.getPeer(), "host", "") or ""
        self.place = limits.accept(peer.removeprefix("::ffff:"))
        if self.place is None:
            self.transport.abortConnection()
        else:
            self._within(REFUSED_SECONDS if self.place.refusal else conf.HEADER_SECONDS)

    def give_place(self) -> Place | None:
        """From now on who takes it says when the connection is gone."""
        self._no_limit()
        place, self.place = self.place, None
        return place

    def connectionLost(self, reason: Any) -> None:
        self._no_limit()
        if place := self.give_place():
            limits.end(place)
        if self.answered:
            # It is over, and has nothing to lose.
            self.requests.clear()
            self.answered = None
        super().connectionLost(reason)

    @property
    def _is_refused(self) -> bool:
        return bool(self.place is None or self.place.refusal)

    # -- times ------------------------------------------------------------------------------

    def _within(self, seconds: float, late: Callable[[], None] | None = None) -> None:
        """Unless the next step comes within `seconds`, close it."""
        self._no_limit()
        self.late = asyncio.get_running_loop().call_later(seconds, late or self._close)

    def _no_limit(self) -> None:
        if self.late:
            self.late.cancel()
            self.late = None

    def _is_slow(self) -> None:
        metrics.note_refusal("http", TooSlow)
        self._close()

    def _close(self) -> None:
        self.loseConnection()
        self._cut_later()

    def _cut_later(self) -> None:
        """It is being closed, which would take for ever with a client that takes nothing."""
        self._within(conf.SLOW_SECONDS, self.transport.abortConnection)

    def dataReceived(self, data: bytes) -> None:
        if self.is_idle and data:
            self.is_idle = False
            if not self._is_refused:
                self._within(conf.HEADER_SECONDS, self._is_slow)
        super().dataReceived(data)

    def allHeadersReceived(self) -> None:
        super().allHeadersReceived()
        if self.length != 0 and not self._is_refused:
            self._within(conf.BODY_SECONDS, self.requests[-1].is_late)

    def allContentReceived(self) -> None:
        self._no_limit()
        super().allContentReceived()

    def requestDone(self, request: Any) -> None:
        if self.persistent and self._waitingForTransport:
            self.answered = request
            self._cut_later()
            return
        self.is_idle = True
        if self.persistent:
            self._within(conf.IDLE_SECONDS)
        else:
            self._cut_later()
        super().requestDone(request)

    def resumeProducing(self) -> None:
        super().resumeProducing()
        if request := self.answered:
            self.answered = None
            self.requestDone(request)
