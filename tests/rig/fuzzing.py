"""Frames by chance, and what they mean to `websockets`: the oracle of our own parser.

Where ours differs by design:

* A close in the middle of a message in fragments is a close. (`websockets` takes it for a broken
  message; RFC 6455, section 5.4, allows control frames there.)
* Of the pings that are read together only the newest is answered (section 5.5.3).
* A length of 2^63 and more breaks the protocol (1002) rather than a limit (1009).
* A control frame between fragments does not count for the size of their message.
* A frame is looked at when it is complete, or, if it is larger than any message, when its header
  is; of one that is not masked two bytes are enough. A reserved opcode is told behind its frame.

`manage.py shell -c "from tests.rig.fuzzing import run; run(600, 1)"` tries for 600 seconds, by the
seed 1.
"""

import asyncio
import codecs
import time
import zlib
from collections.abc import Iterable, Iterator
from random import Random
from typing import Any, NamedTuple

from websockets.exceptions import PayloadTooBig
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame
from websockets.protocol import State
from websockets.server import ServerProtocol

from tests.rig.open_sockets import BareSocket
from tests.rig.raw import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame

#: The largest message.
MAX_SIZE = 1000
#: Characters of one to four bytes.
LETTERS = "az ä€🎥\x00\ud7ff\uffff\U0010ffff"
NO_UTF8 = (
    b"\xff",
    b"\xc3",
    b"\xe2\x82",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xc0\x80",
    b"\x80",
)
CODES = (0, 999, 1000, 1001, 1004, 1005, 1006, 1007, 1011, 1014, 1015, 1016, 2999, 3000, 4999, 5000)
SIZES = (0, 1, 2, 3, 7, 124, 125, 126, 127, 128, 500, MAX_SIZE - 1, MAX_SIZE, MAX_SIZE + 1, 2000)
LENGTHS = (MAX_SIZE, MAX_SIZE + 1, 65535, 65536, 2**31, 2**32, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
#: Behind this each frame is complete, or too large; itself it is not masked.
FILLING = bytes(2 * MAX_SIZE)


class Meaning(NamedTuple):
    """What a client's bytes are."""

    messages: list[str | bytes]
    pings: list[bytes]
    #: The code with which it closes, 1005 without one; and the code of what it breaks.
    closes: int | None = None
    breaks: int | None = None
    #: Whether it breaks something only in a frame that is not complete.
    is_early: bool = False
    #: Whether it may be the size of a control frame that breaks a limit, which is none for ours.
    is_unsure: bool = False


# -- what may come ---------------------------------------------------------------------------------


def deflated(payload: bytes, random: Random) -> bytes:
    """A message as permessage-deflate has it (RFC 7692, section 7.2.1)."""
    compress = zlib.compressobj(random.choice((0, 1, 6, 9)), wbits=-random.choice((9, 12, 15)))
    data = compress.compress(payload) + compress.flush(zlib.Z_SYNC_FLUSH)
    return data.removesuffix(b"\x00\x00\xff\xff")


class Chance:
    """Frames by chance, of a client that may have agreed on deflated messages."""

    def __init__(self, random: Random, inflates: bool) -> None:
        self.random = random
        self.inflates = inflates

    def frame(self, opcode: int, payload: bytes = b"", **options: Any) -> bytes:
        return frame(opcode, payload, mask=self.random.randbytes(4), **options)

    def payload(self, opcode: int) -> bytes:
        size = self.random.choice(SIZES) if self.random.random() < 0.3 else self.random.randrange(9)
        if opcode == BINARY:
            return self.random.randbytes(size)
        text = "".join(self.random.choices(LETTERS, k=size)).encode(errors="ignore")
        if self.random.random() < 0.1:
            at = self.random.randrange(len(text) + 1)
            text = text[:at] + self.random.choice(NO_UTF8) + text[at:]
        return text

    def control(self) -> bytes:
        opcode = self.random.choice((PING, PONG))
        size = self.random.choice((0, 1, 4, 125, 126)) if self.random.random() < 0.2 else 3
        return self.frame(opcode, self.random.randbytes(size), fin=self.random.random() < 0.98)

    def close(self) -> bytes:
        payload = self.random.choice(CODES).to_bytes(2, "big")
        payload += self.random.choice((b"", b"bye", "ä".encode(), b"\xff", b"x" * 123, b"x" * 124))
        return self.frame(CLOSE, payload[: self.random.choice((0, 1, 2, 200, 200))])

    def message(self) -> Iterator[bytes]:
        """A message, whole or in fragments, deflated perhaps, and control frames within it."""
        opcode = self.random.choice((TEXT, BINARY))
        payload, rsv = self.payload(opcode), 0
        if self.random.random() < (0.5 if self.inflates else 0.02):
            payload, rsv = deflated(payload, self.random), 4
        cuts = self.random.choice((0, 0, 1, 2, 5))
        points = sorted(self.random.randrange(len(payload) + 1) for _ in range(cuts))
        for start, end in zip([0, *points], [*points, len(payload)], strict=True):
            last = end == len(payload) and start == ([0, *points])[-1]
            yield self.frame(opcode, payload[start:end], rsv=rsv, fin=last)
            opcode, rsv = CONTINUATION, 0
            if not last and self.random.random() < 0.2:
                yield self.control()
            if last:
                return

    def odd(self) -> bytes:
        """A frame that is wrong, or hardly right."""
        opcode, payload = self.random.randrange(16), self.random.randbytes(self.random.randrange(9))
        kind = self.random.randrange(5)
        if kind == 0:
            return frame(opcode, payload, masked=False)
        if kind == 1:
            return self.frame(opcode, payload, rsv=self.random.randrange(8))
        if kind == 2:
            return self.frame(opcode, payload, fin=self.random.random() < 0.5)
        if kind == 3:
            return self.frame(opcode, payload, length=self.random.choice(LENGTHS))
        # A length that is written longer than needed.
        wide = bytes((0x80 | opcode, 0xFF)) + len(payload).to_bytes(8, "big")
        return wide + bytes(4) + payload

    def data(self) -> bytes:
        found: list[bytes] = []
        for _ in range(self.random.randrange(1, 9)):
            lot = self.random.random()
            if lot < 0.7:
                found += self.message()
            elif lot < 0.85:
                found.append(self.control())
            elif lot < 0.92:
                found.append(self.odd())
            elif lot < 0.97:
                found.append(self.close())
            else:
                self.random.shuffle(found)
        return b"".join(found)

    def mutated(self, data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(self.random.choice((0, 0, 0, 1, 1, 3))):
            at = self.random.randrange(len(changed) + 1)
            size = self.random.choice((1, 1, 2, 20))
            kind = self.random.randrange(4)
            if kind == 0 and at < len(changed):
                changed[at] ^= 1 << self.random.randrange(8)
            elif kind == 1:
                changed[at:at] = self.random.randbytes(size)
            elif kind == 2:
                del changed[at : at + size]
            elif kind == 3:
                changed[at:at] = changed[at : at + size]
        return bytes(changed)

    def parts(self, data: bytes) -> list[bytes]:
        """The same, cut anywhere."""
        cuts = self.random.choice((0, 1, 2, 10, len(data)))
        points = sorted(self.random.randrange(len(data) + 1) for _ in range(cuts))
        return [data[at:to] for at, to in zip([0, *points], [*points, len(data)], strict=True)]


# -- what it means ---------------------------------------------------------------------------------


def meaning(data: bytes, inflates: bool) -> Meaning:
    """What `websockets` finds in it. Its parser leaves UTF-8 to others."""
    protocol = ServerProtocol(state=State.OPEN, max_size=MAX_SIZE)
    if inflates:
        protocol.extensions = [PerMessageDeflate(True, True, 15, 15)]
    protocol.receive_data(data)
    found = Meaning([], [])
    if not _read(protocol.events_received(), found):
        return found._replace(breaks=1007)
    error = protocol.parser_exc
    if protocol.close_rcvd and (error is None or "incomplete" in str(error)):
        return found._replace(closes=protocol.close_rcvd.code)
    if error is None:
        return found
    assert protocol.close_sent
    code: int = protocol.close_sent.code
    size = error.size if isinstance(error, PayloadTooBig) else None
    if size is not None and size >= 2**63:
        code = 1002
    # What it has not taken is the frame that it found wrong, which may not be complete.
    return found._replace(
        breaks=code,
        is_early="opcode" in str(error) or size is not None,
        is_unsure=size is not None and size <= 125,
    )


def _read(events: Iterable[Any], found: Meaning) -> bool:
    """Put messages together. False: one is no UTF-8."""
    parts: list[Any] = []
    decoder: Any = None
    for event in events:
        assert isinstance(event, Frame)
        if event.opcode == PING:
            found.pings.append(bytes(event.data))
        if event.opcode not in (TEXT, BINARY, CONTINUATION):
            continue
        if event.opcode != CONTINUATION:
            is_text = event.opcode == TEXT
            decoder = codecs.getincrementaldecoder("utf-8")() if is_text else None
            parts = []
        data = bytes(event.data)
        try:
            parts.append(decoder.decode(data, event.fin) if decoder else data)
        except UnicodeDecodeError:
            return False
        if event.fin:
            found.messages.append("".join(parts) if decoder else b"".join(parts))
    return True


# -- ours ------------------------------------------------------------------------------------------


async def check(random: Random) -> None:
    """One case. AssertionError: it is understood differently."""
    inflates = random.random() < 0.5
    chance = Chance(random, inflates)
    data = chance.mutated(chance.data())
    if is_filled := random.random() < 0.5:
        data += FILLING
    wanted = meaning(data, inflates)
    if is_filled:
        assert wanted.closes or wanted.breaks
        wanted = wanted._replace(is_early=False)
    ours = BareSocket(MAX_SIZE, inflates=inflates)
    for part in chance.parts(data):
        ours.feed(part)
        await ours.turns()
    compare(ours, wanted)
    ours.connection.lose()


def compare(ours: BareSocket, wanted: Meaning) -> None:
    messages = [one.get("text", one.get("bytes")) for one in ours.messages]
    pongs = [payload for opcode, payload in ours.sent() if opcode == PONG]
    left = iter(wanted.pings)
    if wanted.is_unsure:
        assert messages[: len(wanted.messages)] == wanted.messages
        return
    assert messages == wanted.messages
    assert all(pong in left for pong in pongs)
    if wanted.closes:
        code = None if wanted.closes == 1005 else wanted.closes
        assert (ours.close_code() or None, ours.end) == (code, wanted.closes)
    elif wanted.is_early and ours.end is None:
        assert ours.close_code() is None
    else:
        assert ours.close_code() == ours.end == wanted.breaks
    if ours.end is None and wanted.pings:
        assert pongs[-1] == wanted.pings[-1]


def run(seconds: float, seed: int) -> None:
    """Try as many cases as there is time for, and print their number, or the one that fails."""

    async def try_cases() -> int:
        number, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                await check(Random(f"{seed}-{number}"))
            except BaseException:
                print(f"case {seed}-{number}")
                raise
            number += 1
        return number

    print(asyncio.run(try_cases()), "cases")
