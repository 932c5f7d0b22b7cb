"""The policy that browsers keep to: every page has it, and no page needs more than it allows."""

import socket
from collections.abc import Callable
from urllib.error import HTTPError
from urllib.parse import urljoin, urlsplit
from urllib.request import urlopen

import pytest
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.test import Client

from broadcast.models import Stream
from tests.rig.html import Page, assert_safe
from tests.rig.processes import PATIENCE, ServerProcess


def test_what_is_inline_is_found() -> None:
    html = "<style></style><p style='x'><a onclick=x><a href=' JavaScript:x'><script>x</script>"
    assert len(Page(html).inline) == 5
    assert Page("<script src=x></script><script type='application/json'></script>").inline == []


@pytest.fixture
def root(client: Client) -> Client:
    """The browser of somebody who may see everything."""
    client.force_login(User.objects.create_superuser("root", password="x"))
    return client


@pytest.mark.django_db
def test_no_page_that_links_lead_to_has_anything_inline(root: Client) -> None:
    Stream.objects.setup()
    seen: dict[str, str] = {}
    ahead = {"/"}
    while ahead:
        path = ahead.pop()
        response = root.get(path)
        seen[path] = response.headers["Content-Type"]
        if seen[path].startswith("text/html"):
            links = (urljoin(path, link) for link in assert_safe(response).links)
            # Of a list that is sorted or filtered in many ways, one.
            paths = {urlsplit(link).path for link in links if urlsplit(link).netloc == ""}
            ahead |= {path for path in paths if not path.startswith("/static/")} - set(seen)
    stream = Stream.objects.get(slug="demo")
    edited = f"/admin/broadcast/stream/{stream.pk}/"
    assert set(seen) >= {
        *("/", "/streams/demo/", "/streams/demo/studio/", "/admin/", "/admin/password_change/"),
        *("/admin/broadcast/stream/", "/admin/broadcast/stream/add/", "/admin/auth/user/"),
        *(f"{edited}change/", f"{edited}delete/", f"{edited}history/"),
    }


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/admin/login/", "/streams/nothing/", "/nowhere/"])
def test_pages_for_who_is_not_known_have_nothing_inline(client: Client, path: str) -> None:
    assert_safe(client.get(path))


@pytest.mark.django_db
def test_a_host_that_we_are_not_gets_a_page_with_nothing_inline(client: Client) -> None:
    response = client.get("/", HTTP_HOST="evil.example")
    assert response.status_code == 400
    assert_safe(response)


@pytest.mark.django_db
def test_a_form_from_elsewhere_gets_a_page_with_nothing_inline() -> None:
    response = Client(enforce_csrf_checks=True).post("/admin/login/", {"username": "root"})
    assert response.status_code == 403
    assert "This form was not taken" in response.content.decode()
    assert_safe(response)


@pytest.mark.django_db
def test_who_may_not_gets_a_page_with_nothing_inline(client: Client) -> None:
    Stream.objects.create(slug="private", visibility="private")
    client.force_login(User.objects.create_user("somebody"))
    response = client.get("/streams/private/")
    assert response.status_code == 403
    assert_safe(response)


@pytest.mark.django_db
def test_a_fault_of_ours_gets_a_page_with_nothing_inline(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(slugs: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("broadcast.streams.views.presences_of", fail)
    response = Client(raise_request_exception=False).get("/")
    assert response.status_code == 500
    assert_safe(response)


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/api/streams/nothing/", "/api/nothing/", "/api/"])
def test_errors_of_the_api_are_json_under_our_policy(client: Client, path: str) -> None:
    response = client.get(path)
    assert response.headers["Content-Type"] == "application/json"
    assert_safe(response)


# -- what no middleware is around ---------------------------------------------------------------


@pytest.fixture
def server(servers: Callable[[str], ServerProcess]) -> ServerProcess:
    return servers("broadcast")


def answer_of(server: ServerProcess, path: str) -> tuple[int, HttpResponse]:
    try:
        answer = urlopen(server.url + path, timeout=PATIENCE)
    except HTTPError as error:
        answer = error
    with answer:
        return answer.status, HttpResponse(answer.read(), headers=dict(answer.headers))


@pytest.mark.parametrize("path", ["broadcast/mark.svg", "broadcast/element.js"])
def test_static_files_are_under_our_policy(server: ServerProcess, path: str) -> None:
    status, response = answer_of(server, f"/static/{path}")
    assert status == 200
    assert "default-src 'self'" in response.headers["Content-Security-Policy"]
    assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["nothing.js", "..%2f..%2f..%2fetc/passwd", "%00", "broadcast"])
def test_a_static_file_that_is_none_is_a_page_under_our_policy(
    server: ServerProcess, path: str
) -> None:
    status, response = answer_of(server, f"/static/{path}")
    assert status == 404
    assert_safe(response)
    server.assert_clean_log()


def test_the_page_of_the_server_itself_has_a_policy_and_nothing_inline(
    server: ServerProcess,
) -> None:
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as connection:
        connection.sendall(
            b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: a\x0cb\r\nConnection: close\r\n\r\n"
        )
        with connection.makefile("rb") as answer:
            head, body = answer.read().decode().split("\r\n\r\n", 1)
    assert head.startswith("HTTP/1.1 400 ")
    assert 'http-equiv="Content-Security-Policy" content="default-src \'none\'"' in body
    assert "<h1>400 Bad Request</h1>" in body
    assert Page(body).inline == []
