"""The example, with Broadcast from the wheel: its own tests, as its readers run them."""

import os
import shutil
from pathlib import Path

import pytest

from tests.rig.chromium import WHOLE, executable
from tests.rig.launcher import ROOT
from tests.rig.wheel import WITHOUT_OUR_PLUGINS, Environment, tracked

EXAMPLE = "docs/example"


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """A copy of it."""
    for path in tracked():
        if path.startswith(f"{EXAMPLE}/"):
            copy = tmp_path / Path(path).relative_to(EXAMPLE)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, copy)
    return tmp_path


@pytest.fixture
def with_the_shell(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A path of programs where Chromium is its shell, which is quicker."""
    folder = tmp_path_factory.mktemp("programs")
    (folder / WHOLE).symlink_to(executable())
    return os.pathsep.join((str(folder), os.environ["PATH"]))


def test_nothing_is_forgotten_in_it(environment: Environment, example: Path) -> None:
    environment.succeed("manage.py", "check", "--fail-level", "WARNING", cwd=example)
    asked = ("makemigrations", "--check", "--dry-run", "accounts", "orders")
    environment.succeed("manage.py", *asked, cwd=example)


def test_its_tests_pass_with_djangos_runner(environment: Environment, example: Path) -> None:
    said = environment.succeed("-W", "error", "manage.py", "test", cwd=example)
    assert "Ran 8 tests" in said


@pytest.mark.needs_browser
def test_its_tests_pass_with_pytest(
    environment: Environment, example: Path, with_the_shell: str
) -> None:
    # The plugin is found by its entry point: nothing else names it.
    options = ("-q", "-W", "error", "-p", "no:cacheprovider", *WITHOUT_OUR_PLUGINS)
    said = environment.succeed("-m", "pytest", *options, cwd=example, PATH=with_the_shell)
    assert "skipped" not in said
