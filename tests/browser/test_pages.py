"""What a person sees who broadcasts, who watches, and who lives through a bad connection."""

import hashlib
import random
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, WebSocket, expect

from tests.browser.colours import contrast
from tests.browser.conftest import Line, People
from tests.rig.processes import ServerProcess

WATCH = "/streams/news/"
STUDIO = "/streams/news/studio/"


def state(page: Page) -> Locator:
    """What the watch page says of its connection."""
    return page.locator("broadcast-listener .label")


def publications(page: Page) -> Locator:
    return page.locator("broadcast-listener .publication .body")


def notes(page: Page) -> Locator:
    return page.locator("broadcast-listener .note")


def figure(page: Page, name: str) -> Locator:
    return page.locator(f"[data-{name}]").first


def open_studio(people: People, home: str = "") -> Page:
    studio = people.open(STUDIO, home)
    expect(on_air(studio)).to_have_text("On air")
    return studio


def on_air(studio: Page) -> Locator:
    return studio.locator(".on-air strong")


def send_text(studio: Page, *texts: str) -> None:
    studio.get_by_role("tab", name="Text").click()
    for text in texts:
        studio.get_by_role("textbox", name="Text").fill(text)
        studio.keyboard.press("Control+Enter")
        expect(studio.get_by_role("textbox", name="Text")).to_have_value("")


def send_json(studio: Page, json: str) -> None:
    studio.get_by_role("tab", name="JSON").click()
    studio.get_by_role("textbox", name="JSON").fill(json)
    studio.get_by_role("button", name="Send JSON").click()


def choose_file(studio: Page, path: Path) -> None:
    studio.get_by_role("tab", name="File").click()
    studio.locator("input[type=file]").set_input_files(path)
    studio.get_by_role("button", name="Send file").click()


