"""The page socket as views see it: `request.socket`.

A page is rendered with a connection id, which is nowhere kept. What is kept is its digest, made
with a key of the visitor's session: who has the id and another session hears nothing, and who reads
the subscriptions can open nothing. (After pakyow-realtime 0.11, with SHA-256.)

A channel is a stream, by its name. A page hears what is pushed to its channels after the position
at which it was subscribed, so nothing is lost between its rendering and the opening of its socket.
What is pushed to one page alone goes through a topic of its own.
"""

import asyncio
import base64
import hmac
import re
import secrets
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone

from ..backends import get_backend
from ..exceptions import BadRequest, Unavailable
from ..groups import PAGE_PREFIX
from ..hub import bus
from ..hub.appending import check_name
from ..hub.greenlets import to_sync
from ..hub.publishing import apublish_draft
from ..hub.serving import at_engine
from ..installation import learn
from ..models import Subscription
from ..models.database import written_at
from ..publications import Draft, Position

if TYPE_CHECKING:
    from ..models import AnyUser

#: Where a session has its key.
SOCKET_KEY = "socket_key"
#: How names begin that are no channels.
RESERVED = (PAGE_PREFIX, "room:")

Channels = str | Iterable[str]


def new_id() -> str:
    """A connection id, or a session's key: 32 random bytes as hex."""
    return secrets.token_hex(32)


def is_id(value: Any) -> bool:
    """Whether it could be a connection id, a key or a digest."""
    return isinstance(value, str) and bool(re.fullmatch("[0-9a-f]{64}", value))


def digest_of(socket_key: str, connection_id: str) -> str:
    return hmac.digest(socket_key.encode(), connection_id.encode(), "sha256").hex()


def topic_of(digest: str) -> str:
    """The topic of what is pushed to this page alone."""
    return PAGE_PREFIX + digest


def announce(digest: str, leave: Iterable[str] = ()) -> None:
    """Have the page's socket, wherever that is, look at its subscriptions, and `leave` at once."""
    telling = partial(bus.tell_everybody, bus.PageChanged(digest, list(leave)))
    transaction.on_commit(telling, using=written_at(Subscription), robust=True)


