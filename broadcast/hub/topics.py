"""What everybody hears: one circular buffer per topic, and a cursor per listener.

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
from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Any, Protocol

from .. import metrics
from ..conf import conf
from ..exceptions import CloseCode
from ..publications import Mark, Publication
from ..wire.frames import Encoding, Message
from .gathering import MOST_SECONDS, get_writes
from .listeners import Listener

#: How long a busy topic gathers before its next flush, as a part of what the last one took. With
#: 500 listeners and 64 publications outstanding, of 0, 0.25, 0.5 and 1 this delivered the most.
PAUSE = 0.5
#: Publications of so many bytes fill a write each: of 64 KiB, a topic with 100 listeners delivered
#: 1.3 times as much when they were not gathered.
LARGE = 16 * 1024


class Streamer(Protocol):
    """Whoever feeds a topic, as the hub sees them."""

    id: str

    def count(self, listeners: int) -> None:
        """So many hear it now; often the number it was told before."""

    def overtake(self) -> None:
        """Another one seems to feed the topic: if so, publish what has come, and go."""

    def hear_leaving(self, streamer: str, left: bool) -> None:
        """Another one, which was replaced, is about to leave, or has left."""


class Topic:
    """A stream in this process: its ring, who hears it, who feeds it.

    `offset` is the newest publication that was heard of, `flushed` the newest one that was written
    to the live edge, `first` the oldest one in the ring (`offset + 1` while it is empty).
    """

    def __init__(self, name: str, epoch: str, offset: int, streamer: str = "") -> None:
        self.name = name
        self.epoch = epoch
        self.offset = offset
        self.flushed = offset
        #: The id of the streamer's socket, in whatever process that is; "" while it is idle.
        self.streamer = streamer
        self.ring: deque[Publication] = deque()
        self.size = 0
        #: The newest entry point that was heard of; 0: none of this recording.
        self.entry = 0
        #: Everybody who hears it, wherever they stand.
        self.listeners: set[Listener] = set()
        #: Those at the live edge, by encoding: all a flush writes to.
        self.edge: dict[Encoding, set[Listener]] = {}
        #: Those that history brought further than the last flush did, or that wait for a mark.
        self.ahead: set[Listener] = set()
        #: Those whose sockets are full.
        self.full: set[Listener] = set()
        self.streamers: dict[str, Streamer] = {}
        #: How many hear it in other processes, as far as is known.
        self.elsewhere = 0
        #: How many are about to come to it.
        self.reserved = 0
        self._flush_timer: asyncio.TimerHandle | None = None
        self._next_flush = 0.0
        self._next_count = 0.0
        self._count_timer: asyncio.TimerHandle | None = None

    @property
    def first(self) -> int:
        return self.offset + 1 - len(self.ring)

    @property
    def live(self) -> bool:
        return bool(self.streamer)

    @property
    def audience(self) -> int:
        """How many hear it in this process."""
        return len(self.listeners)

    @property
    def in_use(self) -> bool:
        return bool(self.listeners or self.streamers or self.reserved)

    # -- publications -----------------------------------------------------------------------

    def append(self, publications: list[Publication]) -> None:
        """Take publications, the first with offset `offset + 1`: they go out now or very soon."""
        self.ring.extend(publications)
        self.offset = publications[-1].offset
        for publication in publications:
            self.size += len(publication.payload)
            if publication.marks & (Mark.RESET | Mark.ENTRY):
                self.entry = publication.offset if publication.marks & Mark.ENTRY else 0
        while self._over_limit():
            if self.flushed < self.first:
                # The live edge must not be overtaken by what was not written to it yet.
                self.flush()
            self.size -= len(self.ring.popleft().payload)
        self._schedule_flush()

    def _over_limit(self) -> bool:
        return len(self.ring) > conf.RING_COUNT or self.size > conf.RING_BYTES

    def slice(self, since: int, until: int) -> tuple[list[Publication], int]:
        """Publications after `since` up to `until`, and the bytes of their payloads.

        At most `SLICE_BYTES`, but at least one publication.
        """
        size = most = conf.SLICE_BYTES
        found: list[Publication] = []
        start = since + 1 - self.first
        for publication in islice(self.ring, start, start + until - since):
            size -= len(publication.payload)
            if size < 0 and found:
                size += len(publication.payload)
                break
            found.append(publication)
        return found, most - size

    def _schedule_flush(self) -> None:
        if self._flush_timer is None and self.flushed < self.offset:
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
        loop, writes = asyncio.get_running_loop(), get_writes()
        started = loop.time()
        before = self.flushed
        deliveries = written = 0
        while self.flushed < self.offset:
            publications, size = self.slice(self.flushed, self.offset)
            self.flushed = publications[-1].offset
            for encoding, edge in list(self.edge.items()):
                # What is said in a room is not for each of its members.
                if edge and (data := encoding.publications(publications)):
                    deliveries += len(publications) * len(edge)
                    written += size * len(edge)
                    if encoding.gathers:
                        pages: list[Any] = [listener.sink for listener in edge]
                        writes.add(pages, data)
                    else:
                        self._write(data, edge)
            writes.bound()
        self._admit_ahead()
        ended = loop.time()
        pause = PAUSE if self.size < LARGE * len(self.ring) else 0
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
        """What was published up to `offset` cannot be had: whoever had it not is overtaken."""
        self.flush()
        behind = [listener for edge in self.edge.values() for listener in edge]
        for listener in behind:
            listener.cursor = self.flushed
        self.edge.clear()
        self._empty(offset)
        for listener in behind:
            listener.advance()
        self._admit_ahead()

    def restart(self, epoch: str, offset: int) -> None:
        """A new history began: old offsets mean nothing any more, so everybody comes in anew."""
        metrics.restarts.inc()
        for listener in list(self.listeners):
            listener.close(CloseCode.SLOW, "a new history began")
        self.epoch = epoch
        self._empty(offset)

    def _empty(self, offset: int) -> None:
        self.ring.clear()
        self.size = self.entry = 0
        self.offset = self.flushed = offset

    # -- listeners --------------------------------------------------------------------------

    def add(self, listener: Listener) -> None:
        """Let it hear everything after its cursor."""
        self.listeners.add(listener)
        self._count()
        listener.advance()

    def remove(self, listener: Listener) -> None:
        """It hears no more. Calling this twice is harmless."""
        self.listeners.discard(listener)
        self.ahead.discard(listener)
        self.full.discard(listener)
        edge = self.edge.get(listener.encoding)
        if edge is not None:
            edge.discard(listener)
            if not edge:
                # A member of a room has an encoding of its own.
                del self.edge[listener.encoding]
        self._count()

    def arrive(self, listener: Listener) -> None:
        """It has everything up to its cursor, which is where the live edge is, or beyond."""
        listener.tell_live()
        if listener.full_since:
            return
        listener.was_live = True
        if listener.cursor > self.flushed or listener.waits_from:
            self.ahead.add(listener)
        else:
            self.edge.setdefault(listener.encoding, set()).add(listener)

    def note_full(self, listener: Listener) -> None:
        """Its socket takes no more: it leaves the live edge, and its cursor says where that was."""
        edge = self.edge.get(listener.encoding, set())
        if listener in edge:
            edge.discard(listener)
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
        self.streamer = streamer
        self.overtake_others(streamer)
        for listener in list(self.listeners):
            listener.tell_live()

    def overtake_others(self, streamer: str) -> None:
        """`streamer` came, or waits: each other streamer here looks whether it is overtaken, and
        answers if it is.
        """
        for other in list(self.streamers.values()):
            if streamer and other.id != streamer:
                other.overtake()

    def add_streamer(self, streamer: Streamer) -> None:
        self.streamers[streamer.id] = streamer
        self._next_count = asyncio.get_running_loop().time() + 1
        streamer.count(self.audience + self.elsewhere)

    def remove_streamer(self, streamer: Streamer) -> None:
        self.streamers.pop(streamer.id, None)

    def hear_leaving(self, streamer: str, left: bool) -> None:
        for other in list(self.streamers.values()):
            other.hear_leaving(streamer, left)

    def count_elsewhere(self, listeners: int) -> None:
        if listeners != self.elsewhere:
            self.elsewhere = listeners
            self._count()

    def _count(self) -> None:
        """Tell the streamers how many listen: soon, and at most once a second."""
        if self.streamers and self._count_timer is None:
            loop = asyncio.get_running_loop()
            self._count_timer = loop.call_at(max(self._next_count, loop.time()), self._tell_count)

    def _tell_count(self) -> None:
        self._count_timer = None
        self._next_count = asyncio.get_running_loop().time() + 1
        for streamer in list(self.streamers.values()):
            streamer.count(self.audience + self.elsewhere)


def tell_all(topics: Iterable[Topic], message: Message) -> None:
    """Tell an event to everybody who understands it, full or not: it is small, and the last one.

    Whatever was accepted before goes out before it.
    """
    for topic in topics:
        topic.flush()
        for listener in list(topic.listeners):
            listener.tell(message)
