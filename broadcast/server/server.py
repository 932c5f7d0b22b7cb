"""Our server: Daphne, with WebSockets of its own kind and a drain.

What differs from Daphne, through its own hooks (`server_cls`, `server_class`):

* Its WebSockets write prepared frames and have flow control both ways: `websocket`. Its HTTP
  has flow control, too: `request`. A connection counts from its accept, and slow senders are
  sent away: `channel`.
* *Drain.* SIGTERM: no new connections, `shutdown` to everybody at once, then the sockets are
  closed with 4200 in batches spread over `DRAIN_SECONDS`, those of rooms at the end of them; then
  it exits. Requests and handshakes that are under way are answered within that time, also of a
  client that was accepted just before and has yet to ask; event streams, which would never end,
  end at once. A second one exits now.
* The MessagePack-RPC server runs on the same event loop.
* It may be given a socket that listens already, and that other processes listen at, too.

On any other ASGI server everything works through plain `websocket.send`, only slower.
"""

import asyncio
import math
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import daphne.server  # first: it installs the reactor
from daphne.http_protocol import WebRequest
from twisted.internet import reactor

from .. import lifespan, metrics
from ..access.limits import EXTENSION as CONNECTION
from ..backends import get_backend
from ..conf import conf
from ..exceptions import CloseCode, Unavailable
from ..http.transport import EXTENSION as REQUEST
from ..hub.page_writes import get_writes
from ..hub.relay import all_topics
from ..installation import get_prefix
from ..logs import get_logger
from ..loops import Failures, spawn
from ..rpc.server import serve_beside
from ..wire.sinks import EXTENSION
from . import process
from .connection import HTTPConnection
from .inbound import InboundQueue
from .request import HTTPRequest
from .websocket import WebSocketProtocol

logger = get_logger(__name__)

#: Seconds a client has to answer a close, after it has read what was sent before.
CLOSE_SECONDS = 10
#: Seconds after its accept in which a client's first request is waited for. A browser may open a
#: connection long before it needs one, which must not hold up the end of a server.
ASK_SECONDS = 2.0
#: Seconds between two batches of closes of a drain.
DRAIN_STEP = 0.1
#: Seconds in which the backend takes the last word of a process.
LEAVE_SECONDS = 1.0

# What Daphne answers to requests that reach no application. Its own page has its style inline, and
# no policy.
WebRequest.error_template = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    """<meta http-equiv="Content-Security-Policy" content="default-src 'none'">"""
    "<title>%(title)s</title></head><body><h1>%(title)s</h1><p>%(body)s</p></body></html>"
)


