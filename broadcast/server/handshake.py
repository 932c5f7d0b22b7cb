"""The handshake of a WebSocket as bytes (RFC 6455, section 4.2), without I/O.

`read` takes the head of a request that asks for a WebSocket, `Handshake.answer` makes the answer.
Whatever is wrong with such a head, in its lines too, is refused here, and goes to no other parser:
two of them might understand it differently.
"""

import base64
import binascii
import re
from collections.abc import Iterable
from hashlib import sha1
from http import HTTPStatus
from typing import NamedTuple

from ..http.answers import Refusal, failure

#: Bytes of a request's line and headers, at most; as many as Twisted's HTTP takes.
MOST_HEAD = 16 * 1024
MOST_HEADERS = 100

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

#: What a client is told that speaks another version.
VERSION = {"Sec-WebSocket-Version": "13"}

Header = tuple[bytes, bytes]

#: A header that asks for a WebSocket, wherever it stands; a client may ask for others, too.
ASKS = re.compile(rb"\nupgrade[ \t]*:[^\r\n]*websocket", re.IGNORECASE)
#: Everything that may be in a head: visible characters, spaces, other bytes than ASCII, line ends.
LEGAL = bytes({*b"\t\r\n", *range(0x20, 0x7F), *range(0x80, 0x100)})
#: What the name of a header consists of (RFC 9110, section 5.6.2), and what a target does.
TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
HEADER = re.compile(rb"^([%b]+):[ \t]*([^\r\n]*)(?:\r\n|\Z)" % re.escape(TOKEN), re.MULTILINE)
VISIBLE = bytes(range(0x21, 0x7F))
#: Headers that a handshake has once, or not at all.
SINGLE = frozenset((b"host", b"sec-websocket-key", b"sec-websocket-version", b"origin"))


def asks(head: bytes) -> bool:
    """Whether the head of a request asks for a WebSocket."""
    return ASKS.search(head) is not None


class Handshake(NamedTuple):
    """A client's handshake that is well formed."""

    #: As it was sent, and its query, without the question mark.
    path: bytes
    query: bytes
    #: Names in lower case.
    headers: list[Header]
    key: bytes
    subprotocols: list[str]
    #: The extensions that are offered, as they were sent; "": none.
    extensions: str

    def answer(self, subprotocol: str | None, extensions: str, headers: Iterable[Header]) -> bytes:
        """The answer that accepts it. ValueError: nobody could read that."""
        lines = [*_OPENING, b"Sec-WebSocket-Accept: " + accept(self.key)]
        if subprotocol:
            lines.append(b"Sec-WebSocket-Protocol: " + subprotocol.encode("ascii"))
        if extensions:
            lines.append(b"Sec-WebSocket-Extensions: " + extensions.encode("ascii"))
        lines += [b"%b: %b" % header for header in headers]
        if any(b"\r" in line or b"\n" in line for line in lines):
            raise ValueError("a header has more than one line")
        return b"\r\n".join(lines) + b"\r\n\r\n"


_OPENING = (b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket", b"Connection: Upgrade")


def accept(key: bytes) -> bytes:
    """The answer to a client's key."""
    return base64.b64encode(sha1(key + GUID, usedforsecurity=False).digest())


def refused(refusal: Refusal) -> bytes:
    """The answer that refuses a request. The connection is closed behind it."""
    body: bytes = failure(refusal).content
    lines = [
        f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *(f"{name}: {value}" for name, value in refusal.headers.items()),
    ]
    return "\r\n".join([*lines, "\r\n"]).encode() + body


def read(head: bytes) -> Handshake:
    """Read the head of a request, without the empty line at its end. Refusal: it is none."""
    if head.translate(None, LEGAL):
        raise Refusal(400, "the handshake has characters that no header may have")
    line, _, rest = head.partition(b"\r\n")
    target = _target(line)
    lines = head.count(b"\r\n")
    if lines > MOST_HEADERS:
        raise Refusal(431, f"{MOST_HEADERS} headers are the most")
    found = HEADER.findall(rest)
    if len(found) < lines or head.count(b"\r") + head.count(b"\n") > 2 * lines:
        raise Refusal(400, "a line of the handshake is no header")
    return _handshake(target, [(name.lower(), value.rstrip(b" \t")) for name, value in found])


def _target(line: bytes) -> bytes:
    method, _, rest = line.partition(b" ")
    target, _, version = rest.partition(b" ")
    if version != b"HTTP/1.1":
        raise Refusal(505, "a WebSocket needs HTTP/1.1")
    if method != b"GET":
        raise Refusal(405, "a WebSocket is asked for by GET", Allow="GET")
    if not target.startswith(b"/") or target.translate(None, VISIBLE) or b"#" in target:
        raise Refusal(400, "the path of the handshake is none")
    return target


def _handshake(target: bytes, headers: list[Header]) -> Handshake:
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in found:
            if name in SINGLE:
                raise Refusal(400, f"the handshake has two headers {name.decode()}")
            value = found[name] + b"," + value
        found[name] = value
    _check(found)
    path, _, query = target.partition(b"?")
    return Handshake(
        path,
        query,
        headers,
        _key(found.get(b"sec-websocket-key", b"")),
        _subprotocols(found.get(b"sec-websocket-protocol")),
        _ascii(found.get(b"sec-websocket-extensions", b"")),
    )


def _check(found: dict[bytes, bytes]) -> None:
    if b"host" not in found:
        raise Refusal(400, "the handshake has no host")
    if b"transfer-encoding" in found or found.get(b"content-length", b"0") != b"0":
        raise Refusal(400, "the handshake of a WebSocket has no body")
    if b"websocket" not in _tokens(found[b"upgrade"]):
        raise Refusal(400, "the handshake asks for another protocol")
    if b"upgrade" not in _tokens(found.get(b"connection", b"")):
        raise Refusal(400, "the handshake lacks Connection: Upgrade")
    if found.get(b"sec-websocket-version") != b"13":
        raise Refusal(426, "this server speaks version 13 of WebSocket", **VERSION)


def _tokens(value: bytes) -> list[bytes]:
    return [token.strip(b" \t") for token in value.lower().split(b",")]


def _key(key: bytes) -> bytes:
    try:
        if len(base64.b64decode(key, validate=True)) == 16:
            return key
    except binascii.Error:
        pass
    raise Refusal(400, "the key of the handshake is none")


def _subprotocols(value: bytes | None) -> list[str]:
    if value is None:
        return []
    offered = [one.strip(" \t") for one in _ascii(value).split(",")]
    # More than the characters of a token, which is all that browsers send: tokens may have others.
    if not all(one and not one.encode().translate(None, VISIBLE) for one in offered):
        raise Refusal(400, "a sub-protocol of the handshake is none")
    if len(set(offered)) < len(offered):
        raise Refusal(400, "the handshake offers a sub-protocol twice")
    return offered


def _ascii(value: bytes) -> str:
    try:
        return value.decode("ascii")
    except UnicodeDecodeError:
        raise Refusal(400, "a header of the handshake is not ASCII") from None
