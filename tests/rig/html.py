"""Pages as a parser of HTML reads them, and what our policy asks of each."""

import re
from html.parser import HTMLParser

from django.http import HttpResponse

#: Attributes that lead to further pages.
LINKS = {"a": "href", "iframe": "src"}


class Page(HTMLParser):
    """What of a page is inline, and where it leads to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.inline: list[str] = []
        self.links: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        is_code = tag == "script" and given.get("type") != "application/json"
        if tag == "style" or is_code and "src" not in given:
            self.inline.append(f"<{tag}>")
        for name, value in given.items():
            if name == "style" or name.startswith("on"):
                self.inline.append(f"<{tag} {name}>")
            if re.match(r"\s*(javascript|data):", value, re.I) and tag != "img":
                self.inline.append(f"<{tag} {name}={value}>")
        if link := given.get(LINKS.get(tag, "")):
            self.links.add(link)


def assert_safe(response: HttpResponse) -> Page:
    """A page under our policy with nothing inline."""
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy and "unsafe" not in policy, policy
    assert "script-src" not in policy and "style-src" not in policy, policy
    permissions = response.headers["Permissions-Policy"]
    assert "camera=(self), microphone=(self), display-capture=(self)" in permissions
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    page = Page(response.content.decode())
    assert page.inline == []
    return page
