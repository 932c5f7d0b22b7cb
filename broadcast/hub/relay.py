"""This process' ear on the channel layer: one channel, in the groups of all topics it needs.

The layer may drop, double and reorder messages; `repair` puts publications in order before a topic
sees them.

A relay belongs to a running event loop. Its first listener of a topic joins the topic's group,
and the group is left about a second after the last one went, so that a storm of reconnects does
not thrash the layer.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from .. import lifespan, metrics
from ..backends import get_backend
from ..conf import conf
from ..exceptions import Unavailable
from ..groups import channel_start, everybody, group_name, is_room
from ..installation import learn
from ..logs import get_logger
from ..loops import Failures, PerLoop, repeat, spawn
from ..publications import unpack
from ..wire.frames import event
from . import bus, housekeeping
from .layer import get_layer
from .listeners import Heard
from .repair import Repair
from .topics import Topic, tell_all

logger = get_logger(__name__)

M = TypeVar("M", bound=bus.Message)

#: Seconds after which a channel layer that failed is asked again.
RETRY_SECONDS = 1.0
#: Names of channels that are tried, where half of the layer's servers may be away, and seconds for
#: that, where they are frozen. With half the servers down, six random names all miss with
#: probability 1/64.
CHANNEL_TRIES = 20
CHANNEL_SECONDS = 15.0
#: Seconds after which groups are joined again: Channels' own layers end a membership after a day.
REJOIN_SECONDS = 3600.0


class Reserved:
    """A topic that is kept for as long as a block runs: see `Relay.topic`."""

    __slots__ = ("_name", "_relay", "_topic")

    def __init__(self, relay: "Relay", name: str) -> None:
        self._relay, self._name = relay, name

    async def __aenter__(self) -> Topic:
        self._topic = await self._relay.reserve(self._name)
        return self._topic

    async def __aexit__(self, *error: object) -> None:
        await self._relay.release(self._topic)


class Relay:
    def __init__(self) -> None:
        self.layer = get_layer()
        self.topics: dict[str, Topic] = {}
        self.channel = ""
        self._opening = asyncio.Lock()
        #: The groups it is in, and when they are joined again.
        self._groups: set[str] = set()
        self._rejoin_at = asyncio.get_running_loop().time() + REJOIN_SECONDS
        #: The handlers of messages that are of no topic, by their kind.
        self._handlers: dict[Any, list[Callable[[Any], None]]] = {}
        #: A lock for each name that is being joined or left, for as long as anybody needs it.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.repair = Repair(self.topics)
        #: The looks that are under way, by kind.
        self._looking: set[str] = set()
        #: Looks that failed the last time, and messages that could not be handled.
        self._failing: dict[str, Failures] = {}
        self._unheard = Failures("messages")
        #: When the groups of unused topics are left.
        self._leaving: dict[str, asyncio.TimerHandle] = {}

    def topic(self, name: str) -> "Reserved":
        """The topic of a stream, which hears everything that is published from now on.

        A context manager: it is kept while the block runs, and for as long as anybody was added to
        it there.
        """
        return Reserved(self, name)

    async def reserve(self, name: str) -> Topic:
        topic = self.topics.get(name)
        if topic is None or name in self._locks:
            # It is being joined or left.
            async with self._locks.setdefault(name, asyncio.Lock()):
                topic = self.topics.get(name) or await self._join(name)
        topic.reserved += 1
        return topic

    async def release(self, topic: Topic) -> None:
        topic.reserved -= 1
        await self.changed(topic)

    async def attend(self, kind: type[M], handler: Callable[[M], None]) -> None:
        """Give `handler` every message of a kind that is sent to everybody from now on."""
        if handler not in self._handlers.get(kind, ()):
            await self._enter(everybody)
            self._handlers.setdefault(kind, []).append(handler)

    async def _enter(self, name: Callable[[], str]) -> None:
        await learn()
        group = name()
        try:
            await self._open()
            await self.layer.group_add(group, self.channel)
        except Exception as error:
            raise Unavailable("the channel layer does not answer") from error
        self._groups.add(group)

    async def _join(self, name: str) -> Topic:
        try:
            await self._enter(partial(group_name, name))
            topic = await self._new_topic(name)
        except BaseException:
            # A layer may have joined the group although it failed, and no topic would leave it.
            spawn(self._leave_unused(name))
            raise
        self.topics[name] = topic
        return topic

    async def _new_topic(self, name: str) -> Topic:
        # After joining: what is published from here on arrives, and what the state has already
        # is dropped by its offset.
        state = await get_backend().state(name)
        topic = Topic(name, state.epoch, state.offset)
        if not is_room(name) and (presence := (await get_backend().presence([name])).get(name)):
            topic.streamers.current = presence.streamer
            topic.streamers.elsewhere = presence.elsewhere
        return topic

    async def _open(self) -> None:
        """Have a channel and listen to it: once, however many topics are joined at once."""
        async with self._opening:
            if not self.channel:
                self.channel = await self._new_channel()
                spawn(repeat("channel_layer", self._listen))
                spawn(repeat("relay", self._watch))
                housekeeping.start()

    async def _new_channel(self) -> str:
        """A channel, which serves to be in groups: one of many servers has it, by its name."""
        loop = asyncio.get_running_loop()
        until = loop.time() + CHANNEL_SECONDS
        for _ in range(CHANNEL_TRIES - 1):
            with suppress(Exception):
                return str(await self.layer.new_channel(channel_start()))
            if loop.time() >= until:
                break
        return str(await self.layer.new_channel(channel_start()))

    async def changed(self, heard: Heard) -> None:
        """Somebody came to a topic or went: presence follows, and an unused topic is left."""
        topic = self.topics.get(heard.name)
        if topic is None or topic is not heard:
            return
        leaving = self._leaving.pop(topic.name, None)
        if leaving:
            leaving.cancel()
        if not topic.in_use:
            self._leaving[topic.name] = asyncio.get_running_loop().call_later(
                conf.LINGER_SECONDS, self._begin_to_leave, topic
            )
        if not is_room(topic.name):
            await get_backend().count_listeners(topic.name, topic.audience)

    def _begin_to_leave(self, topic: Topic) -> None:
        # A timer that was kept after its time would keep the topic, and its ring, for good.
        del self._leaving[topic.name]
        spawn(self._leave(topic))

    async def _leave(self, topic: Topic) -> None:
        async with self._locks.setdefault(topic.name, asyncio.Lock()):
            if not topic.in_use and self.topics.get(topic.name) is topic:
                del self.topics[topic.name]
                await self._leave_group(topic.name)

    async def _leave_unused(self, name: str) -> None:
        async with self._locks.setdefault(name, asyncio.Lock()):
            if self.channel and name not in self.topics:
                await self._leave_group(name)

    async def _leave_group(self, name: str) -> None:
        self._groups.discard(group_name(name))
        try:
            await self.layer.group_discard(group_name(name), self.channel)
        except Exception as error:
            # Messages that the layer still brings for it are dropped.
            logger.info("The group of %r could not be left: %r", name, error)

    def end(self) -> None:
        """Leave no group any more: its event loop goes on with other work."""
        for timer in self._leaving.values():
            timer.cancel()

    # -- what the layer brings --------------------------------------------------------------

    async def _listen(self) -> None:
        message = await self.layer.receive(self.channel)
        try:
            self._receive(message)
        except Exception as error:
            # One message that cannot be handled must not silence all streams, nor hold them up.
            self._unheard.note(error)
        else:
            self._unheard.end()

    def _receive(self, said: dict[str, Any]) -> None:
        message = bus.read(said)
        for handler in self._handlers.get(type(message), ()) if message else ():
            handler(message)
        # Messages for topics that this process does not have are for others.
        topic = self.topics.get(getattr(message, "stream", ""))
        if topic is None:
            return
        if isinstance(message, bus.Published):
            publications = unpack(message.publications)
            # Clocks of two machines may differ a little.
            metrics.relay_lags.observe(max(time.time() - publications[0].time, 0))
            self.repair.deliver(topic, message.epoch, publications)
        elif isinstance(message, bus.StreamerCame):
            self._hear_streamer(topic, message.streamer)
        elif isinstance(message, bus.StreamerLeaves):
            topic.streamers.hear_leaving(message.streamer, message.left)
        elif isinstance(message, bus.StreamerWaits):
            topic.streamers.overtake_others(message.streamer)

    def _hear_streamer(self, topic: Topic, streamer: str) -> None:
        if topic.streamers.here.keys() - {streamer}:
            # Two announcements may arrive in either order; the local streamer may be the newer one,
            # so ask the backend.
            look = partial(self._look_around, [topic.name])
            spawn(self._look_once(f"who feeds {topic.name!r}", look))
        else:
            topic.set_streamer(streamer)

    # -- what the layer lost ----------------------------------------------------------------

    async def _rejoin(self) -> None:
        for group in list(self._groups):
            await self.layer.group_add(group, self.channel)

    async def _watch(self) -> None:
        """Every few seconds: find what the layer lost, say who is here, close stuck sockets.

        Streams that the backend keeps at one place are looked at together. While one place does
        not answer, the others go on.
        """
        await asyncio.sleep(conf.WATCH_SECONDS)
        for topic in list(self.topics.values()):
            topic.close_stuck(conf.SLOW_SECONDS)
        metrics.refresh(self.topics.values())
        self._look("presence", get_backend().renew)
        if asyncio.get_running_loop().time() >= self._rejoin_at:
            self._rejoin_at += REJOIN_SECONDS
            self._look("groups", self._rejoin)
        places: dict[int, list[str]] = {}
        for name in self.topics:
            places.setdefault(get_backend().place(name), []).append(name)
        for place, names in places.items():
            self._look(f"what was lost at {place}", partial(self.repair.look_for_lost, names))
            streams = [name for name in names if not is_room(name)]
            self._look(f"who is there at {place}", partial(self._look_around, streams))

    def _look(self, kind: str, look: Callable[[], Awaitable[None]]) -> None:
        """Begin a look, unless the last one of its kind still waits for an answer."""
        if kind not in self._looking:
            self._looking.add(kind)
            spawn(self._look_once(kind, look))

    async def _look_once(self, kind: str, look: Callable[[], Awaitable[None]]) -> None:
        try:
            await look()
        except Exception as error:
            self._failing.setdefault(kind, Failures("relay")).note(error)
        else:
            if failures := self._failing.pop(kind, None):
                failures.end()
        finally:
            self._looking.discard(kind)

    async def _look_around(self, names: list[str]) -> None:
        """Presence may have changed without a word: a process was killed, a message lost."""
        known = {name: self.topics[name].streamers.current for name in names if name in self.topics}
        for name, presence in (await get_backend().presence(known)).items():
            topic = self.topics.get(name)
            if topic is None:
                continue
            topic.streamers.count_elsewhere(presence.elsewhere)
            # Redis may have forgotten our own streamer, until we say again that it is here.
            forgotten = not presence.streamer and topic.streamers.current in topic.streamers.here
            # An announcement that came while we asked is newer than the answer.
            if topic.streamers.current == known[name] != presence.streamer and not forgotten:
                topic.set_streamer(presence.streamer)


#: The relay of the running event loop.
get_relay = PerLoop(Relay, Relay.end)


@lifespan.draining.connect
def announce_end(seconds: float) -> None:
    """Tell all listeners how long this server goes on, behind all that was accepted before."""
    tell_all(all_topics(), event("shutdown", seconds=math.ceil(seconds)))


def all_topics() -> Iterable[Topic]:
    """Every topic that is heard in the running event loop."""
    return list(get_relay().topics.values())
