"""Connections of our server from their accept on: `Connection`, `RequestReader` and `Channel`."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest
from pytest_django.fixtures import Settings
from twisted.web.http import Request

from broadcast.access import limits
from broadcast.access.limits import get_limits
from broadcast.conf import conf
from broadcast.server.channel import Channel
from broadcast.server.connection import LINGER_SECONDS, Connection
from broadcast.server.handshake import MOST_HEAD
from broadcast.server.reader import REFUSED_SECONDS
from broadcast.server.request import HTTPRequest
from broadcast.server.server import Server
from broadcast.server.websocket import WebSocket
from tests.rig.clock import clock, in_clock_loop
from tests.rig.open_sockets import FakeConnection, portless_server
from tests.rig.raw import PING, PONG, frame, handshake

MIB = 2**20
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


# -- bytes in and out, and an end -----------------------------------------------------------------


class Noting:
    """A protocol that notes what it is told."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.lost = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.heard.append(data)

    def resume_writing(self) -> None:
        self.heard.append("space")

    def connection_lost(self) -> None:
        self.heard.append("lost")
        self.lost.set()


class Pair:
    """A connection of the server and the socket of its client."""

    def __init__(self, *ends: socket.socket) -> None:
        self.client, server = ends or socket.socketpair()
        for one in (self.client, server):
            one.setblocking(False)
        counted = limits.accept("192.0.2.1")
        assert counted
        self.protocol = Noting()
        self.connection = Connection(server, ("192.0.2.1", 1), counted)

    def begin(self) -> "Pair":
        self.connection.begin(self.protocol)
        return self

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0)

    async def until_lost(self) -> None:
        async with asyncio.timeout(10):
            await self.protocol.lost.wait()
        await asyncio.sleep(0)
        assert self.protocol.heard.count("lost") == 1
        assert (self.connection.protocol, get_limits().connections) == (None, 0)
        self.client.close()

    async def read(self, size: int) -> bytes:
        data = b""
        async with asyncio.timeout(10):
            while len(data) < size:
                more = await asyncio.get_running_loop().sock_recv(self.client, size - len(data))
                assert more, "the connection ended"
                data += more
        return data

    async def ended(self) -> bool:
        """Whether the server sends nothing more."""
        async with asyncio.timeout(10):
            return await asyncio.get_running_loop().sock_recv(self.client, 1) == b""


async def test_what_is_there_already_is_read_at_once() -> None:
    pair = Pair()
    pair.client.send(b"early")
    assert pair.begin().protocol.heard == [b"early"]
    pair.client.close()
    await pair.until_lost()


async def test_what_its_client_does_not_take_goes_out_later_in_its_order() -> None:
    pair = Pair().begin()
    parts = [bytes((number,)) * MIB for number in range(4)]
    assert [pair.connection.write(part) for part in parts] == [False] * 4
    assert pair.connection.is_pending
    assert await pair.read(4 * MIB) == b"".join(parts)
    await pair.until(lambda: pair.protocol.heard == ["space"])
    assert not pair.connection.is_pending and pair.connection.write(b"more")
    assert await pair.read(4) == b"more"
    pair.connection.abort()
    await pair.until_lost()


async def test_a_close_waits_for_what_is_pending_and_for_its_client() -> None:
    pair = Pair().begin()
    pair.connection.write(bytes(4 * MIB))
    pair.connection.close(100)
    # What is written after a close is dropped, and what is read is not heard.
    assert pair.connection.write(b"too late")
    pair.client.send(b"too late, too")
    assert await pair.read(4 * MIB) == bytes(4 * MIB)
    assert await pair.ended()
    assert pair.protocol.heard == []
    pair.client.close()
    await pair.until_lost()


async def test_who_sends_while_it_is_closed_still_reads_why() -> None:
    pair = Pair().begin()
    pair.connection.write(b"because")
    pair.connection.close(100)
    for _ in range(50):
        pair.client.send(bytes(1000))
        await asyncio.sleep(0)
    assert await pair.read(7) == b"because" and await pair.ended()
    pair.client.close()
    await pair.until_lost()


