"""Chromium, for tests of pages."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

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


def executable() -> str:
    path = shutil.which("chromium")
    assert path, "chromium is missing: install the package chromium"
    return path


@contextmanager
def chromium() -> Iterator[Browser]:
    """It runs meanwhile; and Playwright, whose thread Django takes for that of a coroutine."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable(), args=ARGUMENTS, headless=True
        )
        yield browser
        browser.close()
