"""What is installed beside us: everything that we import is named, and nothing may come too new."""

import ast
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.rig.launcher import ROOT

FILES = ["requirements.txt", "tests/requirements.txt"]


def required(file: str) -> list[Requirement]:
    lines = Path(ROOT, file).read_text().splitlines()
    return [Requirement(line) for line in lines if line and line[0] not in "#-"]


def imported(*directories: str) -> Iterator[str]:
    """The packages that our modules import."""
    for directory in directories:
        for path in Path(ROOT, directory).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    yield from (name.name.partition(".")[0] for name in node.names)
                elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                    yield node.module.partition(".")[0]


@pytest.mark.parametrize("file", FILES)
def test_every_requirement_has_an_upper_end_that_is_tested(file: str) -> None:
    for requirement in required(file):
        operators = {one.operator for one in requirement.specifier}
        assert operators & {"~=", "<", "<=", "=="}, requirement
        assert requirement.specifier.contains(version(requirement.name)), requirement


#: Imports `broadcast.testing.plugin`, which nothing else does.
BY_PYTEST_ALONE = {"pytest"}


def test_everything_that_the_project_imports_is_required() -> None:
    named = {canonicalize_name(one.name) for one in required("requirements.txt")}
    homes = packages_distributions()
    ours = {"broadcast", "project"}
    for package in set(imported(*ours)) - ours - BY_PYTEST_ALONE:
        if package not in sys.stdlib_module_names:
            assert named & {canonicalize_name(name) for name in homes[package]}, package
