"""What pages say on their sockets: `ping`, `call-route`, and the actions that handlers answer.

Every message is answered with its `id`; one that makes no sense too, and the socket stays open.
The calls of a page run beside each other, up to a limit; then its socket is read no more until one
has ended, or the page is closed.
"""

import asyncio
from functools import cache
from inspect import iscoroutinefunction
from typing import Any, Protocol

from .. import metrics
from ..conf import conf
from ..exceptions import BadRequest, BroadcastError, Forbidden
from ..http.threads import own_turn
from ..logs import get_logger
from ..loops import PerLoop
from ..models import database
from ..models.database import database_sync_to_async
from ..publications import decode_json, encode_json
from .calls import PageCall, RouteHandler, is_trusted
from .handlers import OWN, find_handler
from .subscriptions import PageSocket

logger = get_logger(__name__)

#: Calls of all pages that run at a time in one event loop. Their synchronous work waits for one of
#: the `http.threads`.
CALLS = 100

_get_slot = PerLoop(lambda: asyncio.Semaphore(CALLS))


class Page(Protocol):
    """The page that calls."""

    connection_id: str
    #: Its name for others; "": its session has no pages.
    digest: str
    #: See `calls.caller`.
    caller: dict[str, Any]

    async def present(self) -> PageSocket:
        """The page's socket, with its session and user as they are now."""

    def answer(self, payload: bytes) -> None:
        """Send a JSON text to the page."""


class Actions:
    """The calls of one page."""

    def __init__(self, page: Page) -> None:
        self.page = page
        #: Whether its site may call at all, once that is known.
        self.is_trusted: bool | None = None
        self.running: set[asyncio.Task[None]] = set()
        #: Done when a call has ended; and whether messages wait for that no more.
        self.waiting: asyncio.Future[None] | None = None
        self.is_over = False

    async def take(self, text: str | None) -> None:
        """Begin with what the page said, as soon as it may have one more call running."""
        id = None
        try:
            if text is None:
                raise BadRequest("a message is JSON in a text frame")
            message = decode_json(text)
            if not isinstance(message, dict):
                raise BadRequest("a message is an object")
            # Checked before it is given back.
            encode_json(message.get("id"))
            id = message.get("id")
            work = self._work(message)
        except BroadcastError as error:
            self._refuse(id, error)
            return
        if work is None:
            self._answer(id, {"status": 200, "headers": {}, "body": "pong"})
            return
        while len(self.running) >= conf.PAGE_CALLS:
            if self.is_over:
                return
            self.waiting = asyncio.get_running_loop().create_future()
            await self.waiting
        task = asyncio.ensure_future(self._run(id, work))
        self.running.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.running.discard(task)
        self._go_on()

    def _go_on(self) -> None:
        if self.waiting and not self.waiting.done():
            self.waiting.set_result(None)

    def give_up(self) -> None:
        """The page is being closed: calls that would have to wait are not begun any more."""
        self.is_over = True
        self._go_on()

    def cancel(self) -> None:
        """The page is gone: nobody waits for its answers, as when a browser leaves a page."""
        self.give_up()
        for task in self.running:
            task.cancel()

    def _work(self, message: dict[str, Any]) -> Any:
        """The call that a message asks for; None: ping."""
        for name in ("id", "action"):
            if name not in message:
                raise BadRequest(f"a message has an {name}")
        if message["action"] == OWN[0]:
            return None
        if self.is_trusted is None:
            self.is_trusted = is_trusted(self.page.caller)
        if not self.is_trusted:
            raise Forbidden("pages of another site call nothing here")
        if message["action"] == OWN[1]:
            return _Route(PageCall(message))
        return _Handled(find_handler(message["action"]), message)

    async def _run(self, id: Any, work: Any) -> None:
        call = asyncio.ensure_future(self._call(id, work))
        try:
            if not (await asyncio.wait({call}, timeout=conf.PAGE_CALL_SECONDS))[0]:
                logger.warning("A call of a page took longer than %g s", conf.PAGE_CALL_SECONDS)
                self._answer(id, {"status": 504, "body": "the call took too long"})
        finally:
            call.cancel()
            # A view in a thread goes on to its end, and counts as long.
            await asyncio.wait({call})

    async def _call(self, id: Any, work: Any) -> None:
        try:
            async with _get_slot():
                with database.expected():
                    answer = await work.run(self.page)
            self._answer(id, answer)
        except BroadcastError as error:
            self._refuse(id, error)
        except Exception:
            logger.exception("A call of a page failed")
            self._answer(id, {"status": 500, "body": "the call failed"})

    def _refuse(self, id: Any, error: BroadcastError) -> None:
        logger.info("Refused a message of a page: %s", error)
        self._answer(id, {"status": error.http_status, "body": str(error)})

    def _answer(self, id: Any, answer: dict[str, Any]) -> None:
        try:
            payload = encode_json({**answer, "id": id})
        except BadRequest as error:
            # Not the page's fault, but that of who made the answer.
            raise ValueError(str(error)) from None
        metrics.note_page_call(answer.get("status"))
        self.page.answer(payload)


class _Route:
    def __init__(self, call: PageCall) -> None:
        self.call = call

    async def run(self, page: Page) -> dict[str, Any]:
        return await _django().call(self.call, page.caller, page.connection_id, bool(page.digest))


class _Handled:
    def __init__(self, handler: Any, message: dict[str, Any]) -> None:
        self.handler = handler
        self.message = message

    async def run(self, page: Page) -> dict[str, Any]:
        response = {"id": self.message["id"], "status": 200, "headers": {}, "body": ""}
        async with own_turn():
            arguments = (self.message, await page.present(), response)
            if iscoroutinefunction(self.handler):
                said = await self.handler(*arguments)
            else:
                said = await database_sync_to_async(self.handler)(*arguments)
        if said is None:
            return response
        return {**response, **(said if isinstance(said, dict) else {"body": said})}


@cache
def _django() -> RouteHandler:
    return RouteHandler()
