"""The socket that hears a stream.

It promises: what was published on the stream goes out on the socket, in order, from where the
client wished to begin (`hub.joining`); the client has nothing to say but `ping`, now and then.
"""

import asyncio
from typing import Any

from ..access.admission import id_of
from ..consumers import MAX_PING, SocketConsumer
from ..exceptions import BadRequest, BroadcastError, TooMany
from ..hub.joining import join, leave
from ..hub.listeners import Heard, Listener
from ..hub.starts import Wish, query_of
from ..publications import decode_json
from ..tokens import Grant
from ..wire.frames import INFLATING, Encoding, Message, event

#: Messages per second, and how many may come at once. Our pages send one in 15 seconds at most.
RATE, BURST = 20.0, 100
TOO_MANY = f"too many messages: a listener may send {RATE:g} per second"


class ListenerConsumer(SocketConsumer):
    """A socket that hears a stream, at `/ws/listener/<slug>/`; a `hub.joining.Newcomer`."""

    grant = Grant.LISTEN
    may_deflate = True
    listener: Listener | None = None
    #: Until when its messages last, at their rate.
    said_until = 0.0

    async def enter(self) -> None:
        query = query_of(self.scope)
        wish = Wish.of(query)
        stream = await self.admit(query)
        if self.inflates and stream.may_be_compressed:
            self.encoding = INFLATING[self.encoding]
        await join(self, stream, wish)

    async def open(self) -> bool:
        return not self.refused

    def encoding_of(self, topic: Heard) -> Encoding:
        return self.encoding

    def greet(self, listener: Listener, joined: Message) -> None:
        self.listener = listener
        listener.tell(joined)

    @property
    def id(self) -> str:
        return id_of(self)

    @property
    def behind(self) -> int:
        return self.listener.behind if self.listener else 0

    def _close(self, error: BroadcastError) -> None:
        if self.listener:
            self.listener.topic.remove(self.listener)
        super()._close(error)

    async def receive(self, message: dict[str, Any]) -> None:
        self._check_rate()
        text = message.get("text")
        if not self.encoding.tells or text is None or len(text) > MAX_PING:
            raise BadRequest("a listener has nothing to say here")
        if decode_json(text) != {"event": "ping"}:
            raise BadRequest("a listener has nothing to say here but ping")
        if self.listener and not self.listener.full_since:
            self.listener.tell(event("pong"))

    def _check_rate(self) -> None:
        now = asyncio.get_running_loop().time()
        self.said_until = max(self.said_until, now) + 1 / RATE
        if self.said_until - now > BURST / RATE:
            raise TooMany(TOO_MANY)

    async def closed(self) -> None:
        if self.listener:
            await leave(self.listener)
