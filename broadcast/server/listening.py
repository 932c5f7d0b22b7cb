"""Sockets that listen: connections are taken from them, a bounded number in a turn of the loop."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from ..loops import Failures

#: Connections that are taken from a socket in one turn of the event loop.
TURN_ACCEPTS = 64
#: Connections that the system holds until they are taken. It may hold fewer.
BACKLOG = 2048
#: Seconds until the next try, when the system has no further file or memory for a connection.
PAUSE = 0.2


class Listening:
    """A socket that listens; `accepted` is called with each connection and its peer's address."""

    def __init__(self, sock: socket.socket, accepted: Callable[[socket.socket, Any], None]) -> None:
        self.socket = sock
        self._accepted = accepted
        self._loop = asyncio.get_running_loop()
        self._failures = Failures("accept")
        self._again: asyncio.TimerHandle | None = None
        # Other processes may listen at the same socket, and be faster.
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            # Connections have it from the socket that they come from.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._listen()

    def stop(self) -> None:
        """Take no more of them. Other processes that listen there go on. Twice is once."""
        if self._again is not None:
            self._again.cancel()
        if self.socket.fileno() >= 0:
            self._loop.remove_reader(self.socket)
            self.socket.close()

    def _listen(self) -> None:
        self._loop.add_reader(self.socket, self._accept)

    def _accept(self) -> None:
        for _ in range(TURN_ACCEPTS):
            try:
                sock, peer = self.socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                # Too many files: asked again at once it would say the same, and never wait.
                self._failures.note(error)
                self._loop.remove_reader(self.socket)
                self._again = self._loop.call_later(PAUSE, self._listen)
                return
            sock.setblocking(False)
            self._accepted(sock, peer)
