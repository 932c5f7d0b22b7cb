"""A browser with a camera that is none, people in rooms, and what they see of each other."""

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserType, Locator, Page, expect, sync_playwright

from tests.browser.conftest import PATIENCE, People
from tests.rig.chromium import ARGUMENTS, SHELL, executable
from tests.rig.processes import ServerProcess, prepared_database

#: A camera and a microphone that make pictures and tones of their own; few pictures, since all
#: the people of a test share two processors.
DEVICES = "--use-fake-device-for-media-stream=fps=5"
#: Whoever is asked for a camera or a screen says yes at once.
CONSENT = "--use-fake-ui-for-media-stream"

#: The pictures that move, of all there are on a page: for each how many frames it has shown.
FRAMES = """() => [...document.querySelectorAll("video")]
    .filter((video) => video.videoWidth > 0 && video.checkVisibility({ visibilityProperty: true }))
    .map((video) => video.getVideoPlaybackQuality().totalVideoFrames)"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[BrowserType]:
    """Of one module: while Playwright runs, Django takes its thread for a coroutine's."""
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        yield playwright.chromium


def launch(chromium: BrowserType, *arguments: str, program: str = SHELL) -> Browser:
    """A browser; what it has and allows of cameras is said by `arguments` alone."""
    others = [one for one in ARGUMENTS if not one.endswith("for-media-stream")]
    return chromium.launch(
        executable_path=executable(program), args=[*others, *arguments], headless=True
    )


@pytest.fixture(scope="module")
def browser(chromium: BrowserType) -> Iterator[Browser]:
    """One in which everybody has a camera and a microphone, and allows all."""
    browser = launch(chromium, DEVICES, CONSENT)
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A running server of the module's, whose log must be clean in the end."""
    directory = tmp_path_factory.mktemp("rooms")
    (directory / "db.sqlite3").write_bytes(prepared_database())
    process = ServerProcess("broadcast", directory)
    process.start()
    yield process
    process.stop()
    process.assert_clean_log()


_numbers = itertools.count(1)


@pytest.fixture
def room() -> str:
    """The path of a room where nobody was yet."""
    return f"/rooms/room-{next(_numbers)}/"


def until(condition: Callable[[], Any], what: str) -> Any:
    """What `condition` answers, as soon as that is something; AssertionError: it never was."""
    deadline = time.monotonic() + PATIENCE / 1000
    while not (answer := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return answer


def enter(people: People, room: str, name: str, **options: Any) -> Page:
    """Somebody in the room, with camera and microphone."""
    page = people.open(room, **options)
    page.get_by_role("textbox", name="Your name").fill(name)
    expect(page.get_by_role("button", name="Camera off")).to_be_enabled()
    page.get_by_role("button", name="Enter the room").click()
    expect(page.get_by_role("button", name="Leave")).to_be_visible()
    return page


def tile(page: Page, name: str) -> Locator:
    """Somebody's tile; one's own has "(you)" behind the name."""
    return page.locator(".tile").filter(has_text=name)


def expect_people(page: Page, *names: str) -> None:
    """So many tiles, with these names in any order."""
    expect(page.locator(".tile")).to_have_count(len(names))
    for name in names:
        expect(tile(page, name)).to_have_count(1)


def expect_moving(page: Page, pictures: int) -> None:
    """So many pictures, and all of them move."""
    before = until(
        lambda: len(found := page.evaluate(FRAMES)) == pictures and found,
        f"there are not {pictures} pictures: {page.locator('.tiles').all_inner_texts()}",
    )
    until(
        lambda: all(now > then for now, then in zip(page.evaluate(FRAMES), before, strict=True)),
        "a picture stands still",
    )
