"""The open page sockets of this process, and what changes for them.

When a subscription is made or ends, or a session ends, all processes are told (`pages.changes`),
and the process that has the page's socket has it follow at once. This process also knows from the
row when a subscription ends by itself (`access.deadlines`). Every few seconds it looks at the rows
anyway, since they also change unannounced.
"""

import asyncio
import math
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any, Protocol

from django.utils import timezone
from django.utils.crypto import constant_time_compare

from .. import lifespan, metrics
from ..access import sessions
from ..access.deadlines import Deadlines
from ..access.guard import mark
from ..access.visitors import Visitor
from ..access.watch import Watch
from ..conf import conf
from ..exceptions import BroadcastError, SessionEnded, Unavailable
from ..hub import bus
from ..hub.relay import get_relay
from ..logs import get_logger
from ..loops import PerLoop
from ..models import EVERYONE, Subscription
from ..models.database import database_sync_to_async
from .channels import Channels
from .subscriptions import SOCKET_KEY

logger = get_logger(__name__)

#: The type of the message that says that a session ended: `session`, its `access.guard.mark`.
#: Pages in one query.
ROWS = 500


class Page(Protocol):
    """An open page socket: see `socket.PageConsumer`."""

    visitor: Visitor
    #: Its name among all processes, and the key of its session; "": its session has no pages.
    digest: str
    socket_key: str
    #: Whether it is told positions, so that it understands events.
    tells_positions: bool
    channels: Channels

    @property
    def user(self) -> Any:
        """The user that opened it; None: not known yet."""

    def say(self, value: Any) -> None:
        """Tell the page a JSON value."""

    def refuse(self, error: BroadcastError) -> None:
        """Send it away, and say why."""


