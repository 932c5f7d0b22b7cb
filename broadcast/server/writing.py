"""Writing to a WebSocket of our server, up to its close.

* *Prepared frames.* Whole frames are sent at once with one system call, and the writer is told when
  the socket is full and when it has drained.
* *Closes.* A client's close is answered when the application has handled what came before it
  (`FrameTransport.answer_close`): the answer with the client's own code says that.
* *Ends.* As soon as there is a close, of either side, the application gets everything that came
  before it, then its disconnect, and nothing more. It does not wait for the client, which may keep
  the connection open for `CLOSE_SECONDS`. A server that goes does wait: what its clients sent
  before they heard of that is not lost.
* *Applications* write messages, as ASGI has it, and wait while the client takes none.
"""

import asyncio
from collections.abc import Callable
from enum import IntEnum
from typing import Any, Protocol

from ..exceptions import CloseCode
from ..http.answers import Refusal
from ..wire.deflate import agree
from ..wire.frames import BINARY, CLOSE, TEXT, frame_header
from ..wire.sinks import FrameSink
from .connection import Connection
from .handshake import Handshake, refused
from .inbound import InboundQueue
from .sockets import Sockets

PING, PONG = 9, 10

#: The codes that stand for a close without one, and for none (RFC 6455, section 7.1.5).
NO_CODE, LOST = 1005, 1006
#: Seconds that a client's close waits for an answer, at most.
ANSWER_SECONDS = 9.0
#: Seconds a client has to answer a close, after it has read what was sent before.
CLOSE_SECONDS = 10.0
#: Bytes of the reason of a close, at most.
MOST_REASON = 123


class State(IntEnum):
    CONNECTING, OPEN, CLOSING, CLOSED = range(4)


class Host(Protocol):
    """The server of a WebSocket."""

    websocket_max_message_size: int
    sockets: "Sockets[WritingSocket]"

    def note(self, socket: "WritingSocket", what: str) -> None:
        """Tell a log of what happens, where somebody wants one."""

    def socket_lost(self, socket: "WritingSocket") -> None:
        """Its connection is gone. Once."""


