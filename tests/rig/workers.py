"""The parent of several server processes as a real process, and what its workers hold."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.rig.doors import ServerDoor, ServerSocket, Socket
from tests.rig.processes import PATIENCE, ServerProcess

WORKERS = 2
#: Seconds a drain takes.
DRAIN = 1
#: The state of a listening socket in /proc/net/tcp.
LISTENING = "0A"


class WorkersProcess(ServerProcess):
    """The parent of `WORKERS` workers."""

    def __init__(self, directory: Path, **environment: str) -> None:
        defaults = {
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "BROADCAST_DRAIN_SECONDS": str(DRAIN),
        }
        super().__init__("broadcast", directory, **{**defaults, **environment})
        self.arguments = ["serve", "--workers", str(WORKERS)]

    def start(self) -> None:
        self.started_at = self.log.stat().st_size if self.log.exists() else 0
        super().start()
        deadline = time.monotonic() + PATIENCE
        while "Broadcast is at" not in self.said():
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.01)

    def said(self) -> str:
        """What was logged and printed since it was started."""
        return self.log.read_bytes()[self.started_at :].decode()

    def tell(self, number: signal.Signals) -> None:
        assert self.process
        self.process.send_signal(number)

    @property
    def workers(self) -> set[int]:
        """The process ids of the workers, those that are leaving or coming included."""
        assert self.process
        pid = self.process.pid
        return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))

    def worker_of(self, client: Socket) -> int:
        """The worker that has the other end of a socket."""
        assert isinstance(client, ServerSocket)
        (worker,) = self.holders(self.port, client.connection.local_address[1])
        return worker

    @property
    def rpc_listeners(self) -> set[int]:
        """The workers that listen for MessagePack-RPC."""
        return self.holders(self.rpc_port, 0)

    def holders(self, port: int, peer: int) -> set[int]:
        """The workers that have a TCP socket of these ports; no peer: a listening one."""
        tables = [Path(f"/proc/net/{name}") for name in ("tcp", "tcp6")]
        lines = [
            line.split()
            for table in tables
            if table.exists()
            for line in table.read_text().splitlines()[1:]
        ]
        found = {
            f"socket:[{inode}]"
            for _, here, there, state, _, _, _, _, _, inode, *_ in lines
            if (port_of(here), port_of(there)) == (port, peer)
            and (state == LISTENING) == (peer == 0)
        }
        return {worker for worker in self.workers if found & files(worker)}


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2], 16)


def files(pid: int) -> set[str]:
    """What a process has open; nothing of one that ended."""
    found = set()
    with suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                found.add(os.readlink(link))
    return found


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def exit_status(process: ServerProcess) -> int:
    assert process.process
    return await asyncio.to_thread(process.process.wait, PATIENCE)


async def listeners_at_all(door: ServerDoor, slug: str) -> dict[int, Socket]:
    """Listeners of a stream, one of each worker."""
    process = door.process
    assert isinstance(process, WorkersProcess)
    found: dict[int, Socket] = {}
    async with asyncio.timeout(PATIENCE):
        while len(found) < WORKERS:
            listener = await door.listener(slug)
            found.setdefault(process.worker_of(listener), listener)
    return found


async def replace_all(process: WorkersProcess) -> None:
    before = process.workers
    replaced = process.said().count("All workers were replaced")
    process.tell(signal.SIGHUP)
    await until(lambda: process.said().count("All workers were replaced") > replaced)
    assert len(process.workers) == WORKERS and not process.workers & before
