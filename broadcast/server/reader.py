"""The first look at each request of a connection, until one of them makes it a WebSocket.

The head of a request is read here, within `HEADER_SECONDS` of its first byte, or of the accept;
between two requests a connection may be silent for `IDLE_SECONDS`. A handshake becomes a WebSocket,
or is refused; so is a head that is too long or folded. Everything else goes with its bytes to
Twisted's HTTP (`channel`), which gives back what is behind the request. A connection too many
(`access.limits`) may ask once, within `REFUSED_SECONDS`, so that it can be told.
"""

import asyncio
import re
from typing import Protocol

from .. import metrics
from ..conf import conf
from ..exceptions import TooSlow
from ..http.answers import Refusal
from . import handshake
from .channel import Channel
from .connection import LINGER_SECONDS, Connection
from .handshake import MOST_HEAD, Handshake

#: Seconds in which a connection that is one too many asks for something, to be told so.
REFUSED_SECONDS = 5.0

END = b"\r\n\r\n"
#: How a line begins that goes on with the header before it. Servers understand it differently.
FOLD = re.compile(rb"\n[ \t]")
FOLDED = Refusal(400, "a header of the request is folded")
TOO_LONG = Refusal(431, f"the headers of a request have {MOST_HEAD} bytes at most")


def refusal_of(data: bytes, end: int) -> Refusal | None:
    """Why no request is read from `data`, if so; `end`: the end of its head, -1: there is none."""
    if not 0 <= end <= MOST_HEAD:
        return TOO_LONG
    return FOLDED if FOLD.search(data, 0, end) else None


class Host(Protocol):
    """The server of a connection."""

    #: When each connection was accepted that has not asked for anything yet.
    unasked: "dict[RequestReader, float]"

    def make_channel(self) -> Channel:
        """A channel for the requests of a connection."""

    def open_socket(self, connection: Connection, handshake: Handshake, early: bytes) -> None:
        """Let the application answer a handshake. `early`: what its client sent behind it."""


class RequestReader:
    """Requests are read here, and each is handed on."""

    __slots__ = (
        *("__weakref__", "channel", "connection", "head", "is_handing_on", "late", "server"),
    )

    def __init__(self, server: Host, connection: Connection) -> None:
        self.server = server
        self.connection = connection
        #: The start of a head, and the timer that ends its connection if the rest is late.
        self.head = b""
        self.late: asyncio.TimerHandle | None = None
        #: Once there is a request that is no handshake.
        self.channel: Channel | None = None
        self.is_handing_on = False

    def begin(self) -> None:
        """The connection was accepted."""
        connection = self.connection
        connection.begin(self)
        if connection.protocol is self and not connection.is_closing and self.channel is None:
            refused = connection.counted.refusal
            self._within(REFUSED_SECONDS if refused else conf.HEADER_SECONDS)

    def data_received(self, data: bytes) -> None:
        if self.channel is not None and self.channel.is_busy:
            self.channel.dataReceived(data)
            return
        if not self.head and self.channel is not None:
            self._within(conf.HEADER_SECONDS)
        self._look(self.head + data)

    def _look(self, data: bytes) -> None:
        """Hand on the requests that `data` begins with, and keep the start of another."""
        self.head = b""
        while data:
            end = data.find(END)
            if end < 0 and len(data) <= MOST_HEAD:
                self.head = data
                return
            if refusal := refusal_of(data, end):
                self._refuse(refusal)
                return
            self._no_limit()
            self.server.unasked.pop(self, None)
            if handshake.asks(data[:end]):
                self._upgrade(data[:end], data[end + len(END) :])
                return
            data = self._hand_on(data)

    def _refuse(self, refusal: Refusal) -> None:
        self.connection.write(handshake.refused(refusal))
        self.connection.close(LINGER_SECONDS)

    def _upgrade(self, head: bytes, early: bytes) -> None:
        try:
            request = handshake.read(head)
        except Refusal as refusal:
            self._refuse(refusal)
            return
        if self.channel is not None:
            self.channel.lose()
        self.server.open_socket(self.connection, request, early)

    def _hand_on(self, data: bytes) -> bytes:
        """Have the channel take a request; answers what it has of the next one."""
        if self.channel is None:
            self.channel = self.server.make_channel()
            self.channel.begin(self.connection, self._idle)
        self.is_handing_on = True
        self.channel.take(data)
        self.is_handing_on = False
        return self._rest()

    def _rest(self) -> bytes:
        assert self.channel is not None
        if self.channel.is_busy or self.connection.is_closing:
            return b""
        rest = self.channel.give_back()
        self._within(conf.HEADER_SECONDS if rest else conf.IDLE_SECONDS)
        return rest

    def _idle(self) -> None:
        """The channel has answered. One that answers while it takes a request is asked later."""
        if not self.is_handing_on:
            self._look(self._rest())

    # -- times ------------------------------------------------------------------------------

    def _within(self, seconds: float) -> None:
        """Unless the next step comes within `seconds`, close it."""
        self._no_limit()
        self.late = asyncio.get_running_loop().call_later(seconds, self._is_late)

    def _no_limit(self) -> None:
        if self.late is not None:
            self.late.cancel()
            self.late = None

    def _is_late(self) -> None:
        if self.head:
            metrics.note_refusal("http", TooSlow)
        self.connection.close(conf.SLOW_SECONDS)

    # -- the connection's end -----------------------------------------------------------------

    def resume_writing(self) -> None:
        if self.channel is not None:
            self.channel.resume()

    def connection_lost(self) -> None:
        self._no_limit()
        self.server.unasked.pop(self, None)
        if self.channel is not None:
            self.channel.lose()
