"""The servers under test: what each needs, and the command that starts it."""

import contextlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path

from .processes import free_port, last_line

ROOT = Path(__file__).resolve().parents[2]
PEERS = Path(__file__).resolve().parent / "peers"
SOCKETIFY = "socketify==0.0.31"


# Streams for everybody and for staff: a thousand people, each with a session.
MAKE_STREAMS = """
from datetime import timedelta
from django.contrib import auth
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.utils.timezone import now
from broadcast.models import Stream

Stream.objects.create(slug="bench", title="Bench", visibility="public", publishing="anyone")
Stream.objects.create(slug="bench-private", title="Private", visibility="private")
Stream.objects.bulk_create(
    Stream(slug=f"bench-{number:03d}", title="One of many", publishing="anyone")
    for number in range(100)
)
people = User.objects.bulk_create(
    User(username=f"listener{number}", is_staff=True) for number in range(1000)
)
Session.objects.bulk_create(
    Session(
        session_key=f"0fthebenchmark{number:03d}",
        session_data=SessionStore().encode(
            {
                auth.SESSION_KEY: str(user.pk),
                auth.BACKEND_SESSION_KEY: "django.contrib.auth.backends.ModelBackend",
                auth.HASH_SESSION_KEY: user.get_session_auth_hash(),
            }
        ),
        expire_date=now() + timedelta(days=1),
    )
    for number, user in enumerate(people)
)
"""


class Missing(Exception):
    """This server cannot be measured here; the message says what it lacks."""


class Server:
    """A kind of server. Its sockets are at /ws/streamer/<stream>/ and /ws/listener/<stream>/.

    It is so many `processes`, each with a port, which share a Redis or have none. `#` in `streams`
    is the number of one of a hundred streams, where there are so many.
    `private` is a stream for which one must be signed in, with `cookie`, where there is such a
    thing; `#` in it is the number of one of a thousand people.
    """

    key: str
    title: str
    processes = 1
    on_redis = False
    stream = "x"
    streams = "x"
    private = "x"
    cookie = ""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / self.key
        self.directory.mkdir()

    def prepare(self) -> None:
        """What is done once, before the first start. Raises Missing."""

    def command(self, port: int) -> list[str]:
        raise NotImplementedError

    def environment(self, redis_port: int | None = None) -> dict[str, str]:
        """Of one of its processes. `redis_port`: where the Redis is that they share."""
        return {}

    def version(self) -> str:
        raise NotImplementedError


class Broadcast(Server):
    key, title = "broadcast", "Broadcast"
    stream = "bench"
    streams = "bench-#"
    private = "bench-private"
    cookie = "sessionid=0fthebenchmark#"

    def prepare(self) -> None:
        if not (ROOT / "broadcast/management/commands/serve.py").exists():
            raise Missing("manage.py has no command serve")
        self._manage("migrate", "--verbosity", "0")
        self._manage("shell", "-c", MAKE_STREAMS)

    def _manage(self, *arguments: str) -> None:
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=os.environ | self.environment(),
            capture_output=True,
            text=True,
            timeout=120,
        )
        if done.returncode:
            raise Missing(f"manage.py {arguments[0]} failed: {last_line(done.stderr)}")

    def command(self, port: int) -> list[str]:
        return [
            sys.executable, "manage.py", "serve", "--host", "127.0.0.1", "--port", str(port)
        ]  # fmt: skip

    def environment(self, redis_port: int | None = None) -> dict[str, str]:
        return {
            "DATABASE_URL": f"sqlite:///{self.directory / 'bench.sqlite3'}",
            "BROADCAST_RPC_PORT": str(free_port()),
            "SECRET_KEY": "of the benchmark",
            "DEBUG": "false",
            "REDIS_URL": f"redis://127.0.0.1:{redis_port}/0" if redis_port else "",
        }

    def version(self) -> str:
        return "Broadcast: " + versions("Django", "channels", "daphne", "Twisted")


class InMemory(Broadcast):
    """Broadcast with nothing but its own process, beside `OnRedis`."""

    key, title = "memory", "in memory"

    def version(self) -> str:
        return f"{self.title}: one process, " + versions("Django", "channels", "daphne", "Twisted")


class OnRedis(Broadcast):
    key, title = "redis", "on Redis"
    processes = 2
    on_redis = True

    def prepare(self) -> None:
        if not shutil.which("redis-server"):
            raise Missing("no redis-server (Debian: redis-server)")
        super().prepare()

    def version(self) -> str:
        server = run(["redis-server", "--version"]).stdout.split("v=")[1].split()[0]
        packages = versions("channels-redis", "redis").replace(" redis ", " redis-py ")
        return f"{self.title}: {self.processes} processes, Redis {server}, {packages}"


class UWebSockets(Server):
    key, title = "uwebsockets", "uWebSockets"

    def prepare(self) -> None:
        """Makes an environment for socketify in the user's cache, unless it is there."""
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        self.home = cache / "broadcast-bench" / SOCKETIFY
        self.python = self.home / "bin/python"
        try:
            if not self.python.exists():
                run([sys.executable, "-m", "venv", str(self.home)])
                run([str(self.python), "-m", "pip", "install", "--quiet", SOCKETIFY])
            run([str(self.python), "-c", "import socketify"])
        except subprocess.SubprocessError as error:
            shutil.rmtree(self.home, ignore_errors=True)
            output = getattr(error, "stderr", None) or str(error)
            raise Missing(f"no {SOCKETIFY}: {last_line(output)}") from error

    def command(self, port: int) -> list[str]:
        return [str(self.python), str(PEERS / "uwebsockets.py"), str(port)]

    def version(self) -> str:
        return f"uWebSockets: {SOCKETIFY}"


class Nchan(Server):
    key, title = "nchan", "nchan"
    modules = Path("/usr/lib/nginx/modules")

    def prepare(self) -> None:
        if not shutil.which("nginx"):
            raise Missing("no nginx (Debian: nginx)")
        if not (self.modules / "ngx_nchan_module.so").exists():
            raise Missing("no nchan (Debian: libnginx-mod-nchan)")

    def command(self, port: int) -> list[str]:
        text = (PEERS / "nchan.conf").read_text()
        values = {"port": port, "directory": self.directory, "modules": self.modules}
        for name, value in values.items():
            text = text.replace("{" + name + "}", str(value))
        configuration = self.directory / "nginx.conf"
        configuration.write_text(text)
        log = self.directory / "error.log"
        return ["nginx", "-p", str(self.directory), "-e", str(log), "-c", str(configuration)]

    def version(self) -> str:
        nginx = run(["nginx", "-v"]).stderr.strip().rpartition("/")[2]
        query = ["dpkg-query", "--show", "--showformat=${Version}", "libnginx-mod-nchan"]
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            return f"nchan: {run(query).stdout} on nginx {nginx}"
        return f"nchan: on nginx {nginx}"


class PlainChannels(Server):
    key, title = "channels", "plain Channels"

    def command(self, port: int) -> list[str]:
        return [sys.executable, str(PEERS / "plain_channels.py"), str(port)]

    def version(self) -> str:
        return "plain Channels: " + versions("channels", "daphne")


SERVERS = (Broadcast, UWebSockets, Nchan, PlainChannels)
MANY_SERVERS = (OnRedis, InMemory)


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)


def versions(*packages: str) -> str:
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