class Pages:
    """The page sockets of one event loop."""

    def __init__(self) -> None:
        self.sockets: set[Page] = set()
        #: Those that may be subscribed, by digest. A page may have two: a reconnect before the old
        #: one is noticed.
        self.by_digest: dict[str, set[Page]] = {}
        #: By digest: when a page's channels end, and when its session does.
        self._channel_ends = Deadlines(self._channels_ended)
        self._session_ends = Deadlines(self._session_ended)
        #: Pages whose session has ended, unless a request prolonged it.
        self._doubtful: set[str] = set()
        self._watch = Watch("pages", self._look)
        self._renew_at = asyncio.get_running_loop().time()

    def enter(self, page: Page, session_end: datetime | None) -> None:
        """`session_end`: see `access.sessions.enter`."""
        self.sockets.add(page)
        metrics.pages.inc()
        if page.digest:
            self.by_digest.setdefault(page.digest, set()).add(page)
            self._note_session(page.digest, session_end)
        self._watch.start()

    def leave(self, page: Page) -> None:
        self.sockets.discard(page)
        metrics.pages.dec()
        here = self.by_digest.get(page.digest, set())
        here.discard(page)
        if not here:
            self.by_digest.pop(page.digest, None)
            self._channel_ends.forget(page.digest)
            self._session_ends.forget(page.digest)

    def has(self, digest: str) -> bool:
        """Whether a socket of the page is here."""
        return digest in self.by_digest

    def _note_session(self, digest: str, end: datetime | None) -> None:
        self._session_ends.note(digest, {} if end is None else {SOCKET_KEY: end})

    def hear(self, message: bus.PageChanged) -> None:
        """The subscriptions of a page changed."""
        self._leave_channels(message.digest, message.leave)

    def _leave_channels(self, digest: str, channels: Iterable[str]) -> None:
        pages = self.by_digest.get(digest, ())
        for page in pages:
            # At once, before this process hears anything else.
            page.channels.leave(set(channels) - {EVERYONE})
        if pages:
            # Somebody may have prolonged it unannounced: the look finds that.
            self._watch.changed(digest)

    def _channels_ended(self, digest: str, channels: set[str]) -> None:
        # Never drop channel "" of an open page; its row is recreated.
        self._leave_channels(digest, channels - {""})

    def _session_ended(self, digest: str, _: Iterable[str]) -> None:
        # Requests prolong sessions unannounced: look it up.
        self._doubtful.add(digest)
        self._watch.changed(digest)

    def hear_session(self, message: bus.SessionEnded) -> None:
        """A session ended."""
        for page in list(self.sockets):
            if page.visitor.key and mark(page.visitor.key) == message.session:
                self._end(page)

    def tell_all(self, said: dict[str, Any]) -> None:
        """Tell an event to the pages that understand any: those that are told positions."""
        for page in self.sockets:
            if page.tells_positions:
                page.say(said)

    def _end(self, page: Page) -> None:
        page.refuse(SessionEnded("the session has ended"))

    # -- looking ----------------------------------------------------------------------------

    async def _look(self, changed: set[str] | None) -> None:
        with suppress(Unavailable):
            await get_relay().attend(bus.PageChanged, self.hear)
            await get_relay().attend(bus.SessionEnded, self.hear_session)
        digests = [one for one in self.by_digest if changed is None or one in changed]
        doubtful, self._doubtful = self._doubtful, set()
        for some in parts(digests):
            await self._look_at(some, some if changed is None else doubtful.intersection(some))
        if changed is None:
            await self._keep_house()

    async def _look_at(self, digests: list[str], sessions_of: Iterable[str]) -> None:
        heard, ending = await database_sync_to_async(rows_of)(digests)
        for digest in self.by_digest.keys() & digests:
            self._channel_ends.note(digest, ending[digest])
        await self._look_at_sessions(self._pages_of(sessions_of))
        pages = self._pages_of(digests)
        following = [
            page for page in pages if page.channels.hears != heard[page.digest] | {EVERYONE}
        ]
        outcomes = await asyncio.gather(
            *(page.channels.follow() for page in following), return_exceptions=True
        )
        # One that cannot follow now must not keep the others from it.
        for page, outcome in zip(following, outcomes, strict=True):
            if isinstance(outcome, BroadcastError):
                page.refuse(outcome)
            elif isinstance(outcome, BaseException):
                raise outcome

    def _pages_of(self, digests: Iterable[str]) -> list[Page]:
        return [page for digest in digests for page in self.by_digest.get(digest, ())]

    async def _look_at_sessions(self, pages: list[Page]) -> None:
        """End the pages whose session has ended, or is another one by now, or another user's."""
        asked = [page for page in pages if page.visitor.user is None]
        if not asked:
            return
        found = await sessions.look_at({page.visitor.key for page in asked}, SOCKET_KEY)
        for page in asked:
            key, user, end = found[page.visitor.key]
            if user != page.user.pk or not constant_time_compare(str(key), page.socket_key):
                self._end(page)
            elif page.digest in self.by_digest:
                self._note_session(page.digest, end)

    async def _keep_house(self) -> None:
        """Say that open pages are still open."""
        for ends in (self._channel_ends, self._session_ends):
            # Somebody may have set the clock.
            ends.set_timer()
        now = asyncio.get_running_loop().time()
        if now >= self._renew_at:
            self._renew_at = now + conf.SUBSCRIPTION_AGE / 4
            for some in parts(list(self.by_digest)):
                await database_sync_to_async(Subscription.objects.renew)(some, timezone.now())


def rows_of(digests: list[str]) -> tuple[dict[str, set[str]], dict[str, dict[str, datetime]]]:
    """What pages hear, and what of that ends soon: `Subscription.objects.ending`."""
    rows, now = Subscription.objects, timezone.now()
    return rows.heard(digests, now), rows.ending(digests, now)


def parts(digests: list[str]) -> Iterator[list[str]]:
    """At most `ROWS` at a time."""
    return (digests[start : start + ROWS] for start in range(0, len(digests), ROWS))


#: The page sockets of the running event loop.
get_pages = PerLoop(Pages)


@lifespan.draining.connect
def announce_end(seconds: float) -> None:
    """Tell the pages how long this server goes on."""
    get_pages().tell_all({"event": "shutdown", "seconds": math.ceil(seconds)})
