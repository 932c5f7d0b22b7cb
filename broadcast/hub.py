"""What everybody hears: one circular buffer per topic, and a cursor per listener.

A topic is one stream in this process. The relay appends publications to its ring; a *flush* joins
the frames of all that are new and hands the same bytes to every listener at the live edge.
Flushing is adaptive: the first publication after a pause goes out at once; while more keep
coming, they are gathered for half as long as the last flush took. So an idle topic adds no
latency, and a busy one writes dozens of publications with one system call per listener.

A listener whose socket is full leaves the live edge and keeps nothing but its cursor. When its
socket has drained it catches up in bounded slices: from the ring, or from history where the ring
has overtaken it, until it stands at the live edge again. What history does not hold any more is
told (`skipped`) or, on a plain socket, ends the connection (4408). So the memory under any number
of slow listeners is the ring, and one slice each.

The promise to every listener: each publication exactly once, in order, or a `skipped` that names
what is missing.

All of it lives in one event loop; nothing waits but the reading of history.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Any, Protocol

from .backends import get_backend
from .conf import conf
from .exceptions import CloseCode
from .frames import Encoding, Message, event
from .publications import Publication

logger = logging.getLogger(__name__)

#: How long a busy topic gathers before its next flush, as a part of what the last one took. With
#: 500 listeners and 64 publications outstanding, of 0, 0.25, 0.5 and 1 this delivered the most.
PAUSE = 0.5


class Sink(Protocol):
    """A listener's socket, as the hub sees it. It never raises: a lost socket takes everything."""

    def write(self, data: Any) -> bool:
        """Take what the listener's encoding made.

        False: it was taken, but the socket is full: no more until `Listener.drained` is called.
        """

    def close(self, code: CloseCode, reason: str) -> None:
        """Close the socket, behind what was written."""


class Streamer(Protocol):
    """The socket that feeds a topic, as the hub sees it."""

    id: str

    def count(self, listeners: int) -> None:
        """So many hear it now; often the number it was told before."""

    def end(self, code: CloseCode, reason: str) -> None:
        """Publish what has come, and close the socket."""


