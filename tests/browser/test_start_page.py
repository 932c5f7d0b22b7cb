"""What a newcomer sees on the start page: something happens at once, and what they copy works."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import People
from tests.browser.embedding.elsewhere import Elsewhere
from tests.rig.processes import ROOT, ServerProcess

SETUP = "from broadcast.models import Stream\nStream.objects.setup()\n"
ADMIN = """
from django.contrib.auth.models import User
User.objects.create_superuser("root", password="sesame")
"""
OPENED = "Somebody opened the start page."


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    with Elsewhere() as site:
        yield site
        site.shutdown()


@pytest.fixture
def site(tmp_path: Path, elsewhere: Elsewhere) -> Iterator[ServerProcess]:
    """A server as `manage.py start` has set it up."""
    settings = {"DJANGO_SETTINGS_MODULE": "tests.settings", "ALLOWED_ORIGINS": elsewhere.origin}
    with ServerProcess("broadcast", tmp_path, SETUP, **settings) as process:
        yield process
        process.assert_clean_log()


def open_start(people: People, **options: object) -> Page:
    return people.open("/", permissions=["clipboard-read", "clipboard-write"], **options)


def publications(page: Page) -> Locator:
    return page.locator("broadcast-listener .publication .body")


def copied(page: Page, button: str) -> str:
    page.get_by_role("button", name=button).click()
    expect(page.locator("[data-copied]")).to_have_text("Copied.")
    return str(page.evaluate("navigator.clipboard.readText()"))


def run(line: str, server: ServerProcess) -> None:
    subprocess.run(
        line, shell=True, cwd=ROOT, env=server.environment, timeout=60, check=True, text=True
    )


def test_something_happens_in_every_window_as_soon_as_one_is_opened(people: People) -> None:
    first = open_start(people)
    expect(publications(first)).to_have_text([OPENED])
    second = open_start(people)
    for page in (first, second):
        expect(publications(page)).to_have_text([OPENED, OPENED])
    first.get_by_role("textbox", name="Send something").fill("Is anybody there?")
    first.get_by_role("button", name="Send", exact=True).click()
    for page in (first, second):
        expect(publications(page)).to_have_text([OPENED, OPENED, "Is anybody there?"])
    expect(first.locator("[data-slug=demo] [data-listeners]")).to_have_text("2 listeners")


def test_who_is_logged_in_may_send_too(people: People, site: ServerProcess) -> None:
    assert site.manage("shell", "-v0", "-c", ADMIN).returncode == 0
    page = people.open("/admin/login/?next=/")
    page.get_by_label("Username").fill("root")
    page.get_by_label("Password").fill("sesame")
    page.get_by_role("button", name="Log in").click()
    expect(publications(page)).to_have_text([OPENED])
    page.get_by_role("button", name="Send", exact=True).click()
    expect(publications(page)).to_have_text([OPENED, "Hello"])


def test_the_copied_lines_publish(people: People, site: ServerProcess) -> None:
    page = open_start(people)
    expect(publications(page)).to_have_text([OPENED])
    run(copied(page, "Copy the line with curl"), site)
    expect(publications(page)).to_have_text([OPENED, "Hello from curl"])
    run(copied(page, "Copy the line for a terminal"), site)
    expect(publications(page).last).to_have_text("Hello from the terminal")
    code = copied(page, "Copy the lines of Python")
    assert site.manage("shell", "-v0", "-c", code).returncode == 0
    expect(publications(page).last).to_contain_text('"headline": "Hello from Python"')


def test_the_copied_line_gets_the_token_it_needs(people: People, site: ServerProcess) -> None:
    keep = "from broadcast.models import Stream; Stream.objects.update(publishing='owner')"
    assert site.manage("shell", "-v0", "-c", keep).returncode == 0
    page = open_start(people)
    expect(page.locator("broadcast-listener")).to_have_attribute("state", "idle")
    run(copied(page, "Copy the line with curl"), site)
    expect(publications(page)).to_have_text(["Hello from curl"])


def test_the_copied_element_shows_the_stream_in_a_page_of_another_site(
    people: People, elsewhere: Elsewhere
) -> None:
    page = open_start(people)
    expect(publications(page)).to_have_text([OPENED])
    other = people.open(elsewhere.page(copied(page, "Copy the element")), elsewhere.origin)
    expect(publications(other)).to_have_text([OPENED])


def test_what_was_not_sent_is_told(people: People, site: ServerProcess) -> None:
    page = open_start(people)
    expect(publications(page)).to_have_text([OPENED])
    site.kill()
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.locator("[data-said]")).to_contain_text("It was not sent.")


def test_it_speaks_german(people: People) -> None:
    page = open_start(people, locale="de")
    expect(publications(page)).to_have_text(["Jemand hat die Startseite geöffnet."])
    page.get_by_role("button", name="Senden", exact=True).click()
    expect(publications(page).last).to_have_text("Hallo")


@pytest.mark.parametrize("width", [320, 400, 1280])
@pytest.mark.parametrize("locale", ["en", "de"])
def test_it_fits_and_does_not_jump(people: People, width: int, locale: str) -> None:
    page = open_start(people, locale=locale, viewport={"width": width, "height": 900})
    page.locator("broadcast-listener .publication").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    place = "document.querySelector('[data-slug=demo]').offsetTop"
    before = page.evaluate(place)
    for _ in range(12):
        page.locator("[data-say] button").click()
    expect(publications(page)).to_have_count(13)
    page.locator("[data-copy]").last.click()
    expect(page.locator("[data-copied]")).not_to_be_empty()
    assert page.evaluate(place) == before


def test_without_scripts_the_lines_are_there(browser: Browser, site: ServerProcess) -> None:
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(site.url)
    expect(page.locator(".lines textarea")).to_have_count(4)
    expect(page.locator("[data-say]")).to_be_hidden()
    page.context.close()
