"""MessagePack-RPC on this machine: prints Markdown, asserts nothing.

python -m tests.bench.rpc [--seconds 5] [--repeat 3]

The server runs on one core, the load on another. Calls are `publish` with 128 bytes, each answer
is looked at, and at the end the streams must stand at what was sent.
"""

import argparse
import os
import selectors
import shutil
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgpack

from . import report
from .__main__ import choose_cores
from .measuring import SETTLE_SECONDS, Cores
from .processes import Failed, Process, busy_seconds, free_port, running
from .servers import ROOT, Broadcast

PAYLOAD = "x" * 128
#: Calls under way, over all connections.
OUTSTANDING = 1000
WARMUP_SECONDS = 1.0
#: Publications to the browser: how many in a second.
RATE = 20

LISTEN = """async (path) => {
    window.latencies = [];
    const socket = new WebSocket(`ws://${location.host}${path}`);
    socket.onmessage = ({data}) => {
        window.latencies.push(performance.timeOrigin + performance.now() - Number(data));
    };
    await new Promise((resolve, reject) => {
        socket.onopen = resolve;
        socket.onerror = reject;
    });
}"""


class Connection:
    """One connection that keeps `window` calls under way on a stream of its own."""

    def __init__(self, port: int, stream: str, window: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream = stream
        self.window = window
        self.requests = [
            msgpack.packb([0, number, "publish", [stream, PAYLOAD]]) for number in range(window)
        ]
        self.unpacker = msgpack.Unpacker()
        self.sent = self.answered = 0

    def send(self) -> None:
        """As many calls as may be under way, when it is worth it."""
        room = self.window - (self.sent - self.answered)
        if room * 4 >= self.window:
            self.socket.sendall(b"".join(self.requests[:room]))
            self.sent += room

    def receive(self) -> None:
        self.unpacker.feed(self.socket.recv(65536))
        for _, _, error, _ in self.unpacker:
            if error:
                raise Failed(error)
            self.answered += 1

    def call(self, method: str, *params: Any) -> Any:
        """The result of a call, while nothing else is under way."""
        self.socket.sendall(msgpack.packb([0, 0, method, params]))
        while True:
            self.unpacker.feed(self.socket.recv(65536))
            for _, _, error, result in self.unpacker:
                if error:
                    raise Failed(error)
                return result

    def finish(self) -> None:
        while self.answered < self.sent:
            self.receive()
        offset = self.call("history", self.stream, self.sent)["offset"]
        if offset != self.sent:
            raise Failed(f"{self.sent} were sent, and {self.stream} stands at {offset}")
        self.socket.close()


class Figures(NamedTuple):
    calls: float
    #: CPU of the server per call, and its share of its core; the share of both that others took.
    microseconds: float
    server: float
    others: float


@contextmanager
def started(cores: Cores, **settings: str) -> Iterator[tuple[Process, Broadcast, int, int]]:
    """A fresh server, and its ports for HTTP and MessagePack-RPC; `settings`: its environment."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="broadcast-")))
        server = Broadcast(directory)
        server.prepare()
        environment = server.environment() | settings
        port, rpc_port = free_port(), int(environment["BROADCAST_RPC_PORT"])
        process = stack.enter_context(
            running(
                server.command(port),
                cores=cores.server,
                directory=ROOT,
                environment=environment,
                log=directory / "log",
            )
        )
        process.wait_until_accepting(port)
        process.wait_until_accepting(rpc_port)
        time.sleep(SETTLE_SECONDS)
        yield process, server, port, rpc_port


def measure_calls(cores: Cores, number: int, seconds: float) -> Figures:
    """Pipelined calls over so many connections."""
    with started(cores) as (process, _, _, port), selectors.DefaultSelector() as selector:
        connections = [
            Connection(port, f"bench-{index:03d}", OUTSTANDING // number) for index in range(number)
        ]
        for connection in connections:
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            connection.send()
        work(selector, WARMUP_SECONDS)
        before = answered(connections), clocks(process, cores)
        work(selector, seconds)
        after = answered(connections), clocks(process, cores)
        for connection in connections:
            connection.finish()
    calls = after[0] - before[0]
    elapsed, server, own, busy = (b - a for a, b in zip(before[1], after[1], strict=True))
    others = max(busy - server - own, 0) / elapsed
    return Figures(calls / elapsed, server / calls * 1e6, server / elapsed, others)


def work(selector: selectors.BaseSelector, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for key, _ in selector.select(1):
            key.data.receive()
            key.data.send()


def answered(connections: list[Connection]) -> int:
    return sum(connection.answered for connection in connections)


def clocks(process: Process, cores: Cores) -> tuple[float, float, float, float]:
    """Seconds that passed, and of CPU: the server's, our own, everybody's on the cores."""
    own = time.process_time()
    return time.monotonic(), process.cpu_seconds(), own, busy_seconds(cores.server | cores.load)


def measure_latency(cores: Cores, seconds: float) -> list[float]:
    """Milliseconds from the call of `publish` to the page's event, in a real browser."""
    from playwright.sync_api import sync_playwright

    with started(cores) as (_, server, port, rpc_port), sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{port}/")
        page.evaluate(LISTEN, f"/ws/listener/{server.stream}/")
        connection = Connection(rpc_port, server.stream, 1)
        for _ in range(round(seconds * RATE)):
            connection.call("publish", server.stream, str(time.time() * 1000))
            time.sleep(1 / RATE)
        found: list[float] = page.evaluate("window.latencies")
        browser.close()
    if len(found) != round(seconds * RATE):
        raise Failed(f"{round(seconds * RATE)} were pushed, and {len(found)} came")
    return found


def show_calls(title: str, found: list[Figures]) -> None:
    calls = sorted(one.calls for one in found)
    median = sorted(found)[len(found) // 2]
    others = max(one.others for one in found)
    print(
        f"| {title} | {median.calls:,.0f} | {calls[0]:,.0f} – {calls[-1]:,.0f} "
        f"| {median.microseconds:.1f} | {median.server:.0%} | {others:.0%} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement")
    parser.add_argument("--repeat", type=int, default=3, help="measurements of each")
    arguments = parser.parse_args()
    cores = choose_cores(shared=False)
    os.sched_setaffinity(0, cores.load)
    print(f"{report.machine(cores)}\n")
    print("| `publish`, 128 bytes, pipelined | calls/s | of all runs | CPU µs | server | others |")
    print("|---|---:|---:|---:|---:|---:|")
    for number in (1, 50):
        found = [measure_calls(cores, number, arguments.seconds) for _ in range(arguments.repeat)]
        show_calls(f"{number} connection{'s' * (number > 1)}", found)
    latencies = [measure_latency(cores, arguments.seconds) for _ in range(arguments.repeat)]
    print(f"\nPush to a page in Chromium, {RATE}/s, ms from the call to the page's event:\n")
    print("| p50 | p99 | of all runs |\n|---:|---:|---:|")
    halves = sorted(statistics.median(one) for one in latencies)
    tails = sorted(statistics.quantiles(one, n=100)[98] for one in latencies)
    middle = arguments.repeat // 2
    print(
        f"| {halves[middle]:.1f} | {tails[middle]:.1f} "
        f"| p50 {halves[0]:.1f} – {halves[-1]:.1f}, p99 {tails[0]:.1f} – {tails[-1]:.1f} |"
    )


if __name__ == "__main__":
    try:
        main()
    except Failed as failure:
        sys.exit(f"tests.bench.rpc: {failure}")
