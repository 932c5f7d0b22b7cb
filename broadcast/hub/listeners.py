"""One socket that hears a topic, and how it catches up.

A listener whose socket is full leaves the live edge and keeps nothing but its cursor. When its
socket takes more again it catches up in bounded slices: from the ring, or from history where the
ring has overtaken it, until it stands at the live edge again. What history does not hold any more
is told (`skipped`) or, on a plain socket, ends the connection (4408).

Of video, what was missed is worth nothing, and the middle of it cannot be shown: a listener that
`keeps_up` goes on at the newest entry point, with the header before it if that is a new one. It
does so as soon as it has fallen behind by `MEDIA_LAG_SECONDS`, and never begins between: where
there is no entry point to go on at, it waits for the next one.

The promise to every listener: each publication exactly once, in order, or a `skipped` that names
what is missing.
"""

import asyncio
import time
from itertools import dropwhile
from typing import Any, Protocol

from .. import metrics
from ..backends import get_backend
from ..conf import conf
from ..exceptions import CloseCode, Unavailable
from ..logs import get_logger
from ..publications import Publication
from ..wire.frames import Encoding, Message, event
from .ring import Ring

logger = get_logger(__name__)


class Sink(Protocol):
    """A listener's socket, as the hub sees it. It never raises: a lost socket takes everything."""

    def write(self, data: Any) -> bool:
        """Take what the listener's encoding made.

        False: it was taken, but the socket is full: no more until `Listener.resume` is called.
        """

    def close(self, code: CloseCode, reason: str) -> None:
        """Close the socket, behind what was written."""


class Heard(Protocol):
    """A topic as its listeners see it: see `topics.Topic`."""

    name: str
    epoch: str
    ring: Ring
    flushed: int
    #: All listeners; those whose sockets are full.
    listeners: set["Listener"]
    full: set["Listener"]

    @property
    def live(self) -> bool:
        """Whether somebody feeds it."""

    def remove(self, listener: "Listener") -> None:
        """It hears no more. Calling this twice is harmless."""

    def arrive(self, listener: "Listener") -> None:
        """It has everything up to its cursor, which is where the live edge is, or beyond."""

    def note_full(self, listener: "Listener") -> None:
        """Its socket takes no more: it leaves the live edge, and its cursor says where that was."""


