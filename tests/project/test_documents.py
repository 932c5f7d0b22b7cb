"""What documents name is there: files, packages, links to pages and to their sections."""

import re
from pathlib import Path

import pytest

from tests.rig.documents import DOCS, DOCUMENTS, headings
from tests.rig.launcher import ROOT

NAMES = sorted(str(path.relative_to(ROOT)) for path in DOCUMENTS)


def named(text: str) -> set[str]:
    """Paths and modules that a document names between backticks."""
    paths = re.findall(r"`((?:broadcast|tests|docs|static)/[\w./-]*\.\w+|[\w-]+\.md)`", text)
    modules = re.findall(
        r"`((?:hub|wire|ingest|models|http|server|streams)\.\w+)(?:\.[A-Z]+)?`", text
    )
    return {*paths, *(f"broadcast/{name.replace('.', '/')}.py" for name in modules)}


@pytest.mark.parametrize("document", NAMES)
def test_what_a_document_names_is_there(document: str) -> None:
    folders = [ROOT, ROOT / "static", ROOT / "templates", DOCS, (ROOT / document).parent]
    names = named((ROOT / document).read_text())
    missing = [name for name in names if not any((one / name).exists() for one in folders)]
    assert missing == []


def test_what_is_named_is_found() -> None:
    names = named((DOCS / "architecture.md").read_text())
    assert {"broadcast/hub/topics.py", "broadcast/ingest/turns.py"} <= names


@pytest.mark.parametrize("document", NAMES)
def test_links_lead_somewhere(document: str) -> None:
    path = ROOT / document
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", path.read_text()):
        found = (path.parent / target).resolve() if target else path
        assert found.exists(), target
        if anchor:
            assert anchor in anchors(found), (target, anchor)


def anchors(path: Path) -> set[str]:
    """The ends of addresses of a page's sections, as a Git host and the site make them."""
    titles = headings(path.read_text())
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", NAMES)
def test_no_page_is_longer_than_300_lines(document: str) -> None:
    assert len((ROOT / document).read_text().splitlines()) < 300
