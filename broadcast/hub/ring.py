"""The newest publications of a topic: a circular buffer, read by offset.

Offsets have no gaps, so a cursor is all that a listener needs to go on from where it is. The ring
holds at most `RING_COUNT` publications and `RING_BYTES` bytes of payloads.
"""

from collections import deque
from itertools import islice

from ..conf import conf
from ..publications import Mark, Publication


class Ring:
    """`offset` is the newest publication that was heard of, whether it is held or not."""

    __slots__ = ("entry", "offset", "publications", "size")

    def __init__(self, offset: int) -> None:
        self.publications: deque[Publication] = deque()
        self.offset = offset
        #: Bytes of the payloads.
        self.size = 0
        #: The newest entry point that was heard of; 0: none of this recording.
        self.entry = 0

    @property
    def first(self) -> int:
        """The oldest publication that is held; `offset + 1` while there is none."""
        return self.offset + 1 - len(self.publications)

    def append(self, publications: list[Publication]) -> None:
        """Take publications, the first with offset `offset + 1`. See `excess`."""
        self.publications.extend(publications)
        self.offset = publications[-1].offset
        for publication in publications:
            self.size += len(publication.payload)
            if publication.marks & (Mark.RESET | Mark.ENTRY):
                self.entry = publication.offset if publication.marks & Mark.ENTRY else 0

    def excess(self) -> int:
        """How many of the oldest ones are over the limits."""
        count, size = len(self.publications) - conf.RING_COUNT, self.size - conf.RING_BYTES
        if count <= 0 and size <= 0:
            return 0
        number = 0
        for publication in self.publications:
            if count <= number and size <= 0:
                break
            number += 1
            size -= len(publication.payload)
        return number

    def drop(self, number: int) -> None:
        """Let go of so many of the oldest ones."""
        for _ in range(number):
            self.size -= len(self.publications.popleft().payload)

    def clear(self, offset: int) -> None:
        """Hold nothing, and stand at `offset`."""
        self.publications.clear()
        self.size = self.entry = 0
        self.offset = offset

    def at(self, offset: int) -> Publication | None:
        """The publication of that offset, or the oldest one; None: nothing is held."""
        return self.publications[max(offset - self.first, 0)] if self.publications else None

    def slice(self, since: int, until: int) -> tuple[list[Publication], int]:
        """Publications after `since` up to `until`, and the bytes of their payloads.

        At most `SLICE_BYTES`, but at least one publication.
        """
        size = most = conf.SLICE_BYTES
        found: list[Publication] = []
        start = since + 1 - self.first
        for publication in islice(self.publications, start, start + until - since):
            size -= len(publication.payload)
            if size < 0 and found:
                size += len(publication.payload)
                break
            found.append(publication)
        return found, most - size
