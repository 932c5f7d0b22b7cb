"""A stream in a page of a project, of another site, in a frame: who hears it, and who does not."""

import re
from pathlib import Path
from urllib.request import urlopen

import pytest
from playwright.sync_api import expect

from tests.browser.colours import contrast
from tests.browser.conftest import People
from tests.browser.embedding.elsewhere import (
    PREFIX,
    Elsewhere,
    Publish,
    detail,
    element,
    frame,
    publications,
    state,
)
from tests.rig import documents
from tests.rig.documents import blocks
from tests.rig.processes import PATIENCE, ServerProcess

#: What a browser says of a page that may not be shown in a frame, and of one that says no.
REFUSED_FRAME = re.compile("^(Refused to (display|frame)|Framing) ")
STATUS = re.compile(r"^Failed to load resource: the server responded with a status of 4\d\d")


# -- pages with and without Django ----------------------------------------------------------


def test_a_page_below_a_prefix_has_its_socket_there(people: People, home: str) -> None:
    page = people.open("/vote/", home)
    expect(page.locator("body")).to_have_attribute("data-socket-state", "open")
    page.get_by_role("radio", name="Tea").check()
    page.get_by_role("button", name="Vote").click()
    expect(page.get_by_text("Thank you.")).to_be_visible()
    expect(page.get_by_text("Votes so far")).to_have_text("Votes so far: 1")


def test_the_tag_puts_working_listeners_into_a_page_of_a_project(
    people: People, home: str, site: ServerProcess, slug: str, publish: Publish
) -> None:
    other = site.unused_stream()
    page = people.open(f"/page/{slug}/{other}/", home)
    first, second = page.locator("broadcast-listener").all()
    expect(first.locator(".label")).to_have_text("Live")
    expect(second.locator(".label")).to_have_text("Connected")
    publish("Ferry leaves at nine", {"ships": 3})
    expect(publications(first)).to_have_count(2)
    expect(publications(first).first).to_have_text("Ferry leaves at nine")
    expect(publications(second)).to_have_count(0)
    assert page.locator("script").count() == 1


def test_the_example_of_the_documentation_works_in_a_page_of_a_site_that_is_allowed(
    people: People, home: str, friend: Elsewhere, slug: str, publish: Publish
) -> None:
    _, example, _ = blocks(documents.page("how-to/embed"), "html")
    example = example.replace("http://127.0.0.1:8000", home).replace("/demo/", f"/{slug}/")
    page = people.open(friend.page(example), friend.origin)
    expect(state(page)).to_have_text("Live")
    publish({"headline": "Ferry leaves at nine"})
    expect(page.locator("broadcast-listener b")).to_have_text("Ferry leaves at nine")


def test_a_page_of_a_site_that_is_not_allowed_is_told_so_in_words(
    people: People, home: str, stranger: Elsewhere, slug: str
) -> None:
    page = people.open(stranger.page(element(home, slug)), stranger.origin)
    expect(state(page)).to_have_text("Reconnecting")
    expect(detail(page)).to_contain_text(f"does not let in pages of {stranger.origin}")


def test_who_may_not_hear_is_told_by_the_element(
    people: People, home: str, site: ServerProcess, friend: Elsewhere
) -> None:
    told = {
        site.unused_stream("private"): "You may not listen here.",
        site.unused_stream("closed"): "The stream was closed.",
        "none": "There is no such stream.",
    }
    body = "".join(element(home, slug) for slug in told)
    page = people.open(friend.page(body), friend.origin)
    expect(state(page)).to_have_text(["Disconnected"] * 3)
    expect(detail(page)).to_have_text(list(told.values()))
    expect(page.get_by_role("button", name="Try again")).to_have_count(3)
    expect(page.locator("broadcast-listener .note")).to_have_count(0)


def test_the_address_may_be_absolute_or_relative(
    people: People, home: str, friend: Elsewhere, slug: str, publish: Publish
) -> None:
    host = home.removeprefix("http:")
    body = "".join(
        element(home, slug, src=f"{start}/ws/listener/{slug}/")
        for start in (f"ws:{host}", f"http:{host}", host, PREFIX, "..")
    )
    page = people.open(friend.page(f'<base href="{home}/any/">{body}'), friend.origin)
    expect(state(page)).to_have_text(["Live"] * 5)


