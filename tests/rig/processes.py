"""Real server processes for tests, each with a database and ports of its own."""

import fcntl
import itertools
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.request import urlopen

from redis import Redis

from tests.rig.launcher import ROOT, Launched, completed

#: Seconds within which a server must answer, or be gone.
PATIENCE = 30.0

#: Kinds of streams for tests that need one of their own, by what they are for.
POOLS: dict[str, dict[str, Any]] = {
    "free": {"visibility": "unlisted", "publishing": "anyone"},
    "long": {
        **{"visibility": "unlisted", "publishing": "anyone"},
        **{"history_count": 1_000_000, "history_bytes": 1 << 30},
    },
    "short": {"visibility": "unlisted", "publishing": "anyone", "history_count": 10},
    "media": {
        **{"visibility": "unlisted", "publishing": "anyone"},
        **{"kind": "media", "content_type": "video/webm"},
    },
    "film": {"visibility": "unlisted", "publishing": "anyone", "kind": "media"},
    "clip": {
        **{"visibility": "unlisted", "publishing": "anyone"},
        **{"kind": "media", "history_count": 4},
    },
    "recorded": {
        **{"visibility": "unlisted", "publishing": "anyone"},
        **{"kind": "media", "record": True},
    },
    "owned": {"visibility": "unlisted"},
    "private": {"visibility": "private"},
    "closed": {"publishing": "anyone", "closed_at": "2020-01-01T00:00:00Z"},
}
#: How many streams of each kind a server has.
POOL_SIZE = 1000

#: The prefix of all installations of the tests that have no other.
PREFIX = "tests"
#: What has it in the database, where that of an installation without the setting is.
NAME = f"""
from broadcast.models import Installation
Installation.objects.update(prefix={PREFIX!r})
"""

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

#: How a record in a server's log begins: level and logger.
RECORD = re.compile(r"^[\d-]{10} [\d:,]{12} ([A-Z]+) ([\w.]+): ", re.MULTILINE)


class Record(NamedTuple):
    """What a server logged at a time, a traceback included."""

    level: str
    logger: str
    text: str


#: Ports that no connection of a client is given meanwhile.
PORTS = range(10_000, 32_000)
#: Where all processes of tests note the port that was given last.
LAST_PORT = Path(tempfile.gettempdir()) / f"broadcast-tests-{os.getuid()}.port"


def free_port() -> int:
    """A port that nobody listens at, and that nobody else is given soon.

    A port is often listened at long after it was given, and again after a while. Two of those that
    were chosen by lot were the same now and then: a test then talked to a stranger.
    """
    with LAST_PORT.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        last = int(file.read() or random.SystemRandom().choice(PORTS))
        port = next(port for port in itertools.count(last + 1) if is_free(_within(port)))
        file.truncate(0)
        file.write(str(_within(port)))
    return _within(port)


def _within(port: int) -> int:
    return PORTS[(port - PORTS.start) % len(PORTS)]


def is_free(port: int) -> bool:
    with socket.socket() as probe, suppress(OSError):
        probe.bind(("127.0.0.1", port))
        return True
    return False


#: Options of a Redis that comes back with all that it ever answered.
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


class RedisProcess:
    """A `redis-server` on a port and in a directory of its own.

    As a context manager it runs, with these options; unless they say otherwise it keeps nothing on
    disk.
    """

    def __init__(self, directory: Path, *options: str, password: str = "") -> None:
        self.port = free_port()
        self.directory = directory / f"redis-{self.port}"
        self.directory.mkdir()
        self.password = password
        self.options = ["--port", str(self.port), "--save", "", "--requirepass", password, *options]
        self.address = f"127.0.0.1:{self.port}/0"
        self.url = f"redis://{self.address}"

    def start(self) -> None:
        """Start it, with the data that its directory holds."""
        with (self.directory / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["redis-server", *self.options], cwd=self.directory, stdout=log, stderr=log
            )
        try:
            wait_until_it_answers(self.port, self.process)
            while self.command("INFO", "persistence")["loading"]:
                time.sleep(0.01)
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """End it without a warning, frozen or not."""
        self.process.kill()
        self.process.wait()

    def forget(self) -> None:
        """Delete what a killed one left on disk."""
        for path in self.directory.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Meanwhile it keeps its connections, and answers nothing."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Meanwhile it does not run."""
        self.kill()
        try:
            yield
        finally:
            self.start()

    def command(self, *arguments: str | int) -> Any:
        """What it answers to a command; names are `str`."""
        with Redis(port=self.port, password=self.password, decode_responses=True) as client:
            return client.execute_command(*arguments)

    def __enter__(self) -> "RedisProcess":
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()