class WritingSocket:
    """The writing half of a `websocket.WebSocket`."""

    __slots__ = (
        *("_deflates", "_handshake", "_is_full", "_late", "_part", "_waiters", "connection"),
        *("inflates", "held", "hears_out", "max_frame", "names", "queue", "quiet", "server"),
        *("sink", "state", "stays", "task"),
    )

    def __init__(self, server: Host, connection: Connection, handshake: Handshake) -> None:
        self.server = server
        self.connection = connection
        self._handshake: Handshake | None = handshake
        self.state = State.CONNECTING
        self.queue = InboundQueue(self)
        #: The application, and what the server's log calls the socket, if it has one.
        self.task: asyncio.Future[Any] | None = None
        self.names: dict[str, Any] | None = None
        #: Bytes of the largest message that is taken from this client.
        self.max_frame: int = server.websocket_max_message_size
        #: Whether deflated messages may be agreed on, and whether they were, for both sides.
        self._deflates = self.inflates = False
        #: Where the application writes to it, if it does so directly.
        self.sink: FrameSink | None = None
        #: Whether a server that goes serves it to the end.
        self.stays = False
        #: Whether what comes is heard until its client answers the close.
        self.hears_out = False
        #: The client's close that is not answered yet, as its code.
        self.held: tuple[int | None] | None = None
        #: The end of the time to answer a close, for either side.
        self._late: asyncio.TimerHandle | None = None
        #: Whether the sink waits for space; and applications that do.
        self._is_full = False
        self._waiters: list[asyncio.Future[None]] | None = None
        #: Looks since something was heard of its client; and where it is looked at: `sockets`.
        self.quiet = 0
        self._part = server.sockets.add(self)

    # -- frames -----------------------------------------------------------------------------

    def offer_deflate(self) -> None:
        self._deflates = True

    def attach(self, sink: FrameSink) -> None:
        self.sink = sink
        self._share_socket()

    def _share_socket(self) -> None:
        """Let the sink write to the socket itself, if nothing is pending and nothing closes it."""
        if self.sink and self.state == State.OPEN and not self.connection.is_pending:
            self.sink.send = self.connection.socket.send

    def _keep_socket(self) -> None:
        if self.sink:
            self.sink.send = None

    def write_frames(self, frames: bytes) -> bool:
        if self.state != State.OPEN or self.connection.write(frames):
            return True
        self._keep_socket()
        self._is_full = True
        return False

    def _write(self, opcode: int, payload: bytes) -> None:
        self._keep_socket()
        self.connection.write(frame_header(opcode, len(payload)) + payload)
        self._share_socket()

    def resume_writing(self) -> None:
        self._share_socket()
        self._wake()
        if self._is_full:
            self._is_full = False
            if self.sink and self.state == State.OPEN:
                self.sink.has_space()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters or [], None
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def ping(self) -> None:
        if self.state == State.CONNECTING:
            self.refuse(503, "the application did not answer in time")
        elif self.state == State.OPEN and not self.connection.is_pending:
            self._write(PING, b"")

    def pong(self, payload: bytes) -> None:
        # Pongs to somebody who pings and does not read would pile up.
        if self.state == State.OPEN and not self.connection.is_pending:
            self._write(PONG, payload)

    # -- closes -----------------------------------------------------------------------------

    def close_with(self, code: int, reason: str, hear_out: bool = False) -> None:
        """Close it. `hear_out`: what comes is heard until its client answers."""
        encoded = reason.encode()[:MOST_REASON].decode(errors="ignore").encode()
        if self.held:
            self._answer(int(code), encoded)
        elif self.state == State.OPEN:
            self.hears_out = hear_out
            self._send_close(int(code), encoded)
            if not hear_out:
                self._leave(code)
            self._within(CLOSE_SECONDS, self.abort)

    def fail(self, code: int, reason: str) -> None:
        """Close it, since its client broke the protocol: nothing that comes can be read."""
        if self.state == State.OPEN and self.held is None:
            self._send_close(code, reason.encode()[:MOST_REASON])
            self._leave(code)
        self._end()

    def client_closed(self, code: int | None) -> None:
        """The client closed it; None: without a code."""
        if self.state == State.OPEN and self.sink:
            self._hold(code)
            return
        if self.state == State.OPEN:
            self._send_close(code, b"")
        self._tell_end(code)
        self._end()

    def _send_close(self, code: int | None, reason: bytes) -> None:
        if self.sink:
            self.sink.closing()
        # Nothing may follow it.
        self._write(CLOSE, b"" if code is None else code.to_bytes(2, "big") + reason)
        self.state = State.CLOSING
        self._keep_socket()

    def _leave(self, code: int | None) -> None:
        """The server has given it up: from now on it is nowhere."""
        self._tell_end(code)
        self.connection.give_up()

    def _tell_end(self, code: int | None) -> None:
        """Tell the application that nothing more comes. The first code stands."""
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code or NO_CODE})

    def _hold(self, code: int | None) -> None:
        """Let the application handle what came before the client's close, then answer it."""
        self.held = (code,)
        self._within(ANSWER_SECONDS, self._answer_late)
        self._tell_end(code)

    def _within(self, seconds: float, late: Callable[[], None]) -> None:
        self._forget_time()
        self._late = asyncio.get_running_loop().call_later(seconds, late)

    def _forget_time(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _answer_late(self) -> None:
        self._answer(CloseCode.SHUTDOWN, b"the server could not handle all in time")

    def answer_close(self) -> None:
        if self.held:
            # The answer has the client's code (RFC 6455, section 5.5.1), and no reason.
            self._answer(self.held[0], b"")

    def _answer(self, code: int | None, reason: bytes) -> None:
        self.held = None
        if self.state == State.OPEN:
            self._send_close(code, reason)
        self._end()

    def _end(self) -> None:
        self._forget_time()
        self.state = State.CLOSED
        self.connection.close(CLOSE_SECONDS)

    def abort(self) -> None:
        """Cut it off: its client is not there any more."""
        self.connection.abort()

    def connection_lost(self) -> None:
        self.state = State.CLOSED
        self._keep_socket()
        self._part.discard(self)
        if self.sink:
            self.sink.closing()
        self.sink = self.held = None
        self._forget_time()
        self._wake()
        self._tell_end(LOST)
        self.server.socket_lost(self)

    # -- as ASGI has it ---------------------------------------------------------------------

    async def send(self, message: dict[str, Any]) -> None:
        """What its application says. ValueError: it makes no sense now."""
        kind = message["type"]
        if kind == "websocket.accept":
            self._accept(message)
        elif kind == "websocket.close":
            self._close(message)
        elif kind == "websocket.send":
            await self._send(message)
        else:
            raise ValueError(f"a WebSocket sends no {kind}")

    def _accept(self, message: dict[str, Any]) -> None:
        if self._handshake is None or self.state != State.CONNECTING:
            return
        extensions = agree(self._handshake.extensions) if self._deflates else ""
        self.inflates = bool(extensions)
        headers = message.get("headers") or ()
        answer = self._handshake.answer(message.get("subprotocol"), extensions, headers)
        self._handshake = None
        self.state = State.OPEN
        self.connection.write(answer)
        self.server.note(self, "connected")
        self.opened()

    def opened(self) -> None:
        """It was accepted."""
        raise NotImplementedError

    def pause_reading(self) -> None:
        """The application has enough."""
        self.connection.pause_reading()

    def resume_reading(self) -> None:
        """The application takes more."""
        raise NotImplementedError

    async def _send(self, message: dict[str, Any]) -> None:
        if self.state == State.CONNECTING:
            raise ValueError("the WebSocket was not accepted")
        text = message.get("text")
        payload = message["bytes"] if text is None else text.encode()
        opcode = BINARY if text is None else TEXT
        if self.state == State.OPEN:
            self._write(opcode, payload)
        while self.state == State.OPEN and self.connection.is_pending:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters = [*(self._waiters or ()), waiter]
            await waiter

    def _close(self, message: dict[str, Any]) -> None:
        if self.state == State.CONNECTING:
            self.refuse(403, "this WebSocket was refused")
        else:
            self.close_with(message.get("code") or 1000, message.get("reason") or "")

    def refuse(self, status: int, text: str) -> None:
        """Refuse the handshake."""
        self.connection.write(refused(Refusal(status, text)))
        self._tell_end(LOST)
        self._end()
