"""The sockets of streams: `StreamerConsumer` feeds one, `ListenerConsumer` hears one.

Both speak plainly or, as sub-protocol, `broadcast.v1`. A socket that may not come in is accepted
and closed with its code, so that a page can say why.
"""

import asyncio
import logging
import secrets
import time
import uuid
from contextlib import suppress
from typing import Any

from channels.consumer import AsyncConsumer

from . import access, limits, metrics
from .addresses import address_of
from .backends import Run, get_backend, new_streamer
from .conf import conf
from .exceptions import (
    BadRequest,
    BroadcastError,
    CloseCode,
    NoSuchStream,
    StreamClosed,
    TooLarge,
    TooMany,
    Unavailable,
)
from .frames import Message, event
from .guard import get_guard
from .hub import Topic
from .listeners import Listener
from .middleware import refuse
from .models import Stream
from .publications import Draft, Kind, Mark, decode_json
from .publishing import announce_streamer, append
from .relay import get_relay
from .rows import find_stream
from .sinks import EXTENSION, FrameSink, MessageSink, Send, open_sink
from .starts import Wish, find_start, outcome, query_of
from .tokens import Deed
from .visitors import TOKEN_PROTOCOL, Visitor

logger = logging.getLogger(__name__)

SUBPROTOCOL = "broadcast.v1"

MARKS = {"header": Mark.HEADER, "entry": Mark.ENTRY}

#: Bytes of a streamer that wait for history, before its socket is read no more.
STREAMER_BYTES = 4 * 1024 * 1024

#: The name of this process among all that there may be.
PROCESS = secrets.token_hex(6)

#: What a listener may say at most, in characters: it has nothing to say but `ping`.
MAX_PING = 1024


class SocketConsumer(AsyncConsumer):  # type: ignore[misc]
    """A socket of a stream: accepted, let in or told why not, cleaned up after.

    It runs its own loop instead of Channels': that one starts a task for each message and goes
    through a thread to close database connections before each (170–260 µs). Nothing here touches
    the database but through `database_sync_to_async`, which closes them itself; and no consumer
    needs a channel of its own, since the relay hears for all.
    """

    deed: Deed
    slug = ""
    visitor: Visitor
    sink: FrameSink | MessageSink
    #: Whether it counts as a connection.
    counted = False
    #: It was told what is wrong and is being closed: what it still says is not heard.
    refused = False

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Send) -> None:
        self.scope = scope
        self.base_send = send
        try:
            while True:
                message = await receive()
                if message["type"] == "websocket.disconnect":
                    break
                await self.dispatch(message)
        finally:
            if self.counted:
                limits.leave(self.address)
            get_guard().leave(self)
            await self.closed()

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

    async def connect(self) -> None:
        offered = self.scope["subprotocols"]
        speaks_v1 = SUBPROTOCOL in offered
        # A browser that offers only its token takes no other answer.
        tokens = [name for name in offered if name.startswith(TOKEN_PROTOCOL)]
        subprotocol = SUBPROTOCOL if speaks_v1 else next(iter(tokens), None)
        await self.send({"type": "websocket.accept", "subprotocol": subprotocol})
        self.sink, self.encoding = open_sink(self.scope, self.base_send, speaks_v1)
        if not self._count():
            return
        await self.enter()
        # Everything they say was asked for: 20 objects for each of very many sockets.
        self.scope["headers"].clear()

    @property
    def way(self) -> str:
        return SUBPROTOCOL if self.encoding.tells else "plain"

    def _count(self) -> bool:
        """Count it before anything is looked up for it. False: it is one too many, and goes."""
        try:
            limits.enter(self.address)
            self.counted = True
        except TooMany as error:
            metrics.note_refusal("socket", type(error))
            self.remove(error)
        return self.counted

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

    def _close(self, error: BroadcastError) -> None:
        self.tell(event("error", message=str(error)))
        self.sink.close(error.close_code, str(error))

    async def admit(self, query: dict[str, str]) -> Stream:
        """The stream of the path, if whoever is here may be; from now on it is looked after."""
        stream = await find_stream(self.scope["url_route"]["kwargs"]["slug"])
        if stream is None:
            raise NoSuchStream("there is no such stream")
        self.slug, self.since = stream.slug, time.time()
        self.visitor = Visitor.of_scope(self.scope, query.get("token", ""))
        get_guard().enter(self)
        if stream.closed_at:
            raise StreamClosed("the stream was closed")
        await access.check(stream, self.deed, self.visitor)
        return stream


