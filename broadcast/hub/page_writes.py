"""One write for each page, however many of its channels have something new.

A system call costs more than all else that a publication costs a page. So what topics flush for
pages is gathered, and written when a turn of the event loop has brought nothing more, but at the
latest after as long as the last writing took. Pages that got the same get the same bytes, as long
as there are few different ones. While it writes, topics gather (`topics.PAUSE`) as they do for a
flush of their own.

With 500 pages that hear 10 channels each, and 64 publications outstanding over all of them, a write
that did not wait for another turn had three channels in it, and a page got half as much.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from typing import Protocol

from ..conf import conf
from ..loops import PerLoop

#: Seconds that writing takes at most. What seems to take longer stood still, with a machine that
#: was frozen: what comes next must not wait for half as long again.
MOST_SECONDS = 1.0


class Page(Protocol):
    """A socket that takes frames."""

    def write_now(self, data: bytes) -> bool:
        """Write it, joined."""


class Writes:
    """Frames that wait for the pages of one event loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        #: The frames of each page, in order.
        self.frames: defaultdict[Page, list[bytes]] = defaultdict(list)
        self.size = 0
        #: Whether something came since the last look.
        self.grew = False
        #: By the loop's clock: when what waits is written at the latest, when the last writing
        #: ended, and how long it took.
        self.latest = self.ended = self.took = 0.0

    def add(self, pages: Iterable[Page], frames: bytes) -> None:
        """Have it written to these pages, very soon."""
        if not self.frames:
            self.latest = self.loop.time() + self.took
            self.loop.call_soon(self._look)
        self.grew = True
        for page in pages:
            self.frames[page].append(frames)
        self.size += len(frames)

    def bound(self) -> None:
        """Write what waits if that is much: who is slow must not be handed everything at once."""
        if self.size >= conf.SLICE_BYTES:
            self.flush()

    def take(self, page: Page) -> bytes:
        """Take the frames that wait for the page."""
        return b"".join(self.frames.pop(page, ()))

    def _look(self) -> None:
        if self.grew and self.loop.time() < self.latest:
            self.grew = False
            self.loop.call_soon(self._look)
        else:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if not self.frames:
            return
        started = self.loop.time()
        waiting, self.frames, self.size = self.frames, defaultdict(list), 0
        #: By the identity of what was joined, which is kept in `waiting`, so that it stays its own.
        joined: dict[tuple[int, ...], bytes] = {}
        size = 0
        for page, frames in waiting.items():
            key = tuple(map(id, frames))
            data = joined.get(key)
            if data is None:
                if size > conf.RING_BYTES:
                    # Where each page hears something else, these would be as many as there are.
                    joined.clear()
                    size = 0
                data = joined[key] = b"".join(frames)
                size += len(data)
            page.write_now(data)
        self.ended = self.loop.time()
        self.took = min(self.ended - started, MOST_SECONDS)


#: Those of the running event loop.
get_writes = PerLoop(Writes)
