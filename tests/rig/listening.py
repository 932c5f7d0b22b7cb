"""Servers that listen where a test says, and clients of Unix sockets."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from tests.rig import activation
from tests.rig.launcher import ROOT, Launched
from tests.rig.processes import PATIENCE, ServerProcess
from tests.rig.raw import Gone, RawSocket

ANNOUNCED = re.compile(r"^Broadcast is at (.*) \((?:no )?MessagePack-RPC", re.MULTILINE)
#: A user without any rights.
NOBODY = 65534
#: A program that listens somewhere, until its input ends.
OTHER = """
import socket, sys
family, name = sys.argv[1:3]
is_unix = family == "AF_UNIX"
sock = socket.socket(getattr(socket, family))
sock.bind(name.replace("@", chr(0)) if is_unix else (name, 0))
sock.listen()
print(0 if is_unix else sock.getsockname()[1], flush=True)
sys.stdin.read()
"""
#: The name of the program that it is.
PROGRAM = os.path.basename(sys.executable)


class ListeningProcess(ServerProcess):
    """`manage.py` with these arguments: a server that runs once it has said where it listens.

    `passed`: sockets that systemd is to pass; `inherited`: others that it inherits.
    """

    def __init__(self, directory: Path, *arguments: str, **environment: str) -> None:
        super().__init__("broadcast", directory, **environment)
        self.arguments = list(arguments)
        self.passed: Sequence[socket.socket] = ()
        self.inherited: Sequence[socket.socket] = ()

    def start(self) -> None:
        self.started_at = self.log.stat().st_size if self.log.exists() else 0
        self.process = self._launch()
        deadline = time.monotonic() + PATIENCE
        while not self.addresses:
            assert self.process.poll() is None and time.monotonic() < deadline, self.said()
            time.sleep(0.01)

    def _launch(self) -> subprocess.Popen[bytes] | Launched:
        command = [sys.executable, "manage.py", *self.arguments]
        with self.log.open("ab") as log:
            if self.passed:
                return activation.start(command, self.passed, self.environment, log, ROOT)
            return subprocess.Popen(
                command,
                cwd=ROOT,
                env=self.environment,
                pass_fds=[sock.fileno() for sock in self.inherited],
                stdout=log,
                stderr=log,
            )

    def said(self) -> str:
        """What was logged and printed since it was started."""
        return self.log.read_bytes()[self.started_at :].decode()

    @property
    def addresses(self) -> list[str]:
        """Where it says that it listens."""
        found = ANNOUNCED.search(self.said())
        return re.split(", | and ", found[1]) if found else []


class RawUnixSocket(RawSocket):
    """A connection to the Unix socket of this name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.socket = socket.socket(socket.AF_UNIX)
        self.buffer = b""

    async def __aenter__(self) -> "RawUnixSocket":
        self.socket.connect(self.name)
        self.socket.setblocking(False)
        return self

    async def ask(
        self, method: str, path: str, body: str = "", **headers: str
    ) -> tuple[int, bytes]:
        """Status and body of an answer. The connection is over then."""
        data = body.encode()
        lines = {
            **{"Host": "127.0.0.1", "Connection": "close", "Content-Length": str(len(data))},
            **headers,
        }
        head = [f"{name.replace('_', '-')}: {value}" for name, value in lines.items()]
        await self.send("\r\n".join([f"{method} {path} HTTP/1.1", *head, "", ""]).encode() + data)
        answer = await self.head()
        with suppress(Gone):
            while True:
                await self.more()
        return int(answer.split()[1]), self.buffer

    async def more(self) -> None:
        """Read on, into `buffer`. Gone: there is no more."""
        await self._fill()


@contextmanager
def without_rights() -> Iterator[None]:
    """Meanwhile this process has the rights of a user who has none."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


@contextmanager
def running(process: ListeningProcess) -> Iterator[ListeningProcess]:
    process.start()
    try:
        yield process
    finally:
        process.kill()


async def answers(address: str) -> bool:
    """Whether a server answers at an address that it says it listens at."""
    client: RawSocket
    if address.startswith("unix:"):
        client = RawUnixSocket(address.removeprefix("unix:").replace("@", "\0"))
    else:
        client = RawSocket(urlsplit(address).port or 0)
    async with client:
        await client.send(b"GET /healthz?live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return (await client.head()).startswith(b"HTTP/1.1 200 ")


@contextmanager
def other(family: str, name: str) -> Iterator[tuple[int, int]]:
    """Another process that listens somewhere; its number, and its port."""
    process = subprocess.Popen(
        [sys.executable, "-c", OTHER, family, name, "--password=secret"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        yield process.pid, int(process.stdout.readline())
    finally:
        process.communicate()