class Listener:
    """One socket's place in a topic.

    `cursor` is the offset of the last publication it was handed; while it stands at the live edge
    the topic knows that. `opening` is the header, which goes before everything else.
    """

    __slots__ = (
        *("_reading", "at", "cursor", "encoding", "full_since", "keeps_up", "opening"),
        *("sink", "told", "topic", "waits_from", "was_live"),
    )

    def __init__(
        self,
        topic: Heard,
        sink: Sink,
        encoding: Encoding,
        cursor: int,
        opening: Publication | None = None,
        keeps_up: bool = False,
        waits: bool = False,
    ) -> None:
        self.topic = topic
        self.sink = sink
        self.encoding = encoding
        #: While it stands at the live edge: with which encoding.
        self.at: Encoding | None = None
        self.cursor = cursor
        self.opening = opening
        self.keeps_up = keeps_up
        #: While it waits for a place to begin at: the first offset that it is not handed. Else 0.
        self.waits_from = cursor + 1 if waits else 0
        #: Whether it has stood at the live edge: who asked for history is not behind.
        self.was_live = False
        #: When its socket became full, by the loop's clock; 0 while it is not.
        self.full_since = 0.0
        #: Whether it was last told that the topic is live.
        self.told = topic.live
        self._reading: asyncio.Task[None] | None = None

    @property
    def offset(self) -> int:
        """The newest publication that it was handed."""
        return self.cursor if self.at is None else self.topic.flushed

    @property
    def behind(self) -> int:
        """How many publications it has still to be handed."""
        return self.topic.ring.offset - self.offset

    def resume(self) -> None:
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
            self._write_publications([opening])
        topic = self.topic
        while not self.full_since and self.cursor < topic.flushed:
            if self.cursor + 1 < topic.ring.first or self._lags():
                self._reading = asyncio.ensure_future(self._advance_from_history())
                return
            publications, _ = topic.ring.slice(self.cursor, topic.flushed)
            self.cursor = publications[-1].offset
            self._hand_over(publications)
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

    def _hand_over(self, publications: list[Publication]) -> None:
        if self.waits_from:
            publications = self._from_mark(publications)
        if publications:
            self._write_publications(publications)

    def _from_mark(self, publications: list[Publication]) -> list[Publication]:
        """Those from the first on that it can begin with: an entry point, or a new recording."""
        found = list(dropwhile(lambda publication: not publication.marks, publications))
        if found:
            first, self.waits_from = self.waits_from, 0
            if self.encoding.tells:
                self._tell_skipped(first, found[0].offset - 1)
        return found

    def _write_publications(self, publications: list[Publication]) -> None:
        if data := self.encoding.publications(publications):
            metrics.note_deliveries(publications)
            self._write(data)

    def _write(self, data: Any) -> None:
        if not self.sink.write(data):
            self.topic.note_full(self)

    async def _advance_from_history(self) -> None:
        try:
            while self._overtaken() or self._lags():
                await self._hand_over_history()
                # An engine in memory never waits.
                await asyncio.sleep(0)
        except Exception as error:
            if not isinstance(error, Unavailable):
                logger.exception("A listener of %r could not read history", self.topic.name)
            self._close_slow("unreadable", "history cannot be read")
        finally:
            self._reading = None
        if not self.full_since and self in self.topic.listeners:
            self.advance()

    def _overtaken(self) -> bool:
        return (
            not self.full_since
            and self.cursor + 1 < self.topic.ring.first
            and self in self.topic.listeners
        )

    def _lags(self) -> bool:
        """Whether it is so far behind that it had better go on at an entry point."""
        topic = self.topic
        if not (self.keeps_up and self.was_live and self.encoding.tells):
            return False
        if self.full_since or topic.ring.entry <= self.cursor + 1 or self not in topic.listeners:
            return False
        missed = topic.ring.at(self.cursor + 1)
        return missed is None or missed.time < time.time() - conf.MEDIA_LAG_SECONDS

    async def _hand_over_history(self) -> None:
        topic = self.topic
        if self._lags():
            # Without an entry point it catches up as others do.
            self.was_live = await self._skip_to_entry()
            return
        epoch, found = await get_backend().read(
            topic.name, self.cursor, conf.RING_COUNT, conf.SLICE_BYTES
        )
        if self.full_since or self not in topic.listeners:
            return
        if epoch != topic.epoch:
            self.close(CloseCode.SLOW, "a new history began")
            return
        # Leave to the ring what it holds by now: its copies are shared.
        found = [publication for publication in found if publication.offset < topic.ring.first]
        oldest = found[0].offset if found else topic.ring.first
        if oldest > self.cursor + 1:
            if self.keeps_up and await self._skip_to_entry(oldest):
                return
            self._skip(oldest)
        if found and not self.full_since and self in topic.listeners:
            self.cursor = found[-1].offset
            self._hand_over(found)

    async def _skip_to_entry(self, oldest: int = 0) -> bool:
        """Go on at the newest entry point. False: none is ahead of it after the header.

        Where history has nothing before `oldest`, it waits for the next one then, if any are known.
        """
        topic = self.topic
        state = await get_backend().state(topic.name)
        header = state.header
        if self.full_since or self not in topic.listeners:
            return True
        if state.epoch != topic.epoch:
            self.close(CloseCode.SLOW, "a new history began")
            return True
        if state.open_entry > self.cursor + 1:
            if header and header.offset > self.cursor:
                self._skip_to_header(header)
            self._skip(state.open_entry)
            return True
        if header and self.cursor < header.offset < oldest:
            self._skip_to_header(header)
        if oldest and state.has_entries and self.encoding.tells:
            self.waits_from = self.waits_from or self.cursor + 1
        return False

    def _skip_to_header(self, header: Publication) -> None:
        self._skip(header.offset)
        if self in self.topic.listeners:
            self.cursor = header.offset
            self._hand_over([header])

    def _skip(self, oldest: int) -> None:
        """Go on at offset `oldest`, and say so; close where it cannot be said."""
        if oldest == self.cursor + 1 or self not in self.topic.listeners:
            return
        if self.waits_from:
            # It is told when it begins.
            self.cursor = oldest - 1
        elif self.encoding.tells:
            self._tell_skipped(self.cursor + 1, oldest - 1)
            self.cursor = oldest - 1
        else:
            self._close_slow("overtaken", "too far behind")

    def _tell_skipped(self, first: int, last: int) -> None:
        if first <= last:
            metrics.skipped_publications.inc(last + 1 - first)
            self.tell(event("skipped", **{"from": first, "to": last}))

    def _close_slow(self, cause: str, reason: str) -> None:
        metrics.slow_closes.labels(cause).inc()
        self.close(CloseCode.SLOW, reason)
