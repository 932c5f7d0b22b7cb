"""With whose session a page comes in: only that of its own site, to the port and the scheme."""

from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from django.contrib.auth.models import User
from django.test import Client
from pytest_django.fixtures import Settings

from broadcast.http import HTTPApplication
from broadcast.models import Stream
from tests.rig.doors import PATIENCE, V1, InProcessDoor, Refused
from tests.rig.events import hear_in_process, nothing

HOST = "www.example.org:8000"
OURS = "http://www.example.org:8000"
#: Other pages of allowed hosts: cookies know neither ports nor, unless they are secure, schemes.
OTHERS = [
    "http://www.example.org",
    "http://www.example.org:8001",
    "https://www.example.org:8000",
    "http://shop.example.org:8000",
]


@pytest.fixture(autouse=True)
def site(settings: Settings) -> None:
    settings.ALLOWED_HOSTS = [".example.org"]


@pytest.fixture
def cookie(db: None) -> str:
    """That of the owner of the stream `private`, who is staff and may see everything."""
    user = User.objects.create_superuser("owner")
    Stream.objects.create(slug="private", owner=user, visibility="private")
    Stream.objects.create(slug="public", publishing="anyone")
    client = Client()
    client.force_login(user)
    return f"sessionid={client.session.session_key}"


async def outcome(door: InProcessDoor, path: str, headers: dict[str, str]) -> int | str:
    """What a socket is told first, or the code it is closed with."""
    socket = await door.connect(path, V1, headers={"Host": HOST, **headers})
    said = await socket.event()
    return await socket.closed() if said["event"] == "error" else str(said["event"])


async def heard(slug: str, headers: dict[str, str]) -> tuple[int, str | None, str | None]:
    """The status of an event stream, and what it allows the page to do."""
    async with hear_in_process(slug, host=HOST, **headers) as hearing:
        origin = hearing.headers.get("access-control-allow-origin")
        credentials = hearing.headers.get("access-control-allow-credentials")
        return hearing.status, origin, credentials


@pytest.mark.parametrize(
    ("path", "event"),
    [
        ("/ws/listener/private/", "joined"),
        ("/ws/streamer/private/", "ready"),
        ("/ws/admin/streams/?streams=public", "figures"),
        ("/ws/admin/rooms/?rooms=x", "figures"),
    ],
)
async def test_a_socket_has_the_session_for_a_page_of_this_site_alone(
    cookie: str, in_process: InProcessDoor, path: str, event: str
) -> None:
    assert await outcome(in_process, path, {"Cookie": cookie}) == event
    assert await outcome(in_process, path, {"Cookie": cookie, "Origin": OURS}) == event
    for origin in OTHERS:
        assert await outcome(in_process, path, {"Cookie": cookie, "Origin": origin}) == 4503


@pytest.mark.parametrize("origin", OTHERS)
async def test_an_event_stream_has_the_session_for_a_page_of_this_site_alone(
    cookie: str, in_process: InProcessDoor, origin: str
) -> None:
    assert (await heard("private", {"cookie": cookie, "origin": OURS})) == (200, OURS, "true")
    assert (await heard("private", {"cookie": cookie, "origin": origin})) == (403, origin, None)
    assert (await heard("public", {"cookie": cookie, "origin": origin})) == (200, origin, None)


@pytest.mark.parametrize("origin", OTHERS)
async def test_what_anybody_may_and_what_a_token_grants_needs_no_session(
    cookie: str, in_process: InProcessDoor, origin: str
) -> None:
    headers = {"Cookie": cookie, "Origin": origin}
    assert await outcome(in_process, "/ws/listener/public/", headers) == "joined"
    assert await outcome(in_process, "/ws/streamer/public/", headers) == "ready"
    stream = await Stream.objects.aget(slug="private")
    path = f"/ws/listener/private/?token={stream.make_token('listen')}"
    assert await outcome(in_process, path, headers) == "joined"
    bearer = {"authorization": f"Bearer {stream.make_token('listen')}"}
    assert (await heard("private", {**bearer, "cookie": cookie, "origin": origin}))[0] == 200


