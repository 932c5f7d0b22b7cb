"""The socket of a page: it hears the channels that the page was subscribed to, and calls views.

However many channels it hears, it is one socket in as many topics of the hub, with a `Listener` in
each and no task of its own. What it hears, and whether it still may, are rows of `Subscription` and
the visitor's session: it follows when they change (`watch`).
"""

import asyncio
import json
import math
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple

from channels.db import database_sync_to_async
from django.db import DatabaseError
from django.dispatch import Signal
from django.utils import timezone

from ..access import sessions
from ..access.visitors import Visitor
from ..conf import conf
from ..consumers import SocketConsumer
from ..exceptions import BadRequest, BroadcastError, CloseCode, TooLarge
from ..hub.gathering import get_writes
from ..hub.listeners import Listener
from ..hub.relay import get_relay
from ..hub.starts import Wish, begin_at, query_of
from ..logs import get_logger
from ..models import EVERYONE, Subscription
from ..models.subscriptions import Place
from ..publications import Position, decode_json
from ..signals import socket_joined, socket_left
from ..wire.frames import TEXT, Message, page_encoding
from ..wire.sinks import FrameSink
from . import watch as page_watch
from .actions import Actions
from .calls import caller
from .subscriptions import SOCKET_KEY, PageSocket, digest_of, is_id, positions, topic_of

logger = get_logger(__name__)

#: The place of a page on a channel that it was never subscribed to.
NOWHERE = Place(Position("", 0), Position("", 0))


class Person(NamedTuple):
    """Whose page it is."""

    session: Any
    user: Any

    @property
    def socket_key(self) -> str:
        """The key that digests are made with; "": the session has none."""
        key = self.session.get(SOCKET_KEY)
        return key if is_id(key) else ""


