"""Pages of other sites: what they may send to the API, and read of its answers."""

from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import AsyncClient
from django.urls import get_resolver
from pytest_django.fixtures import Settings

from broadcast.http.answers import is_cross_site
from broadcast.models import Stream
from project.asgi import application
from tests.rig import asgi
from tests.rig.doors import InProcessDoor
from tests.rig.events import hear_in_process

FRIEND, STRANGER = "https://friend.example", "https://stranger.example"

PATHS = {
    "api_stream_list": ("/api/streams/", "GET, HEAD"),
    "api_stream_detail": ("/api/streams/s/", "GET, HEAD"),
    "api_publication_list": ("/api/streams/s/publications/", "GET, HEAD, POST"),
    "api_schema": ("/api/schema/", "GET, HEAD"),
    "api_stream_events": ("/api/streams/s/events/", "GET, HEAD"),
}
# Event streams go past Django.
DJANGOS = [pair for name, pair in PATHS.items() if name != "api_stream_events"]
EVENTS = PATHS["api_stream_events"]


@pytest.fixture(autouse=True)
def friend(settings: Settings) -> None:
    settings.BROADCAST_ALLOWED_ORIGINS = [FRIEND]


@pytest.fixture
def stream(db: None) -> Stream:
    return Stream.objects.create(slug="s", publishing="anyone")


async def ask(method: str, path: str, **headers: str) -> Any:
    """Status and headers of the answer."""
    if path == EVENTS[0]:
        async with hear_in_process("s", method=method, **headers) as hearing:
            return hearing.status, {name.lower(): value for name, value in hearing.headers.items()}
    response = await AsyncClient().generic(
        method, path, "tea", content_type="text/plain", headers=headers
    )
    return response.status_code, {name.lower(): value for name, value in response.items()}


def varies(headers: dict[str, str]) -> set[str]:
    return {name.strip().lower() for name in headers.get("vary", "").split(",")}


def test_every_path_of_the_api_is_in_the_table() -> None:
    views = get_resolver("broadcast.urls").url_patterns
    named = {str(one.name): one.callback for one in views}
    assert {name for name, view in named.items() if is_cross_site(view)} == set(PATHS)


@pytest.mark.parametrize(("path", "methods"), PATHS.values())
async def test_a_browser_is_told_what_a_page_of_an_allowed_site_may_send(
    stream: Stream, path: str, methods: str
) -> None:
    wanted = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization",
    }
    status, headers = await ask("OPTIONS", path, origin=FRIEND, **wanted)
    assert (status, headers["access-control-allow-origin"]) == (204, FRIEND)
    assert headers["access-control-allow-methods"] == methods
    taken = headers["access-control-allow-headers"].lower().split(", ")
    assert {"authorization", "content-type", "idempotency-key", "last-event-id"} <= set(taken)
    assert (headers["access-control-max-age"], headers["cache-control"]) == ("600", "no-store")
    assert "origin" in varies(headers)


@pytest.mark.parametrize(("path", "methods"), PATHS.values())
@pytest.mark.parametrize("origin", [STRANGER, "null", f"{FRIEND}.evil.example"])
async def test_a_page_of_another_site_may_send_nothing(
    stream: Stream, path: str, methods: str, origin: str
) -> None:
    status, headers = await ask("OPTIONS", path, origin=origin)
    assert status == 403
    assert not any(name.startswith("access-control-") for name in headers)


@pytest.mark.parametrize(("path", "methods"), PATHS.values())
async def test_without_an_origin_there_is_no_preflight(
    stream: Stream, path: str, methods: str
) -> None:
    status, headers = await ask("OPTIONS", path)
    assert (status, headers["allow"]) == (405, methods)


@pytest.mark.parametrize(("path", "methods"), PATHS.values())
async def test_a_page_of_an_allowed_site_reads_answers_and_errors(
    stream: Stream, path: str, methods: str
) -> None:
    for method, status in (("GET", 200), ("DELETE", 405)):
        answered, headers = await ask(method, path, origin=FRIEND)
        assert (answered, headers["access-control-allow-origin"]) == (status, FRIEND)
        assert headers["access-control-allow-credentials"] == "true"
        assert "Retry-After" in headers["access-control-expose-headers"]
        assert {"origin", "cookie", "authorization"} <= varies(headers)


@pytest.mark.parametrize(("path", "methods"), DJANGOS)
async def test_a_page_of_another_site_reads_nothing(
    stream: Stream, path: str, methods: str
) -> None:
    for origin in ({}, {"origin": STRANGER}):
        status, headers = await ask("GET", path, **origin)
        assert status == 200 and "origin" in varies(headers)
        assert not any(name.startswith("access-control-") for name in headers)


async def test_cookies_count_only_where_the_visitor_would(stream: Stream) -> None:
    # A page of another port of our host comes in, without the session of its visitor.
    other_port = "http://testserver:1234"
    for path, _ in PATHS.values():
        _, headers = await ask("GET", path, origin=other_port)
        assert headers["access-control-allow-origin"] == other_port
        assert "access-control-allow-credentials" not in headers


async def test_a_page_of_an_allowed_site_publishes(stream: Stream) -> None:
    path = PATHS["api_publication_list"][0]
    status, headers = await ask("POST", path, origin=FRIEND)
    assert (status, headers["access-control-allow-origin"]) == (201, FRIEND)
    status, headers = await ask("POST", path, origin=STRANGER)
    assert status == 403 and "access-control-allow-origin" not in headers


async def test_an_answer_that_django_does_not_make_is_read_too(
    in_process: InProcessDoor, settings: Settings
) -> None:
    settings.BROADCAST_MAX_BODY = 1
    slug = await in_process.stream()
    path = f"/api/streams/{slug}/"
    await sync_to_async(Stream.objects.filter(slug=slug).update)(publishing="anyone")
    status, headers, _ = await asgi.ask(application, path, "POST", b"too large", origin=FRIEND)
    assert (status, headers["access-control-allow-origin"]) == (413, FRIEND)
