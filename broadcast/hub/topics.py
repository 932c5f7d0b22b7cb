"""Topics: one ring per stream, and a cursor per listener.

A topic is one stream in this process. The relay appends publications to its ring; a *flush* joins
the frames of all that are new and hands the same bytes to every listener at the live edge.
Flushing is adaptive: the first publication after a pause goes out at once; while more keep
coming, they are gathered for half as long as the last flush took. So an idle topic adds no
latency, and a busy one writes dozens of small publications with one system call per listener.

A listener whose socket is full leaves the live edge and keeps nothing but its cursor: `listeners`.
So the memory under any number of slow listeners is the ring, and one slice each.

All of it lives in one event loop, and nothing here waits.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

from .. import metrics
from ..exceptions import CloseCode
from ..publications import Publication
from ..wire.frames import Message
from .edge import Edge
from .listeners import Listener
from .page_writes import MOST_SECONDS, get_writes
from .ring import Ring
from .streamers import Streamers

#: How long a busy topic gathers before its next flush, as a part of what the last one took. With
#: 500 listeners and 64 publications outstanding, of 0, 0.25, 0.5 and 1 this delivered the most.
PAUSE = 0.5
#: Publications of so many bytes fill a write each: of 64 KiB, a topic with 100 listeners delivered
#: 1.3 times as much when they were not gathered.
LARGE = 16 * 1024


class Topic:
    """A stream in this process: its ring, who hears it, who feeds it.

    `flushed` is the newest publication that was written to the live edge.
    """

    def __init__(self, name: str, epoch: str, offset: int, streamer: str = "") -> None:
        self.name = name
        self.epoch = epoch
        self.ring = Ring(offset)
        self.flushed = offset
        #: Everybody who hears it, wherever they stand.
        self.listeners: set[Listener] = set()
        self.streamers = Streamers(streamer, self.listeners)
        #: Those at the live edge: all a flush writes to.
        self.edge: Edge[Listener] = Edge()
        #: Listeners ahead of `flushed`, or waiting for an entry point; a flush must not write to
        #: them.
        self.ahead: set[Listener] = set()
        #: Listeners whose sockets are full.
        self.full: set[Listener] = set()
        #: How many are about to come to it.
        self.reserved = 0
        self._flush_timer: asyncio.TimerHandle | None = None
        self._next_flush = 0.0

    @property
    def offset(self) -> int:
        """The newest publication that was heard of."""
        return self.ring.offset

    @property
    def live(self) -> bool:
        return bool(self.streamers.current)

    @property
    def audience(self) -> int:
        """How many hear it in this process."""
        return len(self.listeners)

    @property
    def feeding(self) -> int:
        """How many feed it in this process: the streamer, and those that it replaced."""
        return len(self.streamers.here)

    @property
    def in_use(self) -> bool:
        return bool(self.listeners or self.streamers.here or self.reserved)

    # -- publications -----------------------------------------------------------------------

    def append(self, publications: list[Publication]) -> None:
        """Take publications, the first with offset `offset + 1`: they go out now or very soon."""
        ring = self.ring
        ring.append(publications)
        if excess := ring.excess():
            if self.flushed < ring.first + excess - 1:
                # The live edge must not be overtaken by what was not written to it yet.
                self.flush()
            ring.drop(excess)
        self._schedule_flush()

    def _schedule_flush(self) -> None:
        if self._flush_timer is None and self.flushed < self.ring.offset:
            loop, writes = asyncio.get_running_loop(), get_writes()
            start = max(self._next_flush, writes.ended + PAUSE * writes.took)
            if loop.time() >= start:
                self.flush()
            else:
                self._flush_timer = loop.call_at(start, self.flush)

    def flush(self) -> None:
        """Write what is new to everybody at the live edge."""
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        loop, writes, ring = asyncio.get_running_loop(), get_writes(), self.ring
        started = loop.time()
        before = self.flushed
        deliveries = written = 0
        while self.flushed < ring.offset:
            publications, size = ring.slice(self.flushed, ring.offset)
            self.flushed = publications[-1].offset
            encode: Any = None
            for encoding, edge in list(self.edge.by_encoding.items()):
                if encoding.publications is not encode:
                    # Listeners that inflate and others may be sent the same.
                    encode = encoding.publications
                    data = encode(publications)
                # A message in a room may not be for every member.
                if edge and data:
                    deliveries += len(publications) * len(edge)
                    written += size * len(edge)
                    if encoding.gathers:
                        pages: list[Any] = [listener.sink for listener in edge]
                        writes.add(pages, data)
                    else:
                        self._write(data, edge)
            self.edge.flushed(size)
            writes.bound()
        self._admit_ahead()
        ended = loop.time()
        pause = PAUSE if ring.size < LARGE * len(ring.publications) else 0
        self._next_flush = ended + pause * min(ended - started, MOST_SECONDS)
        if deliveries:
            metrics.note_flush(self.flushed - before, deliveries, written, ended - started)

    def _write(self, data: Any, edge: set[Listener]) -> None:
        # A copy: a page that is full leaves the edges of all its topics.
        full = [listener for listener in tuple(edge) if not listener.sink.write(data)]
        for listener in full:
            self.note_full(listener)

    def _admit_ahead(self) -> None:
        for listener in [one for one in self.ahead if one.cursor <= self.flushed]:
            self.ahead.discard(listener)
            listener.advance()

    def jump(self, offset: int) -> None:
        """Publications up to `offset` cannot be had: listeners that had not heard them are
        overtaken."""
        self.flush()
        behind = self.edge.clear()
        for listener in behind:
            listener.cursor = self.flushed
        self._empty(offset)
        for listener in behind:
            listener.advance()
        self._admit_ahead()

    def restart(self, epoch: str, offset: int) -> None:
        """A new history began: old offsets mean nothing any more, so all listeners are closed and
        come back."""
        metrics.restarts.inc()
        for listener in list(self.listeners):
            listener.close(CloseCode.SLOW, "a new history began")
        self.epoch = epoch
        self._empty(offset)

    def _empty(self, offset: int) -> None:
        self.ring.clear(offset)
        self.flushed = offset

    # -- listeners --------------------------------------------------------------------------

    def add(self, listener: Listener) -> None:
        """Let it hear everything after its cursor."""
        self.listeners.add(listener)
        self.streamers.count()
        listener.advance()

    def remove(self, listener: Listener) -> None:
        """It hears no more. Calling this twice is harmless."""
        self.listeners.discard(listener)
        self.ahead.discard(listener)
        self.full.discard(listener)
        self.edge.discard(listener)
        self.streamers.count()

    def arrive(self, listener: Listener) -> None:
        """It has everything up to its cursor, which is where the live edge is, or beyond."""
        listener.tell_live()
        if listener.full_since:
            return
        listener.was_live = True
        if listener.cursor > self.flushed or listener.waits_from:
            self.ahead.add(listener)
        else:
            self.edge.add(listener)

    def note_full(self, listener: Listener) -> None:
        """Its socket takes no more: it leaves the live edge, and its cursor says where that was."""
        if self.edge.discard(listener):
            listener.cursor = self.flushed
        # Since the first time: who takes nothing may be written to again.
        listener.full_since = listener.full_since or asyncio.get_running_loop().time()
        self.full.add(listener)

    def close_stuck(self, seconds: float) -> None:
        """Close the sockets that have taken nothing for so long."""
        limit = asyncio.get_running_loop().time() - seconds
        for listener in [one for one in self.full if one.full_since < limit]:
            metrics.slow_closes.labels("stuck").inc()
            listener.close(CloseCode.SLOW, f"nothing was taken for {seconds:g} s")

    # -- streamers --------------------------------------------------------------------------

    def set_streamer(self, streamer: str) -> None:
        """`streamer` feeds it now, wherever that is connected; "": nobody does."""
        self.streamers.current = streamer
        self.streamers.overtake_others(streamer)
        for listener in list(self.listeners):
            listener.tell_live()


def tell_all(topics: Iterable[Topic], message: Message) -> None:
    """Tell an event to everybody who understands it, full or not: it is small, and the last one.

    Whatever was accepted before goes out before it.
    """
    for topic in topics:
        topic.flush()
        for listener in list(topic.listeners):
            listener.tell(message)
