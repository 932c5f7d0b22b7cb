"""Requests that two servers might cut differently: here nothing hidden in one of them is done."""

from collections.abc import Callable, Iterator

import pytest

from tests.rig.doors import ServerDoor, door_of, undisturbed
from tests.rig.processes import ServerProcess
from tests.rig.raw import handshake

GET = b"GET /healthz?live HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
PATH = b"/api/streams/SLUG/publications/?PADDING"
#: What must not be done: it would be published.
HIDDEN = b"POST " + PATH + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\n\r\nhidden"
UPGRADE = handshake("/ws/listener/SLUG/?PADDING")


def post(*headers: bytes, body: bytes = b"", version: bytes = b"1.1") -> bytes:
    lines = [b"POST " + PATH + b" HTTP/" + version, b"Host: localhost", *headers]
    return b"\r\n".join([*lines, b"", body])


def chunked(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


TE = b"Transfer-Encoding: chunked"
CL = b"Content-Length: %d" % len(HIDDEN)
#: The body ends here for who goes by its chunks.
NO_CHUNKS = b"0\r\n\r\n" + HIDDEN

#: What is sent before `LAST`, and the statuses of all answers up to the end.
REFUSED = [400]
WAYS: dict[str, tuple[bytes, list[int]]] = {
    "length and chunks": (post(CL, TE, body=NO_CHUNKS), REFUSED),
    "chunks and length": (post(TE, CL, body=NO_CHUNKS), REFUSED),
    "two lengths": (post(b"Content-Length: 0", CL, body=HIDDEN), REFUSED),
    "two equal lengths": (post(CL, CL, body=HIDDEN), REFUSED),
    "a list of lengths": (post(b"Content-Length: 0, 0", body=HIDDEN), REFUSED),
    "a length with a sign": (post(b"Content-Length: +0", body=HIDDEN), REFUSED),
    "a negative length": (post(b"Content-Length: -1", body=HIDDEN), REFUSED),
    "a length in hexadecimal": (post(b"Content-Length: 0x0", body=HIDDEN), REFUSED),
    "a length with an underscore": (post(b"Content-Length: 0_0", body=HIDDEN), REFUSED),
    "no length in its header": (post(b"Content-Length:", body=HIDDEN), REFUSED),
    "a length before a space": (post(b"Content-Length : 0", body=HIDDEN), REFUSED),
    "an unknown coding": (post(b"Transfer-Encoding: xchunked", body=NO_CHUNKS), REFUSED),
    "two codings": (post(b"Transfer-Encoding: gzip, chunked", body=NO_CHUNKS), REFUSED),
    "identity, then chunks": (post(b"Transfer-Encoding: identity, chunked"), REFUSED),
    "chunks in quotes": (post(b'Transfer-Encoding: "chunked"', body=NO_CHUNKS), REFUSED),
    "chunks twice": (post(TE, TE, body=NO_CHUNKS), REFUSED),
    "chunks behind a vertical tab": (post(b"Transfer-Encoding: \x0bchunked"), REFUSED),
    "chunks before a space": (post(b"Transfer-Encoding : chunked", body=NO_CHUNKS), REFUSED),
    "chunks before a tab": (post(b"Transfer-Encoding\t: chunked", body=NO_CHUNKS), REFUSED),
    "chunks behind a fold": (post(b"Transfer-Encoding:\r\n chunked", body=NO_CHUNKS), REFUSED),
    "a fold with a tab": (post(b"X: y\r\n\tContent-Length: 5", body=HIDDEN), REFUSED),
    "a fold before the first header": (
        b"POST / HTTP/1.1\r\n Content-Length: 0\r\nHost: localhost\r\n\r\n" + HIDDEN,
        REFUSED,
    ),
    "a length behind a lone line feed": (post(b"X: y\nContent-Length: 0", body=HIDDEN), REFUSED),
    "a length behind a lone return": (post(b"X: y\rContent-Length: 0", body=HIDDEN), REFUSED),
    "line feeds alone": (post(b"Content-Length: 0").replace(b"\r", b"") + HIDDEN, REFUSED),
    "a NUL in a name": (post(b"Content-Length\0: 0", body=HIDDEN), REFUSED),
    "a NUL in a value": (post(b"X: \0", b"Content-Length: 0", body=HIDDEN), REFUSED),
    "a NUL in the target": (b"GET /\0 HTTP/1.1\r\nHost: localhost\r\n\r\n" + HIDDEN, REFUSED),
    "a line without a colon": (post(b"Content-Length 0", body=HIDDEN), REFUSED),
    "a header without a name": (post(b": 0", body=HIDDEN), REFUSED),
    "a space more in the first line": (GET.replace(b" HTTP", b"  HTTP") + HIDDEN, REFUSED),
    "a tab in the first line": (GET.replace(b" HTTP", b"\tHTTP") + HIDDEN, REFUSED),
    "a version that is none": (GET.replace(b"1.1", b"1.10") + HIDDEN, REFUSED),
    "no version": (GET.replace(b" HTTP/1.1", b"") + HIDDEN, REFUSED),
    "a method of two words": (b"A" + GET[3:].replace(b" /", b" B /") + HIDDEN, REFUSED),
    "two hosts": (GET.replace(b"\r\n\r\n", b"\r\nHost: elsewhere\r\n\r\n"), [400, 200]),
    # Chunks that are none.
    "a chunk with a sign": (post(TE, body=b"+0\r\n\r\n" + HIDDEN), REFUSED),
    "a chunk in C's hexadecimal": (post(TE, body=b"0x0\r\n\r\n" + HIDDEN), REFUSED),
    "a chunk with an underscore": (post(TE, body=b"0_0\r\n\r\n" + HIDDEN), REFUSED),
    "a chunk with a space": (post(TE, body=b" 0\r\n\r\n" + HIDDEN), REFUSED),
    "a chunk without a size": (post(TE, body=b"\r\n\r\n" + HIDDEN), REFUSED),
    "a chunk that goes on": (post(TE, body=b"1\r\nxx\r\n0\r\n\r\n" + HIDDEN), REFUSED),
    "a chunk's extension with a line feed": (
        post(TE, body=b"1;\nx\r\n0\r\n\r\n0\r\n\r\n" + HIDDEN),
        REFUSED,
    ),
    "chunks with line feeds": (post(TE, body=b"0\n\n" + HIDDEN), REFUSED),
    # All of it is the body: one publication, and not another request.
    "all of it in a chunk": (post(TE, body=chunked(HIDDEN)), [201, 200]),
    "an extension of a chunk": (
        post(TE, body=b"1;a=b;c\r\nx\r\n0;d\r\nContent-Length: 9\r\n\r\n"),
        [201, 200],
    ),
    "all of it within the length": (post(CL, body=HIDDEN), [201, 200]),
    "a handshake within the length": (
        post(b"Content-Length: %d" % len(UPGRADE), body=UPGRADE),
        [201, 200],
    ),
    # Well-formed requests, one behind the other, are as many as there are.
    "two requests": (GET + GET, [200, 200, 200]),
    "a request behind a body": (post(b"Content-Length: 1", body=b"x" + GET), [201, 200, 200]),
    "a request behind chunks": (post(TE, body=chunked(b"x") + GET), [201, 200, 200]),
    "the end of HTTP/1.0": (post(b"Content-Length: 1", body=b"x", version=b"1.0") + GET, [201]),
    "chunks of HTTP/1.0": (post(TE, body=chunked(b"x"), version=b"1.0") + GET, [201]),
    "a last request": (LAST + HIDDEN, [200]),
    # Targets of other forms lead nowhere.
    "an absolute target": (GET.replace(b"/healthz", b"http://elsewhere/healthz"), [404, 200]),
    "an authority": (GET.replace(b"GET /healthz?live", b"CONNECT elsewhere:80"), [404, 200]),
    "an asterisk": (GET.replace(b"GET /healthz?live", b"OPTIONS *"), [404, 200]),
}


@pytest.fixture
def door(servers: Callable[[str], ServerProcess]) -> Iterator[ServerDoor]:
    yield from door_of(servers("broadcast"))


def on(slug: str, data: bytes) -> bytes:
    """`data` as long as before, with this slug."""
    return data.replace(b"SLUG", slug.encode()).replace(b"PADDING", b"x" * (11 - len(slug)))


@pytest.mark.parametrize(("data", "statuses"), WAYS.values(), ids=WAYS.keys())
async def test_nothing_is_hidden_in_a_request(
    door: ServerDoor, data: bytes, statuses: list[int]
) -> None:
    slug = await door.stream()
    data = on(slug, data) + LAST
    for size in (len(data), 7, 1):
        async with undisturbed(door), door.raw() as raw:
            await raw.try_send_in_parts(data, size)
            assert await raw.answers() == statuses, f"in parts of {size}"
    published = 3 * statuses.count(201)
    assert (await door.describe(slug))["position"]["offset"] == published
