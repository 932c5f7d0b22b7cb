"""Clients that send slowly, take nothing, send too much or come too often: what they cost ends."""

import asyncio
import socket
from collections.abc import Awaitable, Iterator
from contextlib import AsyncExitStack, suppress
from http.client import HTTPConnection

import pytest

from tests.rig.doors import PATIENCE, V1, ServerDoor, door_of, eventually
from tests.rig.events import ServerHearing
from tests.rig.processes import ServerProcess
from tests.rig.raw import RawSocket, handshake
from tests.rig.scrapes import scrape

MIB = 1024 * 1024
#: Seconds for everything that is slow, and bytes of a body.
SLOW, MAX_BODY = 1.2, 200_000


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with little patience, and two threads."""
    times = ("HEADER_SECONDS", "BODY_SECONDS", "IDLE_SECONDS", "SLOW_SECONDS")
    with ServerProcess(
        "broadcast",
        tmp_path_factory.mktemp("slow"),
        DJANGO_SETTINGS_MODULE="tests.settings",
        BROADCAST_MAX_BODY=str(MAX_BODY),
        BROADCAST_MAX_CONNECTIONS_PER_ADDRESS="150",
        BROADCAST_THREADS="2",
        BROADCAST_METRICS_TOKEN="",
        **{f"BROADCAST_{name}": str(SLOW) for name in times},
    ) as process:
        yield process


@pytest.fixture
def door(process: ServerProcess) -> Iterator[ServerDoor]:
    yield from door_of(process)


class Client:
    """A TCP connection from `address` that may be as slow as it likes."""

    def __init__(self, door: ServerDoor, address: str = "127.0.0.1") -> None:
        self.door, self.address = door, address

    async def __aenter__(self) -> "Client":
        self.began = asyncio.get_running_loop().time()
        self.socket = socket.socket()
        # So that little is taken from a server for who does not read.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.bind((self.address, 0))
        self.socket.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(self.socket, ("127.0.0.1", self.door.process.port))
        self.reader, self.writer = await asyncio.open_connection(sock=self.socket, limit=1024)
        return self

    async def __aexit__(self, *error: object) -> None:
        self.writer.transport.abort()

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        with suppress(ConnectionError):
            await self.writer.drain()

    async def drip(self, data: bytes) -> None:
        """Send it, a byte at a time, until it is gone or the other side is."""
        for byte in data:
            if self.reader.at_eof() or self.writer.transport.is_closing():
                return
            await self.send(bytes((byte,)))
            await asyncio.sleep(0.1)

    async def rest(self, until: bytes = b"\0") -> bytes:
        """All that the server still says, to its end of the connection or to `until`."""
        said = bytearray()
        async with asyncio.timeout(PATIENCE):
            with suppress(ConnectionError):
                while until not in said and (data := await self.reader.read(65536)):
                    said += data
        return bytes(said)

    async def answer(self) -> ServerHearing:
        hearing = ServerHearing(self.reader, self.writer)
        await hearing.begin(b"")
        return hearing


GET = b"GET /healthz?live HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST %b HTTP/1.1\r\nHost: localhost\r\n%b\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked"


async def lasts(client: Client, talk: Awaitable[None]) -> tuple[float, bytes]:
    """Seconds until the server is done with the connection, and what it said; `talk` meanwhile."""
    talking = asyncio.ensure_future(talk)
    said = await client.rest(until=b"error")
    took = asyncio.get_running_loop().time() - client.began
    talking.cancel()
    return took, said


async def test_times_are_absolute_whatever_comes_meanwhile(door: ServerDoor) -> None:
    slug = await door.stream()
    path = f"/api/streams/{slug}/publications/".encode()
    drip = b"x" * 1000
    ways = {
        "silence": (b"", b""),
        "headers": (b"GET / HTTP/1.1\r\nX: ", drip),
        "line": (b"", b"GET /" + drip),
        "second request": (GET, b"GET /" + drip),
        "keep-alive": (GET, b""),
        "body": (POST % (path, b"Content-Length: 1000"), drip),
        "chunks": (POST % (path, CHUNKED), b"1\r\nx\r\n" * 100),
        "trailers": (POST % (path, CHUNKED), b"0\r\n" + drip),
        "handshake": (handshake("/ws/socket/")[:-4], b"\r\nX-Y: " + drip),
    }

    async def talk(client: Client, begin: bytes, data: bytes) -> None:
        await client.send(begin)
        await client.drip(data)

    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Client(door)) for _ in ways]
        ends = await asyncio.gather(
            *(
                lasts(client, talk(client, *way))
                for client, way in zip(clients, ways.values(), strict=True)
            )
        )
    for name, (took, said) in zip(ways, ends, strict=True):
        assert SLOW * 0.9 < took < PATIENCE / 2, name
        if name in ("body", "chunks", "trailers"):
            assert said.startswith(b"HTTP/1.1 408 Request Timeout\r\n"), name
            assert f'{{"error": "a body comes within {SLOW} seconds"}}'.encode() in said, name
        elif name not in ("second request", "keep-alive"):
            assert said == b"", name


async def test_a_slow_body_that_comes_in_time_is_taken(door: ServerDoor) -> None:
    slug = await door.stream()
    head = POST % (f"/api/streams/{slug}/publications/".encode(), b"Content-Length: 4")
    async with Client(door) as client:
        await client.send(head)
        await client.drip(b"slow")
        assert (await client.answer()).status == 201


@pytest.mark.parametrize("path", ["/", "/rooms/", "/admin/login/", "/nowhere", "/static/x.js"])
async def test_a_body_has_a_limit_at_every_path(door: ServerDoor, path: str) -> None:
    counted = "refusals_total{http,too_large}"
    before = scrape(door.process)[counted]
    for headers, body in (
        (b"Content-Length: %d" % (MAX_BODY + 1), b""),
        (CHUNKED, b"%x\r\n%b\r\n" % (MAX_BODY + 1, b"x" * (MAX_BODY + 1))),
    ):
        async with Client(door) as client:
            await client.send(POST % (path.encode(), headers) + body)
            answer = await client.answer()
            assert (answer.status, answer.headers["connection"]) == (413, "close")
            assert await answer.error() == f"a body has at most {MAX_BODY} bytes here"
    assert scrape(door.process)[counted] - before == 2


async def test_a_handshake_has_no_body(door: ServerDoor) -> None:
    asked = handshake("/ws/socket/")[:-4]
    before = door.process.memory
    for length in (b"Content-Length: 209715200", CHUNKED):
        async with Client(door) as client:
            await client.send(asked + b"\r\n" + length + b"\r\n\r\n")
            flood = asyncio.ensure_future(client.send(b"100000\r\n" + b"x" * (20 * MIB)))
            answer = await client.answer()
            assert (answer.status, answer.headers["connection"]) == (400, "close")
            assert "no body" in await answer.error()
            flood.cancel()
    assert door.process.memory - before < 8 * MIB


def publish_much(door: ServerDoor, slug: str) -> None:
    """A history whose answer is larger than what a kernel keeps for a client."""
    for _ in range(24):
        connection = HTTPConnection("127.0.0.1", door.process.port, timeout=PATIENCE)
        body = b"x" * (MAX_BODY - 100)
        connection.request("POST", f"/api/streams/{slug}/publications/", body)
        assert connection.getresponse().status == 201
        connection.close()


async def test_who_takes_nothing_of_an_answer_holds_nothing_and_is_cut_off(
    door: ServerDoor,
) -> None:
    slug = await door.stream()
    await asyncio.to_thread(publish_much, door, slug)
    ask = f"GET /api/streams/{slug}/publications/ HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    door.process.new_log()
    cut = "refusals_total{http,too_slow}"
    before = scrape(door.process)[cut]

    async def are_cut() -> bool:
        return scrape(door.process)[cut] - before == len(clients)

    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Client(door)) for _ in range(12)]
        for client in clients:
            await client.send(ask)
        # Many more of them than threads, and yet others are served.
        for _ in range(3):
            assert (await door.describe(slug))["live"] is False
        await eventually(are_cut)
        for client in clients:
            assert not (await client.rest()).endswith(b"0\r\n\r\n")
    assert door.process.new_log().count("takes nothing of its answer") == 1


async def open_many(stack: AsyncExitStack, door: ServerDoor, address: str) -> list[RawSocket]:
    """As many sockets as an address may have, each asked for as soon as it is connected."""

    async def open_one() -> RawSocket:
        one = await stack.enter_async_context(door.raw_from(address))
        return await one.open("/ws/socket/")

    return await asyncio.gather(*(open_one() for _ in range(150)))


async def test_connections_too_many_are_told_so_and_then_there_is_room_again(
    door: ServerDoor,
) -> None:
    address = "127.0.0.9"
    async with AsyncExitStack() as stack:
        sockets = await open_many(stack, door, address)
        async with Client(door, address) as client:
            await client.send(GET.replace(b"/healthz?live", b"/rooms/"))
            answer = await client.answer()
            assert (answer.status, answer.headers["connection"]) == (429, "close")
            assert "150 are the most" in await answer.error()
            assert await client.rest() == b""
        async with Client(door, address) as client:
            # Whether the server lives, it says even then.
            await client.send(GET)
            assert (await client.answer()).status == 200
            assert b"live" in await client.rest()
        async with door.raw_from(address) as one_more:
            await one_more.open("/ws/socket/", V1)
            assert await one_more.ended() == 4429
        sockets[0].cut()

        async def has_room() -> bool:
            async with Client(door, address) as client:
                await client.send(GET.replace(b"/healthz?live", b"/rooms/"))
                return (await client.answer()).status == 200

        await eventually(has_room)


async def test_five_hundred_silent_connections_hinder_nobody(door: ServerDoor) -> None:
    slug = await door.stream()
    async with AsyncExitStack() as stack:
        for number in range(500):
            silent = Client(door, f"127.0.1.{number % 5 + 1}")
            await stack.enter_async_context(silent)
            if number % 2:
                # Half of them have closed their half.
                silent.socket.shutdown(socket.SHUT_WR)
        listener, streamer = await door.listener(slug), await door.streamer(slug)
        await streamer.publish("to whom it may concern")
        assert await listener.told() == (1, "to whom it may concern")


async def test_who_is_gone_counts_no_more_however_they_went(door: ServerDoor) -> None:
    address = "127.0.0.8"

    async def come_and_go(said: bytes, hears: bool) -> None:
        async with door.raw_from(address) as one:
            await one.send(said)
            if hears:
                await one.head()
            one.cut()

    open_socket = handshake("/ws/socket/")
    ways = [
        (b"", False),
        (b"GET / HT", False),
        (GET, True),
        (GET, False),
        (open_socket, False),
        (open_socket, True),
        (handshake("/ws/nowhere/"), True),
        (handshake("/", leave_out="Sec-WebSocket-Key"), True),
        (b"nonsense\r\n\r\n", True),
    ]
    for way in ways:
        await asyncio.gather(*(come_and_go(*way) for _ in range(20)))

    async def are_forgotten() -> bool:
        async with AsyncExitStack() as stack:
            sockets = await open_many(stack, door, address)
            last = [one.ended() for one in sockets[-3:]]
            done, waiting = await asyncio.wait(map(asyncio.ensure_future, last), timeout=0.2)
            for one in waiting:
                one.cancel()
            return not done

    await eventually(are_forgotten)
