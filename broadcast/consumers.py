"""The base of all sockets: they come in or are told why not, and leave in one place.

They speak plainly or, as sub-protocol, `broadcast.v1`. A socket that may not come in is accepted
and closed with its code, so that a page can say why.

A socket that the server closes, for any reason, leaves at that moment: rooms, listeners, streamers,
pages, counts and limits, even if its client stays connected. The client's earlier messages are
handled first, unless it was sent away.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

from asgiref.sync import markcoroutinefunction
from channels.consumer import AsyncConsumer
from django.db import Error as DatabaseError

from . import metrics
from .access import limits
from .access.addresses import address_of
from .access.admission import admit
from .access.guard import get_guard
from .access.origins import refuse
from .access.visitors import TOKEN_PROTOCOL, Visitor
from .conf import conf
from .exceptions import BroadcastError, TooMany
from .logs import get_logger
from .models import Stream, database
from .tokens import Grant
from .wire.frames import Message, event
from .wire.sinks import EXTENSION, FrameSink, MessageSink, Send, nothing, open_sink

logger = get_logger(__name__)

SUBPROTOCOL = "broadcast.v1"

#: Close codes of clients that are done: normally, or leaving the page. (No code at all is what
#: some servers tell of a connection that broke.)
GOODBYES = (1000, 1001)

#: The longest message of a listener, in characters: it has nothing to say but `ping`.
MAX_PING = 1024


class SocketConsumer(AsyncConsumer):  # type: ignore[misc]
    """A socket of a stream: accepted, let in or told why not, cleaned up after.

    It runs its own loop instead of Channels': that one starts a task for each message and goes
    through a thread to close database connections before each (170–260 µs). Nothing here touches
    the database but through `database_sync_to_async`, which closes them itself; and no consumer
    needs a channel of its own, since the relay hears for all.
    """

    grant: Grant
    slug = ""
    #: Whether it can speak `broadcast.v1`.
    has_v1 = True
    visitor: Visitor
    #: Whether messages to and from its client may be deflated.
    may_deflate = False
    #: Where it writes to, from the moment that it is accepted.
    sink: FrameSink | MessageSink
    is_accepted = False
    #: Why it is to be sent away as soon as it is accepted.
    refusal: BroadcastError | None = None
    #: Called when it is gone, if it counts as a connection.
    uncount: Callable[[], None] | None = None
    #: It was told what is wrong and is being closed: what it still says is not heard.
    refused = False
    #: It went of its own accord, as a client does that is done.
    said_goodbye = False

    @classmethod
    def as_asgi(cls, **options: Any) -> Any:
        """As Channels', without a coroutine around each consumer's own, for as long as it lives."""

        def application(scope: dict[str, Any], receive: Any, send: Send) -> Awaitable[None]:
            return cls(**options)(scope, receive, send)

        return markcoroutinefunction(application)

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Send) -> None:
        self.scope = scope
        self.base_send = send
        try:
            while (message := await receive())["type"] != "websocket.disconnect":
                await self.dispatch(message)
                if message["type"] == "websocket.connect":
                    receive = until_given_up(receive, self.sink)
            self.said_goodbye = message.get("code") in GOODBYES
        finally:
            if self.uncount:
                self.uncount()
            get_guard().leave(self)
            try:
                await self.closed()
            finally:
                self.answer_close()
        if self.is_accepted and isinstance(self.sink, MessageSink):
            await self.sink.until_closed()
        if self.is_accepted:
            self.sink.forget()

    @property
    def address(self) -> str:
        """Where it comes from, behind the proxies that are named; "": it has no address."""
        return address_of(self.scope)

    async def dispatch(self, message: dict[str, Any]) -> None:
        if self.refused:
            return
        try:
            if message["type"] == "websocket.connect":
                await self.connect()
            else:
                await self.receive(message)
        except BroadcastError as error:
            self.refuse(error)
        except DatabaseError as error:
            # Not `models.database.expected`: entering that for each message took a tenth of the
            # time.
            if (away := database.unavailable(error)) is None:
                raise
            self.refuse(away)

    async def connect(self) -> None:
        try:
            # Before anything is looked up for it.
            self._count()
            await self.prepare()
        except BroadcastError as error:
            self.refusal = self.refusal or error
        except DatabaseError as error:
            if (away := database.unavailable(error)) is None:
                raise
            self.refusal = self.refusal or away
        await self._accept()
        if not self.refusal:
            await self.enter()
        elif self.refused or not self.uncount:
            # A client too many, or one that was removed meanwhile, is not worth a line in the log.
            self.refused = True
            self._close(self.refusal)
        else:
            raise self.refusal
        # The headers are needed no more: they take 20 objects for each of very many sockets.
        self.scope["headers"].clear()

    async def _accept(self) -> None:
        offered = self.scope["subprotocols"]
        speaks_v1 = self.has_v1 and SUBPROTOCOL in offered
        # A browser that offers only its token takes no other answer.
        tokens = [name for name in offered if name.startswith(TOKEN_PROTOCOL)]
        subprotocol = SUBPROTOCOL if speaks_v1 else next(iter(tokens), None)
        transport = self.scope.get("extensions", {}).get(EXTENSION)
        if transport is not None and self.may_deflate and conf.COMPRESS_LISTENERS:
            transport.offer_deflate()
        await self.send({"type": "websocket.accept", "subprotocol": subprotocol})
        self.sink, self.encoding = open_sink(self.scope, self.base_send, speaks_v1)
        self.is_accepted = True

    @property
    def inflates(self) -> bool:
        """Whether its client inflates messages."""
        return isinstance(self.sink, FrameSink) and self.sink.transport.inflates

    @property
    def way(self) -> str:
        return SUBPROTOCOL if self.encoding.tells else "plain"

    def _count(self) -> None:
        try:
            self.uncount = limits.begin(self.scope)
        except TooMany as error:
            metrics.note_refusal("socket", type(error))
            raise

    async def prepare(self) -> None:
        """Do what must come before the client knows that it is connected.

        BroadcastError: it is accepted, told, and closed with its code.
        """

    async def enter(self) -> None:
        """Let the socket in. BroadcastError: it is told, and closed with its code."""
        raise NotImplementedError

    async def receive(self, message: dict[str, Any]) -> None:
        """One frame came."""
        raise NotImplementedError

    async def closed(self) -> None:
        """The socket is gone; it may never have been let in."""
        raise NotImplementedError

    def tell(self, message: Message) -> bool:
        """Tell an event, where events are understood. False: the socket is full."""
        return not self.encoding.tells or self.sink.write(self.encoding.messages([message]))

    def refuse(self, error: BroadcastError) -> None:
        """Send it away, and say why. The first reason stands."""
        if self.refused:
            return
        self.refused = True
        logger.info(
            "Closing %s from %s with %d: %s",
            self.scope["path"],
            ":".join(map(str, self.scope.get("client") or ["?"])),
            error.close_code,
            error,
        )
        metrics.note_refusal("socket", type(error))
        self._close(error)

    def remove(self, error: BroadcastError) -> None:
        """Send it away, where that is logged for all of its stream."""
        if not self.refused:
            self.refused = True
            self._close(error)

    def answer_close(self) -> None:
        """Answer the client's close, if it closed: what it sent before was handled."""
        if self.is_accepted:
            self.sink.answer_close()

    def _close(self, error: BroadcastError) -> None:
        if not self.is_accepted:
            self.refusal = self.refusal or error
            return
        self.tell(event("error", message=str(error)))
        self.sink.close(error.close_code, str(error))

    async def admit(self, query: dict[str, str]) -> Stream:
        """The stream of the path, if its visitor may be there; the guard looks after it then."""
        return await admit(self, self.scope, query)


Receive = Callable[[], Awaitable[dict[str, Any]]]


def until_given_up(receive: Receive, sink: FrameSink | MessageSink) -> Receive:
    """A `receive` that tells of a disconnect as soon as the socket is closed here.

    Our own server does so. Others wait for the client's answer to the close, which may never come.
    """
    if isinstance(sink, FrameSink):
        return receive

    async def receive_or_end() -> dict[str, Any]:
        # A time limit that ends when the sink says so costs no task for each message.
        with suppress(TimeoutError):
            async with asyncio.timeout(None) as waiting:
                sink.on_give_up = partial(waiting.reschedule, 0.0)
                try:
                    if not sink.closing:
                        return await receive()
                finally:
                    sink.on_give_up = nothing
        assert sink.closing
        return {"type": "websocket.disconnect", "code": sink.closing["code"]}

    return receive_or_end


class NowhereConsumer(AsyncConsumer):  # type: ignore[misc]
    """A WebSocket to a path where there is none: its handshake is refused."""

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Send) -> None:
        await refuse(receive, send)
