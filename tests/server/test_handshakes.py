"""Handshakes of WebSockets at a real server: well formed and not, cut anywhere, among requests."""

import socket
from collections.abc import Callable, Iterator

import pytest

from broadcast.server.handshake import MOST_HEAD, MOST_HEADERS
from tests.rig.doors import ServerDoor, door_of, eventually, undisturbed
from tests.rig.processes import ServerProcess
from tests.rig.raw import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Gone,
    RawSocket,
    close_payload,
    frame,
    handshake,
)

OPENING = handshake("/ws/listener/demo/", "broadcast.v1")
GET = b"GET /healthz?live HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def door(servers: Callable[[str], ServerProcess]) -> Iterator[ServerDoor]:
    yield from door_of(servers("broadcast"))


def with_(*lines: bytes, before: bytes = b"\r\n\r\n") -> bytes:
    return OPENING.replace(before, b"".join(b"\r\n" + line for line in lines) + before, 1)


def without(name: bytes) -> bytes:
    lines = OPENING.split(b"\r\n")
    return b"\r\n".join(line for line in lines if not line.startswith(name + b":"))


def changed(old: bytes, new: bytes) -> bytes:
    assert old in OPENING
    return OPENING.replace(old, new, 1)


KEY = next(line for line in OPENING.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key"))

#: Handshakes that are none, and the status of the one answer.
WRONG: dict[str, tuple[bytes, int]] = {
    "no host": (without(b"Host"), 400),
    "two hosts": (with_(b"Host: elsewhere"), 400),
    "no connection": (without(b"Connection"), 400),
    "another connection": (changed(b"Connection: Upgrade", b"Connection: keep-alive"), 400),
    "another protocol, too": (changed(b"e: websocket", b"e: notwebsocket"), 400),
    "no key": (without(b"Sec-WebSocket-Key"), 400),
    "two keys": (with_(KEY), 400),
    "an empty key": (changed(KEY, b"Sec-WebSocket-Key:"), 400),
    "a short key": (changed(KEY, b"Sec-WebSocket-Key: AAAA"), 400),
    "a key of other characters": (changed(KEY, KEY[:-3] + b"!=="), 400),
    "two keys in one": (changed(KEY, KEY + b", " + KEY[19:]), 400),
    "no version": (without(b"Sec-WebSocket-Version"), 426),
    "an old version": (changed(b": 13", b": 8"), 426),
    "two versions": (with_(b"Sec-WebSocket-Version: 13"), 400),
    "versions in a list": (changed(b": 13", b": 13, 8"), 426),
    "two origins": (with_(b"Origin: http://a", b"Origin: http://b"), 400),
    "a protocol that is none": (with_(b"Sec-WebSocket-Protocol: a b"), 400),
    "an empty protocol": (with_(b"Sec-WebSocket-Protocol: a,,b"), 400),
    "a protocol twice": (with_(b"Sec-WebSocket-Protocol: broadcast.v1"), 400),
    "a protocol of other bytes": (with_(b"Sec-WebSocket-Protocol: \xff"), 400),
    "extensions of other bytes": (with_(b"Sec-WebSocket-Extensions: \xff"), 400),
    "a body": (with_(b"Content-Length: 5") + b"hello", 400),
    "chunks": (with_(b"Transfer-Encoding: chunked") + b"0\r\n\r\n", 400),
    "another method": (changed(b"GET", b"POST"), 405),
    "HTTP/1.0": (changed(b"HTTP/1.1", b"HTTP/1.0"), 505),
    "HTTP/2.0": (changed(b"HTTP/1.1", b"HTTP/2.0"), 505),
    "no version of HTTP": (changed(b" HTTP/1.1", b""), 505),
    "an absolute target": (changed(b"GET /ws", b"GET http://localhost/ws"), 400),
    "a fragment": (changed(b"/demo/", b"/demo/#x"), 400),
    "a target of any bytes": (changed(b"demo", b"\xff"), 400),
    "a space in the target": (changed(b"demo", b"de mo"), 505),
    "a folded header": (changed(b"Upgrade: websocket", b"Upgrade:\r\n websocket"), 400),
    "a fold behind it": (with_(b"X: y", b"\tz"), 400),
    "a space before a colon": (changed(b"Upgrade:", b"Upgrade :"), 400),
    "a line that is no header": (with_(b"hello"), 400),
    "a header without a name": (with_(b": x"), 400),
    "a name of other bytes": (with_(b"\xff: x"), 400),
    "a NUL": (with_(b"X: \0"), 400),
    "a DEL": (with_(b"X: \x7f"), 400),
    "a lone line feed": (with_(b"X: y\nUpgrade: websocket"), 400),
    "a lone return": (with_(b"X: y\rZ: z"), 400),
    "a return before the end": (changed(b"\r\n\r\n", b"\r\r\n\r\n"), 400),
    "too many headers": (with_(*[b"X: y"] * MOST_HEADERS), 431),
    "a header too large": (with_(b"X: " + b"y" * MOST_HEAD), 431),
    "a target too long": (changed(b"demo", b"x" * MOST_HEAD), 431),
    "a cookie without an end": (with_(b"Cookie: " + b"y" * 10 * MOST_HEAD)[:-4], 431),
}

#: Unusual ones that are well formed, and are taken.
RIGHT: dict[str, bytes] = {
    "names in any case": changed(b"Upgrade:", b"uPGRADE:").replace(b"Sec-W", b"sEC-w"),
    "no spaces": OPENING.replace(b": ", b":"),
    "many spaces": OPENING.replace(b": ", b":  \t ").replace(b"Upgrade\r\n", b"Upgrade \t\r\n"),
    "several connections": changed(b"Connection: Upgrade", b"Connection: keep-alive, uPGRADE"),
    "two headers Connection": with_(b"Connection: keep-alive"),
    "another protocol, too": with_(b"Upgrade: h2c"),
    "two headers of protocols": with_(b"Sec-WebSocket-Protocol: another"),
    "no body": with_(b"Content-Length: 0"),
    "bytes in values": with_(b"X: \xff\x80"),
    "empty values": with_(b"X:", b"Y: "),
    "extensions that nobody knows": with_(b"Sec-WebSocket-Extensions: x-unknown; a=b, y"),
    "as many headers as may be": with_(*[b"X: y"] * (MOST_HEADERS - OPENING.count(b"\r\n") + 1)),
    "as long as may be": with_(b"X: " + b"y" * (MOST_HEAD - len(OPENING) - 1)),
}


@pytest.mark.parametrize(("data", "status"), WRONG.values(), ids=WRONG.keys())
async def test_a_handshake_that_is_none_is_refused_once(
    door: ServerDoor, data: bytes, status: int
) -> None:
    # What is behind it is dropped, be it a request or a frame.
    data += GET
    for size in (len(data), 100, 1):
        if size > 1 or len(data) < 1000:
            async with undisturbed(door), door.raw() as raw:
                await raw.try_send_in_parts(data, size)
                assert await raw.answers() == [status], f"in parts of {size}"


@pytest.mark.parametrize("data", RIGHT.values(), ids=RIGHT.keys())
async def test_a_handshake_that_is_unusual_is_taken(door: ServerDoor, data: bytes) -> None:
    for size in (len(data), 100, 1):
        if size > 1 or len(data) < 1000:
            async with door.raw() as raw:
                await raw.try_send_in_parts(data, size)
                assert (await raw.head()).startswith(b"HTTP/1.1 101 ")
                assert (await raw.frame())[1].startswith(b'{"event":"joined"')


async def test_a_refusal_says_why_and_of_a_version_which(door: ServerDoor) -> None:
    async with door.raw() as raw:
        await raw.send(WRONG["an old version"][0])
        head = await raw.head()
        assert b"\r\nSec-WebSocket-Version: 13" in head and b"\r\nConnection: close" in head
    async with door.raw() as raw:
        await raw.send(WRONG["no host"][0])
        assert await raw.answer() == (400, b'{"error": "the handshake has no host"}')


async def test_a_client_may_go_after_each_byte_of_a_handshake(door: ServerDoor) -> None:
    async with undisturbed(door):
        for cut in range(len(OPENING) + 1):
            async with door.raw() as raw:
                await raw.send(OPENING[:cut])
                if cut % 2:
                    raw.cut()
    await door.until_listeners("demo", 0)


#: Each kind of frame, with each kind of length.
FRAMES = {
    "text": frame(TEXT, b"abc"),
    "medium": frame(BINARY, b"x" * 200),
    "large": frame(BINARY, b"x" * 70_000),
    "fragments": frame(TEXT, b"ab", fin=False) + frame(CONTINUATION, b"c"),
    "ping": frame(PING, b"abc"),
    "pong": frame(PONG, b"abc"),
    "close": frame(CLOSE, close_payload(1000, "bye")),
}


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("path", ["listener", "streamer"])
async def test_a_client_may_go_in_the_middle_of_each_kind_of_frame(
    door: ServerDoor, path: str, name: str
) -> None:
    slug, data = await door.stream(), FRAMES[name]
    cuts = [*range(min(len(data), 20)), len(data) - 1, len(data)]
    async with undisturbed(door):
        for cut in cuts:
            for leave in (RawSocket.cut, lambda raw: raw.socket.close()):
                async with door.raw() as raw:
                    await raw.open(f"/ws/{path}/{slug}/", "broadcast.v1")
                    await raw.send(data[:cut])
                    leave(raw)
    await door.until_listeners(slug, 0)
    # Of a connection that is reset the server may not come to read the whole frame.
    found = (await door.describe(slug))["position"]["offset"]
    most = {"text": 0, "ping": 0, "pong": 0, "close": 0, "fragments": 0}.get(name, 2)
    assert found <= (most if path == "streamer" else 0)


async def test_a_client_may_end_its_side_at_once(door: ServerDoor) -> None:
    for data in (b"", OPENING[:50], OPENING, OPENING + frame(TEXT, b'{"event":"ping"}')):
        async with undisturbed(door), door.raw() as raw:
            await raw.send(data)
            raw.socket.shutdown(socket.SHUT_WR)
            with pytest.raises(Gone):
                while True:
                    await raw.head()

            async def is_gone(raw: RawSocket = raw) -> bool:
                return not raw.is_held

            await eventually(is_gone)


# -- among requests, as a proxy sends them that keeps its connections ------------------------------


async def joined(raw: RawSocket) -> None:
    assert (await raw.head()).startswith(b"HTTP/1.1 101 ")
    assert (await raw.frame())[1].startswith(b'{"event":"joined"')
    await raw.send(frame(PING, b"x"))
    assert await raw.frame() == (PONG, b"x")
    await raw.send(frame(CLOSE, close_payload(1000)))
    assert await raw.ended() == 1000


async def test_a_handshake_may_follow_requests_on_a_connection(door: ServerDoor) -> None:
    posted = b"POST /api/streams/%b/publications/ HTTP/1.1\r\nHost: localhost\r\n%b\r\n\r\n%b"
    slug = (await door.stream()).encode()
    before = {
        GET: 200,
        posted % (slug, b"Content-Length: 1", b"x"): 201,
        posted % (slug, b"Transfer-Encoding: chunked", b"1\r\nx\r\n0\r\n\r\n"): 201,
        GET.replace(b"/healthz?live", b"/nowhere/"): 404,
    }
    async with door.raw() as raw:
        for data, status in before.items():
            await raw.send(data)
            assert (await raw.answer())[0] == status
        await raw.send(OPENING)
        await joined(raw)


@pytest.mark.parametrize("cut", [0, 1, 100, len(OPENING) - 1])
async def test_a_handshake_may_come_before_the_answer_to_the_request_before(
    door: ServerDoor, cut: int
) -> None:
    async with door.raw() as raw:
        await raw.send(GET * 3 + OPENING[:cut])
        await raw.send(OPENING[cut:])
        for _ in range(3):
            assert (await raw.answer())[0] == 200
        await joined(raw)


async def test_a_handshake_behind_a_last_request_is_not_heard(door: ServerDoor) -> None:
    async with door.raw() as raw:
        await raw.try_send(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + OPENING)
        assert await raw.answers() == [200]


async def test_a_refused_handshake_is_the_last_request(door: ServerDoor) -> None:
    async with door.raw() as raw:
        await raw.send(GET)
        assert (await raw.answer())[0] == 200
        await raw.try_send(WRONG["no key"][0] + GET)
        assert await raw.answers() == [400]


@pytest.mark.parametrize("path", ["/ws/nowhere/", "/nowhere/", "/api/streams/demo/"])
async def test_a_handshake_to_no_socket_is_refused(door: ServerDoor, path: str) -> None:
    async with undisturbed(door), door.raw() as raw:
        await raw.try_send(handshake(path) + frame(TEXT, b"x") + GET)
        assert await raw.answers() == [403]


async def test_what_comes_with_the_handshake_is_heard_in_its_order(door: ServerDoor) -> None:
    early = b"".join(frame(PING, b"%d" % n) + frame(PONG) for n in range(1000))
    async with door.raw() as raw:
        await raw.send(OPENING + early + frame(PING, b"last") + frame(CLOSE, close_payload(1001)))
        assert (await raw.head()).startswith(b"HTTP/1.1 101 ")
        said, code = await raw.rest()
    pongs = [int(payload) for opcode, payload in said if opcode == PONG]
    assert pongs == sorted(pongs) and code == 1001
