"""The ASGI application for HTTP: Django's, and what must not go through it.

A view may have an `application`, an ASGI application that takes its place; a `max_body`, which
answers the most bytes of a body that are read for it; and `is_always_answered`: whether it is, even
if there are too many connections or all threads are taken.

Every request that Django answers is bounded, on any server:

* It counts in the limits, per address and in all (`access.limits`).
* Its body has at most `MAX_BODY` bytes, unless its view says otherwise, and comes within
  `BODY_SECONDS`. A larger body is refused as soon as that is known.
* It does its synchronous work in one of few threads (`threads`).
* Its client takes each `PIECE` of the answer within `SLOW_SECONDS`, or is cut off. While the
  server waits for it, the request has neither a thread nor a connection to the database.
"""

import asyncio
from typing import Any

from django.urls import Resolver404, ResolverMatch, resolve

from .. import metrics
from ..access import limits, sole_process
from ..access.addresses import address_of
from ..access.origins import Application, header
from ..conf import conf
from ..exceptions import BroadcastError, TooLarge, TooMany, TooSlow
from ..logs import Sparing, get_logger
from . import cors
from .answers import Refusal, describe, failure, is_cross_site
from .threads import Turn, own_turn
from .transport import EXTENSION

logger = get_logger(__name__)

#: Bytes of an answer that are handed to the server at a time.
PIECE = 64 * 1024

_cuts = Sparing()


class HTTPApplication:
    """Wraps Django's application, with or without static files."""

    def __init__(self, django: Application) -> None:
        self.django = django

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        sole_process.look_out()
        match = find_view(scope["path"], scope.get("root_path", ""))
        if match is not None and hasattr(match.func, "application"):
            scope["url_route"] = {"args": match.args, "kwargs": match.kwargs}
            await match.func.application(scope, receive, send)
        else:
            await Exchange(match, scope, receive, send).run(self.django)


class Exchange:
    """A request that Django answers."""

    turn: Turn

    def __init__(
        self, match: ResolverMatch | None, scope: dict[str, Any], receive: Any, send: Any
    ) -> None:
        self.match = match
        self.scope = scope
        self.base_receive = receive
        self.base_send = send
        self.transport = scope.get("extensions", {}).get(EXTENSION)
        #: The most bytes of its body, how many came, and until when it may come.
        self.most = max_body(match)
        self.size = 0
        self.until = asyncio.get_running_loop().time() + conf.BODY_SECONDS
        self.is_whole = self.begun = False
        #: Why it is refused. Django is told that the client is gone, and cleans up.
        self.refusal: BroadcastError | Refusal | None = None
        #: Set when the client is cut off, where the server cannot do that.
        self.is_cut = asyncio.Event()

    async def run(self, django: Application) -> None:
        uncount = limits.nothing
        try:
            uncount = self._count()
            self._check_length()
            async with own_turn() as self.turn:
                if self._is_always_answered:
                    self.turn.move_out()
                await django(self.scope, self.receive, self.send)
            if self.refusal:
                raise self.refusal
        except (BroadcastError, Refusal) as error:
            if self.begun:
                raise
            await self._refuse(error)
        finally:
            uncount()

    def _count(self) -> Any:
        try:
            return limits.begin(self.scope, joins=False)
        except TooMany:
            if self._is_always_answered:
                return limits.nothing
            raise

    @property
    def _is_always_answered(self) -> bool:
        view = self.match and self.match.func
        return bool(getattr(view, "is_always_answered", False))

    async def _refuse(self, error: BroadcastError | Refusal) -> None:
        if isinstance(error, BroadcastError):
            metrics.note_refusal("http", type(error))
        status, said = describe(error)
        said = said | {"Content-Type": "application/json", "Connection": "close"}
        if self.match and is_cross_site(self.match.func):
            said |= cors.answer_headers(self.scope) | {"Vary": ", ".join(cors.VARY)}
        headers = [(name.lower().encode(), value.encode("latin1")) for name, value in said.items()]
        body = b"" if self.scope["method"] == "HEAD" else failure(error).content
        start = {"type": "http.response.start", "status": status, "headers": headers}
        await self.base_send(start)
        await self.base_send({"type": "http.response.body", "body": body})

    # -- the body ---------------------------------------------------------------------------

    def _check_length(self) -> None:
        length = header(self.scope, b"content-length") or "0"
        if self.most is not None and length.isdecimal() and int(length) > self.most:
            raise too_large(self.most)

    async def receive(self) -> dict[str, Any]:
        if self.is_whole:
            return await self._gone()
        try:
            async with asyncio.timeout_at(self.until):
                message: dict[str, Any] = await self.base_receive()
        except TimeoutError:
            self.refusal = too_slow()
            return {"type": "http.disconnect"}
        self.size += len(message.get("body", b""))
        if self.most is not None and self.size > self.most:
            self.refusal = too_large(self.most)
            return {"type": "http.disconnect"}
        self.is_whole = not message.get("more_body")
        return message

    async def _gone(self) -> dict[str, Any]:
        """Wait until the client is gone, or cut off."""
        if self.transport:
            gone: dict[str, Any] = await self.base_receive()
            return gone
        waits = [asyncio.ensure_future(self.base_receive())]
        waits.append(asyncio.ensure_future(self.is_cut.wait()))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return {"type": "http.disconnect"}

    # -- the answer -------------------------------------------------------------------------

    async def send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self._begin(message)
        body = message.get("body", b"")
        last = max(len(body) - 1, 0) // PIECE * PIECE
        for start in range(0, last, PIECE):
            await self._send({**message, "body": body[start : start + PIECE], "more_body": True})
        await self._send({**message, "body": body[last:]} if last else message)

    def _begin(self, message: dict[str, Any]) -> None:
        self.begun = True
        if any(name.lower() == b"content-length" for name, _ in message.get("headers", ())):
            self.turn.give_back()
        else:
            self.turn.move_out()

    async def _send(self, message: dict[str, Any]) -> None:
        slow = asyncio.get_running_loop().call_later(conf.SLOW_SECONDS, self._cut)
        try:
            await self.base_send(message)
        finally:
            slow.cancel()

    def _cut(self) -> None:
        if (more := _cuts.more()) is not None:
            address = address_of(self.scope) or "?"
            logger.info("Cut off a client at %s that takes nothing of its answer%s", address, more)
        metrics.note_refusal("http", TooSlow)
        self.is_cut.set()
        if self.transport:
            self.transport.abort()


def find_view(path: str, root: str = "") -> ResolverMatch | None:
    try:
        return resolve(path.removeprefix(root))
    except Resolver404:
        return None


def max_body(match: ResolverMatch | None) -> int | None:
    """The most bytes of a body that are read for a view; None: any number."""
    limit = getattr(match.func, "max_body", None) if match else None
    most: int | None = limit() if limit else conf.MAX_BODY
    return most


def too_large(most: int) -> TooLarge:
    return TooLarge(f"a body has at most {most} bytes here")


def too_slow() -> Refusal:
    return Refusal(408, f"a body comes within {conf.BODY_SECONDS:g} seconds")