class Listener:
    """One socket's place in a topic.

    `cursor` is the offset of the last publication it was handed; while it stands at the live edge
    the topic knows that. `opening` is the header, which goes before everything else.
    """

    __slots__ = ("_reading", "cursor", "encoding", "full_since", "opening", "sink", "told", "topic")

    def __init__(
        self,
        topic: "Topic",
        sink: Sink,
        encoding: Encoding,
        cursor: int,
        opening: Publication | None = None,
    ) -> None:
        self.topic = topic
        self.sink = sink
        self.encoding = encoding
        self.cursor = cursor
        self.opening = opening
        #: When its socket became full, by the loop's clock; 0 while it is not.
        self.full_since = 0.0
        #: Whether it was last told that the topic is live.
        self.told = topic.live
        self._reading: asyncio.Task[None] | None = None

    def drained(self) -> None:
        """Its socket takes more again."""
        self.full_since = 0.0
        self.topic.full.discard(self)
        if self in self.topic.listeners:
            self.advance()

    def advance(self) -> None:
        """Hand over what it has not had, until it stands at the live edge or its socket is full."""
        if self._reading:
            return
        if self.opening is not None and not self.full_since:
            opening, self.opening = self.opening, None
            self._write(self.encoding.publications([opening]))
        topic = self.topic
        while not self.full_since and self.cursor < topic.flushed:
            if self.cursor + 1 < topic.first:
                self._reading = asyncio.ensure_future(self._advance_from_history())
                return
            publications = topic.slice(self.cursor, topic.flushed)
            self.cursor = publications[-1].offset
            self._write(self.encoding.publications(publications))
        if not self.full_since:
            topic.arrive(self)

    def tell(self, message: Message) -> None:
        """Tell an event to a listener that understands events."""
        if self.encoding.tells:
            self._write(self.encoding.messages([message]))

    def tell_live(self) -> None:
        """Tell whether the topic is live, if that is news. A full socket is told later."""
        if self.told != self.topic.live and not self.full_since:
            self.told = self.topic.live
            self.tell(event("live" if self.told else "idle"))

    def close(self, code: CloseCode, reason: str) -> None:
        self.topic.remove(self)
        self.sink.close(code, reason)

    def _write(self, data: Any) -> None:
        if not self.sink.write(data):
            self.topic.note_full(self)

    async def _advance_from_history(self) -> None:
        try:
            while self._overtaken():
                await self._hand_over_history()
        except Exception:
            logger.exception("A listener of %r could not read history", self.topic.name)
            self.close(CloseCode.SLOW, "history cannot be read")
        finally:
            self._reading = None
        if not self.full_since and self in self.topic.listeners:
            self.advance()

    def _overtaken(self) -> bool:
        return (
            not self.full_since
            and self.cursor + 1 < self.topic.first
            and self in self.topic.listeners
        )

    async def _hand_over_history(self) -> None:
        topic = self.topic
        epoch, found = await get_backend().read(
            topic.name, self.cursor, conf.RING_COUNT, conf.SLICE_BYTES
        )
        if self.full_since or self not in topic.listeners:
            return
        if epoch != topic.epoch:
            self.close(CloseCode.SLOW, "a new history began")
            return
        # What the ring has by now it gives itself: it is the same, and one copy.
        found = [publication for publication in found if publication.offset < topic.first]
        oldest = found[0].offset if found else topic.first
        if oldest > self.cursor + 1:
            self._skip(oldest)
        if found and not self.full_since and self in topic.listeners:
            self.cursor = found[-1].offset
            self._write(self.encoding.publications(found))

    def _skip(self, oldest: int) -> None:
        """Go on at offset `oldest`, and say so; close where it cannot be said."""
        if self.encoding.tells:
            self.tell(event("skipped", **{"from": self.cursor + 1, "to": oldest - 1}))
            self.cursor = oldest - 1
        else:
            self.close(CloseCode.SLOW, "too far behind")


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
        #: Everybody who hears it, wherever they stand.
        self.listeners: set[Listener] = set()
        #: Those at the live edge, by encoding: all a flush writes to.
        self.edge: dict[Encoding, set[Listener]] = {}
        #: Those that history brought further than the last flush did.
        self.ahead: set[Listener] = set()
        #: Those whose sockets are full.
        self.full: set[Listener] = set()
        self.streamers: dict[str, Streamer] = {}
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
    def in_use(self) -> bool:
        return bool(self.listeners or self.streamers or self.reserved)

    # -- publications -----------------------------------------------------------------------

    def append(self, publications: list[Publication]) -> None:
        """Take publications, the first with offset `offset + 1`: they go out now or very soon."""
        self.ring.extend(publications)
        self.offset = publications[-1].offset
        self.size += sum(len(publication.payload) for publication in publications)
        while self._over_limit():
            if self.flushed < self.first:
                # The live edge must not be overtaken by what was not written to it yet.
                self.flush()
            self.size -= len(self.ring.popleft().payload)
        self._schedule_flush()

    def _over_limit(self) -> bool:
        return len(self.ring) > conf.RING_COUNT or self.size > conf.RING_BYTES

    def slice(self, since: int, until: int) -> list[Publication]:
        """Publications after `since` up to `until`: at most `SLICE_BYTES`, but at least one."""
        size = conf.SLICE_BYTES
        found: list[Publication] = []
        start = since + 1 - self.first
        for publication in islice(self.ring, start, start + until - since):
            size -= len(publication.payload)
            if size < 0 and found:
                break
            found.append(publication)
        return found

    def _schedule_flush(self) -> None:
        if self._flush_timer is None and self.flushed < self.offset:
            loop = asyncio.get_running_loop()
            if loop.time() >= self._next_flush:
                self.flush()
            else:
                self._flush_timer = loop.call_at(self._next_flush, self.flush)

    def flush(self) -> None:
        """Write what is new to everybody at the live edge."""
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        loop = asyncio.get_running_loop()
        started = loop.time()
        while self.flushed < self.offset:
            publications = self.slice(self.flushed, self.offset)
            self.flushed = publications[-1].offset
            for encoding, edge in self.edge.items():
                if edge:
                    self._write(encoding.publications(publications), edge)
        self._admit_ahead()
        ended = loop.time()
        self._next_flush = ended + PAUSE * (ended - started)

    def _write(self, data: Any, edge: set[Listener]) -> None:
        full = [listener for listener in edge if not listener.sink.write(data)]
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
        for listener in list(self.listeners):
            listener.close(CloseCode.SLOW, "a new history began")
        self.epoch = epoch
        self._empty(offset)

    def close(self, code: CloseCode, reason: str) -> None:
        """Send everybody away who hears or feeds it."""
        for listener in list(self.listeners):
            listener.close(code, reason)
        for streamer in list(self.streamers.values()):
            streamer.end(code, reason)

    def _empty(self, offset: int) -> None:
        self.ring.clear()
        self.size = 0
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
        self.edge.get(listener.encoding, set()).discard(listener)
        self._count()

    def arrive(self, listener: Listener) -> None:
        """It has everything up to its cursor, which is where the live edge is, or beyond."""
        listener.tell_live()
        if listener.full_since:
            return
        if listener.cursor > self.flushed:
            self.ahead.add(listener)
        else:
            self.edge.setdefault(listener.encoding, set()).add(listener)

    def note_full(self, listener: Listener) -> None:
        """Its socket takes no more: it leaves the live edge, and its cursor says where that was."""
        edge = self.edge.get(listener.encoding, set())
        if listener in edge:
            edge.discard(listener)
            listener.cursor = self.flushed
        listener.full_since = asyncio.get_running_loop().time()
        self.full.add(listener)

    def close_stuck(self, seconds: float) -> None:
        """Close the sockets that have taken nothing for so long."""
        limit = asyncio.get_running_loop().time() - seconds
        for listener in [one for one in self.full if one.full_since < limit]:
            listener.close(CloseCode.SLOW, f"nothing was taken for {seconds:g} s")

    # -- streamers --------------------------------------------------------------------------

    def set_streamer(self, streamer: str) -> None:
        """`streamer` feeds it now, wherever that is connected; "": nobody does."""
        self.streamer = streamer
        for other in list(self.streamers.values()):
            if streamer and other.id != streamer:
                other.end(CloseCode.REPLACED, "another streamer took over")
        for listener in list(self.listeners):
            listener.tell_live()

    def add_streamer(self, streamer: Streamer) -> None:
        self.streamers[streamer.id] = streamer
        self._next_count = asyncio.get_running_loop().time() + 1
        streamer.count(len(self.listeners))

    def remove_streamer(self, streamer: Streamer) -> None:
        self.streamers.pop(streamer.id, None)

    def _count(self) -> None:
        """Tell the streamers how many listen: soon, and at most once a second."""
        if self.streamers and self._count_timer is None:
            loop = asyncio.get_running_loop()
            self._count_timer = loop.call_at(max(self._next_count, loop.time()), self._tell_count)

    def _tell_count(self) -> None:
        self._count_timer = None
        self._next_count = asyncio.get_running_loop().time() + 1
        for streamer in list(self.streamers.values()):
            streamer.count(len(self.listeners))


def tell_all(topics: Iterable[Topic], message: Message) -> None:
    """Tell an event to everybody who understands it, full or not: it is small, and the last one.

    Whatever was accepted before goes out before it.
    """
    for topic in topics:
        topic.flush()
        for listener in list(topic.listeners):
            listener.tell(message)
