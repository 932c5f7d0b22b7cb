"""`<broadcast-listener>`: what a page does with it, and what a person does."""

import re

from playwright.sync_api import WebSocket, expect

from tests.browser.conftest import Line, People
from tests.browser.embedding.elsewhere import (
    PREFIX,
    Elsewhere,
    Publish,
    detail,
    element,
    open_element,
    publications,
    state,
)
from tests.rig.documents import blocks, page
from tests.rig.processes import ServerProcess

#: Notes the events of all listeners of a page, as they bubble.
NOTE_EVENTS = """() => {
  window.noted = [];
  for (const name of ["publication", "state", "joined"]) {
    document.addEventListener(name, ({ target, detail }) =>
      noted.push([name, target.localName, { ...detail, data: String(detail.data) }]));
  }
}"""


def test_events_bubble_and_say_what_came_and_how_it_stands(
    people: People, home: str, friend: Elsewhere, slug: str, publish: Publish
) -> None:
    page = open_element(people, home, friend, slug)
    page.evaluate(NOTE_EVENTS)
    publish("text", {"a": 1}, b"\x00\xff")
    expect(publications(page)).to_have_count(3)
    noted = page.evaluate("() => noted")
    assert [(name, target) for name, target, _ in noted] == [
        ("publication", "broadcast-listener")
    ] * 3
    assert [detail for _, _, detail in noted] == [
        {"offset": 1, "data": "text", "kind": "text", "header": False},
        {"offset": 2, "data": "[object Object]", "kind": "json", "header": False},
        {"offset": 3, "data": "0,255", "kind": "binary", "header": False},
    ]
    page.evaluate(
        "() => { noted.length = 0; document.querySelector('broadcast-listener').close(); }"
    )
    ((name, _, detail),) = page.evaluate("() => noted")
    assert (name, detail["name"], detail["label"]) == ("state", "closed", "Closed")
    assert detail["text"] == "This listener was closed."


def test_what_a_page_shows_itself_is_not_shown_twice(
    people: People, home: str, friend: Elsewhere, slug: str, publish: Publish
) -> None:
    page = open_element(people, home, friend, slug)
    page.evaluate(
        """() => document.addEventListener("publication", (event) => {
          if (event.detail.data.startsWith("own")) event.preventDefault();
        })"""
    )
    publish("own 1", "shown", "own 2", "shown too")
    expect(publications(page)).to_have_text(["shown", "shown too"])


def test_it_speaks_the_language_of_the_page_elsewhere_whose_words_are_there(
    people: People, home: str, friend: Elsewhere, slug: str, publish: Publish
) -> None:
    words = f'<script type="module" src="{home}/static/broadcast/words/de.js"></script>'
    for body in (
        words + element(home, slug, lang="de"),
        f'{words}<div lang="de-AT">{element(home, slug)}</div>',
    ):
        page = people.open(friend.page(body), friend.origin)
        expect(detail(page)).to_have_text("Alles erscheint hier, sobald es gesendet wird.")
        expect(page.get_by_role("button", name="Liste anhalten")).to_be_visible()
    for body in (words + element(home, slug), element(home, slug, lang="de")):
        page = people.open(friend.page(body), friend.origin)
        expect(detail(page)).to_have_text("Everything appears here as it is sent.")


def test_it_speaks_the_language_of_the_page_elsewhere_as_documented(
    people: People, home: str, friend: Elsewhere, slug: str
) -> None:
    (block,) = blocks(page("how-to/languages"), "html")
    body = block.replace("ws://", "").replace("http://127.0.0.1:8000", home).replace("demo", slug)
    window = people.open(friend.page(body), friend.origin)
    expect(window.locator("broadcast-listener")).to_have_attribute("lang", "de")
    expect(window.get_by_role("button", name="Liste anhalten")).to_be_visible()


HOSTILE = "<img src=x onerror='document.title=1'><script>document.title=1</script>&amp;"

