"""The connections at streams in this process, and whether they may still be there.

A socket is let in by the rules that hold when it comes. Later changes hold for it, too: a stream
that is made private or closed, a permission or user that is removed, a token that runs out, a
session that ends. A connection that may no longer be there is sent away with the code of a newcomer
(4503, 4504, 4510); one that may be there without its ended session stays. Staff may also list the
connections and remove one: `connections`.

Changes that pass through Django's models are announced to all processes, which look at once.
Every few seconds they look anyway, since rows also change without a word (`QuerySet.update`,
another program). For streams that are open to anybody that costs one query in all; elsewhere each
connection is checked again, less often where that takes long.

With the same look a stream that may not be compressed any more is sent as it is from then on.
"""

import asyncio
import hashlib
from collections.abc import Iterable
from contextlib import suppress
from heapq import nlargest
from typing import Protocol

from django.contrib.auth.models import AnonymousUser

from .. import metrics
from ..exceptions import (
    BroadcastError,
    Forbidden,
    NoSuchStream,
    Removed,
    RoomClosed,
    StreamClosed,
    Unavailable,
)
from ..groups import is_room, room_of
from ..hub import bus
from ..hub.relay import get_relay
from ..logs import get_logger
from ..loops import PerLoop, spawn
from ..models import Room, Stream, database
from ..models.database import database_sync_to_async
from ..models.rows import forget
from ..tokens import Grant
from . import rules, sessions
from .visitors import Visitor
from .watch import Watch

logger = get_logger(__name__)

#: Connections in an answer.
MOST = 50
#: Streams in one query, and people who are asked for at a time: newcomers get their turn between.
ROWS, PEOPLE = 500, 100


class Connection(Protocol):
    """Somebody at a stream, as the guard sees them."""

    slug: str
    grant: Grant
    visitor: Visitor
    #: When it came, in seconds since 1970.
    since: float

    @property
    def id(self) -> str:
        """Its name among the connections of all processes."""

    @property
    def way(self) -> str:
        """Its protocol: "broadcast.v1", "plain", "events" or "palava".

        "program": see `ingest.programs`.
        """

    @property
    def address(self) -> str:
        """Where it comes from; "": it has no address."""

    @property
    def behind(self) -> int:
        """How many publications it has still to be handed, or waits to have published."""

    def remove(self, error: BroadcastError) -> None:
        """Send them away, and say why. What they had published before is published."""


