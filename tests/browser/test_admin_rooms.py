"""Rooms in the admin in a real browser: who is inside is shown as it changes, and removed."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.browser.conftest import People
from tests.rig.processes import ServerProcess

SETUP = """
from django.contrib.auth.models import User
from broadcast.models import Room
User.objects.create_superuser("admin", password="secret")
Room.objects.create(room_id="standup", title="Stand-up")
"""


@pytest.fixture(autouse=True)
def _a_room(site: ServerProcess) -> None:
    done = site.manage("shell", "-v0", "-c", SETUP)
    assert done.returncode == 0, done.stderr


def open_list(people: People) -> Page:
    page = people.open("/admin/login/?next=/admin/broadcast/room/")
    page.fill("#id_username", "admin")
    page.fill("#id_password", "secret")
    page.click("[type=submit]")
    expect(page.locator("[data-socket]")).to_have_attribute("data-state", "current")
    return page


@contextmanager
def enter(site: ServerProcess, **status: Any) -> Iterator[ClientConnection]:
    with connect(f"{site.ws}/ws/signaling/", proxy=None) as socket:
        socket.send(json.dumps({"event": "join_room", "room_id": "standup", "status": status}))
        assert json.loads(socket.recv(10))["event"] == "joined_room"
        yield socket


def test_a_room_is_watched_and_somebody_removed(people: People, site: ServerProcess) -> None:
    page = open_list(people)
    row = page.locator("#result_list tbody tr")
    expect(row.locator("[data-figure=inside]")).to_have_text("0")
    with enter(site, name="<b>Ada</b>", user_agent="chrome") as ada, enter(site) as guest:
        assert json.loads(ada.recv(10))["event"] == "new_peer"
        expect(row.locator("[data-figure=inside]")).to_have_text("2")
        page.get_by_role("link", name="Stand-up").click()
        rows = page.locator("[data-connections] tr")
        expect(rows).to_have_count(2)
        expect(rows.nth(0)).to_contain_text("<b>Ada</b>")
        expect(rows.nth(0)).to_contain_text("chrome")
        expect(page.locator("[data-figure=peak]")).to_have_text("2")
        guest.send(json.dumps({"event": "update_status", "status": {"name": "Bob"}}))
        expect(rows.nth(1)).to_contain_text("Bob")
        for width in (1280, 360):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        remove = rows.nth(1).get_by_role("button", name="Remove Bob")
        page.once("dialog", lambda dialog: dialog.dismiss())
        remove.click()
        page.once("dialog", lambda dialog: dialog.accept())
        remove.click()
        expect(rows).to_have_count(1)
        for event in ("peer_updated_status", "peer_left"):
            assert json.loads(ada.recv(10))["event"] == event
        page.get_by_role("button", name="Close, and send everybody away").click()
        page.get_by_role("button", name="Close, and send everybody away").click()
        expect(page.locator("[data-more]")).to_have_text("Nobody.")
        with pytest.raises(ConnectionClosed, match="4510"):
            while True:
                ada.recv(10)
