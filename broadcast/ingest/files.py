"""A file of a recording while it is being written; everything here blocks.

Pieces come in, a file grows. It promises: nobody but the server reads the file; it is locked for as
long as it grows; it holds whole pieces alone, even where the disk is full.
"""

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

from .backlog import Part, Piece


def make_private(directory: Path) -> None:
    """Make a directory, and the missing ones above it, for this user alone."""
    if not directory.is_dir():
        make_private(directory.parent)
        directory.mkdir(mode=0o700, exist_ok=True)


class RecordingFile:
    """A file that is being written. OSError: the disk does not take it."""

    def __init__(self, path: Path) -> None:
        make_private(path.parent)
        # The page of the stream decides who reads it: no other user of the machine may.
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        self.path = path
        self.file = os.fdopen(descriptor, "wb", buffering=0)
        fcntl.flock(self.file, fcntl.LOCK_EX)
        self.size = 0
        #: Where the last segment begins.
        self.segment = 0

    def write(self, pieces: Sequence[Piece]) -> None:
        for piece in pieces:
            if piece.part is Part.CUT:
                self._cut(self.segment)
            if piece.part is Part.ENTRY:
                self.segment = self.size
            self._write(piece.payload)

    def _write(self, payload: bytes) -> None:
        rest, start = memoryview(payload), self.size
        try:
            while rest:
                written = self.file.write(rest)
                self.size += written
                rest = rest[written:]
        except OSError:
            # Truncate the partial write.
            self._cut(start)
            raise

    def _cut(self, size: int) -> None:
        self.size = size
        self.file.seek(self.size)
        self.file.truncate()

    def close(self) -> None:
        self.file.close()
