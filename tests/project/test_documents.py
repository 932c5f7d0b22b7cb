"""What documents name is there: files, packages, links to sections."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
DOCUMENTS = ["CONTRIBUTING.md", "docs/architecture.md", "static/broadcast/README.md"]


def named(text: str) -> set[str]:
    """Paths and modules that a document names between backticks."""
    paths = re.findall(r"`((?:broadcast|tests|docs|static)/[\w./-]*|[\w-]+\.md)`", text)
    modules = re.findall(
        r"`((?:hub|wire|ingest|models|http|server|streams)\.\w+)(?:\.[A-Z]+)?`", text
    )
    return {*paths, *(f"broadcast/{name.replace('.', '/')}.py" for name in modules)}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_what_a_document_names_is_there(document: str) -> None:
    text = (ROOT / document).read_text()
    names = named(text)
    assert names
    assert [name for name in sorted(names) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("document", [*DOCUMENTS, "docs/tutorial.md"])
def test_links_lead_somewhere(document: str) -> None:
    path = ROOT / document
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", path.read_text()):
        found = (path.parent / target).resolve() if target else path
        assert found.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", found.read_text(), re.M)
            slugs = {re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in titles}
            assert anchor in slugs, (target, anchor)
