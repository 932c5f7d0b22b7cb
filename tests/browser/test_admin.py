"""The admin of streams in a real browser: it moves by itself, and things are done there."""

import json
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect
from websockets.sync.client import ClientConnection, connect

from tests.browser.conftest import Line, People
from tests.rig.processes import ServerProcess

ADMIN = """
from django.contrib.auth.models import User
User.objects.create_superuser("admin", password="secret")
"""


@pytest.fixture(autouse=True)
def _an_admin(site: ServerProcess) -> None:
    done = site.manage("shell", "-v0", "-c", ADMIN)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def streamer(site: ServerProcess) -> Iterator[ClientConnection]:
    with connect(f"{site.ws}/ws/streamer/news/", proxy=None) as streamer:
        yield streamer


def open_list(people: People, home: str = "") -> Page:
    page = people.open("/admin/login/?next=/admin/broadcast/stream/", home)
    page.fill("#id_username", "admin")
    page.fill("#id_password", "secret")
    page.click("[type=submit]")
    expect(page.locator("[data-socket]")).to_have_attribute("data-state", "current")
    return page


def open_stream(people: People, home: str = "") -> Page:
    page = open_list(people, home)
    page.get_by_role("link", name="Newsroom").click()
    expect(page.locator("[data-socket]")).to_have_attribute("data-state", "current")
    return page


def test_the_list_moves_by_itself(people: People, site: ServerProcess) -> None:
    page = open_list(people)
    row = page.locator("#result_list tbody tr").filter(has_text="Newsroom")
    expect(row.locator("[data-figure=live]")).to_have_text("idle")
    with connect(f"{site.ws}/ws/streamer/news/", proxy=None) as streamer:
        # It reads nothing, which would keep it from being closed.
        with connect(f"{site.ws}/ws/listener/news/", proxy=None, max_queue=None):
            expect(row.locator("[data-figure=live]")).to_have_text("live")
            expect(row.locator("[data-figure=since]")).to_have_text(re.compile(r"\(\d+ s\)"))
            expect(row.locator("[data-figure=listeners]")).to_have_text("1")
            for _ in range(50):
                streamer.send("x")
            expect(row.locator("[data-figure=rate]")).not_to_have_text(re.compile("^[–0]$"))
        expect(row.locator("[data-figure=listeners]")).to_have_text("0")
    expect(row.locator("[data-figure=live]")).to_have_text("idle")
    other = page.locator("#result_list tbody tr").filter(has_text="Closed circle")
    expect(other.locator("[data-figure=live]")).to_have_text("idle")


def test_the_list_says_when_its_figures_may_be_old(people: People, line: Line) -> None:
    page = open_list(people, line.url)
    line.cut()
    expect(page.locator("[data-socket]")).to_contain_text("may be old")
    line.mend()
    expect(page.locator("[data-socket]")).to_have_text("These figures move by themselves.")


def test_a_stream_s_page_shows_what_is_said_and_never_becomes_part_of_it(
    people: People, streamer: ClientConnection
) -> None:
    page = open_stream(people)
    streamer.send("<img src=x onerror=alert(1)>")
    streamer.send(b"\x89PNG\r\n\x1a\n" + bytes(2048))
    items = page.locator("[data-publications] li")
    expect(items).to_have_count(2)
    expect(items.nth(0)).to_contain_text("image/png, 2 KiB")
    expect(items.nth(1).locator("code")).to_have_text("<img src=x onerror=alert(1)>")
    expect(page.locator("[data-figure=offset]")).to_have_text("2")


def test_somebody_who_is_connected_is_removed(
    people: People, site: ServerProcess, streamer: ClientConnection
) -> None:
    page = open_stream(people)
    watch = people.open("/streams/news/")
    rows = page.locator("[data-connections] tr")
    expect(rows).to_have_count(2)
    rows.filter(has_text="listens").get_by_role("button", name="Remove").click()
    expect(rows).to_have_count(1)
    expect(watch.locator("body")).to_contain_text("A person removed this connection.")
    expect(rows).to_contain_text("publishes (plain)")


def test_a_message_is_published_and_a_stream_closed_from_its_page(
    people: People, site: ServerProcess
) -> None:
    page = open_stream(people)
    with connect(f"{site.ws}/ws/listener/news/", proxy=None) as listener:
        page.get_by_role("button", name="Publish a message").click()
        page.get_by_label("Message").fill("from the admin")
        page.get_by_role("button", name="Publish a message").click()
        assert listener.recv(10) == "from the admin"
        expect(page.locator("[data-publications] li").first).to_contain_text("from the admin")
        page.get_by_role("button", name="Close, and send everybody away").click()
        page.get_by_role("button", name="Close, and send everybody away").click()
        expect(page.get_by_role("button", name="Reopen")).to_be_visible()
        with pytest.raises(Exception, match="4510"):
            listener.recv(10)


def test_a_token_that_is_made_there_opens_a_private_stream(
    people: People, site: ServerProcess
) -> None:
    page = open_stream(people)
    page.get_by_label("Visibility").select_option("private")
    page.get_by_role("button", name="Save and continue editing").click()
    page.get_by_role("button", name="Make a new token").click()
    page.get_by_role("button", name="Make a new token").click()
    token = page.get_by_label("Token for Newsroom").input_value()
    with connect(
        f"{site.ws}/ws/listener/news/",
        subprotocols=["broadcast.v1", f"token.{token}"],  # type: ignore[list-item]
        proxy=None,
    ) as listener:
        assert json.loads(listener.recv(10))["event"] == "joined"
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == token


@pytest.mark.parametrize("width", [360, 1280])
def test_the_pages_fit(people: People, streamer: ClientConnection, width: int) -> None:
    page = open_stream(people)
    streamer.send("word " * 200)
    expect(page.locator("[data-publications] li code")).to_have_count(1)
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
