"""Every page in a real browser, which tells of whatever it keeps a page from."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from tests.browser.conftest import PATIENCE
from tests.rig.processes import ServerProcess

#: A browser that keeps a page from something tells the page so.
REPORT = """
addEventListener("securitypolicyviolation", ({ effectiveDirective, blockedURI }) => {
  console.error(`Content Security Policy: ${effectiveDirective} ${blockedURI}`);
});
"""

ROOT = """
from django.contrib.auth.models import User
User.objects.create_superuser("root", password="open-sesame")
"""

PAGES = [
    *("/", "/streams/news/", "/streams/news/studio/", "/streams/nothing/", "/static/nothing"),
    *("/admin/", "/admin/auth/user/", "/admin/auth/user/add/", "/admin/auth/group/add/"),
    *("/rooms/", "/rooms/standup/"),
    *("/admin/password_change/", "/admin/broadcast/stream/?q=news"),
    *("/admin/broadcast/stream/1/history/", "/admin/broadcast/stream/1/delete/"),
]


@pytest.fixture(scope="module")
def site(database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A running server with somebody who may see everything."""
    directory = tmp_path_factory.mktemp("policy")
    shutil.copy(database, directory / "db.sqlite3")
    process = ServerProcess("broadcast", directory)
    done = process.manage("shell", "-v0", "-c", ROOT)
    assert done.returncode == 0, done.stderr
    process.start()
    yield process
    process.kill()


@pytest.fixture
def violations() -> list[str]:
    """What the page was kept from, and policies that the browser does not understand."""
    return []


@pytest.fixture
def page(browser: Browser, site: ServerProcess, violations: list[str]) -> Iterator[Page]:
    """The browser of somebody who may see everything."""

    def hear(message: ConsoleMessage) -> None:
        if re.search("polic|inline", message.text, re.I):
            violations.append(f"{page.url}: {message.text}")

    context = browser.new_context(base_url=site.url)
    context.add_init_script(REPORT)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.on("console", hear)
    page.goto("/admin/login/")
    page.get_by_label("Username").fill("root")
    page.get_by_label("Password").fill("open-sesame")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("link", name="Change password")).to_be_visible()
    yield page
    context.close()


def test_no_page_is_kept_from_anything(page: Page, violations: list[str]) -> None:
    for path in PAGES:
        page.goto(path)
        expect(page.locator("h1").first).to_be_visible()
    assert violations == []


def test_the_admin_works_under_the_policy(page: Page, violations: list[str]) -> None:
    # A widget that draws itself, and one that asks the server.
    page.goto("/admin/auth/user/1/change/")
    page.get_by_role("link", name="Today").first.click()
    page.get_by_role("link", name="Now").first.click()
    page.get_by_role("link", name="Choose a Date").first.click()
    expect(page.locator(".calendarbox").first).to_be_visible()
    page.goto("/admin/broadcast/stream/add/")
    page.get_by_label("Title").press_sequentially("A new one")
    expect(page.get_by_label("Slug")).to_have_value("a-new-one")
    page.locator(".field-owner .select2-selection").click()
    page.get_by_role("option", name="root").click()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".messagelist .success")).to_be_visible()
    page.wait_for_load_state()
    page.get_by_role("checkbox", name="Select all").check()
    expect(page.locator(".actions .action-counter")).to_contain_text("4 of 4 selected")
    assert violations == []


def test_what_a_page_is_kept_from_is_noticed(page: Page, violations: list[str]) -> None:
    page.goto("/")
    with page.expect_console_message(lambda message: "style-src" in message.text):
        page.evaluate("document.body.innerHTML = '<p style=\"color: red\">x</p>'")
    assert violations
