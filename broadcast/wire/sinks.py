"""Where what is said leaves for a socket: `Sink`s of the hub, one per kind of server.

`FrameSink` writes prepared frames through the extension `wire.frames` that our own server
puts into the scope. `MessageSink` works on any ASGI server, through `websocket.send`, with one
task while it has something to send.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any, Protocol

from ..exceptions import CloseCode
from ..logs import get_logger
from .frames import PLAIN_FRAMES, PLAIN_MESSAGES, TEXT, V1_FRAMES, V1_MESSAGES, Encoding, Message

logger = get_logger(__name__)

EXTENSION = "broadcast.frames"

Send = Callable[[dict[str, Any]], Awaitable[None]]


class FrameTransport(Protocol):
    """What the extension offers: `server.websocket.WebSocket` implements it."""

    #: The largest message that is taken from this client, in bytes.
    max_frame: int
    #: Whether its client inflates messages. (What it deflates itself is inflated before it is
    #: handed to anybody.)
    inflates: bool

    def offer_deflate(self) -> None:
        """Agree on deflated messages, if its client offers them. Called before it is accepted."""

    def write_frames(self, frames: bytes) -> bool:
        """Write whole frames. False: the transport is full, `on_space` will be called once."""

    def attach(self, sink: "FrameSink") -> None:
        """Keep its `send`, and call its `has_space` when everything that was pending has gone out,
        and its `closing` when the socket ends: before a close frame, of either side, which is the
        last moment to write something; or when the connection is lost. Perhaps more than once.

        From now on a close of the client waits for `answer_close`, though not for ever.
        """

    def answer_close(self) -> None:
        """Answer the client's close, if it closed: all that it sent before was handled."""

    def close_with(self, code: int, reason: str) -> None:
        """Close the socket, behind what was written."""


def nothing() -> None:
    """What is done for somebody who did not ask for anything."""


class FrameSink:
    """Writes to the socket itself while nothing is pending there, and through its transport else.

    A server that has little to do finds nothing in the processor's caches, and waits for the memory
    of each object on the way from a listener to its socket: 20 publications/s for 500 listeners
    took 1.2 times as long through the transport's attributes.
    """

    __slots__ = ("closing", "has_space", "send", "transport")

    def __init__(self, transport: FrameTransport) -> None:
        self.transport = transport
        self.has_space: Callable[[], None] = nothing
        self.closing: Callable[[], None] = nothing
        #: The socket's `send`, as long as the transport has nothing pending and is not closing.
        self.send: Callable[[bytes], int] | None = None
        transport.attach(self)

    def on_space(self, callback: Callable[[], None]) -> None:
        self.has_space = callback

    def forget(self) -> None:
        """Its socket is gone. A sink and what it calls hold each other: that ends here."""
        self.has_space = self.closing = nothing

    def on_close(self, callback: Callable[[], None]) -> None:
        self.closing = callback

    def write(self, frames: bytes) -> bool:
        send = self.send
        if send is None:
            return self.transport.write_frames(frames)
        try:
            sent = send(frames)
        except OSError:
            # It is full, or lost: the transport finds out.
            sent = 0
        return sent == len(frames) or self.transport.write_frames(frames[sent:])

    def close(self, code: CloseCode, reason: str) -> None:
        self.transport.close_with(code, reason)

    def answer_close(self) -> None:
        self.transport.answer_close()


class MessageSink:
    """Full from each `write` until the server has taken every message of it."""

    def __init__(self, send: Send) -> None:
        self.send = send
        self.has_space: Callable[[], None] = lambda: None
        self.waiting: list[Any] = []
        self.closing: dict[str, Any] | None = None
        #: Set with `closing`; and what is called then.
        self.given_up = asyncio.Event()
        self.on_give_up: Callable[[], None] = nothing
        self.task: asyncio.Task[None] | None = None

    def on_space(self, callback: Callable[[], None]) -> None:
        self.has_space = callback

    def forget(self) -> None:
        """Its socket is gone. A sink and what it calls hold each other: that ends here."""
        self.has_space = self.on_give_up = nothing

    def write(self, messages: list[Any]) -> bool:
        self.waiting.extend(messages)
        self._start()
        return False

    def close(self, code: CloseCode, reason: str) -> None:
        self.closing = self._closing(code, reason)
        self.given_up.set()
        self.on_give_up()
        self._start()

    def answer_close(self) -> None:
        """Other servers answer a close before the application hears of it."""

    async def until_closed(self) -> None:
        """Wait until its end was sent, if it was closed here; a server may wait for the client."""
        if self.given_up.is_set() and self.task:
            await asyncio.wait({self.task})

    def _as_asgi(self, message: Any) -> dict[str, Any]:
        return as_asgi(message)

    def _closing(self, code: CloseCode, reason: str) -> dict[str, Any]:
        return {"type": "websocket.close", "code": int(code), "reason": reason}

    def _start(self) -> None:
        if self.task is None:
            self.task = asyncio.ensure_future(self._send_all())

    async def _send_all(self) -> None:
        try:
            while self.waiting:
                messages, self.waiting = self.waiting, []
                for message in messages:
                    await self.send(self._as_asgi(message))
            if self.closing:
                await self.send(self.closing)
                return
        except Exception as error:
            # The client is gone in the middle; its disconnect is on the way to the consumer.
            logger.debug("A socket takes nothing any more: %r", error)
            return
        self.task = None
        self.has_space()


def as_asgi(message: Message) -> dict[str, Any]:
    opcode, parts = message
    payload = b"".join(parts)
    if opcode == TEXT:
        return {"type": "websocket.send", "text": payload.decode()}
    return {"type": "websocket.send", "bytes": payload}


@cache
def say_that_it_is_slower() -> None:
    """Log it once in this process."""
    logger.info("This is not Broadcast's own server (manage.py serve): sockets take a slower path")


def open_sink(
    scope: dict[str, Any], send: Send, speaks_v1: bool
) -> tuple[FrameSink | MessageSink, Encoding]:
    """The sink of an accepted socket, and the encoding it takes."""
    transport = scope.get("extensions", {}).get(EXTENSION)
    if transport is not None:
        return FrameSink(transport), V1_FRAMES if speaks_v1 else PLAIN_FRAMES
    say_that_it_is_slower()
    return MessageSink(send), V1_MESSAGES if speaks_v1 else PLAIN_MESSAGES
