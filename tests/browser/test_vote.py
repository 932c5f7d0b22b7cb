"""The example: two people vote, each in a window of their own, and both see both votes."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import People
from tests.processes import Installation


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Two servers on Redis."""
    with Installation(tmp_path_factory.mktemp("installation")) as installation:
        yield installation


def votes(page: Page, choice: str) -> Locator:
    return page.locator(".choice", has_text=choice).locator("b")


def vote(page: Page, choice: str) -> None:
    page.get_by_role("radio", name=choice).check()
    page.get_by_role("button", name="Vote").click()


def expect_votes(page: Page, tea: int, coffee: int) -> None:
    expect(votes(page, "Tea")).to_have_text(str(tea))
    expect(votes(page, "Coffee")).to_have_text(str(coffee))
    expect(page.get_by_text("Votes so far")).to_have_text(f"Votes so far: {tea + coffee}")


def test_a_vote_at_one_server_is_seen_at_both(browser: Browser, installation: Installation) -> None:
    people = People(browser, "")
    pages = [people.open("/", server.url) for server in installation.servers]
    for page in pages:
        page.get_by_role("link", name="a vote").click()
        expect(page.get_by_text("votes appear here as they come")).to_be_visible()
    first, second = pages
    before = first.get_by_role("button", name="Vote").bounding_box()
    vote(first, "Tea")
    for page in pages:
        expect_votes(page, 1, 0)
    expect(first.get_by_text("Thank you.")).to_be_visible()
    vote(second, "Coffee")
    for page in pages:
        expect_votes(page, 1, 1)
    vote(second, "Tea")
    for page in pages:
        expect_votes(page, 2, 0)
    # Nothing has moved, and the page is the one that was opened.
    assert first.get_by_role("button", name="Vote").bounding_box() == before
    expect(first.locator("progress").first).to_have_js_property("value", 100)
    first.reload()
    expect_votes(first, 2, 0)
    expect(first.get_by_role("radio", name="Tea")).to_be_checked()

    scriptless = people.open("/vote/", installation.servers[0].url, java_script_enabled=False)
    expect(scriptless.locator(".on-nothing")).to_be_visible()
    vote(scriptless, "Coffee")
    for page in (*pages, scriptless):
        expect_votes(page, 2, 1)
    expect(scriptless.get_by_role("radio", name="Coffee")).to_be_checked()
    people.leave()
    assert people.errors == []