class Server(daphne.server.Server):  # type: ignore[misc]
    def __init__(self, *args: Any, listening: socket.socket | None = None, **kwargs: Any) -> None:
        kwargs.setdefault("websocket_max_message_size", conf.MAX_FRAME)
        kwargs.setdefault("websocket_max_frame_size", conf.MAX_FRAME)
        kwargs.setdefault("websocket_timeout", -1)
        kwargs.setdefault("server_name", "broadcast")
        if listening is not None:
            # Daphne insists on a description of it, but has none that fits IPv6: see `_ready`.
            kwargs["endpoints"] = [f"fd:fileno={listening.fileno()}"]
        super().__init__(*args, **kwargs)
        with suppress(Unavailable):
            # No socket is to wait for that.
            get_prefix()
        if listening is not None:
            self.endpoints: list[str] = []
        self.listening = listening
        self.ports: list[Any] = []
        self.connections: dict[Any, dict[str, Any]]
        self.draining = self.stopping = False
        self.failures = Failures("drain")
        self.garbage = process.Garbage()
        self.unasked: dict[HTTPConnection, float] = {}
        #: Whether MessagePack-RPC is there, of this process or another of this installation.
        self.has_rpc = False
        self.announce: Callable[[], None] | None = kwargs.get("ready_callable")
        self.ready_callable: Callable[[], None] = self._ready

    def _ready(self) -> None:
        """The last thing before the reactor runs; Daphne has made its factories."""
        self.ws_factory.closeHandshakeTimeout = CLOSE_SECONDS
        # A client that breaks the protocol is told so with its code, not cut off.
        self.ws_factory.failByDrop = False
        self.ws_factory.protocol = WebSocketProtocol
        WebSocketProtocol.share_options(self.ws_factory)
        self.http_factory.protocol = HTTPConnection
        build = self.http_factory.buildProtocol
        self.http_factory.buildProtocol = partial(build_connection, build, self.unasked)
        if self.listening is not None:
            self._adopt(self.listening)
        reactor.callWhenRunning(self._started)

    def _started(self) -> None:
        if self.signal_handlers:
            loop = asyncio.get_event_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: loop.call_soon_threadsafe(self.drain))
        self.rpc = spawn(serve_beside(self._settled))
        # The loop has made its first turn then.
        asyncio.get_event_loop().call_soon(lifespan.started.tell)
        if conf.TUNE_PROCESS:
            process.tune()

    def protocol_disconnected(self, protocol: Any) -> None:
        super().protocol_disconnected(protocol)
        if conf.TUNE_PROCESS:
            self.garbage.note_gone(len(self.connections))

    def _settled(self, has_rpc: bool) -> None:
        """All is there, or known not to be."""
        self.has_rpc = has_rpc
        announce, self.announce = self.announce, None
        if announce:
            announce()

    def _adopt(self, listening: socket.socket) -> None:
        """Listen at a socket of others; when this server stops listening, they go on."""
        with listening:
            port = reactor.adoptStreamPort(listening.fileno(), listening.family, self.http_factory)
        self.listen_success(port)

    def listen_success(self, port: Any) -> None:
        super().listen_success(port)
        self.ports.append(port)

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> Any:
        if scope["type"] != "websocket":
            scope["extensions"] = {REQUEST: protocol, CONNECTION: protocol.channel.counted}
            return super().create_application(protocol, scope)
        scope["asgi"] = {"version": "3.0"}
        # Daphne decodes them as if they were part of an address; autobahn answers none but these.
        scope["subprotocols"] = list(protocol.websocket_protocols)
        scope["extensions"] = {CONNECTION: protocol.counted}
        if protocol.is_direct:
            scope["extensions"][EXTENSION] = protocol
        queue = InboundQueue(protocol)
        application = self.application(scope, queue.get, partial(self.handle_reply, protocol))
        task = asyncio.ensure_future(application)
        self.connections[protocol]["application_instance"] = task
        return queue

    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        await super().handle_reply(protocol, message)
        if message["type"] == "http.response.body" and message.get("more_body"):
            await protocol.drained()

    # -- the end ----------------------------------------------------------------------------

    def drain(self) -> None:
        """Send everybody away, politely; the second time, go at once."""
        if self.draining:
            self.stop()
            return
        self.draining = True
        for port in self.ports:
            port.stopListening()
        self.rpc.cancel()
        self.drain_until = asyncio.get_event_loop().time() + conf.DRAIN_SECONDS
        seconds = conf.DRAIN_SECONDS if self._open_sockets() else 0
        logger.info("Shutting down within %g s", seconds)
        lifespan.draining.tell(seconds)
        self._drain_step(max(round(seconds / DRAIN_STEP), 1))

    def _open_sockets(self) -> list[WebSocketProtocol]:
        return [
            protocol
            for protocol in self.connections
            if isinstance(protocol, WebSocketProtocol) and protocol.state == protocol.STATE_OPEN
        ]

    def _is_answering(self) -> bool:
        """Whether there is still time for a request, handshake or call that is under way.

        A client that was accepted just now, and has yet to ask, would take the end of its
        connection for an error.
        """
        now = asyncio.get_event_loop().time()
        if now >= self.drain_until:
            return False
        if any(now < accepted + ASK_SECONDS for accepted in self.unasked.values()):
            return True
        return not self.rpc.done() or any(
            protocol.state == protocol.STATE_CONNECTING
            if isinstance(protocol, WebSocketProtocol)
            else "disconnected" not in details and protocol.end is None
            for protocol, details in self.connections.items()
        )

    def _drain_step(self, steps: int, was_idle: bool = False) -> None:
        is_idle = False
        try:
            is_idle = self._close_some(steps)
        except Exception as error:
            self.failures.note(error)
        loop = asyncio.get_event_loop()
        is_late = self.failures.number and loop.time() >= self.drain_until
        if is_idle and was_idle or is_late:
            spawn(self._leave())
        else:
            # Idle, it waits once more: the last close frames are on their way, and streamers' last
            # frames are being published.
            loop.call_later(DRAIN_STEP, self._drain_step, steps - 1, is_idle)

    def _close_some(self, steps: int) -> bool:
        """Close a part of the sockets that are open; answers whether there was nothing to do."""
        # Frames that wait for the end of this turn go out before a close.
        get_writes().flush()
        sockets = self._open_sockets()
        # A call goes on to the last moment. So does a client that has closed: an answer with
        # another code than its own would say that some of its data is not published.
        going = [
            protocol for protocol in sockets if steps <= 1 or not (protocol.stays or protocol.held)
        ]
        for protocol in going[: math.ceil(len(going) / max(steps, 1))]:
            protocol.close_with(CloseCode.SHUTDOWN, "the server is going down", hear_out=True)
        self._end_requests()
        return not sockets and not self._is_answering()

    def _end_requests(self) -> None:
        """End those that would not end by themselves."""
        for protocol in list(self.connections):
            if isinstance(protocol, HTTPRequest) and protocol.end:
                protocol.end()

    async def _leave(self) -> None:
        """Say that nobody is here any more, where it would be believed for some time; then go."""
        await lifespan.leaving.atell(LEAVE_SECONDS)
        metrics.refresh(all_topics())
        with suppress(Exception):
            await asyncio.wait_for(get_backend().renew(), LEAVE_SECONDS)
        self.stop()

    def stop(self) -> None:
        """Go at once. It may be said again on the way."""
        if not self.stopping:
            self.stopping = True
            super().stop()

    def kill_all_applications(self) -> Any:
        # Daphne's asks each connection for its application; one that is being upgraded has none.
        self.connections = {
            protocol: details
            for protocol, details in self.connections.items()
            if "application_instance" in details
        }
        return super().kill_all_applications()


def build_connection(
    build: Callable[[Any], Any], unasked: dict[HTTPConnection, float], address: Any
) -> Any:
    """A connection of Daphne's HTTP factory, with our requests."""
    channel = build(address)
    channel.requestFactory = HTTPRequest
    channel.unasked = unasked
    return channel
