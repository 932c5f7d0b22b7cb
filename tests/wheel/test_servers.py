"""A project that was just begun, the lines of the guide, and each server that the guide names."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.request import urlopen

import pytest
from playwright.sync_api import Browser, expect
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.rig.chromium import chromium
from tests.rig.installed import Project, Site, commands
from tests.rig.wheel import Environment

#: Seconds within which everything is to come, on a busy machine.
PATIENCE = 20.0
#: Seconds that each server of the guide takes to end, with sockets and event streams open.
END = 10.0
SERVERS = ["runserver", "serve", "daphne", "uvicorn", "hypercorn", "gunicorn"]
#: Of these an application does not hear that they begin.
WITHOUT_A_LIFESPAN = {"daphne"}


@pytest.fixture(scope="module")
def project(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(environment, tmp_path_factory.mktemp("project"))
    project.set_up()
    return project


@pytest.fixture(scope="module", params=SERVERS)
def site(request: pytest.FixtureRequest, project: Project) -> Iterator[Site]:
    with Site(project, request.param) as site:
        yield site


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


def test_the_guide_names_all_of_these_servers() -> None:
    assert set(commands()) == set(SERVERS)


def test_check_has_nothing_to_say(project: Project) -> None:
    done = project.manage("check", "--fail-level", "DEBUG")
    assert done.stdout == "System check identified no issues (0 silenced).\n"


def test_pages_and_static_files_are_served(site: Site) -> None:
    page = urlopen(f"{site.url}/live/", timeout=PATIENCE).read().decode()
    assert 'class="my-site"' in page and "/static/broadcast/broadcast.css" in page
    with urlopen(f"{site.url}/static/broadcast/element.js", timeout=PATIENCE) as script:
        assert script.headers["Access-Control-Allow-Origin"] == "*"
        assert "javascript" in script.headers["Content-Type"]


def test_event_streams_and_sockets_hear_what_is_published(site: Site) -> None:
    events = f"{site.url}/live/api/streams/news/events/"
    with (
        urlopen(events, timeout=PATIENCE) as stream,
        connect(f"{site.ws}/ws/listener/news/") as listener,
        connect(f"{site.ws}/ws/streamer/news/") as streamer,
    ):
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        streamer.send("Ferry leaves at nine")
        assert listener.recv(PATIENCE) == "Ferry leaves at nine"
        lines = iter(stream.readline, b"")
        assert any(line.startswith(b"data: Ferry leaves at nine") for line in lines)


def test_the_projects_own_socket_comes_first_and_others_are_refused(site: Site) -> None:
    with connect(f"{site.ws}/ws/echo/", origin=site.url) as own:  # type: ignore[arg-type]
        own.send("Moin")
        assert own.recv(PATIENCE) == "Moin"
    for path, origin in (("/ws/nothing/", site.url), ("/ws/echo/", "http://elsewhere.example")):
        with pytest.raises(InvalidStatus) as refused:
            connect(f"{site.ws}{path}", origin=origin)  # type: ignore[arg-type]
        assert refused.value.response.status_code == 403


def test_another_process_publishes_or_is_told_what_that_needs(site: Site) -> None:
    with connect(f"{site.ws}/ws/listener/news/", subprotocols=["broadcast.v1"]) as listener:  # type: ignore[list-item]
        assert json.loads(listener.recv(PATIENCE))["event"] == "joined"
        done = site.project.manage("publish", "news", "from afar")
        if site.kind in WITHOUT_A_LIFESPAN:
            assert done.returncode == 1
            assert "BROADCAST_REDIS_URL" in done.stdout and "Traceback" not in done.stdout
        else:
            assert done.returncode == 0, done.stdout
            while (event := json.loads(listener.recv(PATIENCE)))["event"] != "publication":
                pass
            assert event["data"] == "from afar"


def test_a_push_from_a_view_reaches_a_page(site: Site, window: Browser) -> None:
    page = window.new_page()
    page.goto(f"{site.url}/score/")
    page.locator("body[data-socket-state=open]").wait_for()
    urlopen(f"{site.url}/goal/", timeout=PATIENCE).close()
    expect(page.locator("p")).to_have_text("1 : 0")


def test_it_ends_soon_with_sockets_and_event_streams_open_and_has_logged_no_fault(
    site: Site,
) -> None:
    with ExitStack() as stack:
        for path in ("/ws/listener/news/", "/ws/echo/"):
            stack.enter_context(connect(f"{site.ws}{path}", origin=site.url))  # type: ignore[arg-type]
        events = f"{site.url}/live/api/streams/news/events/"
        stack.enter_context(urlopen(events, timeout=PATIENCE))
        assert site.stop() < END
    assert site.faults() == [], site.log.read_text()


def test_from_nothing_to_a_push_in_a_browser(
    environment: Environment, tmp_path: Path, window: Browser
) -> None:
    begun = time.monotonic()
    project = Project(environment, tmp_path)
    project.set_up()
    with Site(project, "runserver") as site:
        page = window.new_page()
        page.goto(f"{site.url}/score/")
        page.locator("body[data-socket-state=open]").wait_for()
        urlopen(f"{site.url}/goal/", timeout=PATIENCE).close()
        expect(page.locator("p")).to_have_text("1 : 0")
    print(f"from startproject to a push: {time.monotonic() - begun:.1f} s")


# -- without the extra for Redis -------------------------------------------------------------

REDIS = ("redis", "channels_redis", "hiredis")


def test_all_works_in_memory_without_the_packages_for_redis(project: Project) -> None:
    variables = project.environment.without(*REDIS)
    done = project.manage("check", "--fail-level", "DEBUG", **variables)
    assert done.stdout == "System check identified no issues (0 silenced).\n"
    with (
        Site(project, "serve", **variables) as site,
        connect(f"{site.ws}/ws/listener/news/") as listener,
    ):
        assert project.manage("publish", "news", "hello", **variables).returncode == 0
        assert listener.recv(PATIENCE) == "hello"


@pytest.mark.parametrize("missing", [REDIS, ("channels_redis",)])
def test_a_check_says_what_to_install_for_redis(project: Project, missing: tuple[str, ...]) -> None:
    variables = project.environment.without(*missing)
    done = project.manage("check", BROADCAST_REDIS_URL="redis://127.0.0.1:1", **variables)
    assert done.returncode == 1 and "Traceback" not in done.stdout
    assert "install django-broadcast-live[redis]" in done.stdout
