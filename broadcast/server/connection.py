"""One TCP connection of our server, until it becomes a WebSocket. It differs from Twisted's:

* *It counts from its accept*: see `access.limits`. A connection too many may ask once, within
  `REFUSED_SECONDS`, so that it can be told.
* *Times are absolute.* In Twisted each byte restarts the time limit, so a client that sends one
  now and then stays for ever. Here a request's line and headers come within `HEADER_SECONDS`,
  counted from the accept or the first byte; its body within `BODY_SECONDS`. Between two requests a
  connection may be silent for `IDLE_SECONDS`. When it is closed, its client takes the rest of the
  answer within `SLOW_SECONDS`, or is cut off.
* *A request waits until the client has taken the answer before it*, which has the same time limit.
  Twisted keeps all answers for a client that sends many requests at once and reads nothing.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import daphne.server  # noqa: F401 (first: it installs the reactor)
from twisted.web.http import HTTPChannel

from .. import metrics
from ..access import limits
from ..access.limits import Counted
from ..conf import conf
from ..exceptions import TooSlow

#: Seconds in which a connection that is one too many asks for something, to be told so.
REFUSED_SECONDS = 5.0


class HTTPConnection(HTTPChannel):  # type: ignore[misc]
    #: When each connection was accepted that has not asked for anything yet, by the loop's clock.
    unasked: dict["HTTPConnection", float]
    #: How `access.limits` counts it, until a WebSocket takes that over.
    counted: Counted | None = None
    #: The timer that ends it if it is late, and whether it waits for the first byte of a request.
    late: asyncio.TimerHandle | None = None
    is_idle = True
    #: An answered request, while the client has yet to take the bytes of answers.
    answered: Any = None

    def connectionMade(self) -> None:
        # Twisted's time limit is not absolute.
        self.timeOut = None
        super().connectionMade()
        self.unasked[self] = asyncio.get_running_loop().time()
        peer = getattr(self.transport.getPeer(), "host", "") or ""
        self.counted = limits.accept(peer.removeprefix("::ffff:"))
        if self.counted is None:
            self.transport.abortConnection()
        else:
            self._within(REFUSED_SECONDS if self.counted.refusal else conf.HEADER_SECONDS)

    def hand_over_counted(self) -> Counted | None:
        """Give it to the caller, who says from now on when the connection is gone."""
        self._no_limit()
        counted, self.counted = self.counted, None
        return counted

    def connectionLost(self, reason: Any) -> None:
        self._no_limit()
        self.unasked.pop(self, None)
        if counted := self.hand_over_counted():
            limits.end(counted)
        if self.answered:
            # It is over, and has nothing to lose.
            self.requests.clear()
            self.answered = None
        super().connectionLost(reason)

    @property
    def _is_refused(self) -> bool:
        return bool(self.counted is None or self.counted.refusal)

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
        """Bound the close: a client that takes nothing would make it last for ever."""
        self._within(conf.SLOW_SECONDS, self.transport.abortConnection)

    def dataReceived(self, data: bytes) -> None:
        if self.is_idle and data:
            self.is_idle = False
            if not self._is_refused:
                self._within(conf.HEADER_SECONDS, self._is_slow)
        super().dataReceived(data)

    def allHeadersReceived(self) -> None:
        self.unasked.pop(self, None)
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
