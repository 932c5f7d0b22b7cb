"""Ways into Broadcast's sockets, all with one face.

A `Door` is a running installation: `ServerDoor` a real process, which websockets' client talks to
over TCP; `InProcessDoor` the ASGI application in the test's own loop. Both give `Socket`s. What
is awaited from them comes within `PATIENCE` seconds, or the test fails.
"""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.request import urlopen

from channels.testing import WebsocketCommunicator
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websocket_connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from broadcast.backends import get_backend
from broadcast.models import Stream
from broadcast.routing import websocket_application
from tests.rig.processes import POOLS, ServerProcess
from tests.rig.raw import RawSocket

#: Seconds within which everything that is awaited must have come, on a busy machine too.
PATIENCE = 30.0
V1 = "broadcast.v1"

Frame = str | bytes


class Closed(Exception):
    """The other side closed the socket."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"closed with {code}: {reason}")
        self.code = code
        self.reason = reason


class Refused(Exception):
    """The handshake was refused with an HTTP status."""

    def __init__(self, status: int) -> None:
        super().__init__(f"refused with {status}")
        self.status = status


class Socket:
    """A client's end of a WebSocket."""

    subprotocol: str | None
    #: The first event of a socket that speaks `broadcast.v1`: `joined` or `ready`.
    first: dict[str, Any]

    async def send(self, frame: Frame) -> None:
        raise NotImplementedError

    async def _receive(self) -> Frame:
        raise NotImplementedError

    async def close(self, code: int = 1000) -> None:
        """Close it as a client does that wants to go."""
        raise NotImplementedError

    async def leave(self) -> None:
        """Go without a word."""
        raise NotImplementedError

    async def receive(self) -> Frame:
        """The next frame. Closed: there is none."""
        async with asyncio.timeout(PATIENCE):
            return await self._receive()

    async def receive_many(self, count: int) -> list[Frame]:
        return [await self.receive() for _ in range(count)]

    async def rest(self) -> tuple[list[Frame], int]:
        """Everything that still comes until the other side closes, and its code."""
        frames = []
        while True:
            try:
                frames.append(await self.receive())
            except Closed as closed:
                return frames, closed.code

    async def closed(self) -> int:
        """The code that the other side closes with, whatever comes before."""
        return (await self.rest())[1]

    async def tell(self, event: str, **fields: Any) -> None:
        await self.send(json.dumps({"event": event, **fields}))

    async def publish(self, data: Any) -> None:
        """Publish through `broadcast.v1`."""
        if isinstance(data, bytes):
            await self.send(data)
        else:
            await self.tell("publication", data=data)

    async def event(self) -> dict[str, Any]:
        """The next frame, which must be an event."""
        frame = await self.receive()
        assert isinstance(frame, str), frame
        said: dict[str, Any] = json.loads(frame)
        return said

    async def until(self, event: str, **fields: Any) -> dict[str, Any]:
        """The next event of this name with these fields; what comes before it is dropped."""
        while True:
            frame = await self.receive()
            said = json.loads(frame) if isinstance(frame, str) else {}
            if said.get("event") == event and fields.items() <= said.items():
                return dict(said)

    async def told(self) -> tuple[Any, ...]:
        """The next frame of `broadcast.v1`: (offset, data) of a publication, else (event, fields).

        `live` and `idle` are left out.
        """
        while True:
            frame = await self.receive()
            if isinstance(frame, bytes):
                return int.from_bytes(frame[:8], "big"), frame[8:]
            said = json.loads(frame)
            name = said.pop("event")
            if name == "publication":
                assert set(said) == {"offset", "data"}, said
                return said["offset"], said["data"]
            if name not in ("live", "idle"):
                return name, said

    async def told_many(self, count: int) -> list[tuple[Any, ...]]:
        return [await self.told() for _ in range(count)]

    async def accepted(self, count: int) -> dict[str, Any]:
        """The event that says that so many publications are in."""
        while True:
            said = await self.until("accepted")
            assert said["accepted"] <= count, said
            if said["accepted"] == count:
                return said


