"""Live video in a real browser: prints Markdown, asserts nothing.

python -m tests.bench.watching [--pages 20] [--seconds 20]

A studio broadcasts a camera whose picture is the time, in Chromium without a screen; the server and
Chromium share all cores. Measured are the first picture of a page, from the beginning of its
navigation, for pages that are opened one after another; and how old the pictures are that a page
shows, each of them, from what the camera drew to what is on the screen.
"""

import argparse
import statistics
from collections.abc import Sequence

from playwright.sync_api import Browser, sync_playwright

from tests.browser.conftest import People
from tests.browser.video import NOTE_FIRST_PICTURE, ages, broadcast, wait_until_live
from tests.rig import chromium

from . import report
from .__main__ import choose_cores
from .media import started

SLUG = "bench-media"
#: Pictures of the camera in a second.
RATE = 25


def first_pictures(browser: Browser, home: str, number: int) -> list[float]:
    """Milliseconds from each page's navigation to its first picture."""
    people, found = People(browser, home), []
    for _ in range(number):
        context = browser.new_context()
        context.add_init_script(NOTE_FIRST_PICTURE)
        page = people.open(f"/streams/{SLUG}/", context=context)
        page.wait_for_function("() => window.first")
        found.append(float(page.evaluate("first")))
        context.close()
    return found


def pictures(browser: Browser, home: str, seconds: float) -> list[int]:
    """How old each picture is, in milliseconds, of a page that is at the live edge."""
    page = People(browser, home).open(f"/streams/{SLUG}/")
    wait_until_live(page)
    return ages(page, round(seconds * RATE))


def show(title: str, found: Sequence[float]) -> None:
    middle, tail = (
        statistics.median(found),
        statistics.quantiles(found, n=10, method="inclusive")[8],
    )
    print(
        f"| {title} | {len(found)} | {middle:,.0f} | {tail:,.0f} | {max(found):,.0f} |", flush=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=20, help="that are opened")
    parser.add_argument("--seconds", type=float, default=20, help="of pictures")
    arguments = parser.parse_args()
    cores = choose_cores(shared=True)
    print(f"{report.machine(cores)}\n")
    print("| milliseconds | number | p50 | p90 | most |\n|---|---:|---:|---:|---:|")
    with started(cores) as (_, port), sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium.executable(chromium.WHOLE), args=chromium.ARGUMENTS
        )
        home = f"http://127.0.0.1:{port}"
        broadcast(People(browser, home), SLUG)
        show("to a page's first picture", first_pictures(browser, home, arguments.pages))
        show("age of a picture that is shown", pictures(browser, home, arguments.seconds))
        browser.close()


if __name__ == "__main__":
    main()
