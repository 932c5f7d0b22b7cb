"""The socket of a page: it hears the channels that the page was subscribed to, and calls views.

This module has the socket and its visitor; `channels` has what it hears, `actions` what it calls,
`watch` its place among the pages of this process. It promises: one socket, however many channels;
what is written to it goes out in order; while it is full, no topic writes to it, and it is read
no more.
"""

import asyncio
import json
from types import SimpleNamespace
from typing import Any, NamedTuple

from django.db import DatabaseError
from django.dispatch import Signal
from django.utils import timezone

from ..access import sessions
from ..access.visitors import Visitor
from ..conf import conf
from ..consumers import SocketConsumer
from ..exceptions import BroadcastError, CloseCode, TooLarge
from ..hub.page_writes import get_writes
from ..hub.starts import query_of
from ..logs import get_logger
from ..models import Subscription
from ..models.database import database_sync_to_async
from ..signals import socket_joined, socket_left
from ..wire.deflate import alone
from ..wire.frames import TEXT, Message, to_frames
from ..wire.sinks import FrameSink
from . import watch as page_watch
from .actions import Actions
from .calls import caller
from .channels import Channels, known_positions
from .subscriptions import SOCKET_KEY, PageSocket, digest_of, is_id

logger = get_logger(__name__)


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

    may_deflate = True
    #: Its name among all processes; "": its session has no pages.
    digest = ""
    socket_key = ""
    connection_id = ""
    #: The person that opened it; None: not known yet.
    person: Person | None = None
    #: Whether `socket_joined` was sent for it, so that `socket_left` follows.
    joined = False
    #: Whether a close frame is on its way, in either direction.
    is_closing = False

    async def enter(self) -> None:
        query = query_of(self.scope)
        self.connection_id = query.get("socket_connection_id", "")
        self.tells_positions = query.get("positions") == "1"
        self.channels = Channels(self, known_positions(query.get("since", "{}")))
        self.visitor = Visitor.of_scope(self.scope)
        self.caller = caller(self.scope)
        self.actions = Actions(self)
        #: Set when its socket takes more; None while nothing waits for that.
        self.space: asyncio.Event | None = None
        self.is_full = False
        self.is_prepared = isinstance(self.sink, FrameSink)
        self.frames = (alone if self.inflates else to_frames) if self.is_prepared else None
        self.sink.on_space(self.go_on)
        if isinstance(self.sink, FrameSink):
            self.sink.on_close(self.closing)
        session, user, session_end = await sessions.enter(self.visitor)
        self.person = person = Person(session, user)
        self.socket_key = person.socket_key
        if self.socket_key and is_id(self.connection_id):
            self.digest = digest_of(self.socket_key, self.connection_id)
        page_watch.get_pages().enter(self, session_end)
        await self.channels.open()
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

    # -- its socket, as the hub sees it -----------------------------------------------------

    def write(self, data: Any) -> bool:
        # Frames that wait for it go first.
        return self.write_now(get_writes().take(self) + data if self.is_prepared else data)

    def write_now(self, data: Any) -> bool:
        if self.sink.write(data):
            return True
        self.is_full = True
        self.channels.note_full()
        return False

    def go_on(self) -> None:
        self._go_on()
        self.channels.catch_up()

    @property
    def is_going(self) -> bool:
        return self.refused or self.is_closing

    def closing(self) -> None:
        """Its client closes it: what is pushed from now on is for the socket it comes back with."""
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
        self.channels.leave_all()
        if waiting := get_writes().take(self):
            self.write_now(waiting)
        # Nothing that the page waits for may keep it here.
        self.actions.give_up()
        self._go_on()

    def _go_on(self) -> None:
        self.is_full = False
        if self.space:
            self.space.set()

    # -- what it says -----------------------------------------------------------------------

    async def receive(self, message: dict[str, Any]) -> None:
        text = message.get("text")
        if len(text or "") > conf.MAX_FRAME:
            raise TooLarge(f"a message has at most {conf.MAX_FRAME} bytes")
        if self.is_full:
            # Answers to a client that does not read would pile up. `Topic.close_stuck` closes a
            # socket that takes nothing for long.
            self.space = asyncio.Event()
            await self.space.wait()
            self.space = None
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
        self.channels.leave_all()
        page_watch.get_pages().leave(self)
        try:
            # Another socket of the same page may have come before this one was known to be gone.
            if self.digest and not page_watch.get_pages().has(self.digest):
                close = database_sync_to_async(Subscription.objects.close)
                await close(self.digest, self.channels.heard, timezone.now())
        except DatabaseError as error:
            logger.error("The positions of a page could not be kept: %r", error)
        finally:
            if self.joined:
                await self._send_signal(socket_left, self.person)
