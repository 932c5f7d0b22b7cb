"""A real server in the process of the tests, which has their database and their streams.

It runs in a thread of its own, and its requests in further ones. So it sees what a test has
committed: use it with `TransactionTestCase` or `transactional_db`. SQLite in memory is one
connection that all threads share, as with Django's own live server, and then requests come one at a
time.

Daphne's reactor exists once in a process, and cannot be run again: its thread stays until the
process ends, and each server borrows it.
"""

import asyncio
import socket
from contextlib import ExitStack, suppress
from functools import partial
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Any
from weakref import WeakSet

import daphne.server  # first: it installs the reactor
from asgiref.sync import SyncToAsync
from channels.routing import get_default_application
from django.db import connections
from django.test import TransactionTestCase, modify_settings, override_settings
from twisted.internet import reactor as twisted_reactor

from .. import lifespan, loops
from ..http import threads
from ..http.static_files import StaticFilesHandler
from ..hub.serving import serve_here, serve_no_more
from ..server.applications import name_application
from ..server.binding import listen
from ..server.connection import Connection
from ..server.reader import RequestReader
from ..server.server import Server

#: Seconds within which a server must listen, or be gone.
PATIENCE = 10.0
#: Seconds for what is under way when it is told to go.
DRAIN_SECONDS = 3.0

#: Twisted's types leave out what asyncio's reactor has.
reactor: Any = twisted_reactor
_lock = Lock()
#: Held while a server is there.
_only = Lock()
_runs = Event()


def _loop() -> asyncio.AbstractEventLoop:
    """The reactor's event loop, which runs."""
    loop: asyncio.AbstractEventLoop = daphne.server.twisted_loop
    with _lock:
        if not _runs.is_set():
            if lifespan.forked.has_come:
                # The parent's reactor is watched by the same file of the operating system.
                raise RuntimeError(
                    "no LiveServer can run in a forked process: run browser tests without "
                    "--parallel, or in parallel with pytest-xdist"
                )
            reactor.callWhenRunning(_runs.set)
            run = partial(reactor.run, installSignalHandlers=False)
            Thread(target=run, name="broadcast-live-server", daemon=True).start()
    if not _runs.wait(PATIENCE):
        raise RuntimeError("the server's thread did not start: does another reactor run?")
    return loop


class _Server(Server):
    """A server in a reactor that runs already, and goes on."""

    def __init__(self, application: Any, listening: socket.socket) -> None:
        super().__init__(application, listening=[listening], signal_handlers=False)
        self.drained = asyncio.Event()
        #: The connections of clients, in use or not.
        self.open: WeakSet[RequestReader] = WeakSet()

    async def begin(self) -> None:
        # Without another run of the reactor.
        self.abort_start = True
        super().run()
        self._ready()

    def _started(self) -> None:
        """No MessagePack-RPC: the port is that of the developer's server."""
        self._listen()
        self.rpc = loops.spawn(asyncio.sleep(0))
        lifespan.started.tell()

    def application_checker(self) -> None:
        if not self.stopping:
            super().application_checker()

    def timeout_checker(self) -> None:
        if not self.stopping:
            super().timeout_checker()

    def read_requests(self, connection: Connection) -> RequestReader:
        reader = super().read_requests(connection)
        self.open.add(reader)
        return reader

    async def end(self) -> None:
        """Drain, and cut off what is left: connections stay open between two requests, too."""
        self.drain()
        with suppress(TimeoutError):
            await asyncio.wait_for(self.drained.wait(), DRAIN_SECONDS)
        self.stop()
        self.kill_all_applications()
        applications = [details["application_instance"] for details in self.connections.values()]
        for reader in list(self.open):
            reader.connection.abort()
        if applications:
            await asyncio.wait(applications, timeout=DRAIN_SECONDS)
        loops.end(asyncio.get_running_loop())

    def stop(self) -> None:
        """The drain is over. The reactor goes on."""
        self.stopping = True
        self.drained.set()


