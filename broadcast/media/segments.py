"""Video and audio on their way to be segments: bytes in, drafts of publications out, no I/O.

A `Segmenter` takes WebM (Matroska too) or fragmented MP4 in arbitrary cuts. Out come

* the header (`HEADER | RESET`): the initialisation segment, with which a recording begins;
* pieces that begin where a newcomer can (`ENTRY`): a Cluster whose first block of the video track
  is a key frame, or a fragment whose first sample of it is a sync sample; where there is no video,
  any Cluster and fragment;
* the pieces between: some whole blocks (of MP4: boxes, a long `mdat` in parts), as soon as they
  are whole. A Cluster that goes on for seconds is not waited for.

One after another the publications are the bytes that came, all of them and no others. What is no
WebM and no fragmented MP4 is refused from the first byte that cannot be: `BadRequest`. What is held
back is bounded: a header, a block, and what stands at the beginning of a Cluster before its first
block of video. Time is linear in the bytes. But a legal frame of 4 MiB may have 147,000 parts,
which take seconds, so `feed_in_turns` gives others their turn in between.

`snapshot` is all that a segmenter knows, and `Segmenter.restore` goes on from there, in another
process if need be: with what was taken committed together with it, no cut of a connection tears
or doubles anything. What is held back comes in it in parts, each once, however small the cuts.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import msgpack

from ..conf import conf
from ..exceptions import BadRequest
from ..publications import Draft, Kind, Mark
from . import mp4, webm
from .roles import Head, Role
from .steps import Steps

#: A part that may be passed on before it is whole is waited for up to so many bytes.
HOLD = 64 * 1024
#: Blocks of other tracks that are waited for at the beginning of a Cluster: what comes before its
#: first block of video. Of Opus in 20 ms each, a third of a second.
LOOK_AHEAD = 16


#: Parts that one feed may have, and one more for each so many bytes. Those of sound have a hundred,
#: but of silence nine: a minute of it, which a file has in 32 KiB, is no attack.
PARTS = 16 * 1024
PART_BYTES = 32
#: Pieces that come out of one feed, and one more for each so many bytes.
PIECES = 4 * 1024
PIECE_BYTES = 1024
#: Steps after which others get their turn: some 1.5 ms. A publication takes several turns.
TURN = 128


class Container(Protocol):
    """A parser of one format. Between two calls it knows where in the stream it stands."""

    def peek(self, buffer: bytearray, start: int) -> Head | None:
        """The part at `start`; None: too little came to tell. It changes nothing."""

    def take(self, head: Head, part: bytes, steps: Steps) -> Role:
        """Go past it. `part` is all of it, or where it `streams` perhaps the beginning.

        `steps`: for looking at what is in it.
        """

    def state(self) -> list[Any]:
        """All it knows, for `__init__`."""


CONTAINERS: dict[str, Any] = {"webm": webm.WebM, "mp4": mp4.MP4}


def recognise(first: bytes) -> str:
    """The name of the container whose first bytes these are; "": too few came to tell.

    BadRequest: no container begins so.
    """
    if first[:4] == webm.FIRST:
        return "webm"
    if first[4:8] in mp4.FIRST:
        return "mp4"
    if len(first) >= 8 or not (webm.FIRST.startswith(first[:4]) or first[:1] == b"\0"):
        raise BadRequest("the first bytes are neither WebM nor fragmented MP4")
    return ""


class Snapshot(NamedTuple):
    """All that a segmenter knows: a state of some bytes, and the bytes that it holds back.

    `goes_on`: `held` comes behind that of the snapshot before it; else it is all of it. A block of
    megabytes may come in frames of a few bytes, and with each of them it is snapped.
    """

    state: bytes
    held: bytes
    goes_on: bool


class Segmenter:
    """Cuts one byte stream. Once it refused something, nothing more may be fed."""

    def __init__(self) -> None:
        self.name = ""
        self.container: Container | None = None
        #: Bytes that came and were not given out. `scanned`: how far it was looked through.
        self.buffer = bytearray()
        self.scanned = 0
        #: While it is fed: how much of the buffer was given out.
        self.given = 0
        #: Bytes of the buffer that snapshots have; -1: they have others.
        self.snapped = -1
        #: How many bytes to come belong to a part that is passed on as it comes.
        self.passing = 0
        self.in_header = True
        #: The marks of what stands at the beginning of the buffer.
        self.marks = 0
        #: Where a piece begins of which it is open whether it is an entry point (-1: none is), and
        #: how many parts were seen since.
        self.candidate = -1
        self.seen = 0
        #: While it is fed: its state before, and how much of the buffer that held back.
        self.whole: tuple[list[Any], int] | None = None
        #: Steps since others had their turn.
        self.made = 0

    def feed(self, data: bytes) -> list[Draft]:
        """The drafts that can be published now. BadRequest: none of `data` is."""
        found: list[Draft] = []
        for _ in self.feed_in_turns(data, found):
            pass
        return found

    def feed_in_turns(self, data: bytes, found: list[Draft]) -> Iterator[None]:
        """Do the work of `feed`, a bounded part at a time; drafts to publish go into `found`.

        Until the last part is done, only `snapshot` may be called, and it answers the state before.
        """
        self.whole = (self._state(), len(self.buffer))
        try:
            self.buffer += data
            if self.container is not None or self._begin():
                yield from self._feed(len(data), found)
        finally:
            self.whole = None

    def _feed(self, size: int, found: list[Draft]) -> Iterator[None]:
        steps, inside = Steps(PARTS + size // PART_BYTES), Steps()
        # Small frames, one after another, take as long as a large one.
        turn = TURN - self.made
        while self._step(found, inside):
            steps.make()
            if len(found) > PIECES + size // PIECE_BYTES:
                raise BadRequest("its parts are too small")
            if steps.made + inside.made >= turn:
                turn = steps.made + inside.made + TURN
                yield
        self.made = steps.made + inside.made + TURN - turn
        if not self.in_header:
            self._give(found, self.scanned if self.candidate < 0 else self.candidate)
        self._drop_given()

    def finish(self) -> list[Draft]:
        """The rest, when nothing more comes. The stream may end anywhere but in a header."""
        if self.in_header or not self.buffer:
            return []
        rest = Draft(Kind.BINARY, bytes(self.buffer), self.marks)
        self.buffer.clear()
        self.snapped = -1
        return [rest]

    def _begin(self) -> bool:
        self.name = recognise(bytes(self.buffer[:8]))
        if self.name:
            self.container = CONTAINERS[self.name]()
        return bool(self.name)

    def _step(self, found: list[Draft], inside: Steps) -> bool:
        """Go past one part. False: what is left is not whole."""
        available = len(self.buffer) - self.scanned
        if self.passing:
            passed = min(self.passing, available)
            self.scanned += passed
            self.passing -= passed
            return not self.passing
        assert self.container is not None
        head = self.container.peek(self.buffer, self.scanned)
        if head is None:
            self._check_header(available)
            return False
        self._check_header(head.size)
        if head.size > available and not (head.streams and head.size > HOLD):
            return False
        size = min(head.size, available)
        part = bytes(self.buffer[self.scanned : self.scanned + size])
        inside.allow_for(size)
        role = self.container.take(head, part, inside)
        self._note(role, found)
        self.scanned += size
        self.passing = head.size - size
        return True

    def _check_header(self, size: int) -> None:
        if self.in_header and self.scanned - self.given + size > conf.MEDIA_HEADER_BYTES:
            raise BadRequest(f"the header has more than {conf.MEDIA_HEADER_BYTES} bytes")

    def _note(self, role: Role, found: list[Draft]) -> None:
        """Cut before the part at `scanned`, or where its Cluster or fragment began."""
        if role & Role.NEW and not self.in_header:
            self._give(found, self.scanned)
            self.in_header, self.candidate = True, -1
        if role & Role.START:
            if self.in_header:
                self.marks = Mark.HEADER | Mark.RESET
                self._give(found, self.scanned)
                self.in_header = False
            self.candidate, self.seen = self.scanned, 0
        if self.candidate < 0:
            return
        if role & Role.ENTRY:
            self._give(found, self.candidate)
            self.marks, self.candidate = Mark.ENTRY, -1
        elif role & Role.NO_ENTRY or self._looked_enough():
            self.candidate = -1
        else:
            self.seen += 1

    def _looked_enough(self) -> bool:
        held = self.scanned - self.candidate
        return self.seen >= LOOK_AHEAD or held > conf.MEDIA_BLOCK_BYTES

    def _give(self, found: list[Draft], end: int) -> None:
        if end > self.given:
            payload = bytes(self.buffer[self.given : end])
            found.append(Draft(Kind.BINARY, payload, self.marks))
            self.given, self.marks = end, 0

    def _drop_given(self) -> None:
        if self.given:
            self.snapped = -1
        del self.buffer[: self.given]
        self.scanned -= self.given
        self.candidate = max(self.candidate - self.given, -1)
        self.given = 0

    # -- from one connection to the next ----------------------------------------------------

    def snapshot(self) -> Snapshot:
        """All it knows, for a caller that keeps each snapshot, one after another."""
        state, size = self.whole or (self._state(), len(self.buffer))
        packed: bytes = msgpack.packb(state)
        goes_on = self.snapped >= 0
        held = bytes(self.buffer[max(self.snapped, 0) : size])
        self.snapped = size
        return Snapshot(packed, held, goes_on)

    def _state(self) -> list[Any]:
        state = self.container.state() if self.container else []
        return [
            *(self.name, state, self.scanned, self.passing),
            *(self.in_header, int(self.marks), self.candidate, self.seen),
        ]

    @classmethod
    def restore(cls, packed: bytes, held: bytes) -> "Segmenter":
        """The one that snapshots were taken of: `held` is what all of them held, together."""
        self = cls()
        self.name, state, *rest = msgpack.unpackb(packed)
        self.buffer = bytearray(held)
        self.snapped = len(held)
        self.scanned, self.passing, self.in_header, self.marks, self.candidate, self.seen = rest
        if self.name:
            self.container = CONTAINERS[self.name](*state)
        return self


#: Characters that a content type has at most, as the rows of streams and recordings do.
TYPE_CHARACTERS = 200


# A header may have megabytes.
@lru_cache(maxsize=4)
def content_type(header: bytes) -> str:
    """The MIME type of a stream with this header, with codecs; "": it is no header.

    As `MediaSource.isTypeSupported` takes it: `video/webm;codecs="vp8,opus"`. Without codecs where
    it had more than `TYPE_CHARACTERS`.
    """
    try:
        name = recognise(header[:8])
        if not name:
            return ""
        steps = Steps()
        steps.allow_for(len(header))
        mime_type, codecs = {"webm": webm.describe, "mp4": mp4.describe}[name](header, steps)
    except BadRequest:
        return ""
    whole = f'{mime_type};codecs="{",".join(codecs)}"'
    return whole if codecs and len(whole) <= TYPE_CHARACTERS else mime_type
