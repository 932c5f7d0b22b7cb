"""The channels that one page hears: a `Listener` in the topic of each, and no task of its own.

Subscriptions come in (rows of `Subscription`, and the positions that the page says it heard last);
the page's listeners come out, each at its place in its topic. They all write to the one socket of
the page. It promises: the page hears what its rows say, from where it was, and nothing twice; what
it leaves it does not hear from that moment on; `heard` says where it left each channel.
"""

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from django.utils import timezone

from ..exceptions import BadRequest
from ..hub.listeners import Listener, Sink
from ..hub.relay import get_relay
from ..hub.starts import Wish, begin_at
from ..loops import spawn
from ..models import EVERYONE, Subscription
from ..models.database import database_sync_to_async
from ..models.subscriptions import Place
from ..publications import Position, decode_json
from ..wire.frames import Message, page_encoding
from .subscriptions import positions, topic_of

#: The place of a page on a channel that it was never subscribed to.
NOWHERE = Place(Position("", 0), Position("", 0))


class Page(Sink, Protocol):
    """The page that hears: the `Sink` of all its listeners."""

    #: Its name among all processes; "": its session has no pages.
    digest: str
    #: Whether it is told positions; and what makes frames of its messages. None: it takes messages.
    tells_positions: bool
    frames: Callable[[Iterable[Message]], bytes] | None

    @property
    def user(self) -> Any:
        """The user that opened it."""

    @property
    def is_going(self) -> bool:
        """Whether its socket is being closed: it joins nothing more."""

    def say(self, value: Any) -> None:
        """Tell the page a JSON value."""


class Channels:
    """The channels of one page."""

    def __init__(self, page: Page, known: dict[str, Position]) -> None:
        """`known`: where the page says it was, by channel, before it opened this socket."""
        self.page = page
        self.known = known
        #: By channel: the page's place by its row; its listener; and where it left a channel that
        #: it does not hear any more.
        self.rows: dict[str, Place] = {}
        self.listeners: dict[str, Listener] = {}
        self.heard: dict[str, Position] = {}
        #: Channels to leave that it is still about to join.
        self.left: set[str] = set()
        self._changing = asyncio.Lock()

    @property
    def hears(self) -> set[str]:
        """The channels that it is in; "" is what is pushed to it alone."""
        return set(self.listeners)

    async def open(self) -> None:
        """Hear the channels for the first time, from where the page says it was."""
        await self.follow()
        # A channel that it joins again later begins where its row says.
        self.known.clear()

    async def follow(self) -> None:
        """Hear what the page is subscribed to now, what goes to everyone, and nothing else."""
        async with self._changing:
            self.left.clear()
            self.rows = {EVERYONE: NOWHERE, **await self._subscriptions()}
            self.leave(self.listeners.keys() - self.rows.keys())
            joining = self.rows.keys() - self.listeners.keys()
            await asyncio.gather(*(self._join(one, self.rows[one]) for one in joining))

    async def _subscriptions(self) -> dict[str, Place]:
        """The page's places by channel, with what is pushed to it alone."""
        digest = self.page.digest
        if not digest:
            return {}
        rows = Subscription.objects
        found: dict[str, Place]
        found = await database_sync_to_async(rows.open)(digest, timezone.now())
        if "" not in found:
            own = await positions([], digest)
            await database_sync_to_async(rows.subscribe)(
                digest, own, timezone.now(), user=self.page.user, is_open=True
            )
            found[""] = Place(own[""], own[""])
        return found

    async def _join(self, channel: str, place: Place) -> None:
        """Hear the channel from where the page was, or says it was, but nothing from before."""
        page = self.page
        epoch, since = self._newest_known(channel, place)
        async with get_relay().topic(channel or topic_of(page.digest)) as topic:
            # Use `seen` only if the channel was forgotten: the page may have made up its position.
            seen = math.inf if place.first.epoch == topic.epoch else place.seen
            start = await begin_at(topic, Wish(0, epoch, since), seen)
            if page.is_going or channel in self.listeners or channel in self.left:
                return
            told = topic.epoch if page.tells_positions else ""
            encoding = page_encoding(channel, told, page.frames)
            listener = Listener(topic, page, encoding, start.cursor, start.opening)
            self.listeners[channel] = listener
            if told:
                page.say({"channel": channel, "epoch": told, "offset": start.cursor})
            topic.add(listener)

    def _newest_known(self, channel: str, place: Place) -> Position:
        """Where the page says it was; or, where that is newer, its row or its last listener."""
        epoch, since = self.known.get(channel, place.heard)
        for other in (place.first, self.heard.get(channel, place.first)):
            if epoch == other.epoch:
                since = max(since, other.offset)
        return Position(epoch, since)

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
                # Presence follows soon.
                spawn(get_relay().changed(listener.topic))

    def leave_all(self) -> None:
        self.leave(self.listeners)

    def note_full(self) -> None:
        """The page's socket takes no more: no topic may write, each keeps nothing but a cursor."""
        for listener in self.listeners.values():
            listener.topic.note_full(listener)

    def catch_up(self) -> None:
        """The page's socket takes more: the channel that fills it again comes last next time."""
        now = asyncio.get_running_loop().time()
        for listener in self.listeners.values():
            # The socket took something, if not of this channel.
            listener.full_since = now if listener.full_since else 0.0
        for channel, listener in list(self.listeners.items()):
            if listener.full_since:
                listener.resume()
            if listener.full_since:
                self.listeners[channel] = self.listeners.pop(channel)
                return


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
