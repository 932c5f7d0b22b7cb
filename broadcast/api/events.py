"""A stream as Server-Sent Events, which a browser's `EventSource` hears and resumes by itself.

An event stream is an ASGI application of its own, past Django's handler: that would keep a thread,
and a database connection with it, for as long as the client listens. It is admitted
(`access.admission`) and joins (`hub.joining`) as a listener socket does, so it promises the same:
bounded memory, slow clients by cursor, looked after by the guard, counted as a listener.
"""

import asyncio
import random
import time
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from .. import metrics
from ..access import limits
from ..access.addresses import address_of
from ..access.admission import admit, id_of
from ..access.guard import get_guard
from ..access.origins import header, is_allowed
from ..access.visitors import Visitor
from ..conf import conf
from ..exceptions import BadRequest, BroadcastError, CloseCode, Forbidden, TooMany, Unavailable
from ..http import cors
from ..http.answers import Refusal, describe, failure, not_allowed, resource
from ..http.transport import EXTENSION, RequestTransport
from ..hub.joining import join, leave
from ..hub.listeners import Heard, Listener
from ..hub.starts import Wish, query_of
from ..logs import get_logger
from ..models import database
from ..tokens import Grant
from ..wire import sse
from ..wire.frames import Encoding, Message, event
from ..wire.sinks import MessageSink, Send

logger = get_logger(__name__)

#: Milliseconds after which browsers come again: not all at once, when a server went.
RETRY = (1000, 3000)
#: Seconds in which a client that is sent away takes what was written to it before.
CLOSE_SECONDS = 5.0
#: Seconds in which a client takes the end of an answer that the server cuts.
CUT_SECONDS = 1.0
MEDIA_TYPE = "text/event-stream"
METHODS = ["GET", "HEAD"]


class EventSink(MessageSink):
    """The body of an event stream.

    `over`: its end was sent, or `cut`: its client took nothing, not even that.
    """

    def __init__(self, send: Send) -> None:
        super().__init__(send)
        self.over = asyncio.Event()
        self.cut = False

    def close(self, code: CloseCode, reason: str) -> None:
        if self.closing is None:
            # A slow client had its time already.
            seconds = 0 if self.task and code == CloseCode.SLOW else CLOSE_SECONDS
            super().close(code, reason)
            asyncio.get_running_loop().call_later(seconds, self._cut)

    def _cut(self) -> None:
        if not self.over.is_set():
            self.cut = True
            self.over.set()

    async def _send_all(self) -> None:
        await super()._send_all()
        if self.closing:
            self.over.set()

    def _as_asgi(self, message: bytes) -> dict[str, Any]:
        return {"type": "http.response.body", "body": message, "more_body": True}

    def _closing(self, code: CloseCode, reason: str) -> dict[str, Any]:
        return {"type": "http.response.body", "body": b"", "more_body": False}


