"""PostgreSQL through `DATABASE_URL`: a real one, under everything that asks the database."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.conftest import door_of
from tests.doors import V1, ServerDoor
from tests.processes import PATIENCE, SETUP, ServerProcess, free_port
from tests.rooms import enter, heard

SIGN_IN = """
from django.contrib.auth.models import User
from django.test import Client
client = Client()
client.force_login(User.objects.create_superuser("admin"))
print(client.cookies["sessionid"].value)
"""


class PostgresProcess:
    """A PostgreSQL server with a directory and a port of its own; run by root, as `nobody`."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"postgres://tests@127.0.0.1:{self.port}/postgres"
        self.user = "nobody" if os.getuid() == 0 else None

    def __enter__(self) -> "PostgresProcess":
        self.directory = Path(tempfile.mkdtemp())
        if self.user:
            shutil.chown(self.directory, self.user)
        programs = [
            Path(shutil.which("initdb") or "-"),
            *Path("/usr/lib/postgresql").glob("*/bin/*"),
        ]
        initdb = next(program for program in programs if program.name == "initdb")
        data = self.directory / "data"
        options = {"user": self.user, "cwd": self.directory, "stdout": subprocess.DEVNULL}
        command = [str(initdb), "--no-sync", "--auth=trust", "--username=tests", "-D", str(data)]
        subprocess.run(command, check=True, timeout=60, **options)
        settings = [f"port={self.port}", "listen_addresses=127.0.0.1", "fsync=off"]
        settings.append(f"unix_socket_directories={self.directory}")
        command = [str(initdb.with_name("postgres")), "-D", str(data)]
        command += [part for setting in settings for part in ("-c", setting)]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL, **options)
        deadline = time.monotonic() + PATIENCE
        while not self.answers():
            assert self.process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        return self

    def answers(self) -> bool:
        try:
            psycopg.connect(self.url).close()
        except psycopg.OperationalError:
            return False
        return True

    def __exit__(self, *error: object) -> None:
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.directory)


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server whose database is in PostgreSQL."""
    directory = tmp_path_factory.mktemp("postgresql")
    with (
        PostgresProcess() as postgres,
        ServerProcess("broadcast", directory, SETUP, DATABASE_URL=postgres.url) as process,
    ):
        yield process


@pytest.fixture
def door(process: ServerProcess) -> Iterator[ServerDoor]:
    yield from door_of(process)


async def test_what_is_published_is_heard(door: ServerDoor) -> None:
    slug = await door.stream()
    listener, streamer = await door.listener(slug), await door.streamer(slug)
    await streamer.publish("in PostgreSQL")
    assert await listener.told() == (1, "in PostgreSQL")
    assert (await door.describe(slug))["listeners"] == 1


async def test_a_session_lets_into_a_private_stream_and_no_nonsense_does(door: ServerDoor) -> None:
    slug = await door.stream("private")
    made = door.process.manage("shell", "-v0", "-c", SIGN_IN)
    key = made.stdout.strip()
    await door.listener(slug, headers={"Cookie": f"sessionid={key}"})
    for nonsense in ("x", "0" * 32, key.upper(), "a" * 500):
        refused = await door.connect(
            f"/ws/listener/{slug}/", V1, headers={"Cookie": f"sessionid={nonsense}"}
        )
        assert await refused.closed() == 4503


async def test_a_stream_that_is_closed_in_the_database_closes_its_sockets(door: ServerDoor) -> None:
    slug = await door.stream()
    listener = await door.plain_listener(slug)
    close_in_database(door, slug)
    assert await listener.closed() == 4510


async def test_a_room_whose_name_it_cannot_hold_is_entered_and_hinders_nobody(
    door: ServerDoor,
) -> None:
    socket, joined = await enter(door, "cl\0ub")
    slug = await door.stream()
    listener = await door.plain_listener(slug)
    close_in_database(door, slug)
    assert await listener.closed() == 4510
    assert await heard(socket, joined["own_id"]) == []


def close_in_database(door: ServerDoor, slug: str) -> None:
    close = (
        "from broadcast.models import Stream; from django.utils.timezone import now; "
        f"Stream.objects.filter(slug={slug!r}).update(closed_at=now())"
    )
    assert door.process.manage("shell", "-v0", "-c", close).returncode == 0
