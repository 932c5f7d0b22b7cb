"""The open page sockets of this process, and what changes for them.

A subscription that is made or ends, a session that ends: all processes are told (`changes`), and
the one that has the page's socket follows at once. Every few seconds they look anyway, since rows
also change without a word, and expire. On the way what has expired is dropped.
"""

import asyncio
import logging
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from channels.db import database_sync_to_async
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from . import metrics, sessions
from .backends import get_backend
from .conf import conf
from .exceptions import BroadcastError, SessionEnded, Unavailable
from .groups import EVERYBODY
from .guard import mark
from .hub import Topic
from .models import EVERYONE, Subscription
from .relay import get_relay
from .subscriptions import PAGE, SOCKET_KEY, topic_of
from .watch import Watch

if TYPE_CHECKING:
    from .pages import PageConsumer

logger = logging.getLogger(__name__)

#: The type of the message that says that a session ended: `session`, its `guard.mark`.
SESSION = "broadcast.session"
#: Pages in one query.
ROWS = 500
#: Seconds between two looks for what has expired.
PRUNE_SECONDS = 600.0


class Pages:
    """The page sockets of one event loop."""

    def __init__(self) -> None:
        self.sockets: set[PageConsumer] = set()
        #: Those that may be subscribed, by digest. A page may have two: a reconnect before the old
        #: one is noticed.
        self.by_digest: dict[str, set[PageConsumer]] = {}
        self._watch = Watch("What pages hear", self._look)
        self._tasks: set[asyncio.Task[None]] = set()
        self._renew_at = self._prune_at = asyncio.get_running_loop().time()

    def enter(self, page: "PageConsumer") -> None:
        self.sockets.add(page)
        metrics.pages.inc()
        if page.digest:
            self.by_digest.setdefault(page.digest, set()).add(page)
        self._watch.start()

    def leave(self, page: "PageConsumer") -> None:
        self.sockets.discard(page)
        metrics.pages.dec()
        here = self.by_digest.get(page.digest, set())
        here.discard(page)
        if not here:
            self.by_digest.pop(page.digest, None)

    def has(self, digest: str) -> bool:
        """Whether a socket of the page is here."""
        return digest in self.by_digest

    def note_left(self, topic: Topic) -> None:
        """A page left it: presence follows soon."""
        self._spawn(get_relay().changed(topic))

    def hear(self, message: dict[str, Any]) -> None:
        """The subscriptions of a page changed."""
        pages = self.by_digest.get(message["digest"], ())
        for page in pages:
            # Before anything else that this process hears.
            page.leave(set(message["leave"]) - {EVERYONE})
        if pages:
            self._watch.changed(message["digest"])

    def hear_session(self, message: dict[str, Any]) -> None:
        """A session ended."""
        for page in list(self.sockets):
            if page.visitor.key and mark(page.visitor.key) == message["session"]:
                self._end(page)

    def tell_all(self, said: dict[str, Any]) -> None:
        """Tell an event to the pages that understand any: those that are told positions."""
        for page in self.sockets:
            if page.tells_positions:
                page.say(said)

    def _end(self, page: "PageConsumer") -> None:
        page.refuse(SessionEnded("the session has ended"))

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- looking ----------------------------------------------------------------------------

    async def _look(self, changed: set[str] | None) -> None:
        with suppress(Unavailable):
            await get_relay().attend(EVERYBODY, PAGE, self.hear)
            await get_relay().attend(EVERYBODY, SESSION, self.hear_session)
        digests = [one for one in self.by_digest if changed is None or one in changed]
        for some in parts(digests):
            await self._look_at(some, sessions_too=changed is None)
        if changed is None:
            await self._keep_house()

    async def _look_at(self, digests: list[str], sessions_too: bool) -> None:
        rows = Subscription.objects.live(timezone.now()).filter(digest__in=digests)
        heard: dict[str, set[str]] = {digest: set() for digest in digests}
        pairs = rows.values_list("digest", "channel")
        for digest, channel in await database_sync_to_async(list)(pairs):
            heard[digest].add(channel)
        pages = [page for digest in digests for page in self.by_digest.get(digest, ())]
        if sessions_too:
            await self._look_at_sessions(pages)
        following = [page for page in pages if page.hears != heard[page.digest] | {EVERYONE}]
        outcomes = await asyncio.gather(
            *(page.follow() for page in following), return_exceptions=True
        )
        # One that cannot follow now must not keep the others from it.
        for page, outcome in zip(following, outcomes, strict=True):
            if isinstance(outcome, BroadcastError):
                page.refuse(outcome)
            elif isinstance(outcome, BaseException):
                raise outcome

    async def _look_at_sessions(self, pages: list["PageConsumer"]) -> None:
        """End the pages whose session has ended, or is another one by now, or another user's."""
        asked = [page for page in pages if page.visitor.user is None]
        found = await sessions.look_at({page.visitor.key for page in asked}, SOCKET_KEY)
        for page in asked:
            key, user = found[page.visitor.key]
            if user != page.user.pk or not constant_time_compare(str(key), page.socket_key):
                self._end(page)

    async def _keep_house(self) -> None:
        """Say that open pages are open still, and drop what has expired."""
        now = asyncio.get_running_loop().time()
        if now >= self._renew_at:
            self._renew_at = now + conf.SUBSCRIPTION_AGE / 4
            for some in parts(list(self.by_digest)):
                await database_sync_to_async(Subscription.objects.renew)(some, timezone.now())
        if now >= self._prune_at:
            self._prune_at = now + PRUNE_SECONDS
            for digest in await database_sync_to_async(Subscription.objects.prune)(timezone.now()):
                await get_backend().forget(topic_of(digest))
            if not get_backend().shared:
                await get_backend().prune()


def parts(digests: list[str]) -> Iterator[list[str]]:
    """At most `ROWS` at a time."""
    return (digests[start : start + ROWS] for start in range(0, len(digests), ROWS))


_pages: WeakKeyDictionary[asyncio.AbstractEventLoop, Pages] = WeakKeyDictionary()


def get_pages() -> Pages:
    """The page sockets of the running event loop."""
    loop = asyncio.get_running_loop()
    pages = _pages.get(loop)
    if pages is None:
        pages = _pages[loop] = Pages()
    return pages
