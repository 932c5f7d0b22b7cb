"""How a client becomes a listener of a stream: the same way for sockets and event streams.

A `Newcomer` and its wish come in; a `Listener` in the stream's topic comes out, which was told
where it begins. It promises: the topic hears everything from before history is read, so nothing is
lost between the two; nothing is awaited between the reading of the state and the listener's place,
so nothing is handed over twice.
"""

from typing import Protocol

from .. import metrics
from ..models import Stream
from ..wire.frames import Encoding, Message
from ..wire.sinks import FrameSink, MessageSink
from .listeners import Heard, Listener
from .relay import get_relay
from .starts import Wish, begin, outcome


class Newcomer(Protocol):
    """A client that is about to listen."""

    @property
    def sink(self) -> FrameSink | MessageSink:
        """Where it is written to."""

    async def open(self) -> bool:
        """Begin to answer. False: it was sent away meanwhile, and joins nothing.

        BroadcastError: the same, and its client is told.
        """

    def encoding_of(self, topic: Heard) -> Encoding:
        """How publications of the topic are written to it."""

    def greet(self, listener: Listener, joined: Message) -> None:
        """Keep the listener, and tell its client that it joined."""


async def join(newcomer: Newcomer, stream: Stream, wish: Wish) -> None:
    """Have it hear the stream, from where it wishes to, as far as history goes."""
    async with get_relay().topic(stream.slug) as topic:
        start, joined = await begin(topic, stream, wish)
        epoch = topic.epoch
        if not await newcomer.open():
            return
        if topic.epoch != epoch:
            # A new history of the stream began meanwhile.
            start, joined = await begin(topic, stream, wish)
        listener = Listener(
            *(topic, newcomer.sink, newcomer.encoding_of(topic), start.cursor, start.opening),
            keeps_up=stream.kind == Stream.Kind.MEDIA,
            waits=start.waits,
        )
        newcomer.sink.on_space(listener.resume)
        metrics.joins.labels(outcome(wish, start)).inc()
        newcomer.greet(listener, joined)
        topic.add(listener)


async def leave(listener: Listener) -> None:
    """Have it hear no more, and tell the others that it went. Calling this twice is harmless."""
    listener.topic.remove(listener)
    await get_relay().changed(listener.topic)
