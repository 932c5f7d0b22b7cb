"""Whoever else speaks the protocol: palava's own client, unmodified, and a stack in Python."""

import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import People
from tests.browser.rooms.conftest import enter, expect_moving, expect_people, tile, until
from tests.browser.rooms.robot import Robot
from tests.rig.processes import ROOT, Installation, ServerProcess

PALAVA = ROOT / "tests" / "palava"
BUNDLE = ROOT / ".tests-clients/palava/node_modules/palava-client/palava.bundle.js"


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def palava(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a page with palava's client, at a port of its own."""
    done = subprocess.run([PALAVA / "install"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    directory = tmp_path_factory.mktemp("palava")
    for file in (BUNDLE, PALAVA / "page.html"):
        shutil.copy(file, directory)
    handler = partial(Silent, directory=str(directory))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}/page.html"
        server.shutdown()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ServerProcess]]:
    """Two servers on one Redis."""
    with Installation(tmp_path_factory.mktemp("both")) as installation:
        yield installation.servers
        for server in installation.servers:
            server.assert_clean_log()


def use_palava(people: People, palava: str, site: ServerProcess, room: str, name: str) -> Page:
    """Somebody in the room with palava's client."""
    query = {"room": room.split("/")[2], "name": name, "address": f"{site.ws}/ws/signaling/"}
    page = people.open(f"?{urlencode(query)}", palava)
    until(lambda: page.evaluate("told.length"), "palava's client is not in the room")
    return page


def test_clients_of_palava_meet(
    people: People, palava: str, site: ServerProcess, room: str
) -> None:
    meet(people, palava, site, site, room)


def test_clients_of_palava_meet_on_two_servers(
    people: People, palava: str, both: list[ServerProcess], room: str
) -> None:
    meet(people, palava, *both, room)


def meet(people: People, palava: str, here: ServerProcess, there: ServerProcess, room: str) -> None:
    """Two see each other, a new name, and the other leave."""
    ada = use_palava(people, palava, here, room, "Ada")
    grace = use_palava(people, palava, there, room, "Grace")
    for page, other in ((ada, "Grace"), (grace, "Ada")):
        expect_people(page, other)
        expect_moving(page, 1)
    ada.evaluate("session.getRoom().getLocalPeer().updateStatus({ name: 'Ada Lovelace' })")
    expect_people(grace, "Ada Lovelace")
    ada.evaluate("session.destroy()")
    expect_people(grace)


def test_our_page_meets_clients_of_palava_that_were_there_before_and_that_come_later(
    people: People, palava: str, site: ServerProcess, room: str
) -> None:
    before = use_palava(people, palava, site, room, "Grace")
    ours = enter(people, room, "Ada")
    later = use_palava(people, palava, site, room, "Hedy")
    expect_people(ours, "Ada (you)", "Grace", "Hedy")
    expect_moving(ours, 3)
    for page, other in ((before, "Hedy"), (later, "Grace")):
        expect_people(page, "Ada", other)
        expect_moving(page, 2)

    before.evaluate("session.getRoom().getLocalPeer().updateStatus({ name: 'Grace Hopper' })")
    expect_people(ours, "Ada (you)", "Grace Hopper", "Hedy")
    before.evaluate("session.getRoom().getRemotePeers()[0].sendMessage('from palava')")
    ours.get_by_role("button", name="Chat").click()
    expect(ours.locator(".message-text")).to_have_text(["from palava"])
    ours.keyboard.type("to palava")
    ours.keyboard.press("Enter")
    for page in (before, later):
        until(lambda page=page: ["message", "to palava"] in page.evaluate("told"), "none came")

    before.evaluate("session.destroy()")
    expect_people(ours, "Ada (you)", "Hedy")


@pytest.mark.parametrize("user_agent", ["chrome", "unknown"])
def test_a_stack_in_python_and_our_page_exchange_pictures_and_words(
    people: People, site: ServerProcess, room: str, user_agent: str
) -> None:
    ada = enter(people, room, "Ada")
    # The robot calls those it finds inside.
    expect(ada.locator("[data-connection=joined]")).to_have_count(1)
    with Robot(site.ws, room.split("/")[2], user_agent) as robot:
        expect_people(ada, "Ada (you)", "Robot")
        expect_moving(ada, 2)
        expect(tile(ada, "Robot")).to_contain_text("microphone off")
        until(lambda: len(robot.frames) == 10 and robot.said, "the robot sees and hears nothing")
        assert [message["event"] for message in robot.said[:2]] == ["here", "sending"]
        assert robot.said[0]["peer_id"] == robot.other
    expect_people(ada, "Ada (you)")
