"""WebSockets of our server without a network: bytes go in at once, and nobody else has a turn."""

import asyncio
from socket import AF_INET
from typing import Any

from daphne.http_protocol import HTTPFactory

from broadcast.access.limits import Counted
from broadcast.server import handshake
from broadcast.server.channel import Channel
from broadcast.server.inbound import InboundQueue
from broadcast.server.server import Server
from broadcast.server.sockets import Sockets
from broadcast.server.websocket import WebSocket
from broadcast.server.writing import State
from tests.rig import raw
from tests.rig.raw import CLOSE

Expected = list[dict[str, Any]]


class ClientSide:
    """The socket of a connection, as the server has it; what it sends is in `sent`.

    `takes`: how many bytes its client still takes; None: any number.
    """

    def __init__(self) -> None:
        self.sent = bytearray()
        self.takes: int | None = None

    def send(self, data: bytes) -> int:
        if self.takes is None:
            self.sent += data
            return len(data)
        if not self.takes:
            raise BlockingIOError
        taken = data[: self.takes]
        self.sent += taken
        self.takes -= len(taken)
        return len(taken)

    family = AF_INET

    def getsockname(self) -> Any:
        return ("127.0.0.1", 80)


class FakeConnection:
    """A `broadcast.server.connection.Connection` that does nothing by itself."""

    def __init__(self, counted: Counted | None = None) -> None:
        self.socket = ClientSide()
        self.peer = ("127.0.0.1", 4711)
        self.counted = counted or Counted("")
        self.protocol: Any = None
        self.is_closing = self.is_aborted = self.is_given_up = False
        self.is_reading = True
        self.pending = b""
        #: Seconds that its client had for its end.
        self.within: float | None = None

    @property
    def is_pending(self) -> bool:
        return bool(self.pending)

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True

    def write(self, data: bytes) -> bool:
        if not self.is_closing:
            self.pending += data
            self._send()
        return not self.pending

    def _send(self) -> None:
        try:
            while self.pending:
                self.pending = self.pending[self.socket.send(self.pending) :]
        except BlockingIOError:
            return

    def begin(self, protocol: Any) -> None:
        self.protocol = protocol

    def take(self, more: bool = True) -> bytes:
        """Its client takes what is pending, answers it, and takes `more`."""
        before = len(self.socket.sent)
        self.socket.takes = None
        self._send()
        self.socket.takes = None if more else 0
        self.protocol.resume_writing()
        return bytes(self.socket.sent[before:])

    def close(self, within: float) -> None:
        if not self.is_closing:
            self.is_closing = self.is_reading = True
            self.within = within

    def give_up(self) -> None:
        self.is_given_up = True

    def abort(self) -> None:
        self.is_closing = self.is_aborted = True

    async def turns(self) -> None:
        """Give others their turns, until its client is read again."""
        while not self.is_reading:  # noqa: ASYNC110
            await asyncio.sleep(0)

    def lose(self) -> None:
        """It has ended."""
        self.is_closing = True
        protocol, self.protocol = self.protocol, None
        protocol.connection_lost()


async def busy(scope: Any, receive: Any, send: Any) -> None:
    """An application that takes nothing."""
    await asyncio.Event().wait()


def portless_server(max_frame: int) -> Server:
    """A server that listens nowhere."""
    server = Server(busy, websocket_max_message_size=max_frame)
    # As when it runs.
    server.connections = {}
    server.http_factory = HTTPFactory(server)
    server.http_factory.protocol = Channel
    return server


ASKED = handshake.read(raw.handshake("/").removesuffix(b"\r\n\r\n"))


class Peer:
    """The client of a WebSocket of the server; what the application would get is in `messages`."""

    connection: FakeConnection
    socket: WebSocket
    queue: InboundQueue

    def feed(self, *parts: bytes) -> None:
        """Let the server read these, as far as it still reads."""
        for part in parts:
            if not self.connection.is_closing:
                self.socket.data_received(part)

    async def turns(self) -> None:
        """Let the server look at all that it has, as far as the application takes more."""
        while not (self.connection.is_reading or self.queue.paused):  # noqa: ASYNC110
            await asyncio.sleep(0)

    @property
    def messages(self) -> Expected:
        """What came before its end."""
        last = -1 if self.queue.over else None
        messages = [dict(message) for message in self.queue.messages[:last]]
        for message in messages:
            assert message.pop("type") == "websocket.receive"
        return messages

    @property
    def end(self) -> int | None:
        """The code of the disconnect; None: there was none."""
        return self.queue.messages[-1]["code"] if self.queue.over else None

    def sent(self) -> list[tuple[int, bytes]]:
        """Opcode and payload of every frame that the server sent."""
        data, found = bytes(self.connection.socket.sent), []
        while data:
            assert data[1] < 126, "control frames are short"
            found.append((data[0] & 0x0F, data[2 : 2 + data[1]]))
            data = data[2 + data[1] :]
        return found

    def close_code(self) -> int | None:
        """The code of the server's close; None: there was none."""
        codes = [int.from_bytes(payload[:2], "big") for op, payload in self.sent() if op == CLOSE]
        return codes[0] if codes else None


class OpenSocket(Peer):
    """One of a server. `early`: what its client sends with its handshake."""

    def __init__(self, server: Server, early: bytes = b"") -> None:
        self.connection = FakeConnection()
        server.open_socket(self.connection, ASKED, early)  # type: ignore[arg-type]
        self.socket = self.connection.protocol
        self.queue = self.socket.queue
        assert self.queue.messages.pop(0) == {"type": "websocket.connect"}

    async def accept(self) -> "OpenSocket":
        await self.socket.send({"type": "websocket.accept"})
        head, self.answer = bytes(self.connection.socket.sent).split(b"\r\n\r\n", 1)
        assert head.startswith(b"HTTP/1.1 101 ")
        self.connection.socket.sent.clear()
        return self


class NoServer:
    """What a WebSocket has of its server, where there is none."""

    def __init__(self, max_frame: int) -> None:
        self.websocket_max_message_size = max_frame
        self.sockets: Sockets[Any] = Sockets(0, 0)

    def note(self, socket: Any, what: str) -> None:
        pass

    def socket_lost(self, socket: Any) -> None:
        pass


class BareSocket(Peer):
    """One without a server and an application, that is open at once. `inflates`: deflated messages
    were agreed on."""

    def __init__(self, max_frame: int, inflates: bool = False) -> None:
        self.connection = FakeConnection()
        self.socket = WebSocket(NoServer(max_frame), self.connection, ASKED)
        self.connection.begin(self.socket)
        self.socket.state = State.OPEN
        self.socket.inflates = inflates
        self.queue = self.socket.queue


async def open_socket(early: bytes = b"", max_frame: int = 1024 * 1024) -> OpenSocket:
    """One of a server of its own, accepted."""
    return await OpenSocket(portless_server(max_frame), early).accept()