# -- frames ---------------------------------------------------------------------------------


def test_a_stream_is_heard_in_a_frame_of_any_site(
    people: People, home: str, stranger: Elsewhere, slug: str, publish: Publish
) -> None:
    page = people.open(stranger.page(frame(home, f"/streams/{slug}/embed/")), stranger.origin)
    inside = page.frame_locator("iframe")
    expect(state(inside)).to_have_text("Live")
    publish("Ferry leaves at nine")
    expect(publications(inside)).to_have_text(["Ferry leaves at nine"])
    expect(publications(inside).first).to_be_in_viewport()


def test_the_frame_of_the_documentation_works_in_a_page_of_any_site(
    people: People, home: str, stranger: Elsewhere, slug: str, publish: Publish
) -> None:
    _, _, example = blocks(documents.page("how-to/embed"), "html")
    example = example.replace("http://127.0.0.1:8000", home).replace("/demo/", f"/{slug}/")
    page = people.open(stranger.page(example), stranger.origin)
    inside = page.frame_locator("iframe")
    expect(state(inside)).to_have_text("Live")
    publish("Ferry leaves at nine")
    expect(publications(inside)).to_have_text(["Ferry leaves at nine"])


def test_the_player_of_the_documentation_has_the_place_of_a_picture_elsewhere(
    people: People, home: str, site: ServerProcess, friend: Elsewhere
) -> None:
    (example,) = blocks(documents.page("how-to/video"), "html")
    example = example.replace("http://127.0.0.1:8000", home)
    example = example.replace("/cam/", f"/{site.unused_stream('film')}/")
    page = people.open(friend.page(example), friend.origin)
    expect(page.locator("broadcast-listener video")).to_be_visible()
    expect(state(page)).to_have_text("Waiting for the streamer")


def test_a_token_goes_from_the_frame_to_the_socket_as_a_protocol_and_nowhere_else(
    people: People, home: str, stranger: Elsewhere, slug: str, publish: Publish
) -> None:
    page = people.open("/", home)
    protocols: list[str] = []
    asked: list[tuple[str, str]] = []
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    page.on(
        "request",
        lambda request: asked.append((request.url, request.headers.get("referer", ""))),
    )
    page.on("websocket", lambda socket: asked.append((socket.url, "")))
    session.on(
        "Network.webSocketWillSendHandshakeRequest",
        lambda event: protocols.append(
            event["request"]["headers"].get("Sec-WebSocket-Protocol", "")
        ),
    )
    address = f"{home}/streams/{slug}/embed/?token=a.b-c"
    page.goto(address)
    expect(state(page)).to_have_text("Live")
    assert protocols == ["broadcast.v1, token.a.b-c"]
    # What the page before it still asked for may come first.
    others = [one for one in asked if one[0] != address]
    assert len(others) > 3
    assert not [url for url, referer in others if "a.b-c" in url + referer]


def test_a_private_stream_is_heard_elsewhere_with_a_token(
    people: People, home: str, site: ServerProcess, friend: Elsewhere, stranger: Elsewhere
) -> None:
    slug = site.unused_stream("private")
    with urlopen(f"{home}/token/{slug}/", timeout=PATIENCE) as response:
        token = response.read().decode()
    page = people.open(friend.page(element(home, slug, token=token)), friend.origin)
    expect(state(page)).to_have_text("Connected")
    body = frame(home, f"/streams/{slug}/embed/?token={token}")
    page = people.open(stranger.page(body), stranger.origin)
    expect(state(page.frame_locator("iframe"))).to_have_text("Connected")


