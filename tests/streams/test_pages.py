"""Pages and the HTTP API: who sees what, in which form, under which policy."""

import json
import re
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from broadcast import publish
from broadcast.access.origins import is_allowed
from broadcast.backends import get_backend
from broadcast.models import Stream

pytestmark = pytest.mark.django_db

Visibility, Publishing = Stream.Visibility, Stream.Publishing


@pytest.fixture
def owner() -> User:
    return User.objects.create_user("owner")


@pytest.fixture
def streams(owner: User) -> None:
    for visibility in Visibility:
        Stream.objects.create(
            slug=visibility, title=f"The {visibility} one", visibility=visibility, owner=owner
        )
    Stream.objects.create(slug="demo", title="Demo", publishing=Publishing.ANYONE)
    Stream.objects.create(slug="closed", title="Closed", closed_at=timezone.now())


@pytest.fixture
def theirs(client: Client, owner: User) -> Client:
    """The browser of the owner."""
    client.force_login(owner)
    return client


def enter(slug: str, listeners: int) -> None:
    """A streamer and so many listeners are at the stream."""
    async_to_sync(get_backend().enter)(slug, "streamer")
    async_to_sync(get_backend().count_listeners)(slug, listeners)


def page(client: Client, path: str) -> str:
    response = client.get(path)
    assert response.status_code == 200, response
    assert response["Content-Type"] == "text/html; charset=utf-8"
    return response.content.decode()


# -- pages ----------------------------------------------------------------------------------


def test_an_empty_list_says_how_to_make_a_stream(client: Client) -> None:
    assert "There is no stream yet" in page(client, "/")


def test_the_list_shows_public_streams_that_are_not_closed(client: Client, streams: None) -> None:
    shown = re.findall(r'data-slug="([^"]+)"', page(client, "/"))
    assert sorted(shown) == ["demo", "public"]


def test_the_list_shows_the_owner_their_own_too(theirs: Client, streams: None) -> None:
    shown = re.findall(r'data-slug="([^"]+)"', page(theirs, "/"))
    assert sorted(shown) == ["demo", "private", "public", "unlisted"]


def test_the_list_says_who_is_there_live_ones_first(client: Client, streams: None) -> None:
    enter("public", 3)
    text = page(client, "/")
    assert text.index('data-slug="public"') < text.index('data-slug="demo"')
    assert "3 listeners" in text and "0 listeners" in text
    assert text.count('data-live="true"') == 1


def test_the_studio_is_offered_to_who_may_publish(client: Client, streams: None) -> None:
    text = page(client, "/")
    assert "/streams/demo/studio/" in text and "/streams/public/studio/" not in text


@pytest.mark.parametrize("slug", ["public", "unlisted", "demo"])
def test_anybody_may_watch_what_is_not_private(client: Client, streams: None, slug: str) -> None:
    text = page(client, f"/streams/{slug}/")
    assert f'src="/ws/listener/{slug}/"' in text
    assert ("/studio/" in text) == (slug == "demo")


def test_the_owner_sees_the_way_to_the_studio(theirs: Client, streams: None) -> None:
    assert "/streams/private/studio/" in page(theirs, "/streams/private/")
    assert 'data-src="/ws/streamer/private/"' in page(theirs, "/streams/private/studio/")


def test_anybody_may_enter_the_studio_of_a_demo(client: Client, streams: None) -> None:
    assert 'data-src="/ws/streamer/demo/"' in page(client, "/streams/demo/studio/")


@pytest.mark.parametrize(
    "path", ["/streams/private/", "/streams/private/studio/", "/streams/public/studio/"]
)
def test_who_is_not_known_may_log_in_and_who_is_may_not(
    client: Client, streams: None, path: str
) -> None:
    response = client.get(path)
    assert response.status_code == 302
    assert response["Location"] == f"/admin/login/?next={path}"
    client.force_login(User.objects.create_user("another"))
    assert client.get(path).status_code == 403


@pytest.mark.parametrize("path", ["/streams/none/", "/streams/none/studio/", "/streams/ä/", "/x"])
def test_what_is_not_there_is_404(client: Client, streams: None, path: str) -> None:
    assert client.get(path).status_code == 404


def test_what_people_wrote_is_escaped(client: Client) -> None:
    evil = "<script>alert(1)</script>\"'&"
    Stream.objects.create(slug="s", title=evil, description=evil, publishing=Publishing.ANYONE)
    for path in ("/", "/streams/s/", "/streams/s/studio/"):
        text = page(client, path)
        assert "<script>alert" not in text
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


# -- the policy of the pages ----------------------------------------------------------------

PATHS = [
    *("/", "/streams/public/", "/streams/demo/studio/", "/streams/none/", "/nowhere/"),
    *("/streams/private/", "/admin/login/", "/api/streams/", "/api/streams/none/"),
]


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_runs_scripts_of_this_site_alone(
    client: Client, streams: None, path: str
) -> None:
    policy = client.get(path)["Content-Security-Policy"]
    directives = dict(part.split(" ", 1) for part in policy.split("; "))
    assert directives["default-src"] == "'self'"
    assert "unsafe" not in policy and "*" not in policy
    assert not {"script-src", "style-src"} & set(directives)
    assert "blob:" in directives["media-src"]
    assert {"'self'", "ws:", "wss:"} == set(directives["connect-src"].split())
    assert directives["frame-ancestors"] == directives["object-src"] == "'none'"