@pytest.mark.parametrize("name", ["BROADCAST_ALLOWED_ORIGINS", "CSRF_TRUSTED_ORIGINS"])
async def test_a_site_that_is_named_brings_the_session(
    cookie: str, in_process: InProcessDoor, settings: Settings, name: str
) -> None:
    for origin in OTHERS:
        setattr(settings, name, [origin])
        headers = {"Cookie": cookie, "Origin": origin}
        assert await outcome(in_process, "/ws/listener/private/", headers) == "joined"
        headers = {"cookie": cookie, "origin": origin}
        assert await heard("private", headers) == (200, origin, "true")


async def test_behind_a_proxy_the_scheme_is_what_the_proxy_says(
    cookie: str, in_process: InProcessDoor, settings: Settings
) -> None:
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    said = {"Cookie": cookie, "X-Forwarded-Proto": "https"}
    for origin, expected in ((f"https://{HOST}", "joined"), (f"http://{HOST}", 4503)):
        headers = {**said, "Origin": origin}
        assert await outcome(in_process, "/ws/listener/private/", headers) == expected
    # And nobody else: the proxy is another one.
    settings.BROADCAST_PROXIES = ["192.0.2.1"]
    headers = {**said, "Origin": f"https://{HOST}"}
    assert await outcome(in_process, "/ws/listener/private/", headers) == 4503


async def test_that_the_session_is_left_out_is_logged_with_both_sites(
    cookie: str, in_process: InProcessDoor, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "broadcast.access.visitors")
    page = f"https://{HOST}"
    headers = {"Cookie": cookie, "Origin": page, "X-Forwarded-Proto": "https"}
    assert await outcome(in_process, "/ws/listener/private/", headers) == 4503
    left_out = f"Left out the session of a page at {page}: it asked another site, http://{HOST}"
    assert caplog.messages.count(left_out) == 1
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    assert await outcome(in_process, "/ws/listener/private/", {**headers, "Origin": OURS}) == 4503
    assert f"Left out the session of a page at {OURS}: it asked another site, {page}" in caplog.text


async def test_a_user_whom_a_middleware_knows_counts_as_the_session(
    cookie: str, in_process: InProcessDoor
) -> None:
    in_process.user = await User.objects.aget()
    path = "/ws/listener/private/"
    assert await outcome(in_process, path, {"Origin": OURS}) == "joined"
    assert await outcome(in_process, path, {"Origin": OTHERS[0]}) == 4503


async def test_other_sites_are_refused_whatever_they_bring(
    cookie: str, in_process: InProcessDoor
) -> None:
    for headers in ({}, {"Cookie": cookie}):
        with pytest.raises(Refused):
            evil = {"Origin": "http://www.example.org.evil.example:8000", **headers}
            await outcome(in_process, "/ws/listener/public/", evil)


# -- what a browser asks beforehand ----------------------------------------------------------------


async def preflight(origin: str, slug: str = "public") -> tuple[int, dict[str, str]]:
    headers = {
        **{"host": HOST, "origin": origin, "access-control-request-method": "GET"},
        "access-control-request-headers": "authorization",
    }
    scope: dict[str, Any] = {
        **{"type": "http", "method": "OPTIONS", "query_string": b""},
        "path": f"/api/streams/{slug}/events/",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    asking = ApplicationCommunicator(HTTPApplication(nothing), scope)
    await asking.send_input({"type": "http.request", "body": b""})
    start = await asking.receive_output(PATIENCE)
    body = await asking.receive_output(PATIENCE)
    await asking.wait(PATIENCE)
    assert not body.get("body") or start["status"] >= 400
    return start["status"], {name.decode(): value.decode() for name, value in start["headers"]}


async def test_a_page_of_an_allowed_site_may_send_a_token_as_a_header(
    cookie: str, settings: Settings
) -> None:
    settings.BROADCAST_ALLOWED_ORIGINS = ["https://partner.example"]
    for origin, credentials in (
        ("https://partner.example", "true"),
        (OURS, "true"),
        (OTHERS[0], None),
    ):
        status, headers = await preflight(origin)
        assert (status, headers["access-control-allow-origin"]) == (204, origin)
        assert headers.get("access-control-allow-credentials") == credentials
        allowed = headers["access-control-allow-headers"].lower().split(", ")
        assert {"authorization", "last-event-id"} <= set(allowed)
        assert headers["access-control-allow-methods"] == "GET, HEAD"
        assert "Origin" in headers["vary"]


async def test_a_page_of_another_site_may_not(cookie: str) -> None:
    status, headers = await preflight("https://evil.example")
    assert status == 403
    assert not any(name.startswith("access-control-") for name in headers)