def test_what_cannot_be_heard_is_told_in_the_frame(
    people: People, home: str, site: ServerProcess, stranger: Elsewhere
) -> None:
    told = {
        site.unused_stream("private"): "You may not listen here",
        site.unused_stream("closed"): "The stream was closed",
        "none": "There is no such stream",
    }
    body = "".join(frame(home, f"/streams/{slug}/embed/") for slug in told)
    page = people.open(stranger.page(body), stranger.origin)
    for number, words in enumerate(told.values()):
        inside = page.frame_locator("iframe").nth(number)
        expect(inside.get_by_role("heading")).to_have_text(words)
    people.errors = [error for error in people.errors if not STATUS.match(error)]


def test_no_other_page_may_be_shown_in_a_frame(
    people: People, home: str, stranger: Elsewhere, slug: str
) -> None:
    page = people.open(stranger.page(""), stranger.origin)
    for path in ("/", f"/streams/{slug}/", f"/streams/{slug}/studio/"):
        with page.expect_console_message(lambda message: bool(REFUSED_FRAME.match(message.text))):
            page.goto(stranger.origin + stranger.page(frame(home, path)))
        expect(page.frame_locator("iframe").get_by_text("Broadcast")).to_have_count(0)
    people.errors = [error for error in people.errors if not REFUSED_FRAME.match(error)]


# -- as they are offered and seen


@pytest.mark.parametrize("clipboard", [True, False], ids=["clipboard", "no clipboard"])
def test_the_watch_page_has_the_code_to_copy(
    people: People, home: str, stranger: Elsewhere, slug: str, publish: Publish, clipboard: bool
) -> None:
    page = people.open(f"/streams/{slug}/", home, permissions=["clipboard-read", "clipboard-write"])
    if not clipboard:
        page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error()) }")
    page.get_by_text("Embed this stream").click()
    page.get_by_role("button", name="Copy the frame").click()
    told = page.locator("[data-copied]")
    if clipboard:
        expect(told).to_have_text("Copied.")
        copied = page.evaluate("() => navigator.clipboard.readText()")
    else:
        expect(told).to_contain_text("press Ctrl+C")
        copied = page.evaluate("() => getSelection().toString()")
    # And it works where it is put.
    other = people.open(stranger.page(copied), stranger.origin)
    expect(state(other.frame_locator("iframe"))).to_have_text("Live")


@pytest.mark.parametrize(("scheme", "width"), [("light", 320), ("dark", 1200)])
def test_a_frame_fits_and_is_readable(
    people: People,
    home: str,
    stranger: Elsewhere,
    slug: str,
    publish: Publish,
    tmp_path: Path,
    scheme: str,
    width: int,
) -> None:
    viewport = {"width": width, "height": 420}
    page = people.open(
        f"/streams/{slug}/embed/?theme={scheme}",
        home,
        viewport=viewport,
        color_scheme="light" if scheme == "dark" else "dark",
    )
    expect(state(page)).to_have_text("Live")
    publish("A word that does not end: " + "x" * 500, {"headline": "Harbour closed", "ships": 3})
    expect(publications(page)).to_have_count(2)
    page.screenshot(path=tmp_path / f"embed-{scheme}-{width}.png")
    size = page.evaluate(
        "() => [document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
    )
    assert size == [width, 420]
    assert contrast(page, "h1") >= 7


def test_a_page_of_an_allowed_site_uses_the_api_and_that_of_another_does_not(
    people: People, home: str, friend: Elsewhere, stranger: Elsewhere, slug: str
) -> None:
    use = """async (url) => {
      try {
        const headers = { "Content-Type": "application/json", "Idempotency-Key": "k" };
        const posted = await fetch(url, { method: "POST", headers, body: '{"tea": 1}' });
        const read = await fetch(url);
        return [posted.status, (await read.json()).publications.map(({ data }) => data)];
      } catch (error) {
        return error.name;
      }
    }"""
    url = f"{home}/api/streams/{slug}/publications/"
    answers = {}
    for site in (friend, stranger):
        page = people.browser.new_page()
        page.goto(site.origin + site.page(""))
        answers[site.origin] = page.evaluate(use, url)
        page.close()
    assert answers == {friend.origin: [201, [{"tea": 1}]], stranger.origin: "TypeError"}
