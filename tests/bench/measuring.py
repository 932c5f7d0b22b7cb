"""One measurement: a server started afresh, the load beside it, and what came of it."""

import contextlib
import json
import math
import select
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .processes import Failed, Process, busy_seconds, free_port, keep_to, last_line, running
from .redis_server import RedisServer
from .scenarios import Memory, Options, Scenario, Spent
from .servers import ROOT, Server

SAMPLE_SECONDS = 0.2
SETTLE_SECONDS = 0.5
LIMIT_SECONDS = 240
MEMORY_LIMIT = 4 * 1024**3
BUSY = 0.9  # the share of its core from which on a process counts as having no more to give
TRIES = 3
DISTURBED = 0.15  # the share of a core that others take, from which on a measurement suffers


@dataclass(frozen=True)
class Cores:
    """The cores of the servers and those of the load; they may be the same ones."""

    server: frozenset[int]
    load: frozenset[int]

    def shared(self) -> bool:
        return self.server == self.load


@dataclass
class Outcome:
    """What one measurement yielded: figures in the scenario's order, and shares of one core.

    `server_cpu` is that of all processes of the server, of Redis too. The shares are 0 where
    nothing was measured over a time.
    """

    figures: list[float]
    load_cpu: float
    server_cpu: float
    others_cpu: float
    remarks: list[str] = field(default_factory=list)

    def is_disturbed(self) -> bool:
        """Whether others took so much of the two cores that the figures suffer."""
        return self.others_cpu > DISTURBED

    def load_is_the_limit(self) -> bool:
        return self.load_cpu > BUSY and self.server_cpu < BUSY

    def summary(self, scenario: Scenario) -> str:
        said = [
            f"{figure.title} {value:,.{figure.digits}f}"
            for figure, value in zip(scenario.figures, self.figures, strict=True)
            if not math.isnan(value)
        ]
        disturbed = [f"others took {self.others_cpu:.0%} of a core"] if self.is_disturbed() else []
        return "; ".join(said + self.remarks + disturbed)


