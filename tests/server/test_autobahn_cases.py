"""The cases of Autobahn's test suite, by their numbers there, without a network.

Of the suite itself (`wstest -m fuzzingclient`, version 0.8.2) 445 cases of sections 1 to 7, 9, 10,
12.1 and 13 were run against an echo on our server. What differs there is meant so:

* Ten pings that are read together are answered by one pong (2.10, 2.11; RFC 6455, section 5.5.3).
* 4 MiB in fragments of 64, 256 and 1,024 bytes are too many fragments (9.3.1 to 9.4.3): 1008.
* Offers of deflated messages that ask for a smaller window, or for no context, of the server's are
  declined (13.2, 13.3, 13.5, 13.6): its contexts are for all listeners of a stream.
* A violation that is read together with a message ends the connection before the echo of that, and
  text is looked at when its frame is complete ("non-strict": 3.2 to 6.4.4).
"""

import zlib
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from broadcast.server.unusual import MOST_FRAGMENTS
from tests.rig.open_sockets import BareSocket
from tests.rig.raw import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    close_payload,
    frame,
)

MIB = 2**20
HELLO = "Hello-µ@ßöäüàá-UTF-8!!"
KOSME = "\u03ba\u1f79\u03c3\u03bc\u03b5".encode()


class Case(NamedTuple):
    """What comes, in parts of `chop` bytes (0: at once), and what it is."""

    data: bytes
    messages: tuple[str | bytes, ...] = ()
    #: The payload of the last pong.
    pong: bytes | None = None
    #: The code of the server's close; -1: it has none; None: the connection stays open.
    code: int | None = None
    chop: int = 0
    inflates: bool = False


def text(payload: str | bytes, fin: bool = True, rsv: int = 0) -> bytes:
    encoded = payload.encode() if isinstance(payload, str) else payload
    return frame(TEXT, encoded, fin=fin, rsv=rsv)


def goes_on(payload: str | bytes = b"", fin: bool = False) -> bytes:
    encoded = payload.encode() if isinstance(payload, str) else payload
    return frame(CONTINUATION, encoded, fin=fin)


def in_fragments(opcode: int, payload: bytes, size: int, rsv: int = 0) -> bytes:
    parts = [payload[at : at + size] for at in range(0, len(payload), size)]
    frames = [frame(opcode, parts[0], fin=len(parts) == 1, rsv=rsv)]
    frames += [frame(CONTINUATION, part, fin=False) for part in parts[1:-1]]
    if len(parts) > 1:
        frames.append(frame(CONTINUATION, parts[-1]))
    return b"".join(frames)


def framing() -> Iterator[tuple[str, Case]]:
    for number, size in enumerate((0, 125, 126, 127, 128, 65535, 65536), 1):
        yield f"1.1.{number}", Case(text("*" * size), ("*" * size,))
        yield f"1.2.{number}", Case(frame(BINARY, b"\xfe" * size), (b"\xfe" * size,))
    yield "1.1.8", Case(text("*" * 65536), ("*" * 65536,), chop=997)
    yield "1.2.8", Case(frame(BINARY, b"\xfe" * 65536), (b"\xfe" * 65536,), chop=997)


def pings() -> Iterator[tuple[str, Case]]:
    yield "2.1", Case(frame(PING), pong=b"")
    yield "2.2", Case(frame(PING, b"Hello, world!"), pong=b"Hello, world!")
    binary = bytes((0x00, 0xFF, 0xFE, 0xFD, 0xFC, 0xFB, 0x00, 0xFF))
    yield "2.3", Case(frame(PING, binary), pong=binary)
    yield "2.4", Case(frame(PING, b"\xfe" * 125), pong=b"\xfe" * 125)
    yield "2.5", Case(frame(PING, b"\xfe" * 126), code=1002)
    yield "2.6", Case(frame(PING, b"\xfe" * 125), pong=b"\xfe" * 125, chop=1)
    yield "2.7", Case(frame(PONG))
    yield "2.8", Case(frame(PONG, b"unsolicited pong payload"))
    yield "2.9", Case(frame(PONG, b"unsolicited") + frame(PING, b"ping"), pong=b"ping")
    ten = b"".join(frame(PING, b"payload-%d" % number) for number in range(10))
    yield "2.10", Case(ten, pong=b"payload-9")
    yield "2.11", Case(ten, pong=b"payload-9", chop=1)