class PageConsumer(SocketConsumer):
    """A page's socket, at `/` and `/ws/socket/`; for the hub the `Sink` of all its listeners.

    A wrong, missing or foreign connection id is let in: its digest matches no subscription.
    """

    #: What others know the page by; "": it is of no session that has pages.
    digest = ""
    socket_key = ""
    connection_id = ""
    #: Whoever opened it; None: that is not known yet.
    person: Person | None = None
    #: Whether it heard its channels, so that it is to be told when it leaves.
    joined = False
    #: Whether a close frame is on its way, in either direction.
    is_closing = False

    async def enter(self) -> None:
        query = query_of(self.scope)
        self.connection_id = query.get("socket_connection_id", "")
        self.tells_positions = query.get("positions") == "1"
        self.known = known_positions(query.get("since", "{}"))
        self.visitor = Visitor.of_scope(self.scope)
        self.caller = caller(self.scope)
        self.actions = Actions(self)
        self.changing = asyncio.Lock()
        #: By channel: where its row says that it begins, who hears it, and what was handed over
        #: since, of those it hears no more.
        self.rows: dict[str, Place] = {}
        self.listeners: dict[str, Listener] = {}
        self.heard: dict[str, Position] = {}
        #: Set when its socket takes more; None while nobody waits for that.
        self.room: asyncio.Event | None = None
        #: What it is to leave while it is about to join it.
        self.left: set[str] = set()
        self.is_full = False
        self.is_prepared = isinstance(self.sink, FrameSink)
        self.sink.on_drain(self.drained)
        if isinstance(self.sink, FrameSink):
            self.sink.on_close(self.closing)
        session, user, session_end = await sessions.enter(self.visitor)
        self.person = person = Person(session, user)
        self.socket_key = person.socket_key
        if self.socket_key and is_id(self.connection_id):
            self.digest = digest_of(self.socket_key, self.connection_id)
        page_watch.get_pages().enter(self, session_end)
        await self.follow()
        # What it hears again later begins where it is subscribed again.
        self.known.clear()
        if not self.refused:
            self.joined = True
            await self._send_signal(socket_joined, person)

    # -- who it is --------------------------------------------------------------------------

    async def _find_person(self) -> Person:
        return Person(*await sessions.load(self.visitor))

    @property
    def user(self) -> Any:
        return self.person.user if self.person else None

    async def present(self) -> PageSocket:
        return self._socket(await self._find_person())

    def _socket(self, person: Person) -> PageSocket:
        request = SimpleNamespace(session=person.session, user=person.user, path="")
        return PageSocket(request, self.connection_id, is_open=bool(self.digest))

    async def _send_signal(self, signal: Signal, person: Person) -> None:
        """Robustly: Django logs which receiver failed."""
        await signal.asend_robust(
            sender=type(self),
            socket=self._socket(person),
            session=person.session,
            user=person.user,
            digest=self.digest,
        )

    # -- what it hears ----------------------------------------------------------------------

    @property
    def hears(self) -> set[str]:
        """The channels that it is in; "" is what is pushed to it alone."""
        return set(self.listeners)

    async def follow(self) -> None:
        """Hear what the page is subscribed to now, what goes to everyone, and nothing else."""
        async with self.changing:
            self.left.clear()
            self.rows = {EVERYONE: NOWHERE, **await self._subscriptions()}
            self.leave(self.listeners.keys() - self.rows.keys())
            joining = self.rows.keys() - self.listeners.keys()
            await asyncio.gather(*(self._join(one, self.rows[one]) for one in joining))

    async def _subscriptions(self) -> dict[str, Place]:
        """The page's places by channel, with what is pushed to it alone."""
        if not self.digest:
            return {}
        rows = Subscription.objects
        found: dict[str, Place]
        found = await database_sync_to_async(rows.open)(self.digest, timezone.now())
        if "" not in found:
            own = await positions([], self.digest)
            await database_sync_to_async(rows.subscribe)(
                self.digest, own, timezone.now(), user=self.user, is_open=True
            )
            found[""] = Place(own[""], own[""])
        return found

    async def _join(self, channel: str, place: Place) -> None:
        """Hear the channel from where the page was, or says it was, but nothing from before."""
        epoch, since = self.known.get(channel, place.heard)
        # What it left and comes back to, it need not be told again.
        for other in (place.first, self.heard.get(channel, place.first)):
            if epoch == other.epoch:
                since = max(since, other.offset)
        async with get_relay().topic(channel or topic_of(self.digest)) as topic:
            # Use `seen` only if the channel was forgotten: the page may have made up its position.
            seen = math.inf if place.first.epoch == topic.epoch else place.seen
            start = await begin_at(topic, Wish(0, epoch, since), seen)
            if self.refused or self.is_closing:
                return
            if channel in self.listeners or channel in self.left:
                return
            told = topic.epoch if self.tells_positions else ""
            encoding = page_encoding(channel, told, self.is_prepared)
            listener = Listener(topic, self, encoding, start.cursor, start.opening)
            self.listeners[channel] = listener
            if told:
                self.say({"channel": channel, "epoch": told, "offset": start.cursor})
            topic.add(listener)

    def leave(self, channels: Iterable[str]) -> None:
        """Hear them no more, from now on."""
        for channel in list(channels):
            self.left.add(channel)
            listener = self.listeners.pop(channel, None)
            if listener:
                position = Position(listener.topic.epoch, listener.offset)
                if position != self.rows.get(channel, NOWHERE).heard:
                    self.heard[channel] = position
                listener.topic.remove(listener)
                page_watch.get_pages().note_left(listener.topic)

    # -- its socket, as the hub sees it -----------------------------------------------------

    def write(self, data: Any) -> bool:
        # What waits for it goes before.
        return self.write_now(get_writes().take(self) + data if self.is_prepared else data)

    def write_now(self, data: Any) -> bool:
        if self.sink.write(data):
            return True
        self.is_full = True
        # No topic may write more: each keeps nothing but its cursor.
        for listener in self.listeners.values():
            listener.topic.note_full(listener)
        return False

    def drained(self) -> None:
        """Its socket takes more: whoever fills it again is the last one to be asked next time."""
        self._go_on()
        now = asyncio.get_running_loop().time()
        for listener in self.listeners.values():
            # It took something, if not of this one.
            listener.full_since = now if listener.full_since else 0.0
        for channel, listener in list(self.listeners.items()):
            if listener.full_since:
                listener.drained()
            if listener.full_since:
                self.listeners[channel] = self.listeners.pop(channel)
                return

    def closing(self) -> None:
        """What is pushed from now on is for the socket that it comes back with."""
        self.is_closing = True
        self._end()

    def close(self, code: CloseCode, reason: str) -> None:
        self.refused = True
        self._end()
        self.sink.close(code, reason)

    def _close(self, error: BroadcastError) -> None:
        if self.person:
            self._end()
        super()._close(error)

    def _end(self) -> None:
        self.leave(self.listeners)
        if waiting := get_writes().take(self):
            self.write_now(waiting)
        # Let go of all that the page waits for: nothing may keep it here.
        self.actions.give_up()
        self._go_on()

    def _go_on(self) -> None:
        self.is_full = False
        if self.room:
            self.room.set()

    # -- what it says -----------------------------------------------------------------------

    async def receive(self, message: dict[str, Any]) -> None:
        text = message.get("text")
        if len(text or "") > conf.MAX_FRAME:
            raise TooLarge(f"a message has at most {conf.MAX_FRAME} bytes")
        if self.is_full:
            # What is answered to somebody who does not read would pile up. They are closed when
            # they take nothing for long (`Topic.close_stuck`).
            self.room = asyncio.Event()
            await self.room.wait()
            self.room = None
        await self.actions.take(text)

    def answer(self, payload: bytes) -> None:
        if not self.refused:
            self.write(self.encoding.messages([(TEXT, (payload,))]))

    def say(self, value: Any) -> None:
        message: Message = (TEXT, (json.dumps(value, ensure_ascii=False).encode(),))
        self.write(self.encoding.messages([message]))

    async def closed(self) -> None:
        if self.person is None:
            return
        self.refused = True
        self.actions.cancel()
        self.leave(self.listeners)
        page_watch.get_pages().leave(self)
        try:
            # Another socket of the same page may have come before this one was noticed to be gone.
            if self.digest and not page_watch.get_pages().has(self.digest):
                close = database_sync_to_async(Subscription.objects.close)
                await close(self.digest, self.heard, timezone.now())
        except DatabaseError as error:
            logger.error("Where a page was could not be kept: %r", error)
        finally:
            if self.joined:
                await self._send_signal(socket_left, self.person)


def known_positions(text: str) -> dict[str, Position]:
    """What a page says it heard last, by channel: `{"news": ["epoch", 12]}`.

    BadRequest: it makes no sense.
    """
    said = decode_json(text)
    if not isinstance(said, Mapping):
        raise BadRequest("since is an object of positions by channel")
    found = {}
    for channel, position in said.items():
        match position:
            case [str(epoch), int(offset)] if offset >= 0:
                found[channel] = Position(epoch, offset)
            case _:
                raise BadRequest("a position is an epoch and an offset")
    return found
