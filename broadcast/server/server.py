"""Our server: Daphne's HTTP and applications, on connections and WebSockets of our own.

What differs from Daphne, through its own hooks (`server_cls`, `server_class`):

* Its connections are its own (`connection`), and so are its WebSockets (`websocket`): they write
  prepared frames and have flow control both ways. A connection counts from its accept, and slow
  senders are sent away. HTTP has flow control, too (`channel`, `request`).
* *Drain.* SIGTERM: no new connections, `shutdown` to everybody at once, then the sockets are
  closed with 4200 in batches spread over `DRAIN_SECONDS`, those of rooms at the end of them; then
  it exits. Requests and handshakes that are under way are answered within that time, also of a
  client that was accepted just before and has yet to ask; event streams, which would never end,
  end at once. A second one exits now.
* The MessagePack-RPC server runs on the same event loop.
* It is given sockets that listen already, at which other processes may listen, too.

On any other ASGI server everything works through plain `websocket.send`, only slower.
"""

import asyncio
import math
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import unquote

import daphne.server  # first: it installs the reactor

from .. import lifespan, metrics
from ..access import limits
from ..access.addresses import named_proxies
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
from .binding import listen_at
from .channel import Channel
from .connection import Connection
from .handshake import Handshake, Header
from .listening import Listening
from .reader import RequestReader
from .request import ROOT_PATH, HTTPRequest
from .sockets import Sockets
from .websocket import WebSocket
from .writing import State, WritingSocket

logger = get_logger(__name__)

#: What sockets are told that are closed because the server goes.
GOING = "the server is going down"
#: What the client of an application is told that raised an error.
FAILED = "the application failed"
#: What Daphne is told to listen at.
OURS = "sockets of our own"
#: Seconds after its accept in which a client's first request is waited for. A browser may open a
#: connection long before it needs one, which must not hold up the end of a server.
ASK_SECONDS = 2.0
#: Seconds between two batches of closes of a drain.
DRAIN_STEP = 0.1
#: Seconds in which the backend takes the last word of a process.
LEAVE_SECONDS = 1.0


