"""Processes of the benchmark: kept to their cores, watched through /proc, always stopped."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

START_SECONDS = 30
STOP_SECONDS = 10
TICKS = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A measurement could not be made; the message says why."""


class Process:
    """A started command with all processes of the session it leads. What it says is in `log`."""

    def __init__(self, popen: subprocess.Popen[bytes], log: Path) -> None:
        self.popen = popen
        self.log = log

    def wait_until_accepting(self, port: int) -> None:
        """Raises Failed."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.popen.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return
            time.sleep(0.05)
        raise Failed(f"it did not start: {last_line(self.log.read_text(errors='replace'))}")

    def _pids(self) -> Iterator[int]:
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if os.getsid(int(entry.name)) == self.popen.pid:
                        yield int(entry.name)

    def memory(self) -> int:
        """Proportional set size in bytes; what the kernel holds for sockets is not in it."""
        total = 0
        for pid in self._pids():
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += int(line.split()[1]) * 1024
        return total

    def cpu_seconds(self) -> float:
        ticks = 0
        for pid in self._pids():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])  # utime and stime
        return ticks / TICKS

    def stop(self) -> None:
        """Asks it to end, then ends it and what it started."""
        self.popen.terminate()
        try:
            self.popen.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.popen.pid, signal.SIGKILL)
            self.popen.wait()


@contextlib.contextmanager
def running(
    command: list[str],
    *,
    cores: Collection[int],
    directory: Path,
    environment: Mapping[str, str],
    log: Path,
) -> Iterator[Process]:
    """`command`, kept to `cores`; what it says goes to `log`."""
    with log.open("wb") as output:
        popen = subprocess.Popen(
            command,
            cwd=directory,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=keep_to(cores),
        )
    process = Process(popen, log)
    try:
        yield process
    finally:
        process.stop()


def busy_seconds(cores: Collection[int]) -> float:
    """How long these cores have been busy since boot, whoever with."""
    names = {f"cpu{core}" for core in cores}
    ticks = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name in names:
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[:8])
            ticks += user + nice + system + irq + softirq + steal
    return ticks / TICKS


def keep_to(cores: Collection[int]) -> Callable[[], None]:
    """A `preexec_fn`: the child runs on `cores` and nowhere else."""
    return lambda: os.sched_setaffinity(0, cores)


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def last_line(output: str) -> str:
    return (output.strip().splitlines() or ["(it said nothing)"])[-1]
