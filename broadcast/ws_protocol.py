"""One WebSocket of our server: Daphne's protocol, with prepared frames and flow control both ways.

* *Prepared frames.* The scope has an extension `broadcast.frames` (`sinks.FrameTransport`): whole
  frames are sent at once with one system call, and who writes is told when the socket is full and
  when it has drained. Daphne's `send` buffers without bound.
* *Frames that came* are taken from a read all together, past autobahn's parser, which spends
  60 µs on each. Whatever is not a plain, whole, well-formed data frame goes to autobahn, which
  stays the one that knows the protocol.
* *Flow control.* A client whose messages the application does not take is read no more, until
  the application has caught up. In Daphne they pile up.
* *Closes.* A client's close is answered when the application has handled what came before it
  (`FrameTransport.answer_close`): the answer with the client's own code says that.
* *Ends.* As soon as there is a close, of either side, the application gets everything that came
  before it, then its disconnect, and nothing more. In Daphne it waits for the client, which may
  keep the connection open for `CLOSE_SECONDS`. A server that goes waits, too: what its clients
  sent before they heard of that is not lost.
"""

import asyncio
from collections import deque
from typing import Any

import daphne.server  # noqa: F401 (first: it installs the reactor)
from autobahn.util import encode_truncate
from autobahn.websocket.protocol import TrafficStats
from daphne.ws_protocol import WebSocketProtocol as DaphneWebSocketProtocol
from twisted.internet import reactor
from twisted.internet.tcp import Connection

try:
    from websockets.speedups import apply_mask
except ImportError:
    # Where its C extension was not built.
    from websockets.utils import apply_mask

from . import limits
from .exceptions import CloseCode
from .frames import BINARY, TEXT, frame_header
from .limits import Place
from .sinks import FrameSink

#: Messages and bytes that wait for the application before its client is read no more, and how few
#: messages must be left before it is read again.
INBOUND_COUNT = 256
INBOUND_BYTES = 4 * 1024 * 1024
INBOUND_RESUME = 64
#: What a close without a code is told as (RFC 6455, section 7.1.5).
NO_CODE = 1005
#: Seconds that a client's close waits for an answer, at most.
CLOSE_SECONDS = 9.0
#: Messages and bytes that an application takes in one turn of the event loop.
TURN_COUNT = 64
TURN_BYTES = 256 * 1024
#: Frames that autobahn parses in one turn: a read may have 10,000.
TURN_FRAMES = 256


class InboundQueue:
    """What came for an application that is busy, in place of Daphne's unbounded queue.

    Also much smaller than an `asyncio.Queue`, which has four deques of 600 bytes each.
    """

    __slots__ = ("messages", "over", "paused", "protocol", "size", "taken", "waiter")

    def __init__(self, protocol: "WebSocketProtocol") -> None:
        #: Until the last message: they hold each other.
        self.protocol: WebSocketProtocol | None = protocol
        self.messages: list[dict[str, Any]] = []
        self.size = 0
        #: What was taken since others had their turn, in parts of a turn.
        self.taken = 0.0
        self.paused = False
        #: Whether the last message is a disconnect: nothing follows it.
        self.over = False
        self.waiter: asyncio.Future[None] | None = None

    def put_nowait(self, message: dict[str, Any]) -> None:
        if self.over:
            return
        self.over = message["type"] == "websocket.disconnect"
        self.messages.append(message)
        self.size += len(message.get("bytes") or message.get("text") or b"")
        if self.over:
            # The client's own close must be read, however much still waits.
            self._resume()
            self.protocol = None
        elif self.protocol and not self.paused and self._is_full():
            self.paused = True
            self.protocol.pause_reading()
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    async def get(self) -> dict[str, Any]:
        while not self.messages:
            self.taken = 0
            self.waiter = asyncio.get_running_loop().create_future()
            try:
                await self.waiter
            finally:
                self.waiter = None
        if self.taken >= 1:
            self.taken = 0
            await asyncio.sleep(0)
        message = self.messages.pop(0)
        size = len(message.get("bytes") or message.get("text") or b"")
        self.size -= size
        self.taken += 1 / TURN_COUNT + size / TURN_BYTES
        if len(self.messages) <= INBOUND_RESUME:
            self._resume()
        return message

    def _is_full(self) -> bool:
        return len(self.messages) >= INBOUND_COUNT or self.size >= INBOUND_BYTES

    def _resume(self) -> None:
        if self.paused and self.protocol:
            self.paused = False
            self.protocol.resume_reading()


