"""A PostgreSQL server for tests."""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg

from tests.rig.processes import PATIENCE, free_port

#: Everybody's connections but the one that asks.
OTHERS = "FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"


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

    def connections(self) -> int:
        """How many programs are connected to it."""
        with psycopg.connect(self.url) as connection:
            found = connection.execute(f"SELECT count(*) {OTHERS}").fetchone()
        assert found
        return int(found[0])

    def cut_off(self) -> None:
        """End all connections to it."""
        with psycopg.connect(self.url) as connection:
            connection.execute(f"SELECT pg_terminate_backend(pid) {OTHERS}")

    def __exit__(self, *error: object) -> None:
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.directory)