class ServerSocket(Socket):
    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.subprotocol = connection.subprotocol

    async def send(self, frame: Frame) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                await self.connection.send(frame)
        except ConnectionClosed as error:
            raise self._closed(error) from None
        except AttributeError:
            # websockets' client stumbles when the connection ends while it sends.
            raise Closed(self.connection.close_code or 1006) from None

    async def _receive(self) -> Frame:
        try:
            return await self.connection.recv()
        except ConnectionClosed as error:
            raise self._closed(error) from None

    @staticmethod
    def _closed(error: ConnectionClosed) -> Closed:
        if error.rcvd is None:
            return Closed(1006)
        return Closed(error.rcvd.code, error.rcvd.reason)

    async def close(self, code: int = 1000) -> None:
        await self.connection.close(code)

    def cut(self) -> None:
        """Break the connection: no close frame, what was not sent yet is lost."""
        # asyncio fails at the abort of a transport whose socket is closed.
        if self.connection.transport.get_extra_info("socket").fileno() >= 0:
            self.connection.transport.abort()

    async def leave(self) -> None:
        self.cut()
        await self.connection.wait_closed()


class InProcessSocket(Socket):
    def __init__(self, communicator: WebsocketCommunicator, subprotocol: str | None) -> None:
        self.communicator = communicator
        self.subprotocol = subprotocol
        self.over = False

    async def send(self, frame: Frame) -> None:
        key = "text" if isinstance(frame, str) else "bytes"
        await self.communicator.send_input({"type": "websocket.receive", key: frame})

    async def _receive(self) -> Frame:
        message = await self.communicator.receive_output(PATIENCE)
        if message["type"] == "websocket.close":
            await self._disconnect(message["code"])
            raise Closed(message["code"], message.get("reason", ""))
        frame: Frame = message["text"] if "text" in message else message["bytes"]
        return frame

    async def close(self, code: int = 1000) -> None:
        await self._disconnect(code)

    async def leave(self) -> None:
        await self._disconnect(1006)

    async def _disconnect(self, code: int) -> None:
        if not self.over:
            self.over = True
            message = {"type": "websocket.disconnect", "code": code}
            await self.communicator.send_input(message)
            await self.communicator.wait(PATIENCE)


class Door:
    """Where sockets come in."""

    def __init__(self) -> None:
        self.sockets: list[Socket] = []

    async def stream(self, pool: str = "free") -> str:
        """The slug of a stream that no other test uses; `processes.POOLS` says what it is."""
        raise NotImplementedError

    async def listeners(self, slug: str) -> int:
        """How many listeners a stream has."""
        raise NotImplementedError

    async def _open(self, path: str, protocols: list[str], headers: dict[str, str]) -> Socket:
        raise NotImplementedError

    async def connect(
        self, path: str, *protocols: str, headers: dict[str, str] | None = None
    ) -> Socket:
        """Open a socket. Refused: the handshake was."""
        async with asyncio.timeout(PATIENCE):
            socket = await self._open(path, list(protocols), headers or {})
        self.sockets.append(socket)
        return socket

    async def listener(self, slug: str, query: str = "", **options: Any) -> Socket:
        """A listener that speaks `broadcast.v1` and has joined."""
        socket = await self.connect(f"/ws/listener/{slug}/{query}", V1, **options)
        socket.first = await socket.event()
        assert socket.first["event"] == "joined", socket.first
        return socket

    async def streamer(self, slug: str, query: str = "", **options: Any) -> Socket:
        """A streamer that speaks `broadcast.v1` and is ready."""
        socket = await self.connect(f"/ws/streamer/{slug}/{query}", V1, **options)
        socket.first = await socket.event()
        assert socket.first["event"] == "ready", socket.first
        return socket

    async def plain_listener(self, slug: str, query: str = "", **options: Any) -> Socket:
        """A plain listener that has joined: nothing tells it so, but it is counted."""
        before = await self.listeners(slug)
        socket = await self.connect(f"/ws/listener/{slug}/{query}", **options)
        await self.until_listeners(slug, before + 1)
        return socket

    async def plain_streamer(self, slug: str, query: str = "", **options: Any) -> Socket:
        return await self.connect(f"/ws/streamer/{slug}/{query}", **options)

    async def until_listeners(self, slug: str, count: int) -> None:
        await eventually(lambda: self._has_listeners(slug, count))

    async def _has_listeners(self, slug: str, count: int) -> bool:
        return await self.listeners(slug) == count

    async def aclose(self) -> None:
        for socket in self.sockets:
            await socket.leave()