class WebSocketProtocol(DaphneWebSocketProtocol):  # type: ignore[misc]
    """One WebSocket; as the extension `broadcast.frames` a `sinks.FrameTransport`.

    autobahn copies 25 options from the factory to each connection, and formats them for a log
    that nobody reads (110 µs, 2 KB). Here they are attributes of the class: see `share_options`.
    """

    CONFIG_ATTRS: list[str] = []

    # What nearly all connections have alike, and autobahn and Daphne set on each.
    autoPingPending = autoPingPendingCall = autoPingPendingSent = autoPingTimeoutCall = None
    closeHandshakeTimeoutCall = openHandshakeTimeoutCall = None
    closedByMe = droppedByMe = failedByMe = wasClean = inside_message = triggered = False
    current_frame = localCloseCode = localCloseReason = protocol_to_accept = None
    remoteCloseCode = remoteCloseReason = trackedTimings = wasNotCleanReason = None
    wasCloseHandshakeTimeout = wasOpenHandshakeTimeout = wasServerConnectionDropTimeout = False
    wasMaxFramePayloadSizeExceeded = wasMaxMessagePayloadSizeExceeded = False
    wasServingFlashSocketPolicyFile = False
    websocket_protocol_in_use = _perMessageCompress = peer = None
    autoPingPendingSeq = send_state = 0
    websocket_version = 13
    data = b""
    #: Used for chopped frames alone, which we never write.
    send_queue: deque[Any] = deque()
    #: Nobody reads the statistics, nor hears the events.
    trafficStats = TrafficStats()  # type: ignore[no-untyped-call]
    _results: dict[str, Any] = {}

    #: The start of a frame whose rest is still to come, and how long it will be at least.
    tail: bytearray | None = None
    needed = 0
    #: Whether its transport is a plain TCP connection that we can write to ourselves.
    is_direct = False
    #: Whether something could not be sent: then we are the transport's producer.
    is_full = False
    #: Whether a server that goes serves it to the end.
    stays = False
    #: Whether what comes is heard until its client answers the close.
    hears_out = False
    #: Where the application writes to it.
    sink: FrameSink | None = None
    #: The client's close that is not answered yet: code and reason; and the end of its patience.
    held: tuple[int | None, bytes | None] | None = None
    held_until: asyncio.TimerHandle | None = None
    #: What its connection counts as, since its accept.
    place: Place | None = None

    @classmethod
    def share_options(cls, factory: Any) -> None:
        """Take the factory's options for all connections."""
        for name in DaphneWebSocketProtocol.CONFIG_ATTRS:
            option = getattr(factory, name)
            # A function would become a method of the connection.
            setattr(cls, name, staticmethod(option) if callable(option) else option)

    # -- reading ----------------------------------------------------------------------------

    def connectionMade(self) -> None:
        # As autobahn's, without what it gathers and formats for a log.
        self.transport.setTcpNoDelay(True)
        self.is_direct = isinstance(self.transport, Connection) and not self.transport.TLS
        self.place = self.transport.producer.give_place()
        self._connectionMade()

    def connectionLost(self, *args: Any) -> None:
        if self.place:
            limits.end(self.place)
        super().connectionLost(*args)

    def dataReceived(self, data: bytes) -> None:
        if self.held:
            # Nothing follows a close.
            return
        if self.tail is not None:
            self.tail += data
            if len(self.tail) < self.needed and self.state != self.STATE_CLOSED:
                return
            data, self.tail = bytes(self.tail), None
        is_up = self.state in (self.STATE_OPEN, self.STATE_CLOSING)
        if not is_up or self.data or self.current_frame is not None:
            # It is over, or autobahn has begun with a frame: one that came with the handshake, or
            # that it refused and skips.
            self._dataReceived(data)
            return
        rest = self._take_frames(data)
        if rest is not None:
            # autobahn says what is wrong with it, or ignores it after a close.
            self._dataReceived(data[rest:])
        if self.autoPingTimeoutCall:
            self._cancelAutoPingTimeoutCall()

    def _take_frames(self, data: bytes) -> int | None:
        """Take every whole frame of `data`, keep the start of the next one in `tail`.

        Answers where something begins that is not for us (RFC 6455, section 5.2): a frame that is
        not masked or too large, or anything behind a close.
        """
        at, end, left = 0, len(data), TURN_FRAMES
        self.needed = 0
        while end - at >= 2:
            if self.held or self.state == self.STATE_CLOSED:
                return None if self.held else at
            if not left:
                self._go_on_later()
                break
            if not data[at + 1] & 0x80:
                return at
            length = data[at + 1] & 0x7F
            start = at + 6 + (0 if length < 126 else 2 if length == 126 else 8)
            if start > end:
                break
            if length >= 126:
                length = int.from_bytes(data[at + 2 : start - 4], "big")
            if length > self.maxFramePayloadSize:
                return at
            stop = start + length
            if stop > end:
                self.needed = stop - at
                break
            if data[at] & 0x7F > BINARY or not data[at] & 0x80 or self.inside_message:
                # A control frame, a fragment, reserved bits: whole frames, so that autobahn is at
                # the start of a frame again when the next one comes.
                self._dataReceived(data[at:stop])
                left -= 1
            elif not self._take(data[at] & 0x0F, data[start - 4 : start], data[start:stop]):
                self._dataReceived(data[at:stop])
            at = stop
        if at < end:
            self.tail = bytearray(data[at:])
        return None

    def _take(self, opcode: int, mask: bytes, masked: bytes) -> bool:
        """Hand a whole message to the application. False: it is no text or binary."""
        payload = apply_mask(masked, mask)
        if opcode == BINARY:
            message = {"type": "websocket.receive", "bytes": payload}
        elif opcode == TEXT:
            try:
                message = {"type": "websocket.receive", "text": payload.decode()}
            except UnicodeDecodeError:
                return False
        else:
            return False
        self.application_queue.put_nowait(message)
        return True

    def _go_on_later(self) -> None:
        """Give others their turn before the rest of what was read, which is kept in `tail`."""
        self.pause_reading()
        asyncio.get_event_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        if not self.application_queue.paused:
            self.resume_reading()
        self.dataReceived(b"")

    def pause_reading(self) -> None:
        if self.transport.connected:
            self.transport.pauseProducing()

    def resume_reading(self) -> None:
        if self.transport.connected and not self.transport.disconnecting:
            self.transport.resumeProducing()

    def onPing(self, payload: bytes) -> None:
        # Pongs to somebody who pings and does not read would pile up.
        if not (self.transport.dataBuffer or self.transport._tempDataBuffer):
            super().onPing(payload)

    # -- writing ----------------------------------------------------------------------------

    def onOpen(self) -> None:
        super().onOpen()
        # The HTTP channel goes on being the transport's producer after the upgrade. Without it
        # we can be, and the request and all that hangs on it are freed.
        channel = self.transport.producer
        self.transport.unregisterProducer()
        # It and its request hold each other: they would wait for the garbage collector.
        channel.requests.clear()
        asyncio.get_event_loop().call_soon(self._forget_handshake)

    def _forget_handshake(self) -> None:
        """Free what nobody asks for once the socket is open, which is most of it: 10 KB."""
        self.__dict__ = {
            name: value
            for name, value in self.__dict__.items()
            if name not in HANDSHAKE_ATTRIBUTES and value is not getattr(type(self), name, self)
        }

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
                self.sink.drained()

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
        if self.place and not is_reply:
            limits.give_up(self.place)

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

    def onClose(self, wasClean: bool, code: int, reason: str) -> None:
        # As Daphne's, which takes the path from the request that is forgotten by now.
        self._keep_socket()
        if self.sink:
            self.sink.closing()
        # Autobahn's Deferred has this as its result: they hold each other.
        self.sink = self.held = self.is_closed = None
        if self.held_until:
            self.held_until.cancel()
        self.server.protocol_disconnected(self)
        self._tell_end(code)
        client = ":".join(map(str, self.client_addr or ()))
        details = {"path": self.path.decode(), "client": client or None}
        self.server.log_action("websocket", "disconnected", details)


#: What autobahn and Daphne keep of a handshake, for nobody.
HANDSHAKE_ATTRIBUTES = frozenset(
    (
        "application_deferred",
        "clean_headers",
        "http_headers",
        "http_request_data",
        "http_request_host",
        "http_request_params",
        "http_request_path",
        "http_request_uri",
        "http_response_data",
        "http_status_line",
        "is_open",
        "peer",
        "request",
        "root_path",
        "send_queue",
        "server_addr",
        "trafficStats",
        "websocket_extensions",
        "websocket_extensions_in_use",
        "websocket_origin",
        "websocket_protocols",
        "_raw_query_string",
        "_results",
        "_transport_details",
        "_valid_events",
        "_wskey",
    )
)