class ListenerConsumer(SocketConsumer):
    """A socket that hears a stream, at `/ws/listener/<slug>/`."""

    deed = Deed.LISTEN
    listener: Listener | None = None

    async def enter(self) -> None:
        query = query_of(self.scope)
        wish = Wish.of(query)
        stream = await self.admit(query)
        async with get_relay().topic(stream.slug) as topic:
            state = await get_backend().state(stream.slug)
            if state.epoch != topic.epoch:
                topic.restart(state.epoch, state.offset)
            if self.refused:
                return
            start = find_start(wish, state)
            joined = event(
                "joined",
                stream=stream.slug,
                epoch=state.epoch,
                offset=start.cursor,
                live=topic.live,
                recovered=start.recovered,
                content_type=stream.content_type or None,
            )
            self.listener = Listener(topic, self.sink, self.encoding, start.cursor, start.opening)
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


class StreamerConsumer(SocketConsumer):
    """A socket that feeds a stream, at `/ws/streamer/<slug>/`; a `hub.Streamer`.

    What came waits in `waiting` until the append that is under way is through; then all of it
    goes into the next one. While too much waits, the socket is not read.
    """

    deed = Deed.PUBLISH
    topic: Topic | None = None
    feeding: asyncio.Task[None] | None = None
    #: Whether what it publishes is counted: nothing is asked for each publication where not.
    limited = False

    async def enter(self) -> None:
        self.id = new_streamer(time.time())
        query = query_of(self.scope)
        self.run = self._run_of(query)
        stream = await self.admit(query)
        self.max_frame = stream.max_frame
        self.limited = limits.limits_publications()
        self._allow_frames(stream.max_frame)
        self.marks = 0
        self.listeners = 0
        self.waiting: list[Draft] = []
        self.size = 0
        self.arrived = asyncio.Event()
        self.room = asyncio.Event()
        #: The code and reason with which it is closed when nothing waits any more.
        self.ending: tuple[CloseCode, str] | None = None
        #: Whether its socket is full, and what it is told when it has drained, by event.
        self.full = False
        self.untold: dict[str, Message] = {}
        backend = get_backend()
        #: Publications of the run, or of this connection where there is none, that are in.
        self.accepted = await backend.accepted(stream.slug, self.run) if self.run else 0
        if self.refused:
            return
        #: The number of the next one that comes.
        self.number = self.accepted + 1
        async with get_relay().topic(stream.slug) as self.topic:
            await backend.enter(stream.slug, self.id)
            await announce_streamer(stream.slug, self.id)
            state = await backend.state(stream.slug)
            self.sink.on_drain(self._drained)
            metrics.streamer_joins.inc()
            self._tell_newest(
                "ready",
                stream=stream.slug,
                epoch=state.epoch,
                offset=state.offset,
                accepted=self.accepted,
            )
            self.topic.add_streamer(self)
        self.feeding = asyncio.ensure_future(self._feed())

    @staticmethod
    def _run_of(query: dict[str, str]) -> str:
        try:
            return str(uuid.UUID(query["run"])) if "run" in query else ""
        except ValueError:
            raise BadRequest("run is a UUID") from None

    def _allow_frames(self, size: int) -> None:
        transport = self.scope.get("extensions", {}).get(EXTENSION)
        if transport is not None:
            transport.maxMessagePayloadSize = transport.maxFramePayloadSize = size

    @property
    def behind(self) -> int:
        return len(self.waiting) if self.topic else 0

    # -- what the streamer sends ------------------------------------------------------------

    async def receive(self, message: dict[str, Any]) -> None:
        if self.topic is None or self.ending:
            return
        text = message.get("text")
        payload = message["bytes"] if text is None else text.encode()
        if len(payload) > self.max_frame:
            raise TooLarge(f"a frame has at most {self.max_frame} bytes here")
        if text is None:
            self._take(Draft(Kind.BINARY, payload))
        elif not self.encoding.tells:
            self._take(Draft(Kind.TEXT, payload))
        else:
            self._receive_text(text)
        if len(self.waiting) >= conf.STREAMER_QUEUE or self.size >= STREAMER_BYTES:
            self.room.clear()
            await self.room.wait()

    def _receive_text(self, text: str) -> None:
        try:
            self._receive_event(decode_json(text))
        except BadRequest as error:
            if self.run and '"publication"' in text:
                # Whether it counts, client and server could no longer agree on.
                raise
            logger.info("A streamer of %s said something wrong: %s", self.slug, error)
            self._tell_newest("error", message=str(error))

    def _receive_event(self, said: Any) -> None:
        name = said.get("event") if isinstance(said, dict) else None
        if name == "publication" and "data" in said:
            self._take(Draft.of(said["data"]))
        elif name == "mark" and said.get("as") in tuple(MARKS):
            self.marks |= MARKS[said["as"]]
        elif name == "reset":
            self.marks = Mark.RESET
        elif name == "ping":
            self._tell_newest("pong")
        else:
            raise BadRequest(
                'a text frame is JSON: {"event":"publication","data":…}, '
                '{"event":"mark","as":"header"|"entry"} or {"event":"reset"}'
            )

    def _take(self, draft: Draft) -> None:
        if self.limited and self._is_too_much(len(draft.payload)):
            return
        if self.marks:
            draft = draft._replace(marks=self.marks)
            self.marks = 0
        self.waiting.append(draft)
        self.size += len(draft.payload)
        self.arrived.set()

    def _is_too_much(self, size: int) -> bool:
        """Whether one more is over a limit: what came before is published, then it is closed."""
        try:
            limits.check_publication(self.address, self.slug, size)
        except TooMany as error:
            logger.info("A streamer of %s is sent away: %s", self.slug, error)
            metrics.note_refusal("socket", type(error))
            self.remove(error)
            return True
        return False

    # -- what becomes of it -----------------------------------------------------------------

    async def _feed(self) -> None:
        """Append what waits, all of it at once, until the socket ends and nothing waits."""
        try:
            while self.waiting or not self.ending:
                await self.arrived.wait()
                self.arrived.clear()
                drafts, self.waiting, self.size = self.waiting, [], 0
                self.room.set()
                if drafts:
                    await self._append(drafts)
        except BroadcastError as error:
            metrics.note_refusal("socket", type(error))
            self.ending = (error.close_code, str(error))
            self.tell(event("error", message=str(error)))
        except Exception:
            logger.exception("Publications on %s could not be appended", self.slug)
            self.ending = (CloseCode.SHUTDOWN, "the server could not publish")
            self.tell(event("error", message=self.ending[1]))
        self.room.set()
        self.sink.close(*self.ending)

    async def _append(self, drafts: list[Draft]) -> None:
        run = Run(self.run, self.number) if self.run else None
        appended = await append(self.slug, drafts, run)
        self.number += len(drafts)
        self.accepted = appended.accepted if run else self.accepted + len(drafts)
        self._tell_newest("accepted", accepted=self.accepted, offset=appended.offset)

    def _tell_newest(self, name: str, **fields: Any) -> None:
        """Tell an event now or, of each name the newest alone, when the full socket has drained."""
        message = event(name, **fields)
        if self.full:
            self.untold[name] = message
        else:
            self.full = not self.tell(message)

    def _drained(self) -> None:
        self.full = False
        untold, self.untold = self.untold, {}
        for message in untold.values():
            self.full = not self.tell(message) or self.full

    # -- what the hub tells -----------------------------------------------------------------

    def count(self, listeners: int) -> None:
        if listeners != self.listeners:
            self.listeners = listeners
            self._tell_newest("listeners", count=listeners)

    def remove(self, error: BroadcastError) -> None:
        if self.topic is None:
            super().remove(error)
        elif not self.ending:
            self.tell(event("error", message=str(error)))
            self.end(error.close_code, str(error))

    def end(self, code: CloseCode, reason: str) -> None:
        self.ending = self.ending or (code, reason)
        self.arrived.set()

    async def closed(self) -> None:
        if self.topic is None:
            return
        # What had come before the socket went is published all the same.
        self.end(CloseCode.SHUTDOWN, "gone")
        if self.feeding:
            await self.feeding
        self.topic.remove_streamer(self)
        await get_relay().changed(self.topic)
        # Where the engine is away, its presence expires.
        with suppress(Unavailable):
            if await get_backend().leave(self.slug, self.id):
                await announce_streamer(self.slug, "")


class NowhereConsumer(AsyncConsumer):  # type: ignore[misc]
    """A WebSocket to a path where there is none: its handshake is refused."""

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Send) -> None:
        await refuse(receive, send)