class EventStream:
    """One client that hears a stream; a `access.guard.Connection` and a `hub.joining.Newcomer`."""

    grant = Grant.LISTEN
    slug = ""
    way = "events"
    visitor: Visitor
    listener: Listener | None = None
    #: Why it was sent away, before it was let in.
    removed: BroadcastError | None = None
    #: Whether the answer has begun: its status stands.
    begun = False

    def __init__(self, scope: dict[str, Any], receive: Any, send: Send) -> None:
        self.scope = scope
        self.address = address_of(scope)
        self.since = time.time()
        self.receive = receive
        self.send = send
        self.sink = EventSink(send)
        self.transport: RequestTransport | None = scope.get("extensions", {}).get(EXTENSION)
        #: Waits until the client is gone.
        self.gone: asyncio.Future[None] | None = None
        #: Takes it out of the counts of `access.limits`.
        self.uncount = limits.nothing

    async def run(self) -> None:
        try:
            self.uncount = limits.begin(self.scope)
            with database.expected():
                await self._enter()
            if self.listener:
                await self._stay()
                await self._leave()
                await self._until_over()
        except (BroadcastError, Refusal) as error:
            await self._refuse(error)
        except Exception:
            logger.exception("The events of %r cannot be heard", self.slug)
            await self._refuse(Refusal(500, "the server failed"))
        except asyncio.CancelledError:
            # So do other servers, at their end, with what goes on for longer than they wait. They
            # take an exception for a fault, and an answer without an end as well.
            await self._cut()
        finally:
            for task in (self.sink.task, self.gone):
                if task:
                    task.cancel()
            await self._leave()

    @property
    def id(self) -> str:
        return id_of(self)

    @property
    def behind(self) -> int:
        return self.listener.behind if self.listener else 0

    # -- coming in --------------------------------------------------------------------------

    async def _enter(self) -> None:
        method = self.scope["method"]
        is_preflight = cors.is_preflight(self.scope)
        if method not in METHODS and not is_preflight:
            raise not_allowed(method, METHODS)
        self._check_origin()
        if is_preflight:
            await self._answer(204, cors.preflight_headers(self.scope, METHODS))
            await self.send({"type": "http.response.body"})
            return
        if not accepts(header(self.scope, b"accept")):
            raise Refusal(406, f"this answers {MEDIA_TYPE}, which the request does not accept")
        query = query_of(self.scope)
        wish = Wish.of(query | self._last_event(query))
        stream = await admit(self, self.scope, query)
        if self.scope["method"] == "HEAD":
            await self._begin()
            await self.send({"type": "http.response.body"})
        else:
            await join(self, stream, wish)
            if self.transport:
                self.transport.on_drain(self._end)
            if self.removed:
                self.remove(self.removed)

    def _check_origin(self) -> None:
        # A name that is not ours could be one that a page of another site has for us, to read us.
        name = b"x-forwarded-host" if settings.USE_X_FORWARDED_HOST else b"host"
        if not is_allowed(f"http://{header(self.scope, name)}"):
            raise BadRequest("this site has no such name")
        origin = header(self.scope, b"origin")
        if origin is not None and not is_allowed(origin):
            raise Forbidden("pages of other sites may not listen here")

    def _last_event(self, query: dict[str, str]) -> dict[str, str]:
        """Where to resume. What a browser says itself is newer than what its page said."""
        last = header(self.scope, b"last-event-id") or query.get("last_event_id")
        if not last:
            return {}
        epoch, colon, offset = last.rpartition(":")
        if not colon:
            raise BadRequest("a Last-Event-ID is <epoch>:<offset>, as the id of an event says")
        return {"epoch": epoch, "since": offset}

    async def open(self) -> bool:
        if self.removed:
            raise self.removed
        await self._begin()
        return True

    def encoding_of(self, topic: Heard) -> Encoding:
        return sse.encoding_of(topic.epoch)

    def greet(self, listener: Listener, joined: Message) -> None:
        self.listener = listener
        # The header is from before the position, and must not move it: not as the listener writes.
        header, listener.opening = listener.opening, None
        opening = sse.publication(header, "") if header else b""
        told = sse.told(joined, listener.topic.epoch)
        self._write(sse.retry(random.randint(*RETRY)) + told + opening)

    async def _begin(self) -> None:
        headers = {
            "Content-Type": MEDIA_TYPE,
            "Cache-Control": "no-cache, no-transform",
            # nginx would gather it first.
            "X-Accel-Buffering": "no",
        }
        await self._answer(200, headers)

    async def _answer(self, status: int, headers: dict[str, str]) -> None:
        headers = {"Cache-Control": "no-store", **headers, "X-Content-Type-Options": "nosniff"}
        headers |= cors.answer_headers(self.scope) | {"Vary": ", ".join(cors.VARY)}
        self.begun = True
        pairs = [(name.lower().encode(), value.encode("latin1")) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": status, "headers": pairs})

    # -- staying ----------------------------------------------------------------------------

    def _write(self, events: bytes) -> None:
        """Write to a client that the hub writes to as well, through its listener."""
        if self.listener and not self.sink.write([events]):
            self.listener.topic.note_full(self.listener)

    async def _stay(self) -> None:
        """Until the client is gone, or is sent away."""
        while not await self._ended(self.sink.given_up, conf.KEEP_AWAKE_SECONDS):
            if self.listener and not self.listener.full_since:
                self._write(sse.COMMENT)

    async def _until_over(self) -> None:
        """Until the client has taken the end of the stream, is gone, or was waited for in vain."""
        if self.sink.closing:
            await self._ended(self.sink.over)
        if self.sink.cut and self.transport:
            self.transport.abort()

    async def _ended(self, event: asyncio.Event, seconds: float | None = None) -> bool:
        """Wait for the event, or until the client is gone. False: neither within `seconds`."""
        self.gone = self.gone or asyncio.ensure_future(self._gone())
        waiting = asyncio.ensure_future(event.wait())
        try:
            done, _ = await asyncio.wait(
                (self.gone, waiting), timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            waiting.cancel()
        return bool(done)

    async def _gone(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def _cut(self) -> None:
        """End the answer here, if the client takes that soon."""
        if self.sink.task:
            self.sink.task.cancel()
        if self.begun:
            with suppress(TimeoutError):
                async with asyncio.timeout(CUT_SECONDS):
                    await self.send({"type": "http.response.body", "body": b""})

    def remove(self, error: BroadcastError) -> None:
        """Send it away; when it comes again, the status of the answer tells it to stay away."""
        if self.listener is None:
            self.removed = error
            return
        self.listener.topic.remove(self.listener)
        self.sink.write([error_event(error)])
        self.sink.close(error.close_code, str(error))

    def _end(self) -> None:
        """The server goes down, as it was told."""
        if self.listener:
            self.listener.close(CloseCode.SHUTDOWN, "the server is going down")

    async def _leave(self) -> None:
        """It counts no more, wherever its client is. Calling this twice is harmless."""
        uncount, self.uncount = self.uncount, limits.nothing
        uncount()
        get_guard().leave(self)
        if self.listener:
            await leave(self.listener)

    async def _refuse(self, error: BroadcastError | Refusal) -> None:
        if isinstance(error, BroadcastError):
            metrics.note_refusal("http", type(error))
        body = sse.retry(random.randint(*RETRY)) + error_event(error)
        if not self.begun:
            # Any status but 200 ends an EventSource for good; after this one it comes back.
            comes_back = MEDIA_TYPE in (header(self.scope, b"accept") or "")
            if isinstance(error, Unavailable | TooMany) and comes_back:
                await self._begin()
            else:
                status, headers = describe(error)
                await self._answer(status, headers | {"Content-Type": "application/json"})
                body = failure(error).content
        body = b"" if self.scope["method"] == "HEAD" else body
        await self.send({"type": "http.response.body", "body": body})


def accepts(accept: str | None) -> bool:
    """Whether the header allows for events; without one anything goes."""
    types = {part.partition(";")[0].strip().lower() for part in (accept or "*/*").split(",")}
    return bool(types & {MEDIA_TYPE, "text/*", "*/*", ""})


def error_event(error: Exception) -> bytes:
    return sse.told(event("error", message=str(error)), "")


async def stream_events_application(scope: dict[str, Any], receive: Any, send: Send) -> None:
    await EventStream(scope, receive, send).run()


async def elsewhere(request: HttpRequest, slug: str) -> HttpResponse:
    raise Refusal(501, "event streams need the ASGI application broadcast.http.HTTPApplication")


stream_events = resource(GET=elsewhere)
stream_events.application = stream_events_application  # type: ignore[attr-defined]