def wait_until_it_answers(port: int, process: subprocess.Popen[bytes] | Launched) -> None:
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
    """A server of `kind` "broadcast" (`manage.py serve`), "runserver" or "uvicorn", in `directory`.

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
            "RECORDINGS_DIR": str(directory / "recordings"),
            "BROADCAST_RPC_PORT": str(self.rpc_port),
            **environment,
        }
        self.process: subprocess.Popen[bytes] | Launched | None = None
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

    def new_records(self) -> list[Record]:
        """What was logged since the last call, record by record."""
        _, *parts = RECORD.split(self.new_log())
        triples = zip(parts[::3], parts[1::3], parts[2::3], strict=True)
        return [Record(level, logger, text.strip()) for level, logger, text in triples]

    def assert_clean_log(self) -> None:
        """Nothing went wrong since the last look but what clients did."""
        text = self.new_log()
        assert not any(fault in text for fault in FAULTS), text

    def assert_calm_log(self) -> None:
        """Whatever happened to Redis, we have no fault; channels_redis logs its own as it likes."""
        for record in self.new_records():
            ours = not record.logger.startswith("channels_redis")
            assert not (ours and any(fault in record.text for fault in FAULTS)), record.text

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

    def is_available(self, slug: str = "demo") -> bool:
        """Whether it can say where a stream stands."""
        try:
            urlopen(f"{self.url}/api/streams/{slug}/", timeout=PATIENCE).close()
        except HTTPError as error:
            error.close()
            return False
        return True

    def manage(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[Any]:
        """Run `manage.py` beside the server, to its end; with `options` of `subprocess.run`."""
        if options:
            command = [sys.executable, "manage.py", *arguments]
            options = {"capture_output": True, "text": True, "timeout": 60, **options}
            return subprocess.run(command, cwd=ROOT, env=self.environment, check=False, **options)
        return completed(arguments, self.environment)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.process = self._launch()
        try:
            wait_until_it_answers(self.port, self.process)
            if self.kind != "uvicorn":
                wait_until_it_answers(self.rpc_port, self.process)
        except AssertionError:
            raise AssertionError(self.log.read_text()) from None

    def _launch(self) -> subprocess.Popen[bytes] | Launched:
        if self.kind == "uvicorn":
            return self._execute(
                *("-m", "uvicorn", "project.asgi:application", "--port", str(self.port)),
                *("--log-level", "warning", "--lifespan", "off", "--no-proxy-headers"),
            )
        commands = {
            "broadcast": [*self.arguments, "--port", str(self.port)],
            "runserver": ["runserver", "--noreload", f"127.0.0.1:{self.port}"],
        }
        return Launched(commands[self.kind], self.environment, self.log, self.log)

    def _execute(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start Python with these arguments."""
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=log,
            )

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signal it, wait for its end, answer its exit status."""
        assert self.process
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        """End it without a warning, if it runs."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def prepare(self) -> None:
        """Set the database up."""
        kind, _, path = self.environment["DATABASE_URL"].partition(":///")
        if kind == "sqlite":
            Path(path).write_bytes(prepared_database(self.setup))
        else:
            self.migrate()
            self.set_up()

    def migrate(self) -> None:
        done = self.manage("migrate", "-v0")
        assert done.returncode == 0, done.stderr

    def set_up(self) -> None:
        done = self.manage("shell", "-v0", "-c", NAME + self.setup)
        assert done.returncode == 0, done.stderr

    def __enter__(self) -> "ServerProcess":
        self.prepare()
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()


@cache
def prepared_database(setup: str = SETUP) -> bytes:
    """The file of an SQLite database that is set up so, for many servers to begin with."""
    with TemporaryDirectory() as directory:
        path = Path(directory, "db.sqlite3")
        server = ServerProcess("broadcast", Path(directory), setup)
        if setup:
            path.write_bytes(prepared_database(""))
            server.set_up()
        else:
            server.migrate()
        return path.read_bytes()


class Installation:
    """Several servers with one database, on one Redis or several; as a context manager it runs.

    Its servers look every `WATCH_SECONDS` for what changed without a word, and stop within
    `DRAIN_SECONDS`. `options` are those of Redis, `environment` that of the servers.
    """

    WATCH_SECONDS = 0.3
    DRAIN_SECONDS = 0.5

    def __init__(
        self,
        directory: Path,
        servers: int = 2,
        redis: int = 1,
        options: tuple[str, ...] = (),
        **environment: str,
    ) -> None:
        self.directory = directory
        self.redis = [RedisProcess(directory, *options) for _ in range(redis)]
        self.environment = {
            "DATABASE_URL": f"sqlite:///{directory / 'db.sqlite3'}",
            "REDIS_URL": ",".join(process.url for process in self.redis),
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "BROADCAST_WATCH_SECONDS": str(self.WATCH_SECONDS),
            "BROADCAST_DRAIN_SECONDS": str(self.DRAIN_SECONDS),
            **environment,
        }
        self.numbers = itertools.count(1)
        self.servers = [self.new_server() for _ in range(servers)]

    def new_server(self, **environment: str) -> ServerProcess:
        """One more, which does not run yet; `environment` is what differs in its."""
        directory = self.directory / f"server-{next(self.numbers)}"
        directory.mkdir()
        return ServerProcess("broadcast", directory, **self.environment | environment)

    @contextmanager
    def another_server(self, **environment: str) -> Iterator[ServerProcess]:
        """One more for a while, which a test may start."""
        server = self.new_server(**environment)
        try:
            yield server
        finally:
            server.kill()

    def unused_stream(self, pool: str = "free") -> str:
        return self.servers[0].unused_stream(pool)

    @contextmanager
    def outage(self, number: int = 0, slug: str = "demo") -> Iterator[None]:
        """Redis does not run meanwhile; at the end it does, and all servers know.

        `slug`: a stream that is on it, where there are several.
        """
        with self.redis[number].away():
            yield
        self.wait_until_available(slug)

    def wait_until_available(self, slug: str = "demo") -> None:
        """Until all servers know that Redis is there, if only since a moment ago."""
        deadline = time.monotonic() + PATIENCE
        while not all(server.is_available(slug) for server in self.servers):
            assert time.monotonic() < deadline, "Redis is there, and not every server knows"
            time.sleep(0.05)

    def __enter__(self) -> "Installation":
        with ExitStack() as stack:
            for process in self.redis:
                stack.enter_context(process)
            stack.callback(self._stop)
            (self.directory / "db.sqlite3").write_bytes(prepared_database())
            with ThreadPoolExecutor() as pool:
                list(pool.map(ServerProcess.start, self.servers))
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self.stack.close()

    def _stop(self) -> None:
        for server in self.servers:
            server.kill()
