"""HTTP of our server: Twisted's channel on one of our connections. It differs from Twisted's:

* *Times are absolute.* In Twisted each byte restarts the time limit, so a client that sends one
  now and then stays for ever. Here a request's body comes within `BODY_SECONDS`; for its head see
  `reader`. When a connection is closed, its client takes the rest of the answer within
  `SLOW_SECONDS`, or is cut off.
* *A request waits until the client has taken the answer before it*, which has the same time limit.
  Twisted keeps all answers for a client that sends many requests at once and reads nothing.
"""

import asyncio
import socket
from collections.abc import Callable, Iterable
from typing import Any

import daphne.server  # noqa: F401 (first: it installs the reactor)
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer, ITransport
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from zope.interface import implementer

from ..conf import conf
from .connection import Connection

#: Pending bytes that make an answer wait.
MOST_PENDING = 64 * 1024


@implementer(ITransport, IPushProducer)
class ChannelTransport:
    """A connection as Twisted sees it."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.producer: Any = None
        self.is_full = False

    @property
    def disconnecting(self) -> bool:
        return self.connection.is_closing

    def write(self, data: bytes) -> None:
        if not self.connection.write(data) and not self.is_full and self.producer:
            self.is_full = True
            self.producer.pauseProducing()

    def writeSequence(self, parts: Iterable[bytes]) -> None:
        self.write(b"".join(parts))

    def loseConnection(self) -> None:
        self.connection.close(conf.SLOW_SECONDS)

    def abortConnection(self) -> None:
        self.connection.abort()

    def getPeer(self) -> Any:
        return as_address(self.connection.socket, self.connection.peer)

    def getHost(self) -> Any:
        return as_address(self.connection.socket, self.connection.socket.getsockname())

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def pauseProducing(self) -> None:
        self.connection.pause_reading()

    def resumeProducing(self) -> None:
        self.connection.resume_reading()

    def stopProducing(self) -> None:
        self.loseConnection()


def as_address(sock: socket.socket, address: Any) -> Any:
    """An address of the system as Twisted has it."""
    if sock.family == socket.AF_INET:
        return IPv4Address("TCP", *address)
    if sock.family == socket.AF_INET6:
        return IPv6Address("TCP", *address)
    return UNIXAddress(address or None)


class Channel(HTTPChannel):  # type: ignore[misc]
    """The requests of one connection, one after another. `idle` is called between two of them.

    It is told the head of a request when that is complete, and what comes up to its answer.
    What is behind the request it gives back: `reader` looks at each head first.
    """

    transport: ChannelTransport
    #: An answered request, while the client has yet to take the bytes of answers.
    answered: Any = None
    #: The timer that ends it if it is late.
    late: asyncio.TimerHandle | None = None
    #: The target of the request that is being read.
    target = b""

    def begin(self, connection: Connection, idle: Callable[[], None]) -> None:
        self.idle = idle
        self.counted = connection.counted
        # Twisted's time limit is not absolute.
        self.timeOut = None
        self.makeConnection(ChannelTransport(connection))

    def take(self, data: bytes) -> None:
        """Take a request, whose head is there."""
        self.paused = False
        self.dataReceived(data)

    def give_back(self) -> bytes:
        """What came behind the last request."""
        rest: bytes = self.clearLineBuffer()
        return rest

    @property
    def is_busy(self) -> bool:
        """Whether a request is under way."""
        return bool(self.requests)

    def lose(self) -> None:
        """The connection is gone."""
        self._no_limit()
        if self.answered:
            # It is over, and has nothing to lose.
            self.requests.clear()
            self.answered = None
        self.connectionLost(Failure(ConnectionDone()))  # type: ignore[no-untyped-call]

    def resume(self) -> None:
        """The client took what was pending."""
        transport = self.transport
        if transport.is_full:
            transport.is_full = False
            if transport.producer:
                transport.producer.resumeProducing()

    # -- times ------------------------------------------------------------------------------

    def _within(self, seconds: float, late: Callable[[], None]) -> None:
        """Unless the next step comes within `seconds`, do that."""
        self._no_limit()
        self.late = asyncio.get_running_loop().call_later(seconds, late)

    def _no_limit(self) -> None:
        if self.late:
            self.late.cancel()
            self.late = None

    def lineReceived(self, line: bytes) -> None:
        if not self.requests:
            self.target = line.split(b" ", 2)[1] if line.count(b" ") >= 2 else b""
        super().lineReceived(line)

    def allHeadersReceived(self) -> None:
        super().allHeadersReceived()
        if self.length != 0:
            self._within(conf.BODY_SECONDS, self.requests[-1].is_late)

    def allContentReceived(self) -> None:
        self._no_limit()
        super().allContentReceived()

    def requestDone(self, request: Any) -> None:
        if self.persistent and self.transport.is_full:
            self.answered = request
            self._within(conf.SLOW_SECONDS, self.transport.abortConnection)
            return
        # Twisted would read the next request, and has no time limit for the rest of its head.
        self.paused = True
        super().requestDone(request)
        if not self.requests and not self.transport.connection.is_closing:
            self.idle()

    def resumeProducing(self) -> None:
        super().resumeProducing()
        if request := self.answered:
            self.answered = None
            self._no_limit()
            self.requestDone(request)
