"""A browser, a server process, a line between them that can be cut, and people who open pages."""

import re
import selectors
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    expect,
)

from tests.browser.firefox import Firefox, running
from tests.rig.chromium import ARGUMENTS, WHOLE, chromium, executable
from tests.rig.processes import ServerProcess, prepared_database

#: Milliseconds within which a page must show what is expected of it.
PATIENCE = 30_000

#: What a browser itself writes to the console when a server is not there.
CONNECTION_FAILURE = re.compile(r"^WebSocket connection to |^Failed to load resource: net::ERR_")

SETUP = """
from broadcast.models import Stream
for slug, title, publishing in (
    ("news", "Newsroom", "anyone"),
    ("harbour", "Weather at the harbour", "anyone"),
    ("closed-circle", "Closed circle", "owner"),
):
    Stream.objects.create(slug=slug, title=title, visibility="public", publishing=publishing)
"""


class Line:
    """A TCP line to `port`.

    Cut, what is open breaks and nothing new gets through. Frozen, nothing breaks, and nothing that
    is said over what is open arrives any more.
    """

    def __init__(self, port: int) -> None:
        self.target = ("127.0.0.1", port)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.is_cut = False
        self.frozen: set[socket.socket] = set()
        self.lock = threading.Lock()
        self.ends: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cut(self) -> None:
        with self.lock:
            self.is_cut = True
            for end in self.ends:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self.is_cut = False

    def freeze(self) -> None:
        """What is opened from now on works."""
        with self.lock:
            self.frozen |= self.ends

    def close(self) -> None:
        self.cut()
        # Closing alone does not wake a thread that is waiting in accept().
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        with near, suppress(OSError), self._connect() as far:
            with self.lock:
                if self.is_cut:
                    return
                self.ends |= {near, far}
            try:
                self._exchange(near, far)
            finally:
                with self.lock:
                    self.ends -= {near, far}

    def _connect(self) -> socket.socket:
        return socket.create_connection(self.target)

    def _exchange(self, near: socket.socket, far: socket.socket) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(near, selectors.EVENT_READ, far)
            selector.register(far, selectors.EVENT_READ, near)
            while True:
                for key, _ in selector.select():
                    data = key.fileobj.recv(65536)  # type: ignore[union-attr]
                    if not data:
                        return
                    if near not in self.frozen:
                        self._pass_on(data, key.data, key.fileobj is near)

    def _pass_on(self, data: bytes, to: socket.socket, is_near: bool) -> None:
        """Hand over what came; `is_near`: from the browser."""
        to.sendall(data)


#: What Chromium logs when a script sends on a socket that is closing or closed.
CLOSED_SOCKET = "WebSocket is already in CLOSING or CLOSED state."


class People:
    """Whoever opens pages, each in a window of their own. Their consoles are listened to."""

    def __init__(self, browser: Browser, home: str) -> None:
        self.browser = browser
        self.home = home
        self.errors: list[str] = []

    def open(
        self, path: str, home: str = "", context: BrowserContext | None = None, **options: Any
    ) -> Page:
        """A new window at `path`; `options` are those of the browser context that is made."""
        page = (context or self.browser.new_context(**options)).new_page()
        page.set_default_timeout(PATIENCE)
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.goto((home or self.home) + path)
        return page

    def leave(self) -> None:
        """Everybody closes their windows."""
        for context in self.browser.contexts:
            context.close()

    def _hear(self, message: ConsoleMessage) -> None:
        # A violation of the content security policy is told there too.
        if message.type != "error" or CONNECTION_FAILURE.match(message.text):
            return
        # The client of palava sends on a socket that is closing, while its page is closed.
        is_ours = message.location.get("url", "").startswith(self.home)
        if is_ours or message.text != CLOSED_SOCKET:
            self.errors.append(message.text)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium. Of one module: while Playwright runs, Django takes its thread for a coroutine's."""
    expect.set_options(timeout=PATIENCE)
    with chromium() as browser:
        yield browser


@pytest.fixture
def whole_browser(browser: Browser) -> Iterator[Browser]:
    """All of Chromium, for a test of each kind: others are content with its shell."""
    whole = browser.browser_type.launch(executable_path=executable(WHOLE), args=ARGUMENTS)
    yield whole
    whole.close()


@pytest.fixture(scope="module")
def firefox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    """Firefox. Of one module, too: it is large."""
    with running(tmp_path_factory.mktemp("firefox")) as firefox:
        yield firefox


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with streams, to be copied."""
    path = tmp_path_factory.mktemp("database") / "db.sqlite3"
    path.write_bytes(prepared_database(SETUP))
    return path


@pytest.fixture
def site(database: Path, tmp_path: Path) -> Iterator[ServerProcess]:
    """A running server with nothing published yet, which a test may stop and start again."""
    shutil.copy(database, tmp_path / "db.sqlite3")
    process = ServerProcess("broadcast", tmp_path)
    process.start()
    yield process
    process.__exit__(None, None, None)
    process.assert_clean_log()


@pytest.fixture
def line(site: ServerProcess) -> Iterator[Line]:
    """A line to the server that can be cut."""
    line = Line(site.port)
    yield line
    line.close()


@pytest.fixture
def people(browser: Browser, site: ServerProcess) -> Iterator[People]:
    """People who open pages. No page may have logged an error of its own in the end."""
    yield from _people(browser, site)


@pytest.fixture
def people_with_chromium(whole_browser: Browser, site: ServerProcess) -> Iterator[People]:
    """The same, with the browser that people have."""
    yield from _people(whole_browser, site)


def _people(browser: Browser, site: ServerProcess) -> Iterator[People]:
    people = People(browser, site.url)
    yield people
    people.leave()
    assert people.errors == []
