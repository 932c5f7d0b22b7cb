"""Real server processes for tests, each with a database and ports of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
#: Seconds within which a server must answer, or be gone.
PATIENCE = 30.0

SETUP = "from broadcast.models import Stream; Stream.objects.setup()"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class ServerProcess:
    """A server of `kind` "broadcast" (`manage.py serve`) or "uvicorn", in `directory`.

    As a context manager it sets the database up and runs. `setup` is Python that runs once, in a
    shell of the project, after the migrations.
    """

    def __init__(
        self, kind: str, directory: Path, setup: str = SETUP, **environment: str
    ) -> None:
        self.kind = kind
        self.port = free_port()
        self.rpc_port = free_port()
        self.setup = setup
        self.log = directory / "server.log"
        self.environment = {
            **os.environ,
            "DATABASE_URL": f"sqlite:///{directory / 'db.sqlite3'}",
            "BROADCAST_RPC_PORT": str(self.rpc_port),
            **environment,
        }
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def manage(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run `manage.py` beside the server, to its end."""
        command = [sys.executable, "manage.py", *arguments]
        options = {"capture_output": True, "text": True, "timeout": 60, **options}
        return subprocess.run(command, cwd=ROOT, env=self.environment, check=False, **options)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        commands = {
            "broadcast": ["manage.py", "serve", "--port", str(self.port)],
            "uvicorn": [
                *("-m", "uvicorn", "project.asgi:application", "--port", str(self.port)),
                *("--log-level", "warning", "--lifespan", "off"),
            ],
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *commands[self.kind]],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        self._wait_until_it_answers()

    def _wait_until_it_answers(self) -> None:
        assert self.process
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise AssertionError(f"the server does not answer: {self.log.read_text()}")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signal it, wait for its end, answer its exit status."""
        assert self.process
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def __enter__(self) -> "ServerProcess":
        for arguments in (("migrate", "-v0"), ("shell", "-v0", "-c", self.setup)):
            done = self.manage(*arguments)
            assert done.returncode == 0, done.stderr
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
