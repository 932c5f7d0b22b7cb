"""One connection of our server: bytes in, bytes out, and an end, in the running event loop.

Its protocol is what the connection is for at the moment: requests (`reader`), then perhaps a
WebSocket (`websocket`). What a connection promises to any of them:

* *What is written leaves at once*, with one system call, as far as the system takes it. The rest
  goes out as the client takes it, and then the protocol hears of it (`resume_writing`).
* *It ends once.* The protocol hears of that in a later turn of the loop, whichever side ended it.
* *A close is bounded.* What is pending goes out, then the client has the rest of the time to close
  its side, but not longer than `LINGER_SECONDS`. It is read meanwhile: closed with unread bytes,
  the system would tear the connection down, and the client would never get what it was told last.
* *It counts from its accept to its end* (`access.limits`).

It is no asyncio transport: those keep their sockets to themselves, so that nothing could be sent
past them, and each takes more memory than all the rest of a quiet listener's connection.
"""

import asyncio
import socket
import struct
from typing import Any, Protocol

from ..access import limits
from ..access.limits import Counted
from ..logs import get_logger

logger = get_logger(__name__)

#: Bytes of one read, which bound what a client can have done in one turn of the event loop.
READ_BYTES = 64 * 1024
#: Seconds that a client has at most to close its side, when it can have all that was written.
LINGER_SECONDS = 5.0
#: Closing such a socket drops what is pending, and says so to the client.
DROP = struct.pack("ii", 1, 0)


class ConnectionProtocol(Protocol):
    """What a connection is for at the moment."""

    def data_received(self, data: bytes) -> None:
        """Some bytes came."""

    def resume_writing(self) -> None:
        """What was pending has gone out."""

    def connection_lost(self) -> None:
        """It is over. Once."""


class Connection:
    """A connection that was accepted. `peer`: the address that the system tells."""

    __slots__ = (
        *("_file", "_is_lost", "_is_reading", "_late", "_loop", "_pending"),
        *("counted", "is_closing", "peer", "protocol", "socket"),
    )

    def __init__(self, sock: socket.socket, peer: Any, counted: Counted) -> None:
        self.socket = sock
        #: Its descriptor: a loop that is asked for a new socket formats that for an error.
        self._file = sock.fileno()
        self.peer = peer
        self.counted = counted
        #: None: it has ended.
        self.protocol: ConnectionProtocol | None = None
        #: Whether nothing is read or written any more, but what is pending.
        self.is_closing = False
        self._is_lost = self._is_reading = False
        self._loop = asyncio.get_running_loop()
        #: What the system did not take yet; None: nothing.
        self._pending: bytearray | None = None
        #: The end of the time for a close.
        self._late: asyncio.TimerHandle | None = None

    @property
    def is_pending(self) -> bool:
        """Whether something that was written has not gone out yet."""
        return self._pending is not None

    # -- reading ----------------------------------------------------------------------------

    def begin(self, protocol: ConnectionProtocol) -> None:
        """Read what is there by now, and go on."""
        self.protocol = protocol
        self.resume_reading()
        self._read()

    def pause_reading(self) -> None:
        """Read no more of it. The client's end is not heard of meanwhile."""
        if self._is_reading:
            self._is_reading = False
            self._loop.remove_reader(self._file)

    def resume_reading(self) -> None:
        if not self._is_reading and not self._is_lost:
            self._is_reading = True
            self._loop.add_reader(self._file, self._read)

    def _read(self) -> None:
        try:
            data = self.socket.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._lose_soon()
        elif self.protocol is not None and not self.is_closing:
            try:
                self.protocol.data_received(data)
            except Exception:
                logger.exception("A connection failed")
                self.abort()

    # -- writing ----------------------------------------------------------------------------

    def write(self, data: bytes) -> bool:
        """Write it behind what was written. False: something is pending now."""
        if self.is_closing:
            return True
        if self._pending is not None:
            self._pending += data
            return False
        try:
            sent = self.socket.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self.abort()
            return True
        if sent == len(data):
            return True
        self._pending = bytearray(memoryview(data)[sent:])
        self._loop.add_writer(self._file, self._write_pending)
        return False

    def _write_pending(self) -> None:
        assert self._pending is not None
        try:
            sent = self.socket.send(self._pending)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.abort()
            return
        del self._pending[:sent]
        if self._pending:
            return
        self._pending = None
        self._loop.remove_writer(self._file)
        if self.is_closing:
            self._shut_down()
        elif self.protocol is not None:
            self.protocol.resume_writing()

    # -- the end ----------------------------------------------------------------------------

    def close(self, within: float) -> None:
        """Close it behind what is pending. After so many seconds it is cut off."""
        if self.is_closing:
            return
        self.is_closing = True
        self._late = self._loop.call_later(within, self._end)
        self.resume_reading()
        if self._pending is None:
            self._shut_down()

    def give_up(self) -> None:
        """Count it no more, since it is good for nothing; once, while it is being closed."""
        if not self._is_lost:
            limits.give_up(self.counted)

    def _shut_down(self) -> None:
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            # The client was faster.
            self._lose_soon()
            return
        until = self._loop.time() + LINGER_SECONDS
        if self._late is not None and self._late.when() > until:
            self._late.cancel()
            self._late = self._loop.call_at(until, self._end)

    def _end(self) -> None:
        """The time for a close is over. What was taken by the system still reaches the client."""
        if self._pending is None:
            self._lose_soon()
        else:
            self.abort()

    def abort(self) -> None:
        """Cut it off; what is pending is dropped."""
        if not self._is_lost:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, DROP)
            self._lose_soon()

    def _lose_soon(self) -> None:
        """End it, and tell the protocol in the next turn: it may be in the middle of something."""
        if self._is_lost:
            return
        self._is_lost = self.is_closing = True
        # Its descriptor may be another connection's soon.
        self.pause_reading()
        if self._pending is not None:
            self._pending = None
            self._loop.remove_writer(self._file)
        if self._late is not None:
            self._late.cancel()
            self._late = None
        self.socket.close()
        limits.end(self.counted)
        self._loop.call_soon(self._tell_lost)

    def _tell_lost(self) -> None:
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            protocol.connection_lost()