def last_fate(studio: Page) -> Locator:
    """What became of what was sent last."""
    return studio.locator("[data-sent] .fate").first


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A file of several chunks."""
    path = tmp_path / "photo of the harbour.bin"
    path.write_bytes(random.Random(1).randbytes(300_000))
    return path


def test_what_is_sent_in_the_studio_is_seen_by_everybody_who_watches(
    people_with_chromium: People, photo: Path
) -> None:
    people = people_with_chromium
    watchers = [people.open(WATCH) for _ in range(2)]
    for page in watchers:
        expect(state(page)).to_have_text("Connected")
    studio = open_studio(people)
    for page in watchers:
        expect(state(page)).to_have_text("Live")
    expect(figure(studio, "listeners")).to_have_text("2 listeners")

    send_text(studio, "The ferry leaves at nine.")
    send_json(studio, '{"ships": [1, 2], "open": false}')
    choose_file(studio, photo)
    expect(studio.locator("[data-message]")).to_contain_text("was sent")

    for page in watchers:
        expect(publications(page)).to_have_count(3)
        expect(publications(page).nth(0)).to_have_text("The ferry leaves at nine.")
        expect(publications(page).nth(1)).to_contain_text('"open": false')
        expect(publications(page).nth(2)).to_contain_text(photo.name)
        with page.expect_download() as download:
            page.get_by_role("link", name="Download").click()
        assert digest(Path(download.value.path())) == digest(photo)
        expect(figure(page, "offset")).to_have_text(figure(studio, "offset").inner_text())
        expect(figure(page, "epoch")).to_have_text(figure(studio, "epoch").inner_text())
        expect(figure(page, "listeners")).to_have_text("2 listeners")
    expect(studio.locator('[data-sent] [data-fate="Accepted"]')).to_have_count(3)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_who_comes_later_sees_the_history_first(people: People) -> None:
    studio = open_studio(people)
    send_text(studio, *[f"headline {number}" for number in range(1, 26)])
    expect(last_fate(studio)).to_have_text("Accepted")
    page = people.open(WATCH)
    expect(publications(page)).to_have_text([f"headline {n}" for n in range(6, 26)])


def test_markup_is_shown_and_never_becomes_part_of_the_page(people: People) -> None:
    page, studio = people.open(WATCH), open_studio(people)
    markup = '<img src=x onerror="document.title=1"><b>bold</b>\n  second line'
    send_text(studio, markup)
    send_json(studio, '{"file": {"name": "<i>name</i>", "size": 3}, "a": "<script>1</script>"}')
    expect(publications(page)).to_have_count(2)
    assert publications(page).nth(0).inner_text() == markup
    expect(publications(page).nth(1)).to_contain_text("<i>name</i>")
    assert page.locator("broadcast-listener").locator("b, i, script, img").count() == 0


def test_json_is_checked_before_it_is_sent(people: People) -> None:
    page, studio = people.open(WATCH), open_studio(people)
    send_json(studio, '{"headline": nope}')
    expect(studio.get_by_text("Not valid")).to_be_visible()
    expect(studio.get_by_role("textbox", name="JSON")).to_be_focused()
    expect(figure(studio, "accepted")).to_have_text("0 of 0")
    send_json(studio, '"a string is a text"')
    expect(publications(page)).to_have_text(["a string is a text"])


def test_the_studio_can_be_used_with_the_keyboard_alone(people: People) -> None:
    page, studio = people.open(WATCH), open_studio(people)
    studio.get_by_role("tab", name="Text").focus()
    studio.keyboard.press("ArrowRight")
    expect(studio.get_by_role("tab", name="JSON")).to_be_focused()
    studio.keyboard.press("Tab")
    studio.keyboard.type("[1]")
    studio.keyboard.press("Tab")
    studio.keyboard.press("Enter")
    expect(publications(page)).to_have_text(["[ 1 ]"], use_inner_text=False)


def test_watchers_whose_connection_was_cut_come_back_and_have_missed_nothing(
    people: People, line: Line
) -> None:
    watchers = [people.open(WATCH, line.url) for _ in range(2)]
    studio = open_studio(people)
    for page in watchers:
        expect(state(page)).to_have_text("Live")
    send_text(studio, "before")
    for page in watchers:
        expect(publications(page)).to_have_text(["before"])

    line.cut()
    for page in watchers:
        expect(state(page)).to_have_text("Reconnecting")
    expect(figure(studio, "listeners")).to_have_text("0 listeners")
    send_text(studio, "while away 1", "while away 2")
    expect(last_fate(studio)).to_have_text("Accepted")
    line.mend()
    send_text(studio, "after")

    for page in watchers:
        expect(state(page)).to_have_text("Live")
        expect(notes(page)).to_have_text(["Connected again. Nothing was lost."])
        expect(publications(page)).to_have_text(["before", "while away 1", "while away 2", "after"])


def test_a_studio_whose_connection_was_cut_sends_each_publication_once(
    people: People, line: Line
) -> None:
    page = people.open(WATCH)
    studio = open_studio(people, line.url)
    send_text(studio, "before")
    expect(publications(page)).to_have_count(1)

    line.cut()
    expect(on_air(studio)).to_have_text("Reconnecting")
    expect(state(page)).to_have_text("Connected")
    send_text(studio, "while away 1", "while away 2")
    expect(last_fate(studio)).to_have_text("On its way")
    line.mend()
    expect(on_air(studio)).to_have_text("On air")
    send_text(studio, "after")

    expect(last_fate(studio)).to_have_text("Accepted")
    expect(publications(page)).to_have_text(["before", "while away 1", "while away 2", "after"])
    expect(state(page)).to_have_text("Live")


def test_a_connection_is_tried_again_at_once_when_the_person_wants_it(
    people: People, line: Line
) -> None:
    page = people.open(WATCH, line.url)
    expect(state(page)).to_have_text("Connected")
    line.cut()
    # After some failures the next attempt is far enough away for a person to press the button.
    expect(page.locator("broadcast-listener .detail")).to_contain_text(
        re.compile(r"in ([3-9]|\d\d)\ss")
    )
    line.mend()
    page.get_by_role("button", name="Try now").click()
    expect(state(page)).to_have_text("Connected", timeout=2500)


def test_a_connection_that_died_without_a_word_is_noticed(people: People, line: Line) -> None:
    page = people.open("/")
    page.clock.install()
    page.goto(line.url + WATCH)
    studio = open_studio(people)
    send_text(studio, "before")
    expect(publications(page)).to_have_text(["before"])

    line.freeze()
    send_text(studio, "unheard")
    expect(last_fate(studio)).to_have_text("Accepted")
    page.clock.fast_forward(15_000)
    expect(state(page)).to_have_text("Live")
    page.clock.fast_forward(10_000)
    expect(state(page)).to_have_text("Reconnecting")
    page.clock.fast_forward(1_000)

    expect(publications(page)).to_have_text(["before", "unheard"])
    expect(notes(page)).to_have_text(["Connected again. Nothing was lost."])


@pytest.mark.parametrize("path", [WATCH, STUDIO])
def test_a_quiet_connection_is_kept_as_long_as_the_server_answers(
    people: People, path: str
) -> None:
    page = people.open("/")
    sockets: list[WebSocket] = []
    page.on("websocket", lambda opened: sockets.append(opened))
    page.clock.install()
    page.goto(people.home + path)
    expect(page.locator(".on-air strong, .label")).not_to_have_text("Connecting")
    for _ in range(3):
        with sockets[0].expect_event("framereceived", lambda frame: "pong" in frame):
            page.clock.fast_forward(15_000)
    assert len(sockets) == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "drained"])
def test_after_a_restart_everybody_comes_back_and_is_told_of_the_new_history(
    people: People, site: ServerProcess, number: signal.Signals
) -> None:
    watchers = [people.open(WATCH) for _ in range(2)]
    studio = open_studio(people)
    send_text(studio, "before")
    for page in watchers:
        expect(publications(page)).to_have_text(["before"])

    site.stop(number)
    for page in watchers:
        expect(state(page)).to_have_text("Reconnecting")
    expect(on_air(studio)).to_have_text("Reconnecting")
    send_text(studio, "while away")
    site.start()

    expect(last_fate(studio)).to_have_text("Accepted")
    expect(studio.locator("[data-message]")).to_contain_text("new history")
    for page in watchers:
        expect(state(page)).to_have_text("Live")
        expect(notes(page)).to_contain_text(["A new history began"])
        expect(publications(page)).to_have_text(["before", "while away"])


def test_a_second_streamer_takes_over_and_the_first_is_told(people: People) -> None:
    first, second = open_studio(people), open_studio(people)
    expect(on_air(first)).to_have_text("Disconnected")
    expect(first.locator("[data-detail]")).to_contain_text("took over")
    expect(first.get_by_role("button", name="Send text")).to_be_disabled()
    first.get_by_role("button", name="Open the studio again").click()
    expect(on_air(first)).to_have_text("On air")
    expect(on_air(second)).to_have_text("Disconnected")


def test_a_file_can_be_cancelled(people: People, line: Line, photo: Path) -> None:
    studio = open_studio(people, line.url)
    line.cut()
    expect(on_air(studio)).to_have_text("Reconnecting")
    choose_file(studio, photo)
    expect(studio.get_by_role("progressbar")).to_be_visible()
    studio.get_by_role("button", name="Cancel").click()
    expect(studio.locator("[data-message]")).to_contain_text("cancelled")
    expect(last_fate(studio)).to_have_text("Cancelled")
    line.mend()
    expect(on_air(studio)).to_have_text("On air")
    send_text(studio, "goes on")
    expect(last_fate(studio)).to_have_text("Accepted")


def test_a_fast_stream_is_heard_whole_and_the_page_stays_small_and_still(people: People) -> None:
    page, sender = people.open(WATCH), people.open("/")
    expect(state(page)).to_have_text("Connected")
    still = places(page)
    page.evaluate(
        """() => {
          window.offsets = [];
          document.querySelector("broadcast-listener")
            .addEventListener("publication", ({ detail }) => offsets.push(detail.offset));
        }"""
    )
    sender.evaluate(
        """async () => {
          const { Streamer } = await import("/static/broadcast/streamer.js");
          const streamer = new Streamer("/ws/streamer/news/");
          streamer.open();
          for (let number = 1; number <= 5000; number++) await streamer.send(`number ${number}`);
          await streamer.settled();
          streamer.close();
        }"""
    )
    page.wait_for_function("() => offsets.length >= 5000")
    assert page.evaluate("() => offsets") == list(range(1, 5001))
    expect(publications(page).last).to_have_text("number 5000")
    expect(publications(page)).to_have_count(200)
    expect(publications(page).last).to_be_in_viewport()
    assert places(page) == still


def places(page: Page) -> list[dict[str, float]]:
    """Where everything of the page stands, but for what is inside the listener's list."""
    found: list[dict[str, float]] = page.evaluate(
        """() => {
          const inside = document.querySelector("broadcast-listener").shadowRoot;
          const own = inside.querySelectorAll(".status, .status *, .stage, .scroller");
          const parts = [...document.querySelectorAll("main *"), ...own];
          return parts.map((part) => part.getBoundingClientRect().toJSON());
        }"""
    )
    return [{side: place[side] for side in ("top", "left", "width")} for place in found]


