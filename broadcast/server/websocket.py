"""One WebSocket of our server: Daphne's protocol, read here and written to in `writing`.

* *Frames that came* are taken from a read all together, past autobahn's parser, which spends
  60 µs on each. Whatever is not a plain, whole, well-formed data frame goes to autobahn, which
  stays the one that knows the protocol.
* *Flow control.* A client whose messages the application does not take is read no more, until
  the application has caught up (`inbound`). In Daphne they pile up.
"""

import asyncio
from collections import deque
from typing import Any

import daphne.server  # noqa: F401 (first: it installs the reactor)
from autobahn.websocket.protocol import TrafficStats
from daphne.ws_protocol import WebSocketProtocol as DaphneWebSocketProtocol
from twisted.internet.tcp import Connection

try:
    from websockets.speedups import apply_mask
except ImportError:
    # Where its C extension was not built.
    from websockets.utils import apply_mask

from ..access import limits
from ..wire.frames import BINARY, TEXT
from .writing import WritingProtocol

#: Frames that autobahn parses in one turn: a read may have 10,000.
TURN_FRAMES = 256


class WebSocketProtocol(WritingProtocol):
    """One WebSocket; as the extension `wire.frames` a `wire.sinks.FrameTransport`.

    autobahn copies 25 options from the factory to each connection, and formats them for a log
    that nobody reads (110 µs, 2 KB). Here they are attributes of the class: see `share_options`.
    """

    CONFIG_ATTRS: list[str] = []

    # Attributes that nearly all connections have alike; autobahn and Daphne set them on each.
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

    #: How long the frame in `tail` will be, at least.
    needed = 0
    #: Whether a server that goes serves it to the end.
    stays = False

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
        self.counted = self.transport.producer.hand_over_counted()
        self._connectionMade()

    def connectionLost(self, *args: Any) -> None:
        if self.counted:
            limits.end(self.counted)
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

    # -- the handshake's end, and the connection's --------------------------------------------

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


#: Attributes of a handshake that autobahn and Daphne keep, and nobody reads.
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