class LiveServer:
    """A server of the project's `ASGI_APPLICATION` and static files, as a context manager.

    `url`, `ws_url`: where it is, on a port of its own. What the process of the tests publishes
    reaches its browsers. One at a time.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.host = host
        self.port = 0
        self._ends = ExitStack()

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://{self.host}:{self.port}"

    def __str__(self) -> str:
        return self.url

    def __enter__(self) -> "LiveServer":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listen. OSError: it cannot; RuntimeError: another one runs, or none can in here."""
        if not _only.acquire(blocking=False):
            raise RuntimeError("a LiveServer runs already")
        with ExitStack() as ends:
            ends.callback(_only.release)
            self._take_settings(ends)
            name_application()
            loop = _loop()
            listening = listen(self.host, 0)
            ends.callback(listening.close)
            server = _Server(StaticFilesHandler(get_default_application()), listening)
            ends.callback(threads.end)
            ends.callback(self._stop, loop, server)
            asyncio.run_coroutine_threadsafe(self._begin(server), loop).result(PATIENCE)
            self.port = listening.getsockname()[1]
            self._ends = ends.pop_all()

    def stop(self) -> None:
        """Close all sockets with 4200, and be gone within `PATIENCE`. Twice is once."""
        self._ends.close()

    def _take_settings(self, ends: ExitStack) -> None:
        """Have the settings and the connections to the database that it needs."""
        shared = _in_memory()
        ends.enter_context(modify_settings(ALLOWED_HOSTS={"append": self.host}))
        ends.enter_context(override_settings(BROADCAST_DRAIN_SECONDS=0))
        if shared:
            ends.enter_context(override_settings(BROADCAST_THREADS=1))
        _share(shared, ends)
        threads.end()

    async def _begin(self, server: _Server) -> None:
        serve_here()
        await server.begin()

    def _stop(self, loop: asyncio.AbstractEventLoop, server: _Server) -> None:
        with suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(server.end(), loop).result(PATIENCE)
        serve_no_more()
        lifespan.begin_again()


def _in_memory() -> dict[str, Any]:
    """By alias, the connections of this thread that have a database in its memory."""
    return {
        connection.alias: connection
        for connection in connections.all()
        if connection.vendor == "sqlite" and connection.is_in_memory_db()  # type: ignore[attr-defined]
    }


def _share(shared: dict[str, Any], ends: ExitStack) -> None:
    """Have all threads use these connections, until the end."""
    for connection in shared.values():
        connection.inc_thread_sharing()
        ends.callback(connection.dec_thread_sharing)
    create = connections.create_connection
    # A thread asks for it when it first uses a database.
    connections.create_connection = lambda alias: shared.get(alias) or create(alias)  # type: ignore[method-assign]
    ends.callback(delattr, connections, "create_connection")
    # One thread outlives the server, and may have used a database before.
    executor = SyncToAsync.single_thread_executor
    before = executor.submit(_take, shared).result(PATIENCE)
    ends.callback(lambda: executor.submit(_give_back, before).result(PATIENCE))


def _take(shared: dict[str, Any]) -> dict[str, Any]:
    """Use these connections in this thread; answers those that it had, by alias."""
    before = {one.alias: one for one in connections.all(initialized_only=True)}
    for alias, connection in shared.items():
        connections[alias] = connection
    return before


def _give_back(before: dict[str, Any]) -> None:
    for connection in connections.all(initialized_only=True):
        connection.close()
        if connection.alias in before:
            connections[connection.alias] = before[connection.alias]
        else:
            del connections[connection.alias]


class LiveServerTestCase(TransactionTestCase):
    """A test case of Django with a `LiveServer`, `live_server`, which all its tests share.

    `live_server_url` and `live_server_ws_url` are those of Django's and Channels' own.
    """

    live_server: LiveServer
    live_server_url: str
    live_server_ws_url: str

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.live_server = cls.enterClassContext(LiveServer())
        cls.live_server_url = cls.live_server.url
        cls.live_server_ws_url = cls.live_server.ws_url
