"""What Django's requests keep to on a server that knows nothing of us: `HTTPApplication`."""

import asyncio
import json
from collections.abc import AsyncIterator
from threading import Event
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, StreamingHttpResponse
from django.urls import path
from pytest_django.fixtures import Settings

from broadcast.access.limits import get_limits
from broadcast.exceptions import Unavailable
from broadcast.http import threads
from broadcast.http.application import PIECE, HTTPApplication
from tests.rig.doors import PATIENCE

pytestmark = pytest.mark.django_db


class Request:
    """A request to an application, of a client who waits for the answer unless told otherwise."""

    def __init__(self, path: str = "/healthz", method: str = "GET", *body: bytes) -> None:
        self.scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"live",
            "root_path": "",
            "scheme": "http",
            "headers": [(b"host", b"localhost")],
            "client": ["192.0.2.1", 1000],
            "server": ["localhost", 80],
        }
        self.parts = list(body) or [b""]
        #: Whether the body has an end, and the client takes the answer.
        self.ends = self.takes = True
        self.gone = asyncio.Event()
        self.sent: list[dict[str, Any]] = []

    async def receive(self) -> dict[str, Any]:
        if not self.parts:
            await self.gone.wait()
            return {"type": "http.disconnect"}
        part = self.parts.pop(0)
        more = bool(self.parts) or not self.ends
        return {"type": "http.request", "body": part, "more_body": more}

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)
        if not self.takes and message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async def go(self, django: Any = None) -> "Request":
        application = HTTPApplication(django or get_asgi_application())
        async with asyncio.timeout(PATIENCE):
            await application(self.scope, self.receive, self.send)
        return self

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def headers(self) -> dict[bytes, bytes]:
        return {name.lower(): value for name, value in self.sent[0]["headers"]}


async def test_a_body_that_does_not_end_is_refused(settings: Settings) -> None:
    settings.BROADCAST_BODY_SECONDS = 0.1
    request = Request("/rooms/", "POST", b"some", b"more")
    request.ends = False
    await request.go()
    assert (request.status, request.headers[b"connection"]) == (408, b"close")
    assert json.loads(request.body) == {"error": "a body comes within 0.1 seconds"}
    assert get_limits().connections == 0


async def test_a_body_is_counted_while_it_comes(settings: Settings) -> None:
    settings.BROADCAST_MAX_BODY = 10
    request = Request("/rooms/", "POST", b"12345", b"12345", b"1", b"never read")
    await request.go()
    assert (request.status, request.parts) == (413, [b"never read"])
    whole = await Request("/healthz", "POST", b"12345", b"12345").go()
    assert whole.status == 405


async def test_who_takes_nothing_is_left_alone_after_a_while(settings: Settings) -> None:
    settings.BROADCAST_SLOW_SECONDS = 0.1
    request = Request()
    request.takes = False
    await request.go()
    assert request.status == 200
    assert get_limits().connections == 0


async def test_what_was_streamed_to_who_takes_nothing_is_closed(settings: Settings) -> None:
    settings.BROADCAST_SLOW_SECONDS = 0.1
    settings.ROOT_URLCONF = "tests.http.test_application"
    request = Request("/stream/")
    request.takes = False
    await request.go()
    assert (request.status, closed) == (200, ["/stream/"])


async def test_an_answer_goes_out_in_pieces() -> None:
    async def django(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * PIECE, "more_body": True})
        await send({"type": "http.response.body", "body": b"y" * (2 * PIECE + 1)})

    request = await Request().go(django)
    sizes = [(len(one["body"]), one.get("more_body", False)) for one in request.sent[1:]]
    assert sizes == [(PIECE, True)] * 3 + [(1, False)]
    assert request.body == b"x" * PIECE + b"y" * (2 * PIECE + 1)


async def test_who_takes_all_that_there_is_may_wait_for_more(settings: Settings) -> None:
    settings.BROADCAST_SLOW_SECONDS = 0.1

    async def django(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        gone = asyncio.ensure_future(receive())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(3):
            await asyncio.sleep(0.12)
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
        assert not gone.done()
        gone.cancel()
        await send({"type": "http.response.body"})

    assert (await Request().go(django)).body == b"xxx"


async def test_requests_count_as_long_as_they_last(settings: Settings) -> None:
    settings.BROADCAST_MAX_CONNECTIONS_PER_ADDRESS = 2
    waiting = [Request("/rooms/", "POST") for _ in range(2)]
    for one in waiting:
        one.ends = False
    going = [asyncio.ensure_future(one.go()) for one in waiting]
    await asyncio.sleep(0)
    refused = await Request("/rooms/").go()
    assert (refused.status, refused.headers[b"retry-after"]) == (429, b"10")
    assert "from your address" in json.loads(refused.body)["error"]
    # A server that is full is well.
    assert (await Request("/healthz").go()).status == 200
    for one in waiting:
        one.gone.set()
    await asyncio.gather(*going)
    assert get_limits().connections == 0
    assert (await Request("/rooms/").go()).status == 200


@pytest.mark.parametrize("path", ["/rooms/", "/api/streams/demo/"])
async def test_a_middleware_that_gets_no_thread_says_when_to_come_back(
    settings: Settings, path: str
) -> None:
    settings.MIDDLEWARE = ["tests.http.test_application.busy"]
    request = await Request(path).go()
    assert (request.status, request.headers[b"retry-after"]) == (503, b"1")


def test_whether_a_server_lives_it_says_when_all_threads_are_taken(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.BROADCAST_THREADS = 1
    monkeypatch.setattr(threads, "_threads", threads.Threads())
    over = Event()

    async def hold() -> None:
        async with threads.own_turn():
            await sync_to_async(over.wait)()

    async def run() -> int:
        holding = asyncio.ensure_future(hold())
        await asyncio.sleep(0)
        try:
            return (await asyncio.wait_for(Request("/healthz").go(), 5)).status
        finally:
            over.set()
            await holding

    # With no synchronous code around that has a thread.
    assert asyncio.run(run()) == 200


# -- of a project: a middleware, and a view as the URLs of one test have it ----------------------

closed: list[str] = []


def busy(get_response: Any) -> Any:
    def middleware(request: HttpRequest) -> Any:
        raise Unavailable("the server is too busy")

    return middleware


async def parts() -> AsyncIterator[bytes]:
    while True:
        yield b"x"


async def stream(request: HttpRequest) -> StreamingHttpResponse:
    response = StreamingHttpResponse(parts())
    response._resource_closers.append(lambda: closed.append(request.path))
    return response


urlpatterns = [path("stream/", stream)]
