"""What views have in common: what caches may do with their answers, and transactions."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.test import AsyncClient, Client

from broadcast.models import Stream
from tests.rig.doors import InProcessDoor
from tests.rig.events import hear_in_process

pytestmark = pytest.mark.django_db


@pytest.fixture
def streams() -> None:
    user = User.objects.create_user("owner")
    for visibility in Stream.Visibility:
        Stream.objects.create(slug=visibility, visibility=visibility, owner=user)


def vary(response: Any) -> set[str]:
    return {name.strip() for name in response.headers["Vary"].split(",")}


API = [
    ("/api/streams/", 200),
    ("/api/streams/public/", 200),
    ("/api/streams/private/", 403),
    ("/api/streams/nowhere/", 404),
    ("/api/streams/public/publications/", 200),
    ("/api/streams/public/publications/?limit=x", 400),
    ("/api/streams/private/publications/?token=x", 401),
    ("/api/schema/", 200),
    ("/api/nowhere/", 404),
    ("/healthz?live", 200),
    ("/metrics", 403),
]


@pytest.mark.parametrize(("path", "status"), API)
async def test_nobody_keeps_what_the_api_answers(
    streams: None, async_client: AsyncClient, path: str, status: int
) -> None:
    response = await async_client.get(path, headers={"via": "a proxy"})
    assert response.status_code == status
    assert response.headers["Cache-Control"] == "no-store"
    assert {"Cookie", "Authorization"} <= vary(response)


async def test_nobody_keeps_what_was_published_or_not_allowed(
    streams: None, async_client: AsyncClient
) -> None:
    path = "/api/streams/public/publications/"
    for response in (
        await async_client.post(path, "x", content_type="text/plain"),
        await async_client.delete(path),
        await async_client.get("/api/streams/", headers={"host": "evil.example"}),
    ):
        assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("slug", "status", "kept"),
    [("public", 200, "no-cache, no-transform"), ("private", 403, "no-store")],
)
async def test_an_event_stream_says_on_what_it_depends(
    streams: None, in_process: InProcessDoor, slug: str, status: int, kept: str
) -> None:
    async with hear_in_process(slug) as hearing:
        assert (hearing.status, hearing.headers["cache-control"]) == (status, kept)
        assert hearing.headers["vary"] == "Cookie, Authorization, Origin"


PAGES = [
    *("/", "/streams/public/", "/streams/private/", "/streams/public/studio/"),
    *("/rooms/", "/rooms/?room=x", "/rooms/x/", "/streams/public/embed/"),
]


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_kept_by_its_visitors_browser_alone(
    streams: None, client: Client, path: str
) -> None:
    response = client.get(path)
    kept = response.headers["Cache-Control"]
    assert "private" in kept and "no-cache" in kept and "public" not in kept
    if "no-store" not in kept:
        assert {"Cookie", "Authorization"} <= vary(response)


# -- transactions ----------------------------------------------------------------------------------


RECORDING = "/streams/public/recordings/1/"


@pytest.mark.parametrize("path", [*PAGES, RECORDING, *(path for path, _ in API)])
def test_a_view_answers_the_same_where_each_request_is_a_transaction(
    streams: None, client: Client, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    status = client.get(path).status_code
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    assert client.get(path).status_code == status != 500
