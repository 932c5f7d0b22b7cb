"""The documentation, by pages, sections and blocks of code."""

import re
from pathlib import Path

from tests.rig.launcher import ROOT

DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text()
#: All that people read, but for the example, which is a project of its own.
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "static/broadcast/README.md",
    ROOT / "tests/bench/README.md",
    *sorted(path for path in DOCS.rglob("*.md") if DOCS / "example" not in path.parents),
]


def name_of(path: Path) -> str:
    """The name of a page, as `page` takes it; of one outside of docs/ its path."""
    folder = DOCS if DOCS in path.parents else ROOT
    return str(path.relative_to(folder).with_suffix(""))


def page(name: str) -> str:
    """The text of a page by its name without the end, such as `how-to/push`."""
    return (DOCS / f"{name}.md").read_text()


def headings(text: str) -> list[str]:
    """The titles of a page and of its sections."""
    return re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)


def section(text: str, title: str) -> str:
    """What is below a heading, up to the next one of its level or above."""
    lines, level, fenced = [], 0, False
    for line in text.splitlines(keepends=True):
        fenced ^= line.startswith("```")
        heading = None if fenced else re.match(r"(#+) (.*)\n", line)
        if heading and level and len(heading[1]) <= level:
            break
        if level:
            lines.append(line)
        elif heading and heading[2] == title:
            level = len(heading[1])
    assert level, title
    return "".join(lines)


def blocks(text: str, language: str) -> list[str]:
    return [code for one, code in all_blocks(text) if one == language]


def all_blocks(text: str) -> list[tuple[str, str]]:
    """The language and the code of each block between fences, in their order."""
    return re.findall(r"^```(\S*)[^\n]*\n(.*?)^```$", text, re.M | re.S)


def rows(text: str) -> list[list[str]]:
    """The rows of the tables of a text, without their heads: the text of each cell."""
    found: list[list[str]] = []
    for table in re.findall(r"(?:^\|.*\n?)+", text, re.M):
        _, _, *lines = table.splitlines()
        found += ([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines)
    return found
