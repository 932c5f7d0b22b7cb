"""The socket that hears a stream."""

from typing import Any

from .. import metrics
from ..consumers import MAX_PING, PROCESS, SocketConsumer
from ..exceptions import BadRequest, BroadcastError
from ..hub.listeners import Listener
from ..hub.relay import get_relay
from ..hub.starts import Wish, begin, outcome, query_of
from ..models import Stream
from ..publications import decode_json
from ..tokens import Grant
from ..wire.frames import event


class ListenerConsumer(SocketConsumer):
    """A socket that hears a stream, at `/ws/listener/<slug>/`."""

    grant = Grant.LISTEN
    listener: Listener | None = None

    async def enter(self) -> None:
        query = query_of(self.scope)
        wish = Wish.of(query)
        stream = await self.admit(query)
        async with get_relay().topic(stream.slug) as topic:
            start, joined = await begin(topic, stream, wish)
            if self.refused:
                return
            self.listener = Listener(
                *(topic, self.sink, self.encoding, start.cursor, start.opening),
                keeps_up=stream.kind == Stream.Kind.MEDIA,
                waits=start.waits,
            )
            self.sink.on_drain(self.listener.drained)
            metrics.joins.labels(outcome(wish, start)).inc()
            self.listener.tell(joined)
            topic.add(self.listener)

    @property
    def id(self) -> str:
        """Its name among the connections of all processes."""
        return f"{PROCESS}-{id(self):x}-{self.since}"

    @property
    def behind(self) -> int:
        return self.listener.behind if self.listener else 0

    def _close(self, error: BroadcastError) -> None:
        if self.listener:
            self.listener.topic.remove(self.listener)
        super()._close(error)

    async def receive(self, message: dict[str, Any]) -> None:
        text = message.get("text")
        if not self.encoding.tells or text is None or len(text) > MAX_PING:
            raise BadRequest("a listener has nothing to say here")
        if decode_json(text) != {"event": "ping"}:
            raise BadRequest("a listener has nothing to say here but ping")
        if self.listener and not self.listener.full_since:
            self.listener.tell(event("pong"))

    async def closed(self) -> None:
        if self.listener:
            topic = self.listener.topic
            topic.remove(self.listener)
            await get_relay().changed(topic)
