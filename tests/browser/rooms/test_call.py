"""A call in our own pages: who is seen, what is told, and what outlives the signalling."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserType, Page, WebSocket, expect

from tests.browser.conftest import Line, People
from tests.browser.rooms.conftest import (
    DEVICES,
    enter,
    expect_moving,
    expect_people,
    launch,
    tile,
    until,
)
from tests.rig.chromium import WHOLE
from tests.rig.processes import ServerProcess


@pytest.fixture
def strangers(chromium: BrowserType, site: ServerProcess) -> Iterator[People]:
    """People whose browsers allow nothing by themselves."""
    browser = launch(chromium, DEVICES, program=WHOLE)
    people = People(browser, site.url)
    yield people
    browser.close()
    assert people.errors == []


def test_two_see_each_other_and_what_changes(people: People, room: str) -> None:
    ada, grace = enter(people, room, "Ada"), enter(people, room, "Grace")
    for page in (ada, grace):
        expect(page.get_by_text("2 people")).to_be_visible()
        expect_moving(page, 2)
    expect_people(ada, "Ada (you)", "Grace")

    ada.get_by_role("button", name="Mute").click()
    expect(tile(grace, "Ada")).to_contain_text("microphone off")
    ada.get_by_role("button", name="Unmute").click()
    expect(tile(grace, "Ada")).not_to_contain_text("microphone off")

    ada.get_by_role("button", name="Camera off").click()
    expect(tile(grace, "Ada")).to_contain_text("camera off")
    expect_moving(grace, 1)
    ada.get_by_role("button", name="Camera on").click()
    expect_moving(grace, 2)

    ada.get_by_role("button", name="Settings").click()
    ada.get_by_role("dialog").get_by_role("textbox", name="Your name").fill("Ada Lovelace")
    ada.get_by_role("button", name="Done").click()
    expect_people(grace, "Ada Lovelace", "Grace (you)")

    ada.get_by_role("button", name="Leave").click()
    expect(ada.get_by_role("heading", name="You left the room")).to_be_focused()
    expect_people(grace, "Grace (you)")
    ada.get_by_role("button", name="Come back").click()
    ada.get_by_role("button", name="Enter the room").click()
    expect_moving(grace, 2)


def test_three_are_in_a_room_and_one_closes_the_page(people: People, room: str) -> None:
    pages = [enter(people, room, name) for name in ("Ada", "Grace", "Hedy")]
    for page in pages:
        expect_moving(page, 3)
    pages[1].close()
    for page in (pages[0], pages[2]):
        expect_people(page, "Ada", "Hedy")
        expect_moving(page, 2)


def test_what_is_written_reaches_everybody_as_it_is(people: People, room: str) -> None:
    ada, grace = enter(people, room, "<b>Ada</b>"), enter(people, room, "Grace")
    expect_people(ada, "<b>Ada</b>", "Grace")
    expect_people(grace, "<b>Ada</b>", "Grace")
    ada.get_by_role("button", name="Chat").click()
    expect(ada.get_by_role("textbox", name="Message to everybody")).to_be_focused()
    markup = '<img src=x onerror="document.title=1">'
    for text in (markup, "  ", "second"):
        ada.keyboard.type(text)
        ada.keyboard.press("Enter")
    expect(grace.get_by_role("button", name="Chat 2 new")).to_be_visible()
    grace.get_by_role("button", name="Chat").click()
    expect(grace.locator(".message-text")).to_have_text([markup, "second"])
    expect(grace.locator(".message-head strong")).to_have_text(["<b>Ada</b>"] * 2)
    expect(grace.get_by_role("button", name=re.compile("new"))).to_have_count(0)
    assert grace.locator(".room").locator("img, b").count() == 0
    grace.keyboard.press("Escape")
    expect(grace.get_by_role("button", name="Chat")).to_be_focused()


def test_a_screen_is_shown_large_to_the_others(people: People, room: str) -> None:
    ada, grace = enter(people, room, "Ada"), enter(people, room, "Grace")
    expect_moving(grace, 2)
    ada.get_by_role("button", name="Share screen").click()
    shown = tile(grace, "Ada")
    expect(shown).to_contain_text("shows a screen")
    until(lambda: width(shown) > 2 * width(tile(grace, "Grace")), "the screen is not large")
    expect_moving(grace, 2)
    ada.get_by_role("button", name="Stop sharing").click()
    expect(shown).not_to_contain_text("shows a screen")
    expect_moving(grace, 2)


def width(element: object) -> float:
    box = element.bounding_box()  # type: ignore[attr-defined]
    return float(box["width"])


def connections(page: Page) -> None:
    """Count the media connections that a page makes."""
    page.add_init_script("""
        window.made = [];
        window.RTCPeerConnection = class extends RTCPeerConnection {
          constructor(...given) { super(...given); window.made.push(this); }
        };
    """)


def test_media_go_on_while_the_signalling_is_lost_and_comes_back(
    people: People, line: Line, room: str
) -> None:
    grace = enter(people, room, "Grace")
    ada = people.open("/rooms/", line.url)
    sockets: list[WebSocket] = []
    ada.on("websocket", lambda socket: sockets.append(socket))
    for page in (ada, grace):
        connections(page)
    ada.goto(line.url + room)
    ada.get_by_role("textbox", name="Your name").fill("Ada")
    expect(ada.get_by_role("button", name="Camera off")).to_be_enabled()
    ada.get_by_role("button", name="Enter the room").click()
    expect_moving(ada, 2)
    expect_moving(grace, 2)

    line.cut()
    expect(ada.locator("[data-state]")).to_have_text("Reconnecting")
    expect(tile(grace, "Ada")).to_contain_text("Reconnecting")
    expect_moving(ada, 2)
    expect_moving(grace, 2)
    ada.get_by_role("button", name="Chat").click()
    ada.keyboard.type("lost?")
    ada.keyboard.press("Enter")
    expect(ada.get_by_text("Not sent")).to_be_visible()

    line.mend()
    expect(ada.get_by_text("2 people")).to_be_visible()
    expect(tile(grace, "Ada")).not_to_contain_text("Reconnecting")
    expect_moving(ada, 2)
    expect_moving(grace, 2)
    assert len(sockets) > 1
    assert ada.evaluate("made.map(({ connectionState }) => connectionState)") == ["connected"]
    # It is known under its new id: what is told to it arrives.
    ada.keyboard.press("Enter")
    grace.get_by_role("button", name="Chat").click()
    expect(grace.locator(".message-text")).to_have_text(["lost?"])
    grace.keyboard.type("here")
    grace.keyboard.press("Enter")
    expect(ada.locator(".message-text")).to_have_text(["lost?", "here"])


def test_media_go_on_while_the_server_starts_again(
    people: People, site: ServerProcess, room: str
) -> None:
    pages = [people.open("/rooms/") for _ in range(3)]
    for number, page in enumerate(pages):
        connections(page)
        page.goto(site.url + room)
        page.get_by_role("textbox", name="Your name").fill(f"Person {number}")
        expect(page.get_by_role("button", name="Camera off")).to_be_enabled()
        page.get_by_role("button", name="Enter the room").click()
    for page in pages:
        expect_moving(page, 3)
    site.kill()
    for page in pages:
        expect(page.locator("[data-state]")).to_have_text("Reconnecting")
    site.start()
    for page in pages:
        page.evaluate("dispatchEvent(new Event('online'))")
    for page in pages:
        expect(page.get_by_text("3 people")).to_be_visible()
        expect(page.locator(".tile-status")).to_have_text(["", "", ""])
        expect_moving(page, 3)
        assert page.evaluate("made.map((one) => one.connectionState)") == ["connected"] * 2


def test_who_refuses_camera_and_microphone_is_told_what_to_do_and_comes_in(
    strangers: People, people: People, room: str
) -> None:
    ada = strangers.open(room)
    trouble = ada.locator(".lobby .trouble-card:visible")
    expect(trouble).to_contain_text("This page may not use your camera and microphone.")
    expect(trouble).to_contain_text("allow it there, then try again")
    ada.get_by_role("button", name="Enter the room").click()
    grace = enter(people, room, "Grace")
    expect(tile(grace, "Guest")).to_contain_text("microphone off, camera off")
    expect_moving(ada, 1)
    ada.get_by_role("button", name="Camera on").click()
    expect(ada.get_by_role("dialog")).to_contain_text("This page may not use your camera")
    ada.context.grant_permissions(["camera", "microphone"])
    ada.get_by_role("button", name="Try again").click()
    ada.get_by_role("button", name="Done").click()
    expect_moving(grace, 2)


def test_who_allows_the_microphone_alone_has_it(strangers: People, room: str) -> None:
    page = strangers.open(room, permissions=["microphone"])
    trouble = page.locator(".lobby .trouble-card:visible")
    expect(trouble).to_contain_text("This page may not use your camera.")
    expect(page.get_by_role("button", name="Mute")).to_be_enabled()
    expect(trouble).to_have_count(1)
