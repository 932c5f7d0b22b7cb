"""A browser's `EventSource` on a page of this site: it hears, and comes back by itself."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from shutil import copy
from typing import Any
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.conftest import PATIENCE, Line, People
from tests.rig import documents
from tests.rig.documents import blocks
from tests.rig.processes import ServerProcess

LISTEN = """() => {
  window.heard = []; window.told = [];
  window.source = new EventSource("/api/streams/news/events/");
  source.onmessage = (event) => heard.push(event.data);
  for (const name of ["joined", "shutdown", "error"])
    source.addEventListener(name, (event) => event.data && told.push([name, event.data]));
}"""


def publish(site: ServerProcess, *texts: str) -> None:
    """Publish, past the line to the browser."""
    for text in texts:
        headers = {"Content-Type": "text/plain"}
        url = f"{site.url}/api/streams/news/publications/"
        with urlopen(Request(url, text.encode(), headers)) as answer:
            assert answer.status == 201


def listen(page: Page) -> None:
    page.evaluate(LISTEN)
    until(page, "told.length == 1")


def until(page: Page, condition: str) -> None:
    """Wait for it from here: in the page the policy would not allow it."""
    deadline = time.monotonic() + PATIENCE / 1000
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, (condition, page.evaluate("[heard, told]"))
        page.wait_for_timeout(50)


def until_heard(page: Page, text: str) -> list[str]:
    until(page, f"heard.includes({json.dumps(text)})")
    heard: list[str] = page.evaluate("heard")
    return heard


def told(page: Page, name: str) -> list[Any]:
    return [json.loads(data) for one, data in page.evaluate("told") if one == name]


def test_the_lines_of_the_documentation_hear_with_the_position(
    people: People, site: ServerProcess
) -> None:
    (lines,) = blocks(documents.page("reference/http"), "js")
    page = people.open("/")
    lines = lines.replace("/demo/", "/news/")
    page.evaluate(f"() => {{ {lines} Object.assign(window, {{ source, heard: [], told: [] }}); }}")
    until(page, "source.readyState === EventSource.OPEN")
    with page.expect_console_message() as said:
        publish(site, "Ferry leaves at nine")
    assert re.fullmatch(r"\w+:\d+ Ferry leaves at nine", said.value.text)


def test_who_was_cut_off_comes_back_and_has_missed_nothing(
    people: People, site: ServerProcess, line: Line
) -> None:
    page = people.open("/", line.url)
    listen(page)
    publish(site, "one", "two\nlines")
    until_heard(page, "two\nlines")
    line.cut()
    until(page, "source.readyState == EventSource.CONNECTING")
    publish(site, "three", "four")
    line.mend()
    publish(site, "five")
    assert until_heard(page, "five") == ["one", "two\nlines", "three", "four", "five"]
    assert [one["recovered"] for one in told(page, "joined")] == [False, True]


@pytest.fixture
def durable_site(database: Path, tmp_path: Path, redis_url: str) -> Iterator[ServerProcess]:
    """A server whose history is on Redis."""
    copy(database, tmp_path / "db.sqlite3")
    process = ServerProcess("broadcast", tmp_path, REDIS_URL=redis_url)
    process.start()
    yield process
    process.kill()
    process.assert_clean_log()


def test_after_a_restart_it_goes_on_where_it_was(
    browser: Browser, durable_site: ServerProcess
) -> None:
    people = People(browser, durable_site.url)
    page = people.open("/")
    listen(page)
    publish(durable_site, "before")
    until_heard(page, "before")
    durable_site.stop()
    durable_site.start()
    publish(durable_site, "after")
    assert until_heard(page, "after") == ["before", "after"]
    assert [one["recovered"] for one in told(page, "joined")] == [False, True]
    assert len(told(page, "shutdown")) == 1
    people.leave()
    assert people.errors == []


def test_who_may_not_hear_any_more_is_told_and_stays_away(
    people: People, site: ServerProcess
) -> None:
    page = people.open("/")
    listen(page)
    site.manage(
        *("shell", "-v0", "-c"),
        "from broadcast.models import Stream\n"
        "Stream.objects.filter(slug='news').update(visibility='private')",
    )
    until(page, "source.readyState == EventSource.CLOSED")
    assert {"message": "you may not listen here"} in told(page, "error")
    assert all("status of 403" in error for error in people.errors)
    people.errors.clear()
