"""A language in which every translation stands between marks: what has none was not translated."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from django.utils import translation

BEGIN, END = "⟦", "⟧"
#: Attributes that people read or hear.
ATTRIBUTES = {
    *("alt", "aria-label", "placeholder", "title"),
    *("data-ask", "data-failed", "data-greeting", "data-socket-message"),
}
#: Elements of which nobody reads what is in them, or which have code.
SILENT = {"script", "style", "code", "textarea"}


def mark_translations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every translated text, Django's too, stand between marks."""
    for name, is_text in (("gettext", 0), ("ngettext", 0), ("pgettext", 1), ("npgettext", 1)):
        monkeypatch.setattr(translation._trans, name, _marked(is_text))  # type: ignore[attr-defined]


def _marked(place: int) -> Any:
    return lambda *texts: f"{BEGIN}{texts[place]}{END}"


class Texts(HTMLParser):
    """What a person reads of a page and was not translated."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.untranslated: list[str] = []
        self._depth = 0
        self._inside: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag in SILENT:
            self._inside.append(tag)
        given = dict(attributes)
        names = ATTRIBUTES | ({"value"} if given.get("type") in ("submit", "button") else set())
        for name in names & set(given):
            self._note(self._outside(given[name] or ""))

    def handle_endtag(self, tag: str) -> None:
        if self._inside and self._inside[-1] == tag:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if not self._inside:
            self._note(self._outside(data))

    def _outside(self, text: str) -> str:
        """What of a text stands outside of all marks; they may begin in one and end in another."""
        outside = ""
        for part in re.split(f"([{BEGIN}{END}])", text):
            if part in (BEGIN, END):
                self._depth += 1 if part == BEGIN else -1
            elif not self._depth:
                outside += part
        return outside

    def _note(self, text: str) -> None:
        self.untranslated += re.findall(r"[^\W\d_]{2,}", text)
