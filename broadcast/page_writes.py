"""One write for each page, however many of its channels have something new.

A system call costs more than all else that a publication costs a page. What several topics flush in
one turn of the event loop is joined and written at the end of the turn; pages that got the same
get the same bytes. While it is busy with that, topics gather (`hub.PAUSE`) as they do for a flush
of their own. 500 pages that hear 10 channels each got 4 times as much so.
"""

import asyncio
from typing import Protocol
from weakref import WeakKeyDictionary

from .hub import hold


class Page(Protocol):
    """A socket that takes frames."""

    def take_pending(self) -> list[bytes]:
        """What waits for the end of the turn, and waits no more."""

    def write_now(self, data: bytes) -> bool:
        """Write it, joined."""


class Writes:
    """The pages of one event loop that have something pending."""

    def __init__(self) -> None:
        self.pages: list[Page] = []

    def add(self, page: Page) -> None:
        """The page has something pending, and had nothing before."""
        if not self.pages:
            asyncio.get_running_loop().call_soon(self.flush)
        self.pages.append(page)

    def flush(self) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        pages, self.pages = self.pages, []
        #: By the identity of their parts, which are kept beside them so that it stays theirs.
        joined: dict[tuple[int, ...], tuple[bytes, list[bytes]]] = {}
        for page in pages:
            parts = page.take_pending()
            if not parts:
                continue  # It could not wait.
            if len(parts) == 1:
                page.write_now(parts[0])
                continue
            key = tuple(map(id, parts))
            known = joined.get(key)
            if known is None:
                known = joined[key] = (b"".join(parts), parts)
            page.write_now(known[0])
        hold(loop.time() - started)


_writes: WeakKeyDictionary[asyncio.AbstractEventLoop, Writes] = WeakKeyDictionary()


def get_writes() -> Writes:
    """Those of the running event loop."""
    loop = asyncio.get_running_loop()
    writes = _writes.get(loop)
    if writes is None:
        writes = _writes[loop] = Writes()
    return writes