def reserved() -> Iterator[tuple[str, Case]]:
    small = text("small")
    yield "3.1", Case(text("small", rsv=1), code=1002)
    for rsv, chop in ((2, 0), (3, 1), (4, 1)):
        data = small + text("small", rsv=rsv) + frame(PING)
        yield f"3.{rsv}", Case(data, ("small",), code=1002, chop=chop)
    yield "3.5", Case(frame(BINARY, b"\xff" * 8, rsv=5), code=1002)
    yield "3.6", Case(frame(PING, b"ping", rsv=6), code=1002)
    yield "3.7", Case(frame(CLOSE, rsv=7), code=1002)
    for section, first in ((1, 3), (2, 11)):
        yield f"4.{section}.1", Case(frame(first), code=1002)
        yield f"4.{section}.2", Case(frame(first + 1, b"reserved"), code=1002)
        for number, payload, chop in ((3, b"", 0), (4, b"reserved", 0), (5, b"reserved", 1)):
            data = small + frame(first + number - 1, payload) + frame(PING)
            yield f"4.{section}.{number}", Case(data, ("small",), code=1002, chop=chop)


def fragments() -> Iterator[tuple[str, Case]]:
    a, b = text("fragment1", fin=False), goes_on("fragment2", fin=True)
    whole, ping, nothing = ("fragment1fragment2",), frame(PING, b"ping"), goes_on("none", fin=True)
    yield "5.1", Case(frame(PING, fin=False) + goes_on(fin=True), code=1002)
    yield "5.2", Case(frame(PONG, fin=False) + goes_on(fin=True), code=1002)
    for number, chop in ((3, 0), (4, 1), (5, 2)):
        yield f"5.{number}", Case(a + b, whole, chop=chop)
        yield f"5.{number + 3}", Case(a + ping + b, whole, b"ping", chop=chop)
    for number, chop in ((9, 0), (10, 1), (11, 2)):
        yield f"5.{number}", Case(nothing + text("Hello"), code=1002, chop=chop)
        data = goes_on("none") + text("Hello")
        yield f"5.{number + 3}", Case(data, code=1002, chop=chop)
    yield "5.15", Case(a + b + goes_on("none") + text("Hello"), whole, code=1002)
    yield "5.16", Case((goes_on("none") + text("a", fin=False) + nothing) * 2, code=1002)
    yield "5.17", Case((nothing + text("a", fin=False) + nothing) * 2, code=1002)
    yield "5.18", Case(a + text("fragment2"), code=1002)
    five = text("1", fin=False) + goes_on("2") + frame(PING, b"1")
    five += goes_on("3") + goes_on("4") + frame(PING, b"2") + goes_on("5", fin=True)
    yield "5.19", Case(five, ("12345",), b"2")
    yield "5.20", Case(five, ("12345",), b"2", chop=1)