class Guard:
    """The connections of one event loop."""

    def __init__(self) -> None:
        self.connections: dict[str, set[Connection]] = {}
        self._watch = Watch("access", self._look)

    def enter(self, connection: Connection) -> None:
        """Look after it; from before it is let in, so that no change is missed between."""
        self.connections.setdefault(connection.slug, set()).add(connection)
        self._watch.start()

    def leave(self, connection: Connection) -> None:
        """It is gone, or going. One that never entered may leave, too."""
        here = self.connections.get(connection.slug, set())
        here.discard(connection)
        if not here:
            self.connections.pop(connection.slug, None)

    def remove(self, connections: Iterable[Connection], error: BroadcastError) -> None:
        """Send them away, all at one stream, and log it once."""
        leaving = list(connections)
        for connection in leaving:
            self.leave(connection)
            metrics.note_refusal("socket", type(error))
            connection.remove(error)
        if leaving:
            logger.info("Sent %d away from %r: %s", len(leaving), leaving[0].slug, error)

    def hear(self, message: bus.AccessChanged) -> None:
        """Something changed."""
        if message.session:
            self._end_session(message.session)
            return
        # Newcomers are let in by what the rows say now.
        forget()
        self._watch.changed(message.stream or None)

    def hear_removal(self, message: bus.Remove) -> None:
        """Somebody is to go."""
        here = self.connections.get(message.stream, ())
        found = [one for one in here if one.id == message.connection]
        self.remove(found, Removed("a person removed this connection"))

    def hear_question(self, message: bus.WhoIsThere) -> None:
        """Somebody asks who is at a stream."""
        if message.stream in self.connections:
            spawn(self._answer(*message))

    async def _answer(self, stream: str, question: str, channel: str) -> None:
        here = self.connections.get(stream, ())
        some = nlargest(MOST, here, key=lambda one: one.behind)
        names = await asyncio.gather(
            *(sessions.name_of(one.visitor) for one in some), return_exceptions=True
        )
        connections = [
            {
                "id": one.id,
                "deed": one.grant.value,
                "way": one.way,
                "address": one.address,
                "user": name if isinstance(name, str) else "",
                "token": bool(one.visitor.token),
                "behind": one.behind,
                "since": one.since,
            }
            for one, name in zip(some, names, strict=True)
        ]
        await bus.answer(channel, bus.TheseAreThere(question, connections))

    def _end_session(self, session: str) -> None:
        for name, here in self.connections.items():
            ended = [one for one in here if one.visitor.key and mark(one.visitor.key) == session]
            for one in ended:
                one.visitor.forget_session()
            if ended:
                spawn(self._look_without_session(name, ended))

    async def _look_without_session(self, name: str, connections: list[Connection]) -> None:
        """Send away those that may not be there without a session."""
        try:
            with database.expected():
                row = (await database_sync_to_async(rows_of)([name])).get(name)
                if row is not None:
                    await self._ask_for(row, connections, "the session has ended")
        except Unavailable:
            pass
        except Exception:
            # The next look asks for them again, as those they are now.
            logger.exception("Connections of %r whose session ended could not be checked", name)

    async def _attend(self) -> None:
        with suppress(Unavailable):
            await get_relay().attend(bus.AccessChanged, self.hear)
            await get_relay().attend(bus.WhoIsThere, self.hear_question)
            await get_relay().attend(bus.Remove, self.hear_removal)

    async def _look(self, changed: set[str] | None) -> None:
        await self._attend()
        names = [name for name in self.connections if changed is None or name in changed]
        for start in range(0, len(names), ROWS):
            some = names[start : start + ROWS]
            rows = await database_sync_to_async(rows_of)(some)
            for name in some:
                await self._look_at(name, rows.get(name))

    async def _look_at(self, name: str, row: Stream | Room | None) -> None:
        here = list(self.connections.get(name, ()))
        if row is None:
            # A room needs none.
            if not is_room(name):
                self.remove(here, NoSuchStream("there is no such stream any more"))
            return
        try:
            row.check_open()
        except (StreamClosed, RoomClosed) as closed:
            self.remove(here, closed)
            return
        topic = get_relay().topics.get(name)
        if topic is not None and isinstance(row, Stream):
            topic.edge.allow(row.may_be_compressed)
        for grant in {one.grant for one in here}:
            if not row.may(grant, AnonymousUser()):
                await self._ask_for(row, [one for one in here if one.grant == grant])

    async def _ask_for(
        self, row: Stream | Room, connections: list[Connection], cause: str = ""
    ) -> None:
        """Send those away who may not be there. `cause`: what they are told, instead of why not."""
        for start in range(0, len(connections), PEOPLE):
            some = connections[start : start + PEOPLE]
            answers = await asyncio.gather(
                *(rules.check(row, one.grant, one.visitor) for one in some),
                return_exceptions=True,
            )
            refused: dict[str, list[Connection]] = {}
            for connection, error in zip(some, answers, strict=True):
                if isinstance(error, Forbidden):
                    refused.setdefault(cause or str(error), []).append(connection)
                elif error is not None:
                    raise error
            for reason, leaving in refused.items():
                self.remove(leaving, Forbidden(reason))


def rows_of(names: list[str]) -> dict[str, Stream | Room]:
    """The rows of streams and rooms by the names of their streams, of those that have one."""
    slugs = [name for name in names if not is_room(name)]
    found: dict[str, Stream | Room] = dict(Stream.objects.in_bulk(slugs, field_name="slug"))
    ids = [room_of(name) for name in names if is_room(name) and "\0" not in name]
    found.update((room.stream, room) for room in Room.objects.filter(room_id__in=ids))
    return found


def mark(key: str) -> str:
    """The mark of a session, for other processes: its key goes nowhere."""
    return hashlib.sha256(key.encode()).hexdigest()


#: The guard of the running event loop.
get_guard = PerLoop(Guard)
