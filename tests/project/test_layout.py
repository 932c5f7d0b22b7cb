"""The tests' own shape: a folder per package, and what several modules use in the rig."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig.launcher import ROOT

TESTS = ROOT / "tests"
MODULES = sorted(TESTS.rglob("test_*.py"))
#: Folders of tests that belong to no package of `broadcast`.
OTHERS = {"browser", "ground", "host", "project", "wheel"}


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def imported(text: str, package: str) -> Iterator[str]:
    """Modules that a module of `package` imports, anywhere in it, and names that may be modules."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: 1 - node.level or None] if node.level else []
            module = ".".join([*above, *filter(None, [node.module])])
            yield from [module, *(f"{module}.{name.name}" for name in node.names)]


def test_no_test_module_imports_another() -> None:
    names = set(map(dotted, MODULES))
    found = {path: names & set(imported(path.read_text(), dotted(path.parent))) for path in MODULES}
    assert not {str(path): others for path, others in found.items() if others}


@pytest.mark.parametrize(
    "line",
    [
        "import tests.hub.test_rings",
        "from tests.hub import test_rings",
        "from tests.hub.test_rings import numbers",
        "from . import test_rings",
        "from .test_rings import numbers",
        "from ..hub.test_rings import numbers",
        "def test() -> None:\n    from tests.hub.test_rings import numbers",
    ],
)
def test_every_way_to_import_is_seen(line: str) -> None:
    assert "tests.hub.test_rings" in set(imported(line, "tests.hub"))


def test_every_folder_of_tests_is_named_after_a_package() -> None:
    folders = {path.relative_to(TESTS).parts[0] for path in MODULES} - OTHERS
    assert not [name for name in folders if not (ROOT / "broadcast" / name).is_dir()]
