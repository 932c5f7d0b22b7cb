"""Other sites, what stands in their pages, and where to look in them."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from playwright.sync_api import FrameLocator, Locator, Page, expect

from tests.browser.conftest import People

PREFIX = "/live"

Publish = Callable[..., None]


class Elsewhere(ThreadingHTTPServer):
    """Another site, without Django: `localhost` at a port of its own, while ours is 127.0.0.1."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), ElsewhereHandler)
        self.pages: dict[str, str] = {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def origin(self) -> str:
        return f"http://localhost:{self.server_port}"

    def page(self, body: str) -> str:
        """The address of a page with this in it."""
        path = f"/{len(self.pages)}.html"
        self.pages[path] = f'<!doctype html><html lang="en"><title>Elsewhere</title>{body}</html>'
        return path


class ElsewhereHandler(BaseHTTPRequestHandler):
    server: Elsewhere

    def do_GET(self) -> None:
        text = self.server.pages.get(self.path)
        # An icon is asked for, too.
        self.send_response(204 if text is None else 200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write((text or "").encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads it."""


def element(home: str, slug: str, inside: str = "", **attributes: str) -> str:
    """A listener in a page without Django."""
    attributes = {"src": f"{home}/ws/listener/{slug}/", **attributes}
    written = " ".join(f'{name}="{value}"' for name, value in attributes.items())
    return (
        f'<script type="module" src="{home}/static/broadcast/element.js"></script>'
        f"<broadcast-listener {written}>{inside}</broadcast-listener>"
    )


def state(page: Page | FrameLocator | Locator) -> Locator:
    return page.locator("broadcast-listener .label")


def detail(page: Page | FrameLocator) -> Locator:
    return page.locator("broadcast-listener .detail")


def publications(page: Page | FrameLocator | Locator) -> Locator:
    return page.locator(".publication .body")


def frame(home: str, path: str) -> str:
    return f'<iframe src="{home}{path}" title="Live" width="400" height="300"></iframe>'


def open_element(
    people: People, home: str, friend: Elsewhere, slug: str, inside: str = "", **attributes: str
) -> Page:
    """A page with a listener in it, which is live."""
    page = people.open(friend.page(element(home, slug, inside, **attributes)), friend.origin)
    expect(state(page)).to_have_text("Live")
    return page
