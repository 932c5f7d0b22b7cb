"""Pages in German, as a person sees them whose browser asks for it."""

from typing import Any

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from tests.browser.conftest import People
from tests.rig import catalogues

WIDTHS = (360, 1280)

#: Every text that is shown, in shadow roots too, and every name that is read out.
SHOWN = """() => {
  const found = [];
  const visit = (root) => {
    for (const element of root.querySelectorAll("*")) {
      if (!element.checkVisibility() || element.matches("script, style, code, textarea")) continue;
      for (const name of ["aria-label", "placeholder", "title"]) {
        if (element.hasAttribute(name)) found.push(element.getAttribute(name));
      }
      for (const node of element.childNodes) if (node instanceof Text) found.push(node.data);
      if (element.shadowRoot) visit(element.shadowRoot);
    }
  };
  visit(document);
  return found.map((text) => text.trim()).filter(Boolean);
}"""

#: Whatever is wider than what it stands in.
TOO_WIDE = """() => {
  const found = [];
  const visit = (root) => {
    for (const element of root.querySelectorAll("*")) {
      if (!element.checkVisibility() || element.closest(".visually-hidden, .spoken, svg")) continue;
      const { clientWidth, scrollWidth } = element;
      const isField = element.matches("textarea, input, select, option, pre, html");
      const isWide = clientWidth && scrollWidth > clientWidth + 1;
      if (isWide && !isField) found.push(element.outerHTML.slice(0, 200));
      if (element.shadowRoot) visit(element.shadowRoot);
    }
  };
  visit(document);
  const { scrollWidth, clientWidth } = document.documentElement;
  return scrollWidth > clientWidth ? ["the page", ...found] : found;
}"""

SCRIPTS = 'globalThis[Symbol.for("broadcast.words")].de'


def english_of(page: Page) -> set[str]:
    """Texts of pages and scripts that are others in German."""
    entries = [entry for path in catalogues.CATALOGUES for entry in catalogues.read(path)]
    of_pages = {one.message.english for one in entries if one.message.english not in one.forms}
    words: dict[str, Any] = page.evaluate(SCRIPTS)
    return of_pages | {english for english, german in words.items() if english != german}


def texts_of(page: Page) -> list[str]:
    found: list[str] = page.evaluate(SHOWN)
    return found


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    ("path", "place", "words"),
    [
        ("/", "[data-listeners]", "0 Hörer"),
        ("/streams/news/", "broadcast-listener .label", "Verbunden"),
        ("/streams/news/studio/", ".on-air strong", "Auf Sendung"),
        ("/rooms/", "h1", "Räume"),
        ("/rooms/harbour/", "[data-switch=microphone] [data-words]", "Ton aus"),
        ("/streams/news/embed/", "broadcast-listener .label", "Verbunden"),
        ("/vote/", "h1", "Was sollen wir an Bord servieren?"),
    ],
)
def test_a_page_in_german_has_no_english_texts_and_none_is_too_long(
    people: People, path: str, place: str, words: str, width: int
) -> None:
    size: ViewportSize = {"width": width, "height": 900}
    page = people.open(path, locale="de-DE", viewport=size)
    expect(page.locator(place).first).to_have_text(words)
    assert [text for text in texts_of(page) if text in english_of(page)] == []
    assert page.evaluate(TOO_WIDE) == []


def test_a_call_in_german(people: People) -> None:
    size: ViewportSize = {"width": 360, "height": 700}
    ada = people.open("/rooms/harbour/", locale="de-DE", viewport=size)
    ada.get_by_role("button", name="Raum betreten").click()
    expect(ada.locator("[data-state]").first).to_have_text("Nur Sie")
    assert [text for text in texts_of(ada) if text in english_of(ada)] == []
    assert ada.evaluate(TOO_WIDE) == []
    ben = people.open("/rooms/harbour/", locale="en-GB")
    ben.get_by_role("button", name="Enter the room").click()
    expect(ada.locator("[data-state]").first).to_have_text("2 Personen")
    expect(ben.locator("[data-state]").first).to_have_text("2 people")
