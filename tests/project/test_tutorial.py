"""`docs/tutorial.md`: each command is typed, each file written, and all that it shows is seen."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Error, Page, expect

from tests.rig.chromium import chromium
from tests.rig.processes import PATIENCE, RedisProcess
from tests.rig.tutorial import ANSWER, OPEN, PAGE, Reader, Step, steps

#: Save a match with so many goals, in a process of its own.
SAVE = """python manage.py shell -c "
from scores.models import Match
match = Match.objects.get()
match.home_goals = {goals}
match.save()"
"""
FLOODLIGHTS = "Floodlights go on at half-time"


class Visit:
    """What the reader sees: a window of the referee, and windows of nobody."""

    def __init__(self, reader: Reader, browser: Browser) -> None:
        self.reader, self.browser = reader, browser
        self.referee, *self.others = (reader.window(browser) for _ in range(3))
        self.windows: list[Page] = []

    def open_windows(self) -> None:
        """The referee's, and two of nobody, with open sockets."""
        self.windows = [self.referee, *self.others]
        for page in self.windows:
            page.goto(self.reader.url)
            page.locator(OPEN).wait_for()

    def seen(self) -> str:
        """The content of all open pages, for a failure to show."""
        pages = [page for context in self.browser.contexts for page in context.pages]
        return "\n".join(f"{page.url}: {page.inner_text('body')[:500]}" for page in pages)

    def without_scripts(self) -> Page:
        """The page in another window of the referee, in a browser that runs no scripts."""
        session = self.referee.context.storage_state()
        context = self.browser.new_context(java_script_enabled=False, storage_state=session)
        page = context.new_page()
        page.goto(self.reader.url)
        return page

    def set_goals(self, goals: int) -> None:
        """In the admin, in another window of the referee."""
        page = self.referee.context.new_page()
        page.goto(f"{self.reader.url}/admin/scores/match/1/change/")
        page.get_by_label("Home goals").fill(str(goals))
        page.get_by_role("button", name="Save", exact=True).click()
        page.get_by_text("was changed successfully").wait_for()
        page.close()


def expect_score(pages: list[Page], home: int, away: int) -> None:
    for page in pages:
        expect(page.locator("article > b")).to_have_text(
            re.compile(rf"^\s*{home}\s*:\s*{away}\s*$")
        )


@pytest.fixture
def visit(tmp_path: Path) -> Iterator[Visit]:
    expect.set_options(timeout=PATIENCE * 1000)
    with (
        RedisProcess(tmp_path) as redis,
        Reader(tmp_path, redis.url) as reader,
        chromium() as browser,
    ):
        yield Visit(reader, browser)
    expect.set_options(timeout=5000)


@pytest.mark.needs_browser
def test_it_leads_from_an_empty_folder_to_two_workers(visit: Visit) -> None:
    for step, see in zip(steps(), SEEN, strict=True):
        try:
            see(visit, step)
        except (Error, AssertionError) as error:
            error.add_note(f"{step.title}\n{visit.seen()}\n{visit.reader.logged()}")
            raise
        assert not step.left, step.title


def test_it_can_be_read_in_one_go() -> None:
    assert len(PAGE.read_text().splitlines()) < 300


def see_a_page_that_has_to_be_loaded_again(visit: Visit, step: Step) -> None:
    visit.reader.follow(step)
    page = visit.referee
    page.goto(visit.reader.url)
    expect(page.locator("article")).to_have_text(step.says("Harbour 0 : 0 Hill"))
    visit.reader.log_in(page)
    page.goto(visit.reader.url)
    visit.set_goals(1)
    expect_score([page], 0, 0)
    page.reload()
    expect_score([page], 1, 0)


def see_that_nothing_is_forgotten(visit: Visit, step: Step) -> None:
    printed = visit.reader.follow(step)
    assert "System check identified no issues (0 silenced).\n" in printed
    page = visit.referee
    page.goto(visit.reader.url)
    expect_score([page], 1, 0)
    page.goto(f"{visit.reader.url}/live/")
    expect(page.get_by_role("heading", name="Streams", exact=True)).to_be_visible()
    page.goto(f"{visit.reader.url}/admin/")
    expect(page.get_by_role("link", name="Streams", exact=True)).to_be_visible()


def see_the_score_change_by_itself(visit: Visit, step: Step) -> None:
    visit.reader.follow(step)
    visit.reader.load_until(visit.referee, OPEN)
    visit.open_windows()
    visit.set_goals(2)
    expect_score(visit.windows, 2, 0)


def see_the_button_count(visit: Visit, step: Step) -> None:
    visit.reader.follow(step)
    visit.reader.load_until(visit.referee, f"{OPEN} form")
    visit.open_windows()
    referee, nobody, _ = visit.windows
    referee.get_by_role("button", name="Goal for Harbour").click()
    expect_score(visit.windows, 3, 0)
    expect(referee.locator(ANSWER)).to_have_text(step.says("Counted."))
    nobody.get_by_role("button", name="Goal for Hill").click()
    expect(nobody.locator(ANSWER)).to_have_text(step.says("Only a referee counts goals."))
    expect_score(visit.windows, 3, 0)
    plain = visit.without_scripts()
    plain.get_by_role("button", name="Goal for Hill").click()
    expect_score([plain, *visit.windows], 3, 1)


def see_what_referees_are_told(visit: Visit, step: Step) -> None:
    visit.reader.follow(step, blocks=2)
    visit.reader.load_until(visit.referee, "broadcast-listener[state=idle]")
    visit.open_windows()
    referee, nobody, _ = visit.windows
    expect(nobody.locator("broadcast-listener")).to_have_count(0)
    referee.locator("broadcast-listener[state=idle]").wait_for()
    _, link = visit.reader.follow(step)
    expect(referee.locator("broadcast-listener")).to_contain_text(FLOODLIGHTS)
    nobody.goto(link.strip())
    expect(nobody.locator("broadcast-listener")).to_contain_text(FLOODLIGHTS)
    refusal = nobody.goto(link.partition("?")[0])
    assert refusal and refusal.status == 403


def see_the_tests_pass(visit: Visit, step: Step) -> None:
    by_django, _, by_pytest = visit.reader.follow(step)
    assert "Ran 1 test" in by_django
    assert "2 passed" in by_pytest


def see_all_processes_show_the_same(visit: Visit, step: Step) -> None:
    visit.reader.follow(step, blocks=1)
    visit.open_windows()
    visit.set_goals(4)
    expect_score(visit.windows, 4, 1)
    visit.reader.stop_server()
    visit.reader.type(SAVE.format(goals=5))  # nobody can be told
    visit.reader.follow(step)
    for page in visit.windows:
        # They try again by themselves, after up to half a minute by now.
        page.evaluate("dispatchEvent(new Event('online'))")
        page.locator(OPEN).wait_for()
    visit.set_goals(6)
    expect_score(visit.windows, 6, 1)
    visit.reader.type(SAVE.format(goals=7))
    expect_score(visit.windows, 7, 1)


#: What to do in each step, and what is seen then.
SEEN: list[Callable[[Visit, Step], None]] = [
    see_a_page_that_has_to_be_loaded_again,
    see_that_nothing_is_forgotten,
    see_the_score_change_by_itself,
    see_the_button_count,
    see_what_referees_are_told,
    see_the_tests_pass,
    see_all_processes_show_the_same,
]
