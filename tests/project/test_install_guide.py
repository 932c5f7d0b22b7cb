"""`docs/install.md` and the example say the same as the code; what they run is in `tests/wheel`."""

import re

import pytest

from tests.rig.documents import blocks
from tests.rig.installed import FILE, GUIDE, commands
from tests.rig.launcher import ROOT

CSS = ROOT / "static/broadcast"
EXAMPLE = ROOT / "docs/example"


def test_every_block_is_a_file_of_the_project_or_is_looked_at_here() -> None:
    languages = re.findall(r"^```(\w+)$", GUIDE, re.M)
    assert len(FILE.findall(GUIDE)) == languages.count("python") + languages.count("html")
    assert set(languages) == {"python", "html", "sh", "css"}
    first, then = blocks(GUIDE, "sh")
    assert first == "pip install django-broadcast-live\n"
    # tests/wheel/test_servers.py does that.
    assert then == "python manage.py migrate\npython manage.py runserver\n"
    assert "runserver" in commands()


def test_the_properties_of_colours_are_those_of_the_style_sheet() -> None:
    (block,) = blocks(GUIDE, "css")
    named = set(re.findall(r"(--broadcast-[\w-]+):", block))
    named |= {f"--broadcast-{name}" for name in ("live", "warn", "good", "focus")}
    there = set(
        re.findall(r"(--broadcast-[\w-]+): light-dark", (CSS / "broadcast.css").read_text())
    )
    assert named == there


@pytest.mark.parametrize("name", ["broadcast.css", "rooms.css"])
def test_the_style_of_pages_reaches_nothing_that_is_around_them(name: str) -> None:
    text = re.sub(r"/\*.*?\*/", "", (CSS / name).read_text(), flags=re.S)
    outermost = set(re.findall(r"^([^\s}][^{}\n]*) \{$", text, re.M))
    assert outermost <= {":where(:root)", ".broadcast"} and ".broadcast" in outermost
    # Of the page there are names of custom properties alone.
    root = re.search(r"^:where\(:root\) \{(.*?)^\}", text, re.M | re.S)
    for line in root.group(1).split(";") if root else ():
        assert not line.strip() or line.strip().startswith("--broadcast-"), line


def test_every_page_is_within_the_class_of_its_style_and_adds_to_the_head_of_its_base() -> None:
    pages = [
        path
        for path in (ROOT / "templates").rglob("*.html")
        if '{% extends "broadcast/base.html" %}' in path.read_text()
    ]
    assert len(pages) > 5
    for path in pages:
        text = path.read_text()
        assert '{% block content %}<div class="broadcast">' in text, path
        assert "{% block head %}" not in text.replace("{% block head %}{{ block.super }}", ""), path


def test_the_guide_and_the_example_have_the_same_lines() -> None:
    (_, settings), (_, urls), *_ = FILE.findall(GUIDE)
    theirs = (EXAMPLE / "shop/settings.py").read_text()
    for name in ('"broadcast"', '"broadcast.middleware.SocketMiddleware"', "BROADCAST_REDIS_URL ="):
        assert name in settings and name in theirs
    route = 'path("live/", include("broadcast.urls"))'
    assert route in urls and route in (EXAMPLE / "shop/urls.py").read_text()
    assert "get_application(websocket=[" in (EXAMPLE / "shop/asgi.py").read_text()
    base = (EXAMPLE / "templates/broadcast/base.html").read_text()
    assert dict(FILE.findall(GUIDE))["mysite/templates/broadcast/base.html"] == base


def test_what_the_example_names_is_there() -> None:
    table = re.findall(r"^\| (`.*?) \|", (EXAMPLE / "README.md").read_text(), re.M)
    names = re.findall(r"`([\w/.]+)`", "\n".join(table))
    assert len(names) > 8
    known = {path.name for path in (EXAMPLE / "templates/orders").iterdir()}
    assert [name for name in names if not (EXAMPLE / name).exists() and name not in known] == []