def test_who_reads_further_up_is_not_moved_by_what_comes(people: People) -> None:
    page, studio = people.open(WATCH), open_studio(people)
    send_text(studio, *[f"line {number}" for number in range(30)])
    expect(publications(page)).to_have_count(30)
    page.locator("broadcast-listener .scroller").evaluate("(element) => { element.scrollTop = 0 }")
    expect(publications(page).first).to_be_in_viewport()
    send_text(studio, "news")
    newer = page.get_by_role("button", name="1 newer publication")
    expect(newer).to_be_visible()
    expect(publications(page).first).to_be_in_viewport()
    newer.click()
    expect(publications(page).last).to_be_in_viewport()
    expect(newer).to_be_hidden()


def test_a_screen_reader_is_told_what_came_without_being_flooded(people: People) -> None:
    page, studio = people.open(WATCH), open_studio(people)
    spoken = page.locator("broadcast-listener").get_by_role("status")
    expect(spoken).to_contain_text("Live")
    send_text(studio, *[f"headline {number}" for number in range(10)])
    expect(spoken).to_contain_text("10 new publications, the newest: headline 9")


def test_the_list_of_streams_moves_by_itself_and_nothing_jumps(people: People) -> None:
    home = people.open("/")
    card = home.locator('[data-slug="news"]')
    places = [box.bounding_box() for box in home.locator(".stream").all()]
    expect(card).to_contain_text("Quiet")
    page, studio = people.open(WATCH), open_studio(people)
    expect(card).to_contain_text("Live")
    expect(card).to_contain_text("1 listener")
    studio.close()
    page.close()
    expect(card).to_contain_text("Quiet")
    expect(card).to_contain_text("0 listeners")
    assert [box.bounding_box() for box in home.locator(".stream").all()] == places


