"""The packages of `broadcast/`: which may import which, and that each says what it promises."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import broadcast

CODE = Path(broadcast.__file__).parent
#: Modules that stay directly in `broadcast/`, beside its `__init__`.
MOST_MODULES = 20

#: An import that points the wrong way, by the module that it is put into.
WRONG = {
    "wire/frames.py": "from ..hub import relay",
    "rooms/views.py": "from ..streams import views as others",
    "logs.py": "from .exceptions import BadRequest\nfrom .loops import spawn",
}


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    script = Path(sys.executable).parent / "lint-imports"
    return subprocess.run(
        [script, "--no-cache"], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package and its configuration, to be changed."""
    folder = tmp_path_factory.mktemp("walls")
    shutil.copytree(CODE, folder / "broadcast", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(CODE.parent / "pyproject.toml", folder)
    return folder


def test_imports_point_downwards_and_in_no_circle(copy: Path) -> None:
    done = lint(copy)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("module", WRONG)
def test_an_import_that_points_the_wrong_way_is_refused(copy: Path, module: str) -> None:
    path = copy / "broadcast" / module
    before = path.read_text()
    path.write_text(f"{before}\n{WRONG[module]}\n")
    try:
        done = lint(copy)
    finally:
        path.write_text(before)
    assert done.returncode == 1 and "BROKEN" in done.stdout, done.stdout


def test_few_modules_stand_outside_the_packages() -> None:
    modules = [path.name for path in CODE.glob("*.py") if path.name != "__init__.py"]
    assert len(modules) <= MOST_MODULES, modules


def test_each_package_says_what_it_promises() -> None:
    for path in CODE.glob("*/__init__.py"):
        if path.parent.name in ("management", "migrations", "templatetags"):
            continue
        said = ast.get_docstring(ast.parse(path.read_text())) or ""
        assert len(said.split()) >= 20, path