@pytest.mark.parametrize("path", ["/", "/streams/public/", "/streams/demo/studio/", "/none/"])
def test_nothing_in_a_page_is_inline(theirs: Client, streams: None, path: str) -> None:
    text = theirs.get(path).content.decode()
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", text)
    for attributes, body in re.findall(r"<script([^>]*)>(.*?)</script>", text, re.DOTALL):
        assert 'src="/static/' in attributes and not body.strip()


def test_a_response_may_have_a_policy_of_its_own() -> None:
    from django.http import HttpResponse
    from django.test import RequestFactory

    from broadcast.middleware import ContentSecurityPolicyMiddleware

    own = HttpResponse(headers={"Content-Security-Policy": "default-src 'none'"})
    middleware = ContentSecurityPolicyMiddleware(lambda request: own)
    response = middleware(RequestFactory().get("/"))
    assert response["Content-Security-Policy"] == "default-src 'none'"


# -- the API --------------------------------------------------------------------------------


def get(client: Client, path: str, status: int = 200) -> Any:
    response = client.get(path)
    assert response.status_code == status, response
    assert response["Content-Type"] == "application/json"
    return json.loads(response.content)


def test_the_api_lists_what_the_page_lists(client: Client, streams: None, owner: User) -> None:
    def listed() -> list[str]:
        return sorted(one["slug"] for one in get(client, "/api/streams/")["streams"])

    assert listed() == ["demo", "public"]
    client.force_login(owner)
    assert listed() == ["demo", "private", "public", "unlisted"]


def test_the_api_describes_a_stream(client: Client, streams: None) -> None:
    position = publish("public", "x")
    enter("public", 2)
    described = get(client, "/api/streams/public/")
    assert described == {
        "slug": "public",
        "title": "The public one",
        "description": "",
        "kind": "messages",
        "live": True,
        "listeners": 2,
        "position": {"epoch": position.epoch, "offset": 1},
        "limits": {
            "frame": 1024 * 1024,
            "history": {"count": 1000, "bytes": 8 * 1024 * 1024, "seconds": 3600},
        },
        "url": "/streams/public/",
    }
    assert described in get(client, "/api/streams/")["streams"]


def test_the_api_tells_errors_as_json(client: Client, streams: None, owner: User) -> None:
    assert get(client, "/api/streams/none/", 404)["error"]
    assert get(client, "/api/streams/private/", 403)["error"]
    client.force_login(User.objects.create_user("another"))
    assert get(client, "/api/streams/private/", 403)["error"]
    client.force_login(owner)
    assert get(client, "/api/streams/private/")["slug"] == "private"


@pytest.mark.parametrize("path", ["/api/streams/ä/", "/api/", "/api/nothing/", "/api/streams/a/b/"])
def test_a_path_that_the_api_does_not_have_is_told_as_json(client: Client, path: str) -> None:
    assert get(client, path, 404)["error"]


@pytest.mark.parametrize("path", ["/api/streams/", "/api/streams/public/"])
@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_a_method_that_the_api_does_not_have_is_told_as_json(
    client: Client, streams: None, path: str, method: str
) -> None:
    response = getattr(client, method)(path)
    assert response.status_code == 405
    assert set(response["Allow"].split(", ")) == {"GET", "HEAD"}
    assert response["Content-Type"] == "application/json"
    assert json.loads(response.content)["error"]


def test_the_api_answers_head_without_a_body(client: Client, streams: None) -> None:
    response = client.head("/api/streams/public/")
    assert (response.status_code, response.content) == (200, b"")


def test_looking_at_streams_makes_nothing(client: Client, streams: None) -> None:
    for path in ("/api/streams/none/", "/streams/none/"):
        client.get(path)
    assert "none" not in getattr(get_backend(), "histories", {})


# -- whose pages may open sockets -----------------------------------------------------------


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://localhost", True),
        ("https://localhost:8443", True),
        ("HTTP://LOCALHOST:8000", True),
        ("http://127.0.0.1:8000", True),
        ("http://[::1]:8000", True),
        ("https://friend.example", True),
        *dict.fromkeys(
            (
                *("", "null", "localhost", "//localhost", "http://", "http://evil.example"),
                *("http://localhost.evil.example", "http://evil.example/localhost", "file://"),
                *("http://localhost@evil.example", "http://evil.example#localhost", "ftp://localhost"),
                *("http://127.0.0.1@evil.example", "http://user@localhost", "http://[", "http://[::1"),
                *("https://friend.example:8443", "https://friend.example.evil.example", "data:,x"),
                *("http://friend.example", "http://localhost evil.example", "http://\x00localhost"),
            ),
            False,
        ).items(),
    ],
)  # fmt: skip
def test_an_origin_is_one_of_the_hosts_or_named_in_the_settings(
    settings: Settings, origin: str, allowed: bool
) -> None:
    settings.ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]
    settings.BROADCAST_ALLOWED_ORIGINS = ["https://friend.example"]
    assert is_allowed(origin) == allowed
