"""Writing to a WebSocket of our server, up to its close.

* *Prepared frames.* Whole frames are sent at once with one system call, and the writer is told when
  the socket is full and when it has drained. Daphne's `send` buffers without bound.
* *Closes.* A client's close is answered when the application has handled what came before it
  (`FrameTransport.answer_close`): the answer with the client's own code says that.
* *Ends.* As soon as there is a close, of either side, the application gets everything that came
  before it, then its disconnect, and nothing more. In Daphne it waits for the client, which may
  keep the connection open for `CLOSE_SECONDS`. A server that goes waits, too: what its clients
  sent before they heard of that is not lost.
"""

import asyncio
from typing import Any

import daphne.server  # noqa: F401 (first: it installs the reactor)
from autobahn.util import encode_truncate
from daphne.ws_protocol import WebSocketProtocol as DaphneWebSocketProtocol
from twisted.internet import reactor

from ..access import limits
from ..access.limits import Counted
from ..exceptions import CloseCode
from ..wire.frames import BINARY, TEXT, frame_header
from ..wire.sinks import FrameSink

#: The code that stands for a close without one (RFC 6455, section 7.1.5).
NO_CODE = 1005
#: Seconds that a client's close waits for an answer, at most.
CLOSE_SECONDS = 9.0


class WritingProtocol(DaphneWebSocketProtocol):  # type: ignore[misc]
    """The writing half of a `WebSocketProtocol`; as `wire.frames` a `wire.sinks.FrameTransport`."""

    #: Whether its transport is a plain TCP connection that we can write to ourselves.
    is_direct = False
    #: Whether something could not be sent: then we are the transport's producer.
    is_full = False
    #: Whether what comes is heard until its client answers the close.
    hears_out = False
    #: Where the application writes to it.
    sink: FrameSink | None = None
    #: The client's close that is not answered yet: code and reason; and the end of its patience.
    held: tuple[int | None, bytes | None] | None = None
    held_until: asyncio.TimerHandle | None = None
    #: The start of a frame whose rest is still to come.
    tail: bytearray | None = None
    #: How `access.limits` counts its connection, since its accept.
    counted: Counted | None = None

    def attach(self, sink: FrameSink) -> None:
        self.sink = sink
        self._share_socket()

    def _share_socket(self) -> None:
        """Let the sink write to the socket itself, if nothing is pending and nothing closes it."""
        transport = self.transport
        pending = transport.dataBuffer or transport._tempDataBuffer
        if self.sink and self.is_direct and self._is_open() and not pending:
            self.sink.send = transport.socket.send

    def _keep_socket(self) -> None:
        if self.sink:
            self.sink.send = None

    def _is_open(self) -> bool:
        return bool(self.state == self.STATE_OPEN and self.transport.connected)

    def write_frames(self, frames: bytes) -> bool:
        if not self._is_open():
            return True
        return self._write(frames) or self._become_full()

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        # What autobahn writes goes out at once too: a close is not lost with the transport, and
        # an answered handshake needs no further turn of the event loop.
        self._write(data)

    def _write(self, data: bytes) -> bool:
        """Write what the socket takes, and leave the rest to the transport. False: there is one."""
        transport = self.transport
        if self.is_direct and not (transport.dataBuffer or transport._tempDataBuffer):
            try:
                sent = transport.socket.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except (OSError, AttributeError):
                # Lost; a transport that knows so already has no socket any more.
                transport.abortConnection()
                return True
            if sent == len(data):
                return True
            data = data[sent:]
        self._keep_socket()
        transport.write(data)
        return not self.is_direct

    def _become_full(self) -> bool:
        """As a pull producer the transport tells us when all that was pending has gone out."""
        if not self.is_full:
            self.transport.registerProducer(self, False)
            self.is_full = True
        return False

    def resumeProducing(self) -> None:
        if self.is_full:
            self.is_full = False
            self.transport.unregisterProducer()
            self._share_socket()
            if self.sink and self.state == self.STATE_OPEN:
                self.sink.has_space()

    def stopProducing(self) -> None:
        self.is_full = False

    def sendCloseFrame(
        self, code: int | None = None, reasonUtf8: bytes | None = None, isReply: bool = False
    ) -> None:
        if isReply and self.sink and self._is_open():
            self._hold(self.remoteCloseCode)
            return
        self._send_close(code, reasonUtf8, isReply)

    def _send_close(self, code: int | None, reason: bytes | None, is_reply: bool) -> None:
        was_open = self.state == self.STATE_OPEN
        if self.sink and self._is_open():
            self.sink.closing()
        # Nothing may follow it.
        self._keep_socket()
        super().sendCloseFrame(code, reason, is_reply)
        if not was_open or self.hears_out:
            return
        self._tell_end(self.remoteCloseCode if is_reply else code)
        if self.counted and not is_reply:
            limits.give_up(self.counted)

    def _tell_end(self, code: int | None) -> None:
        """Tell the application that nothing more comes. The first code stands."""
        if hasattr(self, "application_queue"):
            told = {"type": "websocket.disconnect", "code": code or NO_CODE}
            self.application_queue.put_nowait(told)

    def _hold(self, code: int | None) -> None:
        """Let the application handle what came before the client's close, then answer it."""
        # The answer has the client's code (RFC 6455, section 5.5.1), and no reason.
        self.held = code, None
        self.tail = None
        loop = asyncio.get_running_loop()
        self.held_until = loop.call_later(CLOSE_SECONDS, self._answer_late)
        self._tell_end(code)

    def _answer_late(self) -> None:
        self._answer(CloseCode.SHUTDOWN, b"the server could not handle all in time")

    def answer_close(self) -> None:
        if self.held:
            self._answer(*self.held)

    def _answer(self, code: int | None, reason: bytes | None) -> None:
        if self.held_until:
            self.held_until.cancel()
        self.held = self.held_until = None
        if self._is_open():
            self._send_close(code, reason, is_reply=True)
            self.dropConnection()

    def dropConnection(self, abort: bool = False) -> None:
        if self.held and not abort:
            # autobahn does so behind the answer, which waits.
            return
        self._keep_socket()
        super().dropConnection(abort)
        transport = self.transport
        if transport.connected and (transport.dataBuffer or transport._tempDataBuffer):
            # Twisted would wait for ever until its client takes what is pending.
            reactor.callLater(self.closeHandshakeTimeout, transport.abortConnection)

    def close_with(self, code: int, reason: str, hear_out: bool = False) -> None:
        encoded = encode_truncate(reason, 123)
        if self.held:
            self._answer(int(code), encoded)
        elif self.state == self.STATE_OPEN:
            self.hears_out = hear_out
            # sendClose() refuses codes such as 1009 that a server may well send.
            self._send_close(int(code), encoded, is_reply=False)

    def handle_reply(self, message: dict[str, Any]) -> None:
        if message["type"] == "websocket.send" and self.state != self.STATE_CONNECTING:
            # Daphne leaves out empty frames.
            text = message.get("text")
            payload = message["bytes"] if text is None else text.encode()
            opcode = BINARY if text is None else TEXT
            self.write_frames(frame_header(opcode, len(payload)) + payload)
        elif message["type"] == "websocket.close" and self.state != self.STATE_CONNECTING:
            self.close_with(message.get("code") or 1000, message.get("reason") or "")
        else:
            super().handle_reply(message)