def test_the_list_says_when_it_may_be_old(people: People, line: Line) -> None:
    home = people.open("/", line.url)
    trouble = home.locator("[data-trouble]")
    line.cut()
    expect(trouble).to_contain_text("does not answer")
    line.mend()
    expect(trouble).to_have_text("")


def test_only_who_may_publish_is_led_to_the_studio(people: People) -> None:
    home = people.open("/")
    expect(home.get_by_role("link", name="Studio of Newsroom")).to_be_visible()
    expect(home.get_by_role("link", name="Studio of Closed circle")).to_have_count(0)
    page = people.open("/streams/closed-circle/")
    expect(state(page)).to_have_text("Connected")
    expect(page.get_by_role("link", name="Open the studio")).to_have_count(0)


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_fit_and_are_readable(
    people: People, tmp_path: Path, scheme: str, width: int
) -> None:
    options: dict[str, Any] = {
        "color_scheme": scheme,
        "viewport": {"width": width, "height": 800},
    }
    studio = people.open(STUDIO, **options)
    expect(on_air(studio)).to_have_text("On air")
    watch = people.open(WATCH, **options)
    send_text(studio, "A word that does not end: " + "x" * 500)
    send_json(studio, '{"headline": "Harbour closed", "ships": 3}')
    expect(publications(watch)).to_have_count(2)
    home = people.open("/", **options)
    for name, page in {"home": home, "watch": watch, "studio": studio}.items():
        page.screenshot(path=tmp_path / f"{name}-{scheme}-{width}.png", full_page=True)
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width
        assert contrast(page, "body") >= 7
        assert contrast(page, ".lede, .badge, .facts dt") >= 4.5
