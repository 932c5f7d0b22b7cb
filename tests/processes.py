"""Real server processes for tests, each with a database and ports of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
#: Seconds within which a server must answer, or be gone.
PATIENCE = 30.0

#: Kinds of streams for tests that need one of their own, by what they are for.
POOLS: dict[str, dict[str, Any]] = {
    "free": {"visibility": "unlisted", "publishing": "anyone"},
    "short": {"visibility": "unlisted", "publishing": "anyone", "history_count": 10},
    "media": {
        **{"visibility": "unlisted", "publishing": "anyone"},
        **{"kind": "media", "content_type": "video/webm"},
    },
    "owned": {"visibility": "unlisted"},
    "private": {"visibility": "private"},
    "closed": {"publishing": "anyone", "closed_at": "2020-01-01T00:00:00Z"},
}
#: How many streams of each kind a server has.
POOL_SIZE = 1000

SETUP = f"""
from broadcast.models import Stream
Stream.objects.setup()
Stream.objects.bulk_create(
    Stream(slug=f"{{pool}}-{{number}}", title=f"{{pool}} {{number}}", **fields)
    for pool, fields in {POOLS!r}.items()
    for number in range(1, {POOL_SIZE} + 1)
)
"""

#: What a client's fault must never put into a log.
FAULTS = ("Traceback", "never retrieved", "Unhandled")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class RedisProcess:
    """A `redis-server` on a port of its own, that keeps nothing on disk."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.directory = directory
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def __enter__(self) -> "RedisProcess":
        options = ["--port", str(self.port), "--save", "", "--dir", str(self.directory)]
        with (self.directory / "redis.log").open("wb") as log:
            self.process = subprocess.Popen(["redis-server", *options], stdout=log, stderr=log)
        wait_until_it_answers(self.port, self.process)
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()


def wait_until_it_answers(port: int, process: subprocess.Popen[bytes]) -> None:
    """Until something listens at `port`, or `process` ended."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert process.poll() is None, "the process ended"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise AssertionError(f"nothing answers at port {port}")


class ServerProcess:
    """A server of `kind` "broadcast" (`manage.py serve`) or "uvicorn", in `directory`.

    As a context manager it sets the database up and runs. `setup` is Python that runs once, in a
    shell of the project, after the migrations.
    """

    def __init__(self, kind: str, directory: Path, setup: str = SETUP, **environment: str) -> None:
        self.kind = kind
        self.port = free_port()
        self.rpc_port = free_port()
        self.setup = setup
        self.arguments = ["serve"]
        self.log = directory / "server.log"
        self.environment = {
            **os.environ,
            "DATABASE_URL": f"sqlite:///{directory / 'db.sqlite3'}",
            "BROADCAST_RPC_PORT": str(self.rpc_port),
            **environment,
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.log_read = 0
        self.given: Counter[str] = Counter()

    def unused_stream(self, pool: str = "free") -> str:
        """The slug of a stream that nobody was given yet; `POOLS` says what it is."""
        self.given[pool] += 1
        assert self.given[pool] <= POOL_SIZE, f"there are {POOL_SIZE} {pool} streams"
        return f"{pool}-{self.given[pool]}"

    def new_log(self) -> str:
        """What was logged since the last call."""
        with self.log.open() as log:
            log.seek(self.log_read)
            text = log.read()
            self.log_read = log.tell()
        return text

    def assert_clean_log(self) -> None:
        """Nothing went wrong since the last look but what clients did."""
        text = self.new_log()
        assert not any(fault in text for fault in FAULTS), text

    @property
    def memory(self) -> int:
        """Bytes of memory the running server holds, nothing of it swapped or shared out."""
        assert self.process
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * int(status.split("VmRSS:")[1].split()[0])

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
            "broadcast": ["manage.py", *self.arguments, "--port", str(self.port)],
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
        try:
            wait_until_it_answers(self.port, self.process)
            if self.kind == "broadcast":
                wait_until_it_answers(self.rpc_port, self.process)
        except AssertionError:
            raise AssertionError(self.log.read_text()) from None

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
