"""What is in the distribution, and what it says of itself."""

from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import broadcast
from tests.rig.launcher import ROOT
from tests.rig.wheel import Distribution, Environment, contents

#: Where files of the repository are in the package.
PLACES = {
    "broadcast/": "broadcast/",
    "templates/broadcast/": "broadcast/templates/broadcast/",
    "templates/admin/broadcast/": "broadcast/templates/admin/broadcast/",
    "static/broadcast/": "broadcast/static/broadcast/",
}
#: One of each kind that a build forgets easily.
EASILY_FORGOTTEN = [
    "broadcast/py.typed",
    "broadcast/backends/lua/*.lua",
    "broadcast/migrations/0001_initial.py",
    "broadcast/management/commands/serve.py",
    "broadcast/templates/broadcast/base.html",
    "broadcast/templates/admin/broadcast/stream/change_form.html",
    "broadcast/static/broadcast/broadcast.css",
    "broadcast/static/broadcast/element/element.js",
]
#: What only the project at the top of the repository needs.
OF_THE_PROJECT = {"dj-database-url"}


@pytest.fixture(scope="module")
def files(distribution: Distribution) -> dict[str, bytes]:
    return contents(distribution.wheel)


@pytest.fixture(scope="module")
def metadata(files: dict[str, bytes]) -> Message:
    (name,) = (name for name in files if name.endswith(".dist-info/METADATA"))
    return Parser().parsestr(files[name].decode())


def test_the_wheel_has_every_file_of_the_package_and_no_other(
    distribution: Distribution, files: dict[str, bytes]
) -> None:
    expected = {
        place + path.removeprefix(folder)
        for path in distribution.tracked
        for folder, place in PLACES.items()
        if path.startswith(folder)
    }
    assert {name for name in files if ".dist-info/" not in name} == expected
    for pattern in EASILY_FORGOTTEN:
        assert any(Path(name).match(pattern) for name in expected), pattern


def test_every_translation_is_compiled(files: dict[str, bytes]) -> None:
    sources = {name.removesuffix(".po") for name in files if name.endswith(".po")}
    assert sources == {name.removesuffix(".mo") for name in files if name.endswith(".mo")}


def test_the_wheel_of_the_sdist_is_that_of_the_repository(distribution: Distribution) -> None:
    assert contents(distribution.wheel) == contents(distribution.direct)


def test_it_says_what_it_runs_on(metadata: Message) -> None:
    assert metadata["Name"] == "django-broadcast-live"
    assert metadata["Version"] == broadcast.__version__
    assert metadata["Requires-Python"] == "<3.14,>=3.11"
    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert str(metadata.get_payload()).startswith("# Broadcast")
    named = set(metadata.get_all("Classifier", []))
    versions = [f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13)]
    versions += [f"Framework :: Django :: {version}" for version in ("5.2", "6.0")]
    assert {*versions, "Typing :: Typed"} <= named
    assert {"redis", "postgres"} <= set(metadata.get_all("Provides-Extra", []))


def test_it_needs_what_the_project_needs_within_the_same_limits(metadata: Message) -> None:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    ours = [Requirement(line) for line in lines if line and not line.startswith("#")]
    theirs = [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]
    limits = {canonicalize_name(one.name): one.specifier for one in theirs}
    assert set(limits) == {canonicalize_name(one.name) for one in ours} - OF_THE_PROJECT
    for one in ours:
        if one.name not in OF_THE_PROJECT:
            for part in one.specifier:
                # The lower end, and what would come after the upper one.
                assert limits[canonicalize_name(one.name)].contains(part.version) or (
                    part.operator == "<"
                ), one
    for one in theirs:
        assert any(part.operator == "<" for part in one.specifier), one


def test_pytest_finds_the_plugin(files: dict[str, bytes]) -> None:
    (name,) = (name for name in files if name.endswith("entry_points.txt"))
    assert b"[pytest11]\nbroadcast = broadcast.testing.plugin" in files[name]


def test_the_package_that_is_imported_is_the_installed_one(
    environment: Environment, tmp_path: Path
) -> None:
    script = "import broadcast, sys; print(broadcast.__file__, *sys.path)"
    said = environment.succeed("-c", script, cwd=tmp_path).split()
    assert said[0] == str(environment.site_packages / "broadcast/__init__.py")
    assert str(ROOT) not in said[1:]
