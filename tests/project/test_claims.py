"""Every block of code of the documentation is run or compared by a test: see `tests.rig.claims`."""

import re

import pytest

from tests.rig.claims import CANNOT, CLAIMS
from tests.rig.documents import DOCUMENTS, all_blocks, name_of
from tests.rig.launcher import ROOT

#: Pictures made of letters, and what programs print.
NOT_CODE = "text"

PAGES = {name_of(path): path.read_text() for path in DOCUMENTS}
NAMES = sorted({*PAGES, *CLAIMS})


def code_of(text: str) -> list[str]:
    return [code for language, code in all_blocks(text) if language != NOT_CODE]


@pytest.mark.parametrize("name", NAMES)
def test_every_block_of_a_page_is_claimed_by_a_test(name: str) -> None:
    assert name in PAGES, "there is no such page"
    found = code_of(PAGES[name])
    claimed = CLAIMS.get(name, [])
    assert len(found) == len(claimed), [block.splitlines()[0] for block in found]


@pytest.mark.parametrize("name", NAMES)
def test_every_fence_is_one_of_a_block_with_a_language(name: str) -> None:
    fences = re.findall(r"^\s*```(.*)$", PAGES[name], re.M)
    assert len(fences) == 2 * len(all_blocks(PAGES[name]))
    assert all(language for language in fences[::2])


@pytest.mark.parametrize("name", CLAIMS)
def test_the_tests_that_claim_a_block_are_there_and_read_the_page(name: str) -> None:
    for claim in CLAIMS[name]:
        if claim.startswith(CANNOT):
            continue
        path, test = claim.split("::")
        text = (ROOT / "tests" / path).read_text()
        assert re.search(rf"^(async )?def {test}\(", text, re.M), claim
        guides = {one: f"docs/{one}.md" for one in ("install", "testing", "tutorial")}
        named = (guides | {"README": "README"}).get(name, f'"{name}"')
        assert named in text or reads_all(text) or name == "how-to/pages", claim


def reads_all(text: str) -> bool:
    return "in DOCUMENTS" in text


def test_few_blocks_cannot_run() -> None:
    cannot = [claim for claims in CLAIMS.values() for claim in claims if claim.startswith(CANNOT)]
    assert len(cannot) <= 4