#: Sections 6.6 and 6.8 to 6.23 of the suite: what is UTF-8, and what only looks like it.
UTF_8 = {
    **{f"6.6.{size}": KOSME[:size] for size in (2, 5, 7, 9, 11)},
    "6.7.1": b"\x00",
    "6.7.2": b"\xc2\x80",
    "6.7.3": b"\xe0\xa0\x80",
    "6.7.4": b"\xf0\x90\x80\x80",
    "6.9.1": b"\x7f",
    "6.9.2": b"\xdf\xbf",
    "6.9.3": b"\xef\xbf\xbf",
    "6.9.4": b"\xf4\x8f\xbf\xbf",
    "6.11.1": b"\xed\x9f\xbf",
    "6.11.2": b"\xee\x80\x80",
    "6.11.3": b"\xef\xbf\xbd",
    "6.11.4": b"\xf4\x8f\xbf\xbf",
    "6.22.1": b"\xef\xbf\xbe",
    "6.22.2": b"\xef\xbf\xbf",
    **{
        f"6.22.{3 + 2 * plane + last}": (0x10000 * (plane + 1) + 0xFFFE + last)
        .to_bytes(4, "big")
        .decode("utf-32-be")
        .encode()
        for plane in range(16)
        for last in range(2)
    },
    "6.23.1": b"\xef\xbf\xbd",
}
NO_UTF_8 = {
    **{f"6.6.{size}": KOSME[:size] for size in (1, 3, 4, 6, 8, 10)},
    "6.8.1": b"\xf8\x88\x80\x80\x80",
    "6.8.2": b"\xfc\x84\x80\x80\x80\x80",
    "6.10.1": b"\xf7\xbf\xbf\xbf",
    "6.10.2": b"\xfb\xbf\xbf\xbf\xbf",
    "6.10.3": b"\xfd\xbf\xbf\xbf\xbf\xbf",
    "6.11.5": b"\xf4\x90\x80\x80",
    "6.12.1": b"\x80",
    "6.12.2": b"\xbf",
    **{f"6.12.{number + 1}": b"\x80\xbf" * (number // 2) + b"\x80" for number in range(2, 8)},
    "6.12.8": bytes(range(0x80, 0xC0)),
    "6.13.1": b"".join(bytes((byte, 0x20)) for byte in range(0xC0, 0xE0)),
    "6.13.2": b"".join(bytes((byte, 0x20)) for byte in range(0xE0, 0xF0)),
    "6.13.3": b"".join(bytes((byte, 0x20)) for byte in range(0xF0, 0xF8)),
    "6.13.4": b"".join(bytes((byte, 0x20)) for byte in range(0xF8, 0xFC)),
    "6.13.5": b"\xfc \xfd ",
    "6.14.1": b"\xc0",
    "6.14.2": b"\xe0\x80",
    "6.14.3": b"\xf0\x80\x80",
    "6.14.4": b"\xf8\x80\x80\x80",
    "6.14.5": b"\xfc\x80\x80\x80\x80",
    "6.14.6": b"\xdf",
    "6.14.7": b"\xef\xbf",
    "6.14.8": b"\xf7\xbf\xbf",
    "6.14.9": b"\xfb\xbf\xbf\xbf",
    "6.14.10": b"\xfd\xbf\xbf\xbf\xbf",
    "6.15.1": b"\xc0\xe0\x80\xf0\x80\x80\xf8\x80\x80\x80\xfc\x80\x80\x80\x80",
    "6.16.1": b"\xfe",
    "6.16.2": b"\xff",
    "6.16.3": b"\xfe\xfe\xff\xff",
    "6.17.1": b"\xc0\xaf",
    "6.17.2": b"\xe0\x80\xaf",
    "6.17.3": b"\xf0\x80\x80\xaf",
    "6.17.4": b"\xf8\x80\x80\x80\xaf",
    "6.17.5": b"\xfc\x80\x80\x80\x80\xaf",
    "6.18.1": b"\xc1\xbf",
    "6.18.2": b"\xe0\x9f\xbf",
    "6.18.3": b"\xf0\x8f\xbf\xbf",
    "6.18.4": b"\xf8\x87\xbf\xbf\xbf",
    "6.18.5": b"\xfc\x83\xbf\xbf\xbf\xbf",
    "6.19.1": b"\xc0\x80",
    "6.19.2": b"\xe0\x80\x80",
    "6.19.3": b"\xf0\x80\x80\x80",
    "6.19.4": b"\xf8\x80\x80\x80\x80",
    "6.19.5": b"\xfc\x80\x80\x80\x80\x80",
    "6.20.1": b"\xed\xa0\x80",
    "6.20.2": b"\xed\xad\xbf",
    "6.20.3": b"\xed\xae\x80",
    "6.20.4": b"\xed\xaf\xbf",
    "6.20.5": b"\xed\xb0\x80",
    "6.20.6": b"\xed\xbe\x80",
    "6.20.7": b"\xed\xbf\xbf",
    "6.21.1": b"\xed\xa0\x80\xed\xb0\x80",
    "6.21.4": b"\xed\xad\xbf\xed\xbf\xbf",
    "6.21.8": b"\xed\xaf\xbf\xed\xbf\xbf",
}
BAD = KOSME + b"\xed\xa0\x80edited"


def utf_8() -> Iterator[tuple[str, Case]]:
    yield "6.1.1", Case(text(""), ("",))
    yield "6.1.2", Case(text("", fin=False) + goes_on() + goes_on(fin=True), ("",))
    middle = text("", fin=False) + goes_on("middle frame payload") + goes_on(fin=True)
    yield "6.1.3", Case(middle, ("middle frame payload",))
    encoded = HELLO.encode()
    yield "6.2.1", Case(text(HELLO), (HELLO,))
    yield "6.2.2", Case(in_fragments(TEXT, encoded, 14), (HELLO,))
    yield "6.2.3", Case(in_fragments(TEXT, encoded, 1), (HELLO,))
    yield "6.2.4", Case(in_fragments(TEXT, KOSME, 1), (KOSME.decode(),))
    yield "6.3.1", Case(text(BAD), code=1007)
    yield "6.3.2", Case(in_fragments(TEXT, BAD, 1), code=1007)
    # It fails at the fragment that is none, and does not wait for the last one.
    late = KOSME + b"\xf4\x90\x80\x80"
    yield "6.4.1", Case(text(KOSME, fin=False) + goes_on(b"\xf4\x90\x80\x80"), code=1007)
    yield "6.4.2", Case(text(late[:-3], fin=False) + goes_on(late[-3:-2]), code=1007)
    for number in range(1, 6):
        parts = in_fragments(TEXT, KOSME, number)
        yield f"6.5.{number}", Case(parts, (KOSME.decode(),), chop=number)
    for name, payload in UTF_8.items():
        yield name, Case(text(payload), (payload.decode(),))
        yield f"{name} in bytes", Case(in_fragments(TEXT, payload, 1), (payload.decode(),))
    for name, payload in NO_UTF_8.items():
        yield name, Case(text(payload), code=1007)
        yield f"{name} in bytes", Case(in_fragments(TEXT, payload, 1), code=1007)


def closes() -> Iterator[tuple[str, Case]]:
    close = frame(CLOSE, close_payload(1000))
    yield "7.1.1", Case(text("Hello") + close, ("Hello",), code=1000)
    yield "7.1.2", Case(close * 2, code=1000)
    yield "7.1.3", Case(close + frame(PING), code=1000)
    yield "7.1.4", Case(close + text("Hello"), code=1000)
    yield "7.1.5", Case(text("a", fin=False) + close + goes_on("b", fin=True), code=1000)
    large = "BAsd7&jh23" * 26 * 1024
    yield "7.1.6", Case(text(large) + close + frame(PING), (large,), code=1000)
    yield "7.3.1", Case(frame(CLOSE), code=-1)
    yield "7.3.2", Case(frame(CLOSE, b"a"), code=1002)
    yield "7.3.3", Case(frame(CLOSE, close_payload(1000)), code=1000)
    yield "7.3.4", Case(frame(CLOSE, close_payload(1000, "Hello World!")), code=1000)
    yield "7.3.5", Case(frame(CLOSE, close_payload(1000, "*" * 123)), code=1000)
    yield "7.3.6", Case(frame(CLOSE, close_payload(1000, "*" * 124)), code=1002)
    yield "7.5.1", Case(frame(CLOSE, close_payload(1000) + BAD), code=1007)
    good = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)
    for number, code in enumerate(good, 1):
        yield f"7.7.{number}", Case(frame(CLOSE, close_payload(code)), code=code)
    for number, code in enumerate((0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999), 1):
        yield f"7.9.{number}", Case(frame(CLOSE, close_payload(code)), code=1002)
    for number, code in enumerate((5000, 65535), 1):
        yield f"7.13.{number}", Case(frame(CLOSE, close_payload(code)), code=1002)


def sizes() -> Iterator[tuple[str, Case]]:
    for number, size in enumerate((MIB // 16, MIB // 4, MIB, 4 * MIB), 1):
        yield f"9.1.{number}", Case(text("*" * size), ("*" * size,))
        yield f"9.2.{number}", Case(frame(BINARY, b"\xfe" * size), (b"\xfe" * size,))
    yield "9.1.5", Case(text("*" * (8 * MIB)), code=1009)
    payload = b"*" * (4 * MIB)
    for number, size in enumerate((64, 256, 1024, 4096, 16384, 65536, 262144, MIB, 4 * MIB), 1):
        is_ours = len(payload) // size <= MOST_FRAGMENTS
        messages = (payload,) if is_ours else ()
        data = in_fragments(BINARY, payload, size)
        yield f"9.4.{number}", Case(data, messages, code=None if is_ours else 1008)
    for number, chop in enumerate((64, 128, 256, 512, 1024, 2048), 1):
        yield f"9.5.{number}", Case(text("*" * MIB), ("*" * MIB,), chop=chop)
    yield "10.1.1", Case(in_fragments(TEXT, b"*" * 65536, 1300), ("*" * 65536,))


def deflated(payload: bytes, bits: int = 15) -> bytes:
    compress = zlib.compressobj(wbits=-bits)
    return (compress.compress(payload) + compress.flush(zlib.Z_SYNC_FLUSH))[:-4]


def deflates() -> Iterator[tuple[str, Case]]:
    words = " ".join(f'{{"event": "price", "value": {number}}}' for number in range(4000))
    for number, size in enumerate((16, 64, 256, 1024, 4096, 8192, 16384, 32768, 65536, MIB), 1):
        payload = words[:size]
        packed = deflated(payload.encode())
        whole = frame(TEXT, packed, rsv=4)
        yield f"12.1.{number}", Case(whole * 3, (payload,) * 3, inflates=True)
        split = in_fragments(TEXT, packed, 256, rsv=4) * 3
        yield f"12.1.{number} in fragments", Case(split, (payload,) * 3, inflates=True)
        small = frame(TEXT, deflated(payload.encode(), 9), rsv=4)
        yield f"13.2.{number}", Case(small + text(payload), (payload,) * 2, inflates=True)
    plain = Case(frame(TEXT, deflated(b"x"), rsv=4), code=1002)
    yield "not agreed on", plain
    yield "a control frame", Case(frame(PING, deflated(b"x"), rsv=4), code=1002, inflates=True)
    in_the_middle = frame(TEXT, b"x", fin=False) + frame(CONTINUATION, b"x", rsv=4)
    yield "a continuation", Case(in_the_middle, code=1002, inflates=True)
    yield "nonsense", Case(frame(TEXT, b"\xff\xff", rsv=4), code=1002, inflates=True)
    bomb = frame(BINARY, deflated(bytes(5 * MIB)), rsv=4)
    yield "a bomb", Case(bomb, code=1009, inflates=True)
    bad = frame(TEXT, deflated(b"\xff"), rsv=4)
    yield "no UTF-8", Case(bad, code=1007, inflates=True)


CASES = dict(
    case
    for section in (*(framing, pings, reserved, fragments, utf_8, closes, sizes, deflates),)
    for case in section()
)


@pytest.mark.parametrize("name", CASES)
async def test_a_case_of_autobahn(name: str) -> None:
    case = CASES[name]
    ours = BareSocket(4 * MIB, inflates=case.inflates)
    chop = case.chop or 64 * 1024
    for at in range(0, len(case.data), chop):
        ours.feed(case.data[at : at + chop])
        await ours.turns()
    assert [one.get("text", one.get("bytes")) for one in ours.messages] == list(case.messages)
    pongs = [payload for opcode, payload in ours.sent() if opcode == PONG]
    assert (pongs or [None])[-1] == case.pong
    code = ours.close_code()
    assert (-1 if code == 0 else code) == case.code
