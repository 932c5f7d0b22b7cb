"""The start page: who finds the first steps on it, with which addresses, and who does not."""

import html
import re
import sys
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client, RequestFactory
from django.urls import set_script_prefix
from pytest_django.fixtures import Settings

from broadcast.models import Stream
from broadcast.streams.views import stream_list
from tests.rig.processes import ServerProcess

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def demo(settings: Settings) -> Stream:
    settings.FIRST_STEPS = True
    Stream.objects.setup()
    return Stream.objects.get(slug="demo")


@pytest.fixture
def environment_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the tests have theirs."""
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")


@pytest.fixture
def staff() -> Client:
    client = Client()
    client.force_login(User.objects.create(username="staff", is_staff=True))
    return client


def start(client: Client, **request: Any) -> str:
    response = client.get("/", **request)
    assert response.status_code == 200
    return response.content.decode()


def lines(page: str) -> dict[str, str]:
    """What is there to copy, by the name of its field."""
    found = re.findall(r'<textarea [^>]*id="first-(\w+)"[^>]*>([^<]*)</textarea>', page)
    return {name: html.unescape(text) for name, text in found}


@pytest.mark.usefixtures("environment_elsewhere")
def test_the_lines_to_copy_have_the_addresses_that_the_visitor_sees(
    client: Client, settings: Settings
) -> None:
    settings.ALLOWED_HOSTS = ["live.example.org"]
    host = {"headers": {"host": "live.example.org:8443"}}
    copied = lines(start(client, **host))
    assert copied["shell"] == 'python manage.py publish demo "Hello from the terminal"'
    compile(copied["python"], "copied", "exec")
    assert copied["http"].endswith(
        '"Hello from curl" "http://live.example.org:8443/api/streams/demo/publications/"'
    )
    assert '"http://live.example.org:8443/static/broadcast/element.js"' in copied["element"]
    assert '"ws://live.example.org:8443/ws/listener/demo/"' in copied["element"]


def test_behind_tls_the_addresses_are_of_https_and_wss(client: Client) -> None:
    copied = lines(start(client, secure=True))
    assert '"https://testserver/api/' in copied["http"]
    assert '"wss://testserver/ws/' in copied["element"]
    assert '"https://testserver/static/' in copied["element"]


def test_below_a_prefix_the_addresses_are_too(client: Client, settings: Settings) -> None:
    settings.FORCE_SCRIPT_NAME, settings.STATIC_URL = "/live", "/live/static/"
    set_script_prefix("/live/")
    try:
        copied = lines(start(client))
    finally:
        set_script_prefix("/")
    assert "http://testserver/live/api/streams/demo/" in copied["http"]
    assert '"http://testserver/live/static/broadcast/' in copied["element"]
    assert '"ws://testserver/live/ws/listener/demo/"' in copied["element"]


def test_an_environment_within_the_project_is_named_by_its_path_from_there(
    client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(settings.BASE_DIR / ".venv/bin/python3"))
    assert lines(start(client))["shell"].startswith(".venv/bin/python3 manage.py publish demo ")
    monkeypatch.setattr(sys, "executable", "/home/somebody/secret/bin/python3")
    page = start(client)
    assert lines(page)["shell"].startswith("python manage.py publish demo ")
    assert "somebody" not in page


def test_where_others_come_visitors_find_no_help(client: Client, settings: Settings) -> None:
    settings.FIRST_STEPS = False
    for visitor in (client, Client()):
        page = start(visitor)
        assert lines(page) == {} and "start.js" not in page
        visitor.force_login(User.objects.create(username=f"user-{id(visitor)}"))
        assert lines(start(visitor)) == {}


def test_there_staff_find_the_lines_and_nothing_that_publishes_by_itself(
    staff: Client, settings: Settings
) -> None:
    settings.FIRST_STEPS = False
    page = start(staff)
    assert len(lines(page)) == 4
    assert '<details class="card first-steps">' in page
    assert "data-say" not in page and '<broadcast-listener src="/' not in page


def test_the_demo_stands_on_the_page_of_who_may_publish_on_it(
    client: Client, staff: Client, demo: Stream
) -> None:
    page = start(client)
    assert '<details class="card first-steps" open>' in page
    assert '<broadcast-listener src="/ws/listener/demo/"' in page and "data-say" in page
    assert "Bearer" not in lines(page)["http"]
    Stream.objects.filter(slug="demo").update(publishing=Stream.Publishing.OWNER)
    page = start(client)
    assert '<broadcast-listener src="/ws/listener/demo/"' in page and "data-say" not in page
    assert "data-say" in start(staff)


@pytest.mark.usefixtures("environment_elsewhere")
def test_where_publishing_needs_a_token_the_line_asks_for_one_and_shows_none(
    client: Client,
) -> None:
    Stream.objects.filter(slug="demo").update(publishing=Stream.Publishing.OWNER)
    asks = '-H "Authorization: Bearer $(python manage.py streamtoken demo publish)"'
    assert asks in lines(start(client))["http"]


@pytest.mark.parametrize(
    "fields", [{"visibility": "private"}, {"closed_at": "2020-01-01T00:00:00Z"}, {"kind": "media"}]
)
def test_a_demo_that_not_everybody_hears_as_messages_is_none(
    staff: Client, fields: dict[str, str]
) -> None:
    Stream.objects.filter(slug="demo").update(**fields)
    assert lines(start(staff)) == {}


def test_without_a_demo_there_are_no_first_steps(staff: Client, demo: Stream) -> None:
    demo.delete()
    assert lines(start(staff)) == {}


def test_the_list_in_other_projects_has_none(staff: Client) -> None:
    request = RequestFactory().get("/")
    request.user = User.objects.get(username="staff")
    page = stream_list(request).content.decode()
    assert "Streams" in page and "first-steps" not in page


@pytest.mark.parametrize(
    ("environment", "shown"),
    [
        ({}, True),
        ({"ALLOWED_HOSTS": "www.example.org"}, False),
        ({"ALLOWED_HOSTS": "www.example.org", "DEBUG": "true"}, True),
        ({"ALLOWED_HOSTS": "www.example.org", "FIRST_STEPS": "yes"}, True),
        ({"FIRST_STEPS": "no"}, False),
    ],
)
def test_they_are_for_everybody_where_the_site_is_tried(
    server_of_nobody: ServerProcess, environment: dict[str, str], shown: bool
) -> None:
    server_of_nobody.environment.update(environment)
    done = server_of_nobody.manage(
        "shell", "-v0", "-c", "from django.conf import settings; print(settings.FIRST_STEPS)"
    )
    assert done.stdout.strip() == str(shown), done.stderr


@pytest.fixture
def server_of_nobody(tmp_path: Any) -> ServerProcess:
    """It is only asked for its settings."""
    return ServerProcess("broadcast", tmp_path)
