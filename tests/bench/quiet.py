"""What a quiet listener costs, by where its memory is allocated. Prints Markdown.

python -m tests.bench.quiet [--listeners 2000] [--lines 25]

The server traces its allocations, once before the listeners come and once with them there. So it
is slow, and its objects are all that is counted: not what the kernel holds for the sockets.
"""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import tracemalloc
from pathlib import Path
from time import monotonic, sleep

from .__main__ import raise_file_limit
from .media import handshake
from .processes import Failed, free_port, running
from .servers import ROOT, Broadcast

PATIENCE = 60


def serve(port: int, report: Path) -> None:
    """Be the server: each SIGUSR1 adds a snapshot."""
    tracemalloc.start()
    from django.core.management import execute_from_command_line

    snapshots = []

    def take() -> None:
        snapshots.append(tracemalloc.take_snapshot())
        if len(snapshots) > 1:
            changes = snapshots[1].compare_to(snapshots[0], "lineno")
            lines = [f"{one.size_diff}\t{one.count_diff}\t{one.traceback[0]}" for one in changes]
            report.write_text("\n".join(lines))
        report.with_suffix(f".{len(snapshots)}").touch()

    def listen() -> None:
        asyncio.get_event_loop().add_signal_handler(signal.SIGUSR1, take)

    from broadcast import lifespan

    lifespan.started.connect(listen)
    arguments = ["serve", "--host", "127.0.0.1", "--port", str(port)]
    execute_from_command_line(["manage.py", *arguments])


def wait_for(path: Path) -> None:
    until = monotonic() + PATIENCE
    while not path.exists():
        if monotonic() > until:
            raise Failed("the server did not answer")
        sleep(0.1)


def measure(directory: Path, number: int) -> list[tuple[float, float, str]]:
    """Bytes and objects of each listener, by the line that allocates them."""
    broadcast = Broadcast(directory)
    broadcast.prepare()
    port, report = free_port(), directory / "report"
    command = [sys.executable, "-m", "tests.bench.quiet", "--serve", str(port), str(report)]
    with running(
        command,
        cores=os.sched_getaffinity(0),
        directory=ROOT,
        environment=broadcast.environment() | {"DJANGO_SETTINGS_MODULE": "project.settings"},
        log=directory / "log",
    ) as process:
        process.wait_until_accepting(port)
        # What is made once is there then.
        kept = [handshake(port, "/ws/listener/bench/") for _ in range(100)]
        os.kill(process.popen.pid, signal.SIGUSR1)
        wait_for(report.with_suffix(".1"))
        kept += [handshake(port, "/ws/listener/bench/") for _ in range(number)]
        sleep(2)
        os.kill(process.popen.pid, signal.SIGUSR1)
        wait_for(report.with_suffix(".2"))
    rows = [line.split("\t") for line in report.read_text().splitlines()]
    return [
        (int(size) / number, int(count) / number, place.removeprefix(f"{ROOT}/"))
        for size, count, place in rows
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listeners", type=int, default=2000)
    parser.add_argument("--lines", type=int, default=25)
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    raise_file_limit()
    if options.serve:
        serve(int(options.serve[0]), Path(options.serve[1]))
        return
    with tempfile.TemporaryDirectory() as directory:
        rows = measure(Path(directory), options.listeners)
    print("| bytes | objects | allocated at |")
    print("|---:|---:|---|")
    for size, count, place in rows[: options.lines]:
        print(f"| {size:.0f} | {count:.1f} | `{place}` |")
    print(f"| {sum(row[0] for row in rows):.0f} | {sum(row[1] for row in rows):.1f} | all |")


if __name__ == "__main__":
    main()
