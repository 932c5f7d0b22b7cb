"""What the project is in production, behind a proxy that speaks TLS; and that it is not at home."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from email.message import Message
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, HTTPRedirectHandler, Request, build_opener

import pytest
from django.core.checks import run_checks
from django.core.checks.security.base import _check_secret_key

from project.settings import local_secret_key
from tests.rig.documents import blocks, page
from tests.rig.doors import Closed, Refused, ServerDoor
from tests.rig.processes import PATIENCE, ROOT, ServerProcess, prepared_database

#: How a proxy passes on what somebody at 203.0.113.7 asks of https://www.example.org.
PROXIED = {
    "Origin": "https://www.example.org",
    "X-Forwarded-For": "203.0.113.7",
    "X-Forwarded-Proto": "https",
}

ADMIN = """
from django.contrib.auth.models import User
User.objects.create_superuser("root", password="open-sesame")
from broadcast.models import Stream
Stream.objects.setup()
"""


def documented() -> dict[str, str]:
    """The environment that the documentation shows for production."""
    (shown,) = (block for block in blocks(page("how-to/deploy"), "sh") if "HTTPS=" in block)
    return dict(re.findall(r"^(?:export )?([A-Z_]+)=(\S+)$", shown, re.M))


def manage(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class Stay(HTTPRedirectHandler):
    """Where it is redirected to is not gone to."""

    def redirect_request(self, *arguments: Any) -> None:
        return None


class Answer(NamedTuple):
    status: int
    headers: Message
    text: str


class Visitor:
    """Somebody with a cookie jar."""

    def __init__(
        self, server: ServerProcess, headers: dict[str, str] | None = None, host: str = "localhost"
    ) -> None:
        self.server = server
        self.host = host
        self.headers = headers or {}
        # Between a proxy and the server secure cookies go over http.
        protocols = ("https", "http") if headers else ("https",)
        self.cookies = CookieJar(DefaultCookiePolicy(secure_protocols=protocols))
        self.opener = build_opener(HTTPCookieProcessor(self.cookies), Stay())

    def ask(self, path: str, **form: str) -> Answer:
        data = urlencode(form).encode() if form else None
        headers = {"Host": self.host, **self.headers}
        request = Request(self.server.url + path, data, headers)
        try:
            answer = self.opener.open(request, timeout=PATIENCE)
        except HTTPError as error:
            answer = error
        with answer:
            return Answer(answer.status, answer.headers, answer.read().decode())

    def log_in(self) -> Answer:
        page = self.ask("/admin/login/").text
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
        assert token
        form = {"username": "root", "password": "open-sesame", "next": "/"}
        return self.ask("/admin/login/", csrfmiddlewaretoken=token.group(1), **form)


# -- what Django says of it ---------------------------------------------------------------------


def test_the_documented_environment_is_one_that_django_has_nothing_to_say_of() -> None:
    environment = documented()
    assert {"SECRET_KEY", "ALLOWED_HOSTS", "DATABASE_URL", "REDIS_URL"} < set(environment)
    environment["SECRET_KEY"] = "V9tq-2KfXw0zR7sYhLd4cJ8mPbA1nGeT5uQi6oZxWvByCrEkS3"
    done = manage("check", "--deploy", "--fail-level", "WARNING", **environment)
    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout and done.stderr == ""


def test_of_the_documented_settings_it_has_nothing_to_say_either(settings: Any) -> None:
    environment = documented()
    (lines,) = blocks(page("how-to/deploy"), "python")
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SECRET_KEY", "V9tq-2KfXw0zR7sYhLd4cJ8mPbA1nGeT5uQi6oZxWvByCrEkS3")
        exec(lines, names)
    for name, value in names.items():
        if name.isupper():
            setattr(settings, name, value)
    assert [environment["ALLOWED_HOSTS"]] == settings.ALLOWED_HOSTS
    assert environment["REDIS_URL"] == settings.BROADCAST_REDIS_URL
    assert [environment["BROADCAST_PROXIES"]] == settings.BROADCAST_PROXIES
    told = run_checks(tags=["broadcast", "security"], include_deployment_checks=True)
    assert [one for one in told if one.id not in settings.SILENCED_SYSTEM_CHECKS] == []


def test_without_the_documented_environment_it_has(tmp_path: Path) -> None:
    done = manage("check", "--deploy", "--fail-level", "WARNING", SECRET_KEY="short")
    assert done.returncode == 1
    for check in ("security.W004", "security.W009", "security.W012", "broadcast.W003"):
        assert check in done.stderr


def test_the_key_that_is_made_is_one_that_django_finds_good(tmp_path: Path) -> None:
    key = local_secret_key(tmp_path / "key")
    assert _check_secret_key(key)
    assert local_secret_key(tmp_path / "key") == key
    assert (tmp_path / "key").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("name", ["DEBUG", "HTTPS"])
def test_a_mistyped_switch_is_refused(name: str) -> None:
    done = manage("check", **{name: "ture"})
    assert done.returncode == 1
    assert f"{name} is true or false, not 'ture'" in done.stderr


# -- at home ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """As `manage.py start` runs without any configuration."""
    with ServerProcess("broadcast", tmp_path_factory.mktemp("home"), setup=ADMIN) as server:
        yield server


def test_at_home_one_logs_in_over_http(home: ServerProcess) -> None:
    visitor = Visitor(home)
    assert visitor.ask("/").status == 200
    answer = visitor.log_in()
    assert (answer.status, answer.headers["Location"]) == (302, "/")
    assert "Strict-Transport-Security" not in answer.headers
    assert {cookie.name for cookie in visitor.cookies} == {"sessionid", "csrftoken"}
    assert not any(cookie.secure for cookie in visitor.cookies)
    assert "Log out" in visitor.ask("/").text


def test_at_home_nothing_is_said_but_where_it_is(home: ServerProcess) -> None:
    said = home.log.read_text().splitlines()
    assert said[0].startswith("Broadcast is at http://127.0.0.1:"), said


async def test_at_home_nobody_can_say_where_they_come_from(home: ServerProcess) -> None:
    home.new_log()
    assert await refusal(home, {"X-Forwarded-For": "203.0.113.7"}) == 4504
    assert "203.0.113.7" not in home.new_log()
    answer = await asyncio.to_thread(Visitor(home, {"X-Forwarded-Proto": "https"}).ask, "/admin/")
    assert answer.status == 302 and answer.headers["Location"].startswith("/admin/login/")


async def refusal(server: ServerProcess, headers: dict[str, str]) -> int:
    """The code that a socket is closed with which asks for a stream that is none."""
    door = ServerDoor(server)
    socket = await door.connect("/ws/listener/nothing/", headers=headers)
    with pytest.raises(Closed) as closed:
        await socket.receive()
    await door.aclose()
    return closed.value.code


# -- behind a proxy -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """As documented for production, but with all in one process and one directory."""
    shown = {name: value for name, value in documented().items() if not name.endswith("_URL")}
    with ServerProcess("broadcast", tmp_path_factory.mktemp("site"), ADMIN, **shown) as server:
        yield server


def test_behind_a_proxy_everything_is_safe_from_who_listens(site: ServerProcess) -> None:
    visitor = Visitor(site, PROXIED, "www.example.org")
    answer = visitor.ask("/admin/login/")
    assert answer.status == 200
    assert re.fullmatch(r"max-age=\d{7,}", answer.headers["Strict-Transport-Security"])
    answer = visitor.log_in()
    assert (answer.status, answer.headers["Location"]) == (302, "/")
    cookies = answer.headers.get_all("Set-Cookie")
    assert cookies and {cookie.split("=")[0] for cookie in cookies} == {"sessionid", "csrftoken"}
    for cookie in cookies:
        assert {"Secure", "HttpOnly", "SameSite=Lax"} <= set(cookie.split("; "))


def test_behind_a_proxy_who_comes_by_http_is_sent_to_https(site: ServerProcess) -> None:
    headers = {**PROXIED, "X-Forwarded-Proto": "http"}
    answer = Visitor(site, headers, "www.example.org").ask("/streams/demo/?a=b")
    assert answer.status == 301
    assert answer.headers["Location"] == "https://www.example.org/streams/demo/?a=b"
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]


def test_a_site_that_this_is_not_gets_an_answer_and_the_log_one_line(site: ServerProcess) -> None:
    site.new_log()
    answer = Visitor(site, PROXIED, "evil.example").ask("/")
    assert answer.status == 400
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    (record,) = site.new_records()
    assert "evil.example" in record.text and "Traceback" not in record.text


async def test_behind_a_proxy_sockets_come_from_this_site_and_are_known_by_address(
    site: ServerProcess,
) -> None:
    site.new_log()
    assert await refusal(site, PROXIED) == 4504
    assert "from 203.0.113.7:" in site.new_log()
    with pytest.raises(Refused):
        await refusal(site, {**PROXIED, "Origin": "https://evil.example"})


# -- what is said once --------------------------------------------------------------------------


def test_a_warning_is_given_once_where_it_serves(tmp_path: Path) -> None:
    (tmp_path / "db.sqlite3").write_bytes(prepared_database())
    server = ServerProcess("broadcast", tmp_path, ALLOWED_HOSTS="*")
    server.start()
    server.stop()
    assert server.log.read_text().count("broadcast.W005") == 1