class ServerDoor(Door):
    def __init__(self, process: ServerProcess, address: str = "", port: int = 0) -> None:
        """`address`: whence its sockets come, of this machine; `port`: where a proxy listens."""
        super().__init__()
        self.process = process
        self.local_addr = (address, 0) if address else None
        self.url = f"ws://127.0.0.1:{port}" if port else process.ws

    async def stream(self, pool: str = "free") -> str:
        return self.process.unused_stream(pool)

    async def listeners(self, slug: str) -> int:
        return int((await self.describe(slug))["listeners"])

    async def describe(self, slug: str) -> dict[str, Any]:
        """What the HTTP API says of a stream."""
        said: dict[str, Any] = await asyncio.to_thread(self._get, f"/api/streams/{slug}/")
        return said

    def raw(self, receive_buffer: int = 0) -> RawSocket:
        """A connection that is not open yet."""
        return RawSocket(self.process.port, receive_buffer)

    def raw_from(self, address: str) -> RawSocket:
        """One from another address of this machine."""
        return RawSocket(self.process.port, address=address)

    def _get(self, path: str) -> Any:
        with urlopen(self.process.url + path, timeout=PATIENCE) as response:
            return json.load(response)

    async def _open(
        self,
        path: str,
        protocols: list[str],
        headers: dict[str, str],
    ) -> ServerSocket:
        try:
            connection = await websocket_connect(
                self.url + path,
                subprotocols=protocols or None,  # type: ignore[arg-type]
                additional_headers=headers,
                compression=None,
                max_size=None,
                ping_interval=None,
                proxy=None,
                local_addr=self.local_addr,
            )
        except InvalidStatus as error:
            raise Refused(error.response.status_code) from None
        return ServerSocket(connection)


class InProcessDoor(Door):
    """Needs the fixture `db`."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = itertools.count(1)
        #: Who the sockets are of that are opened from now on; None: whoever their cookie says.
        self.user: Any = None

    async def stream(self, pool: str = "free") -> str:
        slug = f"{pool}-{next(self.numbers)}"
        await Stream.objects.acreate(slug=slug, title=slug, **POOLS[pool])
        return slug

    async def listeners(self, slug: str) -> int:
        return (await get_backend().presence([slug]))[slug].listeners

    async def _open(
        self, path: str, protocols: list[str], headers: dict[str, str]
    ) -> InProcessSocket:
        encoded = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        communicator = WebsocketCommunicator(
            websocket_application, path, headers=encoded, subprotocols=protocols
        )
        if self.user is not None:
            communicator.scope["user"] = self.user
        accepted, outcome = await communicator.connect(PATIENCE)
        if not accepted:
            await communicator.wait(PATIENCE)
            # What an ASGI server makes of a close before the accept.
            raise Refused(403)
        return InProcessSocket(communicator, outcome)


@asynccontextmanager
async def undisturbed(door: Door) -> AsyncIterator[None]:
    """Two sockets of a stream of their own exchange publications meanwhile, and notice nothing."""
    slug = await door.stream()
    listener = await door.listener(slug)
    streamer = await door.streamer(slug)
    done = asyncio.Event()

    async def exchange() -> None:
        offset = 0
        # Once more after the end: what comes then must come, too.
        while True:
            last = done.is_set()
            offset += 1
            await streamer.publish(offset)
            assert await listener.told() == (offset, offset)
            await streamer.accepted(offset)
            if last:
                return
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(exchange())
        yield
        done.set()


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until `condition` holds, which nothing tells of."""
    async with asyncio.timeout(PATIENCE):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def door_of(process: ServerProcess) -> Iterator[ServerDoor]:
    """A way into a process, whose log must be clean afterwards."""
    yield ServerDoor(process)
    process.assert_clean_log()
