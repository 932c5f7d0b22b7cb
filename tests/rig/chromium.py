"""Chromium, for tests of pages."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

#: The engine without what is around pages. A page in it costs a fifth of the work; it has no
#: dialog that asks whether a page may use a camera.
SHELL = "chromium-headless-shell"
#: The browser that people have.
WHOLE = "chromium"

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A camera and a microphone that show and say something, and are given to any page.
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]


def executable(program: str = SHELL) -> str:
    """The path of `SHELL`, or of `WHOLE`, which does for the other where that is missing."""
    path = shutil.which(program) or shutil.which(WHOLE)
    assert path, "chromium is missing: install the package chromium"
    return path


@contextmanager
def chromium() -> Iterator[Browser]:
    """The shell runs meanwhile, and Playwright, whose thread Django takes for a coroutine's."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable(), args=ARGUMENTS, headless=True
        )
        yield browser
        browser.close()
