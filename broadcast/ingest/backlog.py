"""The publications of a recording that wait for the disk; no file, no waiting.

Publications come in, in their order; pieces come out: a header by itself, or what follows up to the
next header. It promises bounded memory and whole segments. When more than `RECORDING_QUEUE_BYTES`
wait, the segment that is coming is left out: none of it is written, what already is gets cut off
again ("cut"), and the pieces go on at the next entry point.
"""

from collections import deque
from enum import Enum, auto
from typing import NamedTuple

from ..conf import conf
from ..publications import Mark, Publication


class Part(Enum):
    """What a piece is of a recording."""

    HEADER = auto()
    #: The beginning of a segment, and more of it.
    ENTRY = auto()
    MORE = auto()
    #: Nothing: cut off what is written of the last segment.
    CUT = auto()


class Piece(NamedTuple):
    """Bytes that wait for the disk."""

    part: Part
    payload: bytes = b""


class Backlog:
    """The pieces of one recorder."""

    def __init__(self) -> None:
        self.pieces: deque[Piece] = deque()
        #: Bytes that wait, those that are being written included.
        self.size = 0
        #: Whether it takes nothing before the next entry point.
        self.skips = True

    def __bool__(self) -> bool:
        return bool(self.pieces)

    def take(self, publication: Publication) -> bool:
        """Take the next publication. False: too much waits, so its segment is left out."""
        if publication.marks & Mark.HEADER:
            self._add(Part.HEADER, publication.payload)
            self.skips = True
        elif publication.marks & Mark.ENTRY:
            # Go on when half of it is free: else the next segment would be left out at once.
            self.skips = self.skips and self.size > conf.RECORDING_QUEUE_BYTES / 2
            if not self.skips:
                self._add(Part.ENTRY, publication.payload)
        elif not self.skips:
            self._add(Part.MORE, publication.payload)
        if self.skips or self.size <= conf.RECORDING_QUEUE_BYTES:
            return True
        self._leave_out()
        return False

    def _add(self, part: Part, payload: bytes) -> None:
        self.pieces.append(Piece(part, payload))
        self.size += len(payload)

    def _leave_out(self) -> None:
        self.skips = True
        while self.pieces and self.pieces[-1].part is Part.MORE:
            self.size -= len(self.pieces.pop().payload)
        if self.pieces and self.pieces[-1].part is Part.ENTRY:
            self.size -= len(self.pieces.pop().payload)
        else:
            self._add(Part.CUT, b"")

    def next(self) -> list[Piece]:
        """The header that comes next, by itself; or all pieces up to the next header."""
        found = [self.pieces.popleft()]
        if found[0].part is not Part.HEADER:
            while self.pieces and self.pieces[0].part is not Part.HEADER:
                found.append(self.pieces.popleft())
        return found

    def done(self, pieces: list[Piece]) -> None:
        """These, which `next` answered, wait no more: they are written, or given up."""
        self.size -= sum(len(piece.payload) for piece in pieces)