class Server(daphne.server.Server):  # type: ignore[misc]
    def __init__(
        self,
        application: Any,
        *args: Any,
        endpoints: Sequence[str] = (),
        listening: Sequence[socket.socket] = (),
        **kwargs: Any,
    ) -> None:
        """`listening`: sockets that listen. `endpoints`: others, as Daphne's commands have them."""
        kwargs.setdefault("websocket_max_message_size", conf.MAX_FRAME)
        kwargs.setdefault("server_name", "broadcast")
        # Daphne listens at nothing without endpoints; it listens at none of these: see `_ready`.
        super().__init__(application, endpoints or [OURS], *args, **kwargs)
        self.endpoints: list[str] = []
        self.descriptions = endpoints
        with suppress(Unavailable):
            # No socket is to wait for that.
            get_prefix()
        self.listening = listening
        self.ports: list[Listening] = []
        self.connections: dict[Any, dict[str, Any]]
        self.sockets: Sockets[WritingSocket] = Sockets(self.ping_interval, self.ping_timeout)
        #: Applications of WebSockets that are gone, and since when.
        self.leaving: dict[asyncio.Future[Any], float] = {}
        self.draining = self.stopping = False
        self.failures = Failures("drain")
        self.garbage = process.Garbage()
        #: When each connection was accepted that has not asked for anything yet.
        self.unasked: dict[RequestReader, float] = {}
        #: Whether MessagePack-RPC is there, of this process or another of this installation.
        self.has_rpc = False
        self.announce: Callable[[], None] | None = kwargs.get("ready_callable")
        self.ready_callable: Callable[[], None] = self._ready

    def _ready(self) -> None:
        """The last thing before the reactor runs; Daphne has made its factories."""
        self.http_factory.protocol = Channel
        asyncio.get_event_loop().call_soon(self._started)

    def _listen(self) -> None:
        try:
            sockets = [*self.listening, *map(listen_at, self.descriptions)]
        except OSError as error:
            logger.critical("Listen failure: %s", error)
            self.stop()
            return
        for sock in sockets:
            self.ports.append(Listening(sock, self._accepted))
            self.listening_addresses.append(sock.getsockname())

    def _accepted(self, sock: socket.socket, peer: Any) -> None:
        host = peer[0].removeprefix("::ffff:") if isinstance(peer, tuple) else ""
        counted = limits.accept(host)
        if counted is None:
            sock.close()
            return
        reader = self.read_requests(Connection(sock, peer, counted))
        self.unasked[reader] = asyncio.get_running_loop().time()
        reader.begin()

    def read_requests(self, connection: Connection) -> RequestReader:
        return RequestReader(self, connection)

    def make_channel(self) -> Channel:
        channel: Channel = self.http_factory.buildProtocol(None)
        channel.requestFactory = HTTPRequest
        return channel

    def _started(self) -> None:
        if self.signal_handlers:
            loop = asyncio.get_event_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: loop.call_soon_threadsafe(self.drain))
        self._listen()
        self.sockets.start()
        self.rpc = spawn(serve_beside(self._settled))
        # The loop has made its first turn then.
        asyncio.get_event_loop().call_soon(lifespan.started.tell)
        if conf.TUNE_PROCESS:
            process.tune()

    def protocol_disconnected(self, protocol: Any) -> None:
        super().protocol_disconnected(protocol)
        self._note_gone()

    def _note_gone(self) -> None:
        if conf.TUNE_PROCESS:
            self.garbage.note_gone(len(self.connections) + len(self.sockets))

    def _settled(self, has_rpc: bool) -> None:
        """All is there, or known not to be."""
        self.has_rpc = has_rpc
        announce, self.announce = self.announce, None
        if announce:
            announce()

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> Any:
        scope["extensions"] = {REQUEST: protocol, CONNECTION: protocol.channel.counted}
        return super().create_application(protocol, scope)

    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        await super().handle_reply(protocol, message)
        if message["type"] == "http.response.body" and message.get("more_body"):
            await protocol.drained()

    # -- WebSockets -------------------------------------------------------------------------

    def open_socket(self, connection: Connection, handshake: Handshake, early: bytes) -> None:
        socket = WebSocket(self, connection, handshake)
        connection.protocol = socket
        scope = self._scope(socket, handshake)
        socket.queue.put_nowait({"type": "websocket.connect"})
        serve: Any = getattr(self.application, "websocket", self.application)
        try:
            application = serve(scope, socket.queue.get, socket.send)
        except Exception:
            logger.exception("Exception inside application")
            socket.refuse(500, FAILED)
            return
        socket.task = asyncio.ensure_future(application)
        socket.task.add_done_callback(partial(self._application_ended, socket))
        if self.action_logger:
            client = ":".join(map(str, scope["client"])) if scope["client"] else None
            socket.names = {"path": handshake.path.decode(), "client": client}
            self.note(socket, "connecting")
        if early:
            socket.data_received(early)

    def _scope(self, socket: WebSocket, handshake: Handshake) -> dict[str, Any]:
        connection = socket.connection
        return {
            "type": "websocket",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "scheme": "ws",
            "path": unquote(handshake.path.decode()),
            "raw_path": handshake.path,
            "query_string": handshake.query,
            "root_path": self._root_path(connection, handshake.headers),
            # Names with an underscore could pass for others (CVE-2015-0219).
            "headers": [
                header
                for header in handshake.headers
                if b"_" not in header[0] and header[0] != ROOT_PATH
            ],
            "client": as_scope(connection.peer),
            "server": as_scope(connection.socket.getsockname()),
            "subprotocols": handshake.subprotocols,
            "extensions": {CONNECTION: connection.counted, EXTENSION: socket},
        }

    def _root_path(self, connection: Connection, headers: list[Header]) -> str:
        for name, value in headers:
            if name == ROOT_PATH and (as_scope(connection.peer) or [""])[0] in named_proxies():
                return unquote(value.decode("latin1"))
        return str(self.root_path)

    def note(self, socket: WritingSocket, what: str) -> None:
        if socket.names is not None:
            self.log_action("websocket", what, socket.names)

    def _application_ended(self, socket: WebSocket, task: asyncio.Future[Any]) -> None:
        self.leaving.pop(task, None)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            logger.error("Exception inside application: %s", error, exc_info=error)
        if socket.state == State.CONNECTING:
            socket.refuse(500, FAILED)
        elif task.cancelled():
            socket.close_with(CloseCode.SHUTDOWN, GOING)
        else:
            socket.close_with(1011 if error else 1000, "")

    def socket_lost(self, socket: WritingSocket) -> None:
        # It may have something left to do.
        if socket.task and not socket.task.done():
            self.leaving[socket.task] = asyncio.get_running_loop().time()
        self.note(socket, "disconnected")
        self._note_gone()

    def application_checker(self) -> None:
        super().application_checker()
        late = asyncio.get_event_loop().time() - self.application_close_timeout
        for task, since in list(self.leaving.items()):
            if since > late:
                break
            del self.leaving[task]
            logger.warning("%r took too long to shut down and was killed", task)
            task.cancel()

    # -- the end ----------------------------------------------------------------------------

    def drain(self) -> None:
        """Send everybody away, politely; the second time, go at once."""
        if self.draining:
            self.stop()
            return
        self.draining = True
        for port in self.ports:
            port.stop()
        self.rpc.cancel()
        self.drain_until = asyncio.get_event_loop().time() + conf.DRAIN_SECONDS
        seconds = conf.DRAIN_SECONDS if self._open_sockets() else 0
        logger.info("Shutting down within %g s", seconds)
        lifespan.draining.tell(seconds)
        self._drain_step(max(round(seconds / DRAIN_STEP), 1))

    def _open_sockets(self) -> list[WritingSocket]:
        return [socket for socket in self.sockets if socket.state == State.OPEN]

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
        if any(socket.state == State.CONNECTING for socket in self.sockets):
            return True
        return not self.rpc.done() or any(
            "disconnected" not in details and protocol.end is None
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
        going = [one for one in sockets if steps <= 1 or not (one.stays or one.held)]
        for one in going[: math.ceil(len(going) / max(steps, 1))]:
            one.close_with(CloseCode.SHUTDOWN, GOING, hear_out=True)
        self._end_requests()
        return not sockets and not self._is_answering()

    def _end_requests(self) -> None:
        """End those that would not end by themselves."""
        for protocol in list(self.connections):
            if protocol.end:
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
            self.sockets.stop()
            super().stop()

    def kill_all_applications(self) -> Any:
        for one in self.sockets:
            self.connections[one] = {"application_instance": one.task} if one.task else {}
        # Daphne's asks each request for its application; one that is refused has none.
        self.connections = {
            protocol: details
            for protocol, details in self.connections.items()
            if "application_instance" in details
        }
        return super().kill_all_applications()


def as_scope(address: Any) -> list[Any] | None:
    """An address of the system as ASGI has it; None: a Unix socket has none."""
    return list(address[:2]) if isinstance(address, tuple) else None