TEMPLATE = """<template>
  <li class="card"><b data-field="headline"></b><i data-field="ship.name"></i><p data-text></p>
  <script data-text></script><em data-offset></em><time data-time></time></li>
</template><style>.card b { color: rgb(1, 2, 3) }</style>"""


def test_the_page_says_how_an_item_looks_and_hostile_content_stays_text(
    people: People, home: str, friend: Elsewhere, slug: str, publish: Publish
) -> None:
    page = open_element(people, home, friend, slug, TEMPLATE, limit="3")
    publish(
        "gone", {"headline": HOSTILE, "ship": {"name": HOSTILE}}, HOSTILE, b"\x89PNG" + bytes(996)
    )
    cards = page.locator("broadcast-listener > .card")
    expect(cards).to_have_count(3)
    field, text, binary = cards.all()
    expect(field.locator("b")).to_have_text(HOSTILE)
    expect(field.locator("i")).to_have_text(HOSTILE)
    expect(field.locator("b")).to_have_css("color", "rgb(1, 2, 3)")
    expect(text.locator("p")).to_have_text(HOSTILE)
    expect(text.locator("b")).to_have_text("")
    expect(binary.locator("p")).to_have_text("Image (image/png), 1,000 bytes")
    expect(binary.locator("em")).to_have_text("4")
    assert page.locator(".card img, .card script:not(:empty)").count() == 0
    assert page.title() == "Elsewhere"
    # It stands in the element's list, and in the order that it came in.
    tops = [card.bounding_box()["y"] for card in cards.all()]  # type: ignore[index]
    assert tops == sorted(tops)
    expect(binary).to_be_in_viewport()


def test_texts_begin_at_the_side_in_a_page_whose_texts_are_centred(
    people: People, home: str, friend: Elsewhere, slug: str, publish: Publish
) -> None:
    page = open_element(people, home, friend, slug, "<style>body { text-align: center }</style>")
    publish("text")
    for part in (state(page), publications(page)):
        expect(part).to_have_css("text-align", "start")


def test_an_element_can_be_moved_taken_out_and_put_in_again(
    people: People, home: str, friend: Elsewhere, slug: str, publish: Publish
) -> None:
    page = people.open(friend.page("<main></main><aside></aside>"), friend.origin)
    sockets: list[WebSocket] = []
    page.on("websocket", lambda socket: sockets.append(socket))
    page.goto(friend.origin + friend.page(f"<main>{element(home, slug)}</main><aside></aside>"))
    expect(state(page)).to_have_text("Live")
    publish("before")
    expect(publications(page)).to_have_text(["before"])
    page.evaluate(
        """() => {
          window.listener = document.querySelector("broadcast-listener");
          document.querySelector("aside").append(listener);
        }"""
    )
    publish("moved")
    expect(publications(page)).to_have_text(["before", "moved"])
    assert len(sockets) == 1

    with sockets[0].expect_event("close"):
        page.evaluate("() => listener.remove()")
    assert page.evaluate("() => [listener.listener, listener.getAttribute('state')]") == [
        None,
        "closed",
    ]
    publish("while away")
    page.evaluate("() => document.querySelector('main').append(listener)")
    expect(publications(page)).to_have_text(["before", "moved", "while away"])
    assert len(sockets) == 2


def test_another_source_is_another_stream_and_a_token_with_it_connects_once(
    people: People, home: str, site: ServerProcess, friend: Elsewhere, slug: str, publish: Publish
) -> None:
    page = open_element(people, home, friend, slug)
    sockets: list[WebSocket] = []
    page.on("websocket", lambda socket: sockets.append(socket))
    publish("of the first stream")
    expect(publications(page)).to_have_count(1)
    other = site.unused_stream()
    page.evaluate(
        """(src) => {
          const listener = document.querySelector("broadcast-listener");
          listener.src = src;
          listener.token = "a.b-c";
        }""",
        f"{home}/ws/listener/{other}/",
    )
    expect(state(page)).to_have_text("Connected")
    expect(publications(page)).to_have_count(0)
    assert [socket.url for socket in sockets] == [
        f"{home}/ws/listener/{other}/".replace("http", "ws")
    ]
    page.evaluate("() => document.querySelector('broadcast-listener').removeAttribute('src')")
    expect(detail(page)).to_contain_text("src is missing")