@pytest.mark.parametrize(
    ("pending", "within", "ends"),
    [(0, 3, 3), (4 * MIB, 7, 7), (0, 30, LINGER_SECONDS)],
    ids=["nothing pending", "something pending", "nothing pending, and much time"],
)
def test_a_close_is_bounded(pending: int, within: float, ends: float) -> None:
    async def close() -> None:
        pair = Pair().begin()
        pair.connection.write(bytes(pending))
        began = clock().time()
        pair.connection.close(within)
        pair.connection.close(1)
        await pair.until_lost()
        assert clock().time() - began == pytest.approx(ends)

    in_clock_loop(close)()


async def test_an_end_is_told_in_a_turn_of_its_own() -> None:
    for end in (Connection.abort, lambda one: one._read()):
        pair = Pair().begin()
        pair.client.close()
        end(pair.connection)
        assert pair.protocol.heard == []
        await pair.until_lost()


async def test_who_is_not_read_does_not_stay_when_it_takes_nothing_either() -> None:
    pair = Pair().begin()
    pair.connection.pause_reading()
    pair.client.close()
    pair.connection.write(b"x")
    await pair.until_lost()


async def test_one_that_is_over_leaves_those_alone_that_come_after_it() -> None:
    over = Pair().begin()
    number = over.connection.socket.fileno()
    client, server = socket.socketpair()
    over.connection.abort()
    # The system gives it the number that is free now.
    with server:
        after = Pair(client, server.dup()).begin()
    assert after.connection.socket.fileno() == number
    for step in (Connection.pause_reading, Connection.resume_reading, Connection.pause_reading):
        step(over.connection)
    over.connection.close(1)
    over.connection.write(b"x")
    after.client.send(b"heard")
    await after.until(lambda: after.protocol.heard == [b"heard"])
    over.client.close()
    after.client.close()
    await after.protocol.lost.wait()


async def test_it_counts_once_whichever_side_ends_it_first() -> None:
    for steps in (
        [Connection.give_up, Connection.abort],
        # Its application hears of its end in the next turn, and may give it up until then.
        [Connection.abort, Connection.give_up],
    ):
        stays, pair = Pair().begin(), Pair().begin()
        for step in steps:
            step(pair.connection)
        await pair.protocol.lost.wait()
        found = get_limits()
        assert (found.connections, found.given_up) == (1, 0)
        assert list(found.households.values()) == [1]
        stays.connection.abort()
        await stays.until_lost()
        pair.client.close()


