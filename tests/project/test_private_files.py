"""What nobody else on the machine reads, whatever the umask: key, database, recordings."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from pytest_django.fixtures import Settings

from broadcast.ingest.files import RecordingFile
from project.private_files import keep_database_private, local_secret_key
from project.settings import database
from tests.rig.checks import found
from tests.rig.launcher import ROOT

#: Processes that start at once, and how often.
STARTS, ROUNDS = 12, 6

#: Starts so many processes that read the key in the same moment, and prints what each one got.
RACE = f"""
import os, sys
from pathlib import Path
from project.private_files import local_secret_key
for path in map(Path, sys.argv[1:]):
    waiting, go = os.pipe()
    for _ in range({STARTS}):
        if not os.fork():
            os.close(go)
            os.read(waiting, 1)
            os.write(1, f"{{path.name}} {{local_secret_key(path)}}\\n".encode())
            os._exit(0)
    os.close(waiting)
    os.close(go)
    for _ in range({STARTS}):
        assert os.wait()[1] == 0
"""


@pytest.fixture(params=[0, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


# -- the secret key --------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [None, ""], ids=["missing", "empty"])
def test_processes_that_start_at_once_have_the_same_key(
    tmp_path: Path, content: str | None
) -> None:
    paths = [tmp_path / f"key-{number}" for number in range(ROUNDS)]
    for path in paths:
        if content is not None:
            path.write_text(content)
    done = subprocess.run(
        [sys.executable, "-c", RACE, *map(str, paths)],
        **{"cwd": ROOT, "capture_output": True, "text": True, "timeout": 60},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert len(said) == STARTS * ROUNDS
    assert set(said) == {f"{path.name} {path.read_text()}" for path in paths}
    assert all(len(path.read_text()) > 60 for path in paths)


def test_a_key_is_read_by_its_owner_alone(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "key"
    key = local_secret_key(path)
    assert mode(path) == 0o600
    path.chmod(0o644)
    assert local_secret_key(path) == key
    assert mode(path) == 0o600


@pytest.mark.parametrize("content", [" \n", "\0" * 67], ids=["blank", "zeros"])
def test_what_a_crash_left_is_no_key(tmp_path: Path, content: str) -> None:
    path = tmp_path / "key"
    path.write_text(content)
    assert len(local_secret_key(path)) > 60 and local_secret_key(path) == path.read_text()


def test_a_key_that_was_put_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("put there by hand\n")
    path.chmod(0o400)
    assert local_secret_key(path) == "put there by hand"
    assert path.read_text() == "put there by hand\n"


def test_what_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere" / "key", Path("/proc/key"), tmp_path):
        with pytest.raises(ImproperlyConfigured, match=f"cannot be kept in {path} .*SECRET_KEY"):
            local_secret_key(path)


def test_a_wrong_environment_is_one_line_of_the_command_line() -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "start"],
        cwd=ROOT,
        env={**os.environ, "DEBUG": "maybe"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line == "ImproperlyConfigured: DEBUG is true or false, not 'maybe'"


# -- the database ----------------------------------------------------------------------------------


def test_a_database_and_what_is_beside_it_are_read_by_nobody_else(
    tmp_path: Path, umask: int
) -> None:
    path = tmp_path / "db.sqlite3"
    options = database(f"sqlite:///{path}")["OPTIONS"]
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(f"{options['init_command']} CREATE TABLE things (name);")
        files = sorted(tmp_path.iterdir())
        assert {file.name for file in files} >= {"db.sqlite3", "db.sqlite3-wal"}
        assert {mode(file) for file in files} == {0o600}


def test_one_of_an_older_version_is_closed_to_strangers_and_open_to_its_group(
    tmp_path: Path,
) -> None:
    path = tmp_path / "db.sqlite3"
    for ending, before in (("", 0o644), ("-wal", 0o664)):
        Path(f"{path}{ending}").write_bytes(b"kept")
        Path(f"{path}{ending}").chmod(before)
    keep_database_private(path)
    assert (mode(path), mode(Path(f"{path}-wal"))) == (0o640, 0o660)
    assert path.read_bytes() == b"kept"


def test_a_database_that_everybody_can_read_is_told_before_it_is_deployed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "db.sqlite3"
    path.touch(0o644)
    monkeypatch.setitem(connections["default"].settings_dict, "NAME", path)
    assert f"Run: chmod 600 {path}" in [message.hint for message in found(deploy=True)]
    assert found() == []
    path.chmod(0o640)
    assert "broadcast.W013" not in [message.id for message in found(deploy=True)]


# -- recordings ------------------------------------------------------------------------------------


def test_a_recording_and_every_directory_that_is_made_for_it(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "recordings" / "cam" / "x.webm"
    RecordingFile(path).close()
    assert mode(path) == 0o600
    assert [mode(directory) for directory in (path.parent, path.parent.parent)] == [0o700, 0o700]
    RecordingFile(path.parent / "y.webm").close()


def test_recordings_that_everybody_can_read_are_told(tmp_path: Path, settings: Settings) -> None:
    settings.STORAGES = {
        **settings.STORAGES,
        "recordings": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": tmp_path},
        },
    }
    tmp_path.chmod(0o755)
    (warning,) = found()
    assert warning.id == "broadcast.W013"
    assert warning.msg == f"Every user of this machine can read {tmp_path}."
    assert warning.hint == f"Run: chmod 700 {tmp_path}"
    tmp_path.chmod(0o750)
    assert found() == []