def test_what_a_page_sets_before_the_element_is_there_counts(
    people: People, home: str, friend: Elsewhere, slug: str, publish: Publish
) -> None:
    publish("one", "two", "three")
    page = people.open(friend.page("<broadcast-listener></broadcast-listener>"), friend.origin)
    page.evaluate(
        """async ([src, module]) => {
          const listener = document.querySelector("broadcast-listener");
          Object.assign(listener, { src, history: 2 });
          await import(module);
        }""",
        [f"{home}/ws/listener/{slug}/", f"{home}/static/broadcast/element.js"],
    )
    expect(publications(page)).to_have_text(["two", "three"])
    assert page.evaluate("() => document.querySelector('broadcast-listener').position.offset") == 3
    expect(page.locator("broadcast-listener")).to_have_attribute("history", "2")


# -- people ---------------------------------------------------------------------------------


def test_a_paused_list_stands_still_and_goes_on_where_it_was(
    people: People, home: str, friend: Elsewhere, slug: str, publish: Publish
) -> None:
    page = open_element(people, home, friend, slug)
    pause = page.get_by_role("button", name="Pause the list")
    publish("before")
    expect(publications(page)).to_have_text(["before"])
    pause.press("Enter")
    expect(pause).to_have_attribute("aria-pressed", "true")
    publish("later 1", "later 2")
    expect(page.get_by_role("button", name="2 newer publications, paused")).to_be_visible()
    expect(publications(page)).to_have_text(["before"])
    pause.press("Enter")
    expect(publications(page)).to_have_text(["before", "later 1", "later 2"])
    expect(pause).to_have_attribute("aria-pressed", "false")


def test_200_publications_are_a_handful_of_sentences_to_a_screen_reader(
    people: People, home: str, friend: Elsewhere, slug: str, publish: Publish
) -> None:
    page = open_element(people, home, friend, slug)
    page.evaluate(
        """() => {
          const root = document.querySelector("broadcast-listener").shadowRoot;
          const spoken = root.querySelector("[role=status]");
          window.said = [];
          window.since = performance.now();
          new MutationObserver(() => said.push([performance.now() - since, spoken.textContent]))
            .observe(spoken, { childList: true, characterData: true, subtree: true });
          // Nothing else in it speaks by itself.
          const speaking = "[aria-live], [role=log], [role=alert], [role=status]";
          window.alive = root.querySelectorAll(speaking).length;
        }"""
    )
    for number in range(1, 201):
        publish(f"number {number}")
        if number % 20 == 0:
            expect(publications(page).last).to_have_text(f"number {number}")
    page.wait_for_function("() => said.at(-1)?.[1].endsWith('number 200')")
    said = page.evaluate("() => said")
    times = [time for time, _ in said]
    assert all(later - earlier > 4900 for earlier, later in zip(times, times[1:], strict=False))
    counted = [re.search(r"(\d+) new publications|number \d+$", words) for _, words in said]
    assert sum(int(found[1] or 1) for found in counted if found) == 200
    assert page.evaluate("() => alive") == 1


def test_a_page_elsewhere_that_was_cut_off_comes_back_and_has_missed_nothing(
    people: People, line: Line, friend: Elsewhere, slug: str, publish: Publish
) -> None:
    page = open_element(people, line.url + PREFIX, friend, slug, TEMPLATE)
    texts = page.locator(".card p")
    publish("before")
    expect(texts).to_have_text(["before"])
    line.cut()
    expect(state(page)).to_have_text("Reconnecting")
    expect(detail(page)).to_contain_text("The connection was lost.")
    publish("while away")
    line.mend()
    expect(texts).to_have_text(["before", "while away"])
    expect(page.locator("broadcast-listener .note")).to_have_text(
        ["Connected again. Nothing was lost."]
    )
