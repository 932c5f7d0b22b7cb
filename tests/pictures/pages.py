"""Pictures of the pages of the project: a stream, its studio, the admin, a call."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser, Page, expect
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.pictures.cameras import HARBOUR, LOOKS, open_with_camera, person
from tests.rig.launcher import ROOT
from tests.rig.processes import ServerProcess

SETUP = """
from django.contrib.auth.models import User
from broadcast.models import Stream
Stream.objects.setup()
Stream.objects.create(slug="cam", title="Harbour camera", kind="media", publishing="anyone")
User.objects.create_superuser("admin", password="sesame")
"""
#: What is published on the demo, as a streamer of `broadcast.v1` says it.
SAID = (
    '"Good morning, harbour."',
    '{"ferry": "Norderney", "leaves": "09:00", "cars": 42}',
    '"Wind from the west, 5 Beaufort, rising."',
    '"Gate 2 is open."',
)
CHAT = {
    "Grace": "Shall we begin? I have the figures.",
    "Katherine": "Yes. The notes are at https://example.org/notes",
    "Hedy": "I'll be muted, my neighbour is drilling.",
    "Ada": "Then let's start.",
}


def pages(browser: Browser) -> None:
    for make in (watch, admin, studio, room):
        with (
            TemporaryDirectory() as directory,
            ServerProcess("broadcast", Path(directory), SETUP) as server,
        ):
            make(browser, server)


def watch(browser: Browser, server: ServerProcess) -> None:
    page = open_page(browser, 1100, 640)
    with ExitStack() as ends:
        ends.enter_context(streamer(server))
        page.goto(f"{server.url}/streams/demo/")
        expect(page.locator("broadcast-listener .publication")).to_have_count(len(SAID))
        hear(server, ends, 3)
        expect(page.locator("[data-listeners]")).to_have_text("4 listeners")
        write(page, "watch.png")


def admin(browser: Browser, server: ServerProcess) -> None:
    page = open_page(browser, 1180, 800)
    page.goto(f"{server.url}/admin/login/?next=/admin/broadcast/stream/1/change/")
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill("sesame")
    page.get_by_role("button", name="Log in").click()
    with ExitStack() as ends:
        publish = ends.enter_context(streamer(server))
        hear(server, ends, 3)
        for data in SAID * 3:
            publish(data)
            page.wait_for_timeout(500)  # at this pace
        expect(page.locator("[data-connections] tr")).to_have_count(4)
        expect(page.locator('[data-figure="rate"]')).not_to_have_text("–")
        write(page, "admin.png")


def studio(browser: Browser, server: ServerProcess) -> None:
    page = open_with_camera(browser, HARBOUR, viewport={"width": 1200, "height": 1010})
    with ExitStack() as ends:
        page.goto(f"{server.url}/streams/cam/studio/")
        page.get_by_role("button", name="Start the broadcast").click()
        hear(server, ends, 2, "cam")
        expect(page.locator(".on-air strong")).to_have_text("On air")
        expect(page.locator("[data-listeners]")).to_have_text("2 listeners")
        expect(page.locator("[data-clock]")).to_have_text("0:05")
        page.locator("[data-level-words]", has_text="Heard").wait_for()
        write(page, "studio.png")


def room(browser: Browser, server: ServerProcess) -> None:
    members = {name: enter(browser, server, name) for name in LOOKS}
    for page in members.values():
        expect(page.locator(".tile")).to_have_count(len(members))
        expect(page.locator('.tile[data-camera="true"]')).to_have_count(len(members))
        page.get_by_role("button", name="Chat").click()
    for name, text in CHAT.items():
        members[name].get_by_role("textbox", name="Message to everybody").fill(text)
        members[name].keyboard.press("Enter")
        expect(members["Ada"].get_by_text(text)).to_be_visible()
    for name in ("Grace", "Hedy"):
        members[name].get_by_role("button", name="Mute").click()
    ada = members["Ada"]
    expect(ada.locator(".tile", has_text="microphone off")).to_have_count(2)
    write(ada, "room.png")


def enter(browser: Browser, server: ServerProcess, name: str) -> Page:
    page = open_with_camera(browser, person(name), viewport={"width": 1180, "height": 700})
    page.goto(f"{server.url}/rooms/stand-up/")
    page.get_by_role("textbox", name="Your name").fill(name)
    expect(page.get_by_role("button", name="Camera off")).to_be_enabled()
    page.get_by_role("button", name="Enter the room").click()
    expect(page.get_by_role("button", name="Leave")).to_be_visible()
    return page


def open_page(browser: Browser, width: int, height: int) -> Page:
    return browser.new_context(
        locale="en-GB", viewport={"width": width, "height": height}
    ).new_page()


@contextmanager
def streamer(server: ServerProcess) -> Iterator[Callable[[str], None]]:
    """Somebody has published all that is said, and is still there to publish more."""
    address = f"{server.ws}/ws/streamer/demo/"
    with connect(address, subprotocols=[Subprotocol("broadcast.v1")]) as socket:

        def publish(data: str) -> None:
            socket.send(f'{{"event": "publication", "data": {data}}}')

        for data in SAID:
            publish(data)
        yield publish


def hear(server: ServerProcess, ends: ExitStack, number: int, slug: str = "demo") -> None:
    """So many programs listen until `ends` closes."""
    for _ in range(number):
        listener: ClientConnection = connect(f"{server.ws}/ws/listener/{slug}/")
        ends.enter_context(listener)


def write(page: Page, name: str) -> None:
    page.screenshot(path=ROOT / "docs" / name)
    print(f"Wrote docs/{name}.")
    page.context.close()