def compile_load(directory: Path) -> Path:
    """The load generator, compiled into `directory`. Raises Failed."""
    program = directory / "load"
    source = Path(__file__).with_name("load.c")
    try:
        subprocess.run(
            ["cc", "-O2", "-Wall", "-Wextra", "-o", str(program), str(source)],
            check=True,
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:
        raise Failed("no C compiler (Debian: gcc)") from None
    except subprocess.CalledProcessError as error:
        raise Failed(f"load.c does not compile: {last_line(error.stderr)}") from error
    return program


def measure(
    server: Server,
    scenario: Scenario,
    options: Options,
    program: Path,
    cores: Cores,
    tries: int = TRIES,
) -> Outcome:
    """Runs the scenario, again when it was disturbed, and takes the calmest. Raises Failed."""
    outcomes: list[Outcome] = []
    while len(outcomes) < tries and all(outcome.is_disturbed() for outcome in outcomes):
        outcomes.append(measure_once(server, scenario, options, program, cores))
    return min(outcomes, key=lambda outcome: outcome.others_cpu)


def measure_once(
    server: Server, scenario: Scenario, options: Options, program: Path, cores: Cores
) -> Outcome:
    """Runs the scenario with a server of its own. Raises Failed."""
    ports = [free_port() for _ in range(server.processes)]
    with contextlib.ExitStack() as stack:
        redis = None
        if server.on_redis:
            redis = stack.enter_context(RedisServer(server.directory, cores.server))
        processes = [
            stack.enter_context(
                running(
                    server.command(port),
                    cores=cores.server,
                    directory=ROOT,
                    environment=server.environment(redis.port if redis else None),
                    log=server.directory / f"log-{number}",
                )
            )
            for number, port in enumerate(ports, 1)
        ]
        for process, port in zip(processes, ports, strict=True):
            process.wait_until_accepting(port)
        time.sleep(SETTLE_SECONDS)
        arguments = load_arguments(server, scenario, options, ports)
        measurement = Measurement(processes, redis, scenario, options, cores)
        return measurement.run([str(program), *arguments])


def load_arguments(
    server: Server, scenario: Scenario, options: Options, ports: Sequence[int]
) -> list[str]:
    stream = server.private if scenario.signed_in else server.stream
    stream = server.streams if "streams" in options else stream
    arguments = [f"--port={','.join(map(str, ports))}", f"--listener=/ws/listener/{stream}/"]
    if scenario.publishes:
        arguments.append(f"--streamer=/ws/streamer/{stream}/")
    if scenario.signed_in and server.cookie:
        arguments.append(f"--cookie={server.cookie}")
    for name, value in options.items():
        if name == "origin":
            arguments.append(f"--origin=http://127.0.0.1:{ports[0]}")
        else:
            arguments.append(f"--{name}" if value is True else f"--{name}={value:g}")
    return arguments


class Measurement:
    """Follows the load through its phases and watches the server, and its Redis, meanwhile."""

    def __init__(
        self,
        processes: Sequence[Process],
        redis: RedisServer | None,
        scenario: Scenario,
        options: Options,
        cores: Cores,
    ) -> None:
        self.processes = processes
        self.redis = redis
        self.scenario = scenario
        self.options = options
        self.cores = cores
        self.before = self.opened = self.peak = self._memory()
        self.spent = self.idle = dict.fromkeys(self._clocks(), 0.0)

    def run(self, command: list[str]) -> Outcome:
        with started(command, self.cores.load) as load:
            result = self._follow(load)
        memory = Memory(self.before, self.opened, self.peak)
        result |= {"spent": self.spent, "idle": self.idle}
        figures = [figure.value(result, self.options, memory) for figure in self.scenario.figures]
        if not self.scenario.publishes:
            return Outcome(figures, 0, 0, 0, remarks(result))
        spent = self.spent
        server = (spent["servers"] + spent.get("redis", 0)) / spent["elapsed"]
        own = spent["harness"] / spent["elapsed"] + result["cpu"]
        others = max(spent["everybody"] / spent["elapsed"] - server - own, 0)
        outcome = Outcome(figures, result["cpu"], server, others, remarks(result))
        if outcome.load_is_the_limit() and not self.cores.shared():
            outcome.remarks.append("the load was busier than the server, which may do more")
        return outcome

    def _memory(self) -> int:
        return sum(process.memory() for process in self.processes)

    def _follow(self, load: subprocess.Popen[bytes]) -> dict[str, Any]:
        assert load.stdin and load.stdout and load.stderr
        deadline = time.monotonic() + LIMIT_SECONDS
        while time.monotonic() < deadline:
            readable, _, _ = select.select([load.stdout], [], [], SAMPLE_SECONDS)
            self._sample()
            if not readable:
                continue
            line = load.stdout.readline()
            if not line:
                raise Failed(last_line(load.stderr.read().decode()))
            said: dict[str, Any] = json.loads(line)
            if "phase" not in said:
                return said
            self._enter(said["phase"], load)
        raise Failed(f"did not end in {LIMIT_SECONDS} s")

    def _sample(self) -> None:
        self.peak = max(self.peak, self._memory())
        if self.peak - self.before > MEMORY_LIMIT:
            raise Failed(f"stopped when the server had grown by {MEMORY_LIMIT // 1024**3} GiB")

    def _enter(self, phase: str, load: subprocess.Popen[bytes]) -> None:
        if phase == "open":
            time.sleep(SETTLE_SECONDS)
            self.opened = self.peak = self._memory()
            if self.redis:
                self.redis.feign_processes(self.scenario.feigned)
            assert load.stdin
            load.stdin.write(b"go\n")
        elif phase in ("idle", "measure"):
            self.clocks = self._clocks()
        elif phase == "warmup":
            self.idle = difference(self.clocks, self._clocks())
        elif phase == "measured":
            self.spent = difference(self.clocks, self._clocks())

    def _clocks(self) -> Spent:
        """Seconds that passed, and of CPU: the servers', Redis', our own, everybody's on the cores.

        And what Redis counts.
        """
        return {
            "elapsed": time.monotonic(),
            "servers": sum(process.cpu_seconds() for process in self.processes),
            "harness": time.process_time(),
            "everybody": busy_seconds(self.cores.server | self.cores.load),
            **(self.redis.counters() if self.redis else {}),
        }


def difference(before: Spent, after: Spent) -> Spent:
    return {name: after[name] - before[name] for name in before}


@contextlib.contextmanager
def started(command: list[str], cores: frozenset[int]) -> Iterator[subprocess.Popen[bytes]]:
    """The load, unbuffered; it is gone when the block ends."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, bufsize=0, stdin=pipe, stdout=pipe, stderr=pipe, preexec_fn=keep_to(cores)
    ) as load:
        try:
            yield load
        finally:
            load.kill()


def remarks(result: dict[str, Any]) -> list[str]:
    """What a reader must know beside the figures: loss, disorder, refusals, closings."""
    found = [
        f"{result[name]} {name}"
        for name in ("lost", "doubled", "reordered", "strange", "refused")
        if result[name]
    ]
    if result["closed"]:
        found.append(f"{result['closed']} closed (code {result['close_code']})")
    return found