async def test_a_protocol_that_fails_ends_its_connection_alone(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = Pair().begin()

    def fail(data: bytes) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(pair.protocol, "data_received", fail)
    pair.client.send(b"x")
    await pair.until_lost()
    assert [record.exc_info[1].args for record in caplog.records if record.exc_info] == [  # type: ignore[union-attr]
        ("a fault of ours",)
    ]


# -- requests -------------------------------------------------------------------------------------


class Answered(Request):  # type: ignore[misc]
    def process(self) -> None:
        self.write(self.uri)
        self.finish()


class Later(Request):  # type: ignore[misc]
    """A request that is answered when a test says so."""

    waiting: list["Later"] = []

    def process(self) -> None:
        self.waiting.append(self)

    @classmethod
    def answer(cls) -> None:
        request = cls.waiting.pop()
        request.write(request.uri)
        request.finish()


class Requests:
    """A connection with its reader; `request`: what answers, in place of applications.

    `takes`: whether its client takes answers at once.
    """

    def __init__(self, request: type[Request] = Answered, takes: bool = True) -> None:
        self.connection = FakeConnection(limits.accept("192.0.2.1"))
        self.connection.socket.takes = None if takes else 0
        self.server = portless_server(1000)
        self.server.make_channel = self._make_channel  # type: ignore[method-assign]
        self.request = request
        self.reader = self.server.read_requests(self.connection)  # type: ignore[arg-type]
        self.reader.begin()

    def _make_channel(self) -> Channel:
        channel = Server.make_channel(self.server)
        channel.requestFactory = self.request
        return channel

    def feed(self, data: bytes) -> None:
        self.connection.protocol.data_received(data)

    @property
    def left(self) -> float | None:
        """Seconds until the reader closes the connection; None: it does not."""
        late = self.reader.late
        return late.when() - asyncio.get_running_loop().time() if late else None

    @property
    def said(self) -> bytes:
        return bytes(self.connection.socket.sent)

    def lose(self) -> None:
        channel = self.reader.channel
        self.connection.lose()
        limits.end(self.connection.counted)
        assert (self.reader.late, get_limits().connections) == (None, 0)
        assert not channel or channel.late is None


async def test_a_request_waits_until_its_client_took_the_answer_before() -> None:
    requests = Requests(takes=False)
    requests.feed(b"".join(GET.replace(b"/ ", b"/%d " % number) for number in range(5)))
    for number in range(5):
        said = requests.connection.take(more=False)
        assert said.count(b"HTTP/1.1 200") == 1 and b"/%d\r\n" % number in said, said
    assert requests.connection.take(more=False) == b""
    requests.lose()


async def test_who_takes_no_answer_and_goes_leaves_nothing_behind() -> None:
    lost: list[str] = []

    class Told(Answered):
        def connectionLost(self, reason: Any) -> None:
            lost.append("told")

    requests = Requests(Told, takes=False)
    requests.feed(GET * 5)
    requests.lose()
    # It was answered, and is no request any more.
    assert requests.reader.channel and (lost, requests.reader.channel.requests) == ([], [])


@pytest.mark.parametrize("body", [b"Content-Length: 10", b"Transfer-Encoding: chunked"])
async def test_one_too_many_has_no_time_for_a_body(settings: Settings, body: bytes) -> None:
    settings.BROADCAST_MAX_CONNECTIONS = 0
    requests = Requests(HTTPRequest)
    assert requests.left == pytest.approx(REFUSED_SECONDS, abs=1)
    requests.feed(b"POST / HTTP/1.1\r\nHost: localhost\r\n" + body + b"\r\n\r\n")
    assert requests.said.startswith(b"HTTP/1.1 429 ")
    assert requests.connection.is_closing and requests.connection.within == LINGER_SECONDS
    requests.lose()


@pytest.mark.parametrize("cut", [1, len(GET) // 2, len(GET) - 1])
@pytest.mark.parametrize("request_", [Answered, Later])
async def test_the_rest_of_a_head_has_its_time_wherever_it_was_cut(
    request_: type[Request], cut: int
) -> None:
    requests = Requests(request_)
    assert requests.left == pytest.approx(conf.HEADER_SECONDS, abs=1)
    requests.feed(GET + GET[:cut])
    if request_ is Later:
        assert requests.left is None
        Later.answer()
    assert requests.left == pytest.approx(conf.HEADER_SECONDS, abs=1)
    requests.feed(GET[cut:])
    if request_ is Later:
        assert requests.left is None
        Later.answer()
    assert requests.said.count(b"HTTP/1.1 200") == 2
    assert requests.left == pytest.approx(conf.IDLE_SECONDS, abs=1)
    requests.lose()


@pytest.mark.parametrize("line", [b"a: b\r\n", b"a" * 100 + b": b\r\n", b"a"])
async def test_a_head_too_long_is_refused_and_not_waited_for(line: bytes) -> None:
    requests = Requests()
    requests.feed(b"GET / HTTP/1.1\r\n")
    for _ in range(MOST_HEAD // len(line)):
        requests.feed(line)
    assert requests.said.startswith(b"HTTP/1.1 431 ")
    assert requests.connection.is_closing and requests.connection.within == LINGER_SECONDS
    requests.lose()


# -- a handshake among them ------------------------------------------------------------------------


@pytest.mark.parametrize("before", [b"", GET, GET * 3])
@pytest.mark.parametrize("request_", [Answered, Later])
@pytest.mark.parametrize("cut", [0, 10, None])
async def test_a_handshake_is_taken_whatever_was_asked_before(
    before: bytes, request_: type[Request], cut: int | None
) -> None:
    requests = Requests(request_)
    shake = handshake("/") if cut is None else handshake("/")[:cut]
    rest = frame(PING, b"x") if cut is None else handshake("/")[cut:] + frame(PING, b"x")
    data = before + shake
    requests.feed(data)
    if request_ is Later:
        for _ in range(before.count(GET)):
            Later.answer()
    requests.feed(rest)
    socket_ = requests.connection.protocol
    assert isinstance(socket_, WebSocket) and requests.reader.late is None
    assert requests.said.count(b"HTTP/1.1 200") == before.count(GET)
    await socket_.send({"type": "websocket.accept"})
    await requests.connection.turns()
    assert requests.said.endswith(frame(PONG, b"x", masked=False))
