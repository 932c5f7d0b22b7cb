"""A client that may say anything: WebSocket frames by hand (RFC 6455, section 5.2), over TCP.

It reads only when it is told to, so a server can be left with what it wants to send.
"""

import asyncio
import base64
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

#: Seconds within which everything that is awaited must have come.
PATIENCE = 30.0


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    masked: bool = True,
    length: int | None = None,
    mask: bytes = b"\x37\xfa\x21\x3d",
) -> bytes:
    """One frame. `length`: what its header says of its length, whatever that really is."""
    length = len(payload) if length is None else length
    first = bytes((fin << 7 | rsv << 4 | opcode,))
    flag = masked << 7
    if length < 126:
        header = first + bytes((flag | length,))
    elif length < 65536:
        header = first + bytes((flag | 126,)) + length.to_bytes(2, "big")
    else:
        header = first + bytes((flag | 127,)) + length.to_bytes(8, "big")
    if not masked:
        return header + payload
    key = mask * (len(payload) // 4 + 1)
    size = len(payload)
    veiled = int.from_bytes(payload, "big") ^ int.from_bytes(key[:size], "big")
    return header + mask + veiled.to_bytes(size, "big")


def close_payload(code: int, reason: str = "") -> bytes:
    return code.to_bytes(2, "big") + reason.encode()


def handshake(path: str, *protocols: str, leave_out: str = "", cookie: str = "") -> bytes:
    """A request that opens a WebSocket, without the header `leave_out`."""
    headers = {
        "Host": "127.0.0.1",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": ", ".join(protocols),
        "Cookie": cookie,
    }
    lines = [f"{name}: {value}" for name, value in headers.items() if value and name != leave_out]
    return "\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode()


def rows(local: str, remote: str) -> Iterator[list[str]]:
    """What the kernel says of one end of a connection."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        row = line.split()
        if row[1].endswith(local) and row[2].endswith(remote):
            yield row


def queues(local: str, remote: str) -> tuple[int, int]:
    """Bytes that the kernel has still to send and to hand over, at one end of a connection."""
    for row in rows(local, remote):
        sending, handing_over = row[4].split(":")
        return int(sending, 16), int(handing_over, 16)
    return 0, 0


class Gone(Exception):
    """The connection ended without a close frame."""


class RawSocket:
    """A TCP connection. `receive_buffer`: bytes the kernel takes for a client that reads not;
    `address`: whence it comes, of this machine."""

    def __init__(self, port: int, receive_buffer: int = 0, address: str = "") -> None:
        self.port = port
        self.socket = socket.socket()
        self.socket.setblocking(False)
        if address:
            self.socket.bind((address, 0))
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    async def __aenter__(self) -> "RawSocket":
        await asyncio.get_running_loop().sock_connect(self.socket, ("127.0.0.1", self.port))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.socket.close()

    def cut(self) -> None:
        """Go without a word: the other side gets a TCP reset."""
        linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.socket.close()

    async def open(self, path: str, *protocols: str, cookie: str = "") -> "RawSocket":
        """Do the handshake, and read no more than its answer."""
        await self.send(handshake(path, *protocols, cookie=cookie))
        answer = await self.head()
        assert answer.startswith(b"HTTP/1.1 101 "), answer
        return self

    async def send(self, data: bytes) -> None:
        async with asyncio.timeout(PATIENCE):
            await asyncio.get_running_loop().sock_sendall(self.socket, data)

    async def try_send(self, data: bytes) -> None:
        """Send to somebody who may have gone meanwhile."""
        try:
            await self.send(data)
        except ConnectionError:
            return

    async def try_send_in_parts(self, data: bytes, size: int) -> None:
        """Send so many bytes at a time; the other side may read several parts at once."""
        for start in range(0, len(data), size):
            await self.try_send(data[start : start + size])
            await asyncio.sleep(0)

    async def head(self) -> bytes:
        """The head of an HTTP answer. Gone: there was none."""
        while b"\r\n\r\n" not in self.buffer:
            await self._fill()
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        return head

    async def answer(self) -> tuple[int, bytes]:
        """Status and body of an HTTP answer. Gone: there was none."""
        status, *lines = (await self.head()).split(b"\r\n")
        headers = dict(line.lower().split(b": ", 1) for line in lines)
        if b"transfer-encoding" in headers:
            body = await self._chunks()
        else:
            body = await self._take(int(headers.get(b"content-length", 0)))
        return int(status.split()[1]), body

    async def _chunks(self) -> bytes:
        body = b""
        while True:
            while b"\r\n" not in self.buffer:
                await self._fill()
            size, self.buffer = self.buffer.split(b"\r\n", 1)
            chunk = await self._take(int(size, 16) + 2)
            body += chunk[:-2]
            if chunk == b"\r\n":
                return body

    async def answers(self) -> list[int]:
        """The statuses of all answers up to the end of the connection."""
        statuses = []
        while True:
            try:
                statuses.append((await self.answer())[0])
            except Gone:
                assert not self.buffer, self.buffer
                return statuses

    async def _fill(self, size: int = 65536) -> None:
        async with asyncio.timeout(PATIENCE):
            try:
                data = await asyncio.get_running_loop().sock_recv(self.socket, size)
            except ConnectionError:
                data = b""
        if not data:
            raise Gone
        self.buffer += data

    async def _take(self, count: int) -> bytes:
        while len(self.buffer) < count:
            await self._fill(max(65536, count - len(self.buffer)))
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    async def heard(self) -> None:
        """Wait until the server has taken a turn since this was called, and read what came."""
        await self.send(frame(PING, b"turn"))
        assert await self.frame() == (PONG, b"turn")

    @property
    def is_held(self) -> bool:
        """Whether the server still has the connection, be it that it sends nothing any more."""
        ours = f":{self.socket.getsockname()[1]:04X}"
        # One that no process has is none's.
        return any(row[9] != "0" for row in rows(f":{self.port:04X}", ours))

    async def taken(self, patience: float = PATIENCE) -> None:
        """Wait until the server has read everything that was sent."""
        ours = f":{self.socket.getsockname()[1]:04X}"
        theirs = f":{self.port:04X}"
        async with asyncio.timeout(patience):
            while queues(ours, theirs)[0] or queues(theirs, ours)[1]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def frame(self) -> tuple[int, bytes]:
        """Opcode and payload of the next frame. Gone: there is none."""
        first, length = await self._take(2)
        if length == 126:
            length = int.from_bytes(await self._take(2), "big")
        elif length == 127:
            length = int.from_bytes(await self._take(8), "big")
        assert first & 0x80, "a server's frames are whole"
        return first & 0x0F, await self._take(length)

    async def rest(self) -> tuple[list[tuple[int, bytes]], int | None]:
        """The frames up to the end, and the code of the close frame; None: there was none."""
        frames = []
        while True:
            try:
                opcode, payload = await self.frame()
            except Gone:
                return frames, None
            if opcode == CLOSE:
                return frames, int.from_bytes(payload[:2], "big")
            frames.append((opcode, payload))

    async def ended(self) -> int | None:
        """The code that the connection ends with; None: without one."""
        return (await self.rest())[1]