class PageSocket:
    """The socket of the page that `request` renders, or was called by.

    Nothing is made before it is used: no id, no key, no session. BadRequest: a channel cannot have
    that name. ValueError: no channel at all. Unavailable: the engine is away.
    """

    def __init__(self, request: Any, connection_id: str = "", is_open: bool = False) -> None:
        """`request` has a session, and may have a `user` and a `path`."""
        self._request = request
        self._connection_id = connection_id
        self.is_open = is_open
        #: Whether the connection id was made for this request's page, and stands in it already.
        self.is_new = False
        self.is_rendered = False

    @property
    def connection_id(self) -> str:
        """The id that the page opens its socket with; a new one for each page."""
        if not self._connection_id:
            self._connection_id = new_id()
            self.is_new = True
        return self._connection_id

    @property
    def session(self) -> Any:
        return self._request.session

    @property
    def user(self) -> "AnyUser | None":
        user: AnyUser | None = getattr(self._request, "user", None)
        return user

    @property
    def digest(self) -> str:
        """What others know this page by: see `push_to`."""
        return digest_of(self.key(), self.connection_id)

    async def adigest(self) -> str:
        return digest_of(await self.akey(), self.connection_id)

    def key(self) -> str:
        """The key of the session, made on first use."""
        key = self.session.get(SOCKET_KEY)
        if not is_id(key):
            key = self.session[SOCKET_KEY] = new_id()
        return str(key)

    async def akey(self) -> str:
        key = await self.session.aget(SOCKET_KEY)
        if not is_id(key):
            key = new_id()
            await self.session.aset(SOCKET_KEY, key)
        return str(key)

    async def asubscribe(self, *channels: Channels) -> None:
        """This page hears the channels from now on, on its socket or as soon as that opens."""
        names = channel_names(channels)
        digest = await self.adigest()
        await learn()
        begins = await at_engine(positions(names, digest))
        await sync_to_async(self._subscribe)(digest, begins)

    def _subscribe(self, digest: str, begins: dict[str, Position]) -> None:
        Subscription.objects.subscribe(
            digest,
            begins,
            timezone.now(),
            user=self.user,
            path=getattr(self._request, "path", ""),
            is_open=self.is_open,
        )
        if self.is_open:
            announce(digest)

    async def aunsubscribe(self, *channels: Channels) -> None:
        """This page hears the channels no more; what is pushed later does not reach it."""
        names = channel_names(channels)
        rows = Subscription.objects.filter(digest=await self.adigest(), channel__in=names)
        await rows.adelete()

    async def apush(self, message: Any, *channels: Channels) -> None:
        """Send a message to all pages that hear the channels: any JSON value, or bytes.

        A `*` in a channel stands for anything within one segment: `news.*` is `news.sport` and not
        `news.sport.today`. Such a pattern reaches the channels that any page is subscribed to.
        StreamClosed, TooLarge: a channel did not take it; the others have.
        """
        draft = Draft.of(message)
        names = await sync_to_async(_expand)(channel_names(channels, patterns=True))
        pushes = (apublish_draft(name, draft) for name in names)
        for outcome in await asyncio.gather(*pushes, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    async def apush_to(self, digest: str, message: Any, *channels: Channels) -> None:
        """Send a message to one page, by its digest, as if it came on the channels.

        A page that was never subscribed and has no open socket gets nothing.
        """
        said = _as_json(message)
        drafts = [Draft.of({"payload": said, "channel": one}) for one in channel_names(channels)]
        is_known = sync_to_async(Subscription.objects.has_live)
        if is_id(digest) and await is_known(digest, timezone.now()):
            for draft in drafts:
                await apublish_draft(topic_of(digest), draft)

    def subscribe(self, *channels: Channels) -> None:
        to_sync(self.asubscribe)(*channels)

    def unsubscribe(self, *channels: Channels) -> None:
        to_sync(self.aunsubscribe)(*channels)

    def push(self, message: Any, *channels: Channels) -> None:
        to_sync(self.apush)(message, *channels)

    def push_to(self, digest: str, message: Any, *channels: Channels) -> None:
        to_sync(self.apush_to)(digest, message, *channels)


class SocketRequest(HttpRequest):
    """A request as views have it behind `SocketMiddleware`: what annotations call it."""

    socket: PageSocket


async def positions(names: Iterable[str], digest: str) -> dict[str, Position]:
    """Where the channels stand now, and as channel "" the page's own topic."""
    own = topic_of(digest)
    wanted = [*names, own]
    found = await get_backend().positions(wanted)
    if len(found) < len(set(wanted)):
        raise Unavailable("a channel's part of the engine does not answer")
    return {"" if name == own else name: Position(*found[name]) for name in wanted}


def channel_names(channels: Iterable[Channels], *, patterns: bool = False) -> list[str]:
    """The names among channels and lists of them, each once."""
    names: list[str] = []
    for one in channels:
        names.extend([one] if isinstance(one, str) else one)
    if not names:
        raise ValueError("name at least one channel")
    for name in names:
        check_name(name)
        if name.startswith(RESERVED):
            raise BadRequest(f"no channel begins with {name.split(':')[0]}:")
        if "*" in name and not patterns:
            raise BadRequest("a * stands for channels in a push alone")
    return list(dict.fromkeys(names))


def _expand(names: Iterable[str]) -> list[str]:
    """The channels that names and patterns mean, each once."""
    found: dict[str, None] = {}
    for name in names:
        if "*" in name:
            first, *middle, last = map(re.escape, name.split("*"))
            # The first match of a part is as good as any: so nothing is tried twice.
            parts = "".join(f"(?>[^.]*?{part})" for part in middle)
            pattern = re.compile(f"{first}{parts}[^.]*{last}")
            heard = Subscription.objects.channels(timezone.now(), name.split("*")[0])
            found.update(dict.fromkeys(filter(pattern.fullmatch, heard)))
        else:
            found[name] = None
    return list(found)


def _as_json(message: Any) -> Any:
    """A message as a part of another: bytes in base64, as `wire.frames.page_message` has them."""
    if isinstance(message, bytes | bytearray | memoryview):
        return {"base64": base64.b64encode(bytes(message)).decode()}
    return message
