"""Deflated messages in browsers: every one inflates what the server deflated once for all."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page
from websockets.sync.client import connect

from tests.browser.conftest import People
from tests.browser.firefox import Firefox
from tests.rig.processes import ServerProcess
from tests.rig.publications import quotes
from tests.rig.scrapes import scrape

QUOTES = [one.payload.decode() for one in quotes(200)]

#: Has a page hear a stream, and keep what it hears.
HEAR = """(() => {
    window.heard = [];
    window.socket = new WebSocket("URL");
    window.socket.onmessage = (event) => { window.heard.push(event.data); };
})()"""
#: Whether so many hear the stream.
COUNT = "fetch('/api/streams/SLUG/').then((is) => is.json()).then((is) => is.listeners === NUMBER)"
#: What was agreed on, once the socket is open.
EXTENSIONS = "window.socket.readyState === 1 ? window.socket.extensions : ''"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that deflates for a single listener, too."""
    settings = {"DJANGO_SETTINGS_MODULE": "tests.settings", "BROADCAST_COMPRESS_LISTENERS": "1"}
    with ServerProcess("broadcast", tmp_path_factory.mktemp("site"), **settings) as process:
        yield process
        process.assert_clean_log()


def open_listener(people: People, url: str) -> Page:
    # A page whose policy lets a test look into it.
    page = people.open("/", bypass_csp=True)
    page.evaluate(HEAR.replace("URL", url))
    page.wait_for_function(f"{EXTENSIONS}.includes('permessage-deflate')")
    return page


def wait_for_listeners(page: Page, slug: str, number: int) -> None:
    page.wait_for_function(COUNT.replace("SLUG", slug).replace("NUMBER", str(number)))


def test_browsers_that_come_at_different_times_hear_everything(
    people: People, site: ServerProcess, firefox: Firefox
) -> None:
    slug = site.unused_stream()
    url = f"{site.ws}/ws/listener/{slug}/"
    before = scrape(site)["saved_bytes_total"]
    first = open_listener(people, url)
    other = firefox.open(f"{site.url}/")
    other.evaluate(HEAR.replace("URL", url))
    other.wait_for(f"{EXTENSIONS}.includes('permessage-deflate')")
    wait_for_listeners(first, slug, 2)
    with connect(f"{site.ws}/ws/streamer/{slug}/", compression=None, proxy=None) as streamer:
        for quote in QUOTES[:100]:
            streamer.send(quote)
        first.wait_for_function("window.heard.length >= 100")
        late = open_listener(people, url)
        wait_for_listeners(first, slug, 3)
        for quote in QUOTES[100:]:
            streamer.send(quote)
        for page in (first, late):
            page.wait_for_function(
                "window.heard.at(-1) === QUOTE".replace("QUOTE", repr(QUOTES[-1]))
            )
        other.wait_for("window.heard.length >= 200")
    assert first.evaluate("window.heard") == QUOTES
    assert late.evaluate("window.heard") == QUOTES[100:]
    assert other.evaluate("window.heard.join('\\n')") == "\n".join(QUOTES)
    assert scrape(site)["saved_bytes_total"] - before > sum(map(len, QUOTES)) / 2
