"""Broadcast beside other servers, on this machine: prints Markdown, asserts nothing."""

import argparse
import contextlib
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from . import report
from .many import MANY
from .measuring import TRIES, Cores, compile_load, measure
from .processes import Failed
from .scenarios import SCENARIOS, Scenario
from .servers import MANY_SERVERS, SERVERS, Missing, Server


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/bench/run", description=__doc__)
    scenarios = unique(scenario.name for scenario in (*SCENARIOS, *MANY))
    servers = [server.key for server in (*SERVERS, *MANY_SERVERS)]
    parser.add_argument(
        "--many",
        action="store_true",
        help="instead of the peers: two processes on Redis beside one in memory",
    )
    parser.add_argument("--quick", action="store_true", help="shorter, and each once")
    parser.add_argument("--repeat", type=int, help="measurements of each, of which the median")
    parser.add_argument(
        "--only", type=names(scenarios), default=scenarios, help=", ".join(scenarios)
    )
    parser.add_argument("--peers", type=names(servers), default=servers, help=", ".join(servers))
    arguments = parser.parse_args()
    arguments.repeat = arguments.repeat or (1 if arguments.quick else 3)
    return arguments


def unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


class names:
    """An argument type: names out of `known`, with commas between."""

    def __init__(self, known: Sequence[str]) -> None:
        self.known = known

    def __call__(self, value: str) -> list[str]:
        chosen = value.split(",")
        for name in chosen:
            if name not in self.known:
                raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(self.known)}")
        return chosen


def choose_cores(shared: bool) -> Cores:
    """Two cores: all run on both when they are `shared`, or when there is but one."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    if shared or len(cores) == 1:
        return Cores(frozenset(cores), frozenset(cores))
    return Cores(frozenset(cores[:1]), frozenset(cores[1:]))


def raise_file_limit() -> None:
    """Thousands of connections need as many files; what is started here inherits the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def prepared(kinds: Sequence[type[Server]], keys: Sequence[str], directory: Path) -> list[Server]:
    """The chosen servers that can be measured here; a line for each that cannot."""
    ready: list[Server] = []
    for kind in kinds:
        if kind.key in keys:
            server = kind(directory)
            try:
                server.prepare()
            except Missing as missing:
                print(f"{server.title} is left out: {missing}", flush=True)
            else:
                ready.append(server)
    return ready


def measure_all(
    scenarios: Sequence[Scenario],
    servers: Sequence[Server],
    arguments: argparse.Namespace,
    program: Path,
    cores: Cores,
) -> report.Table:
    """All servers take turns at each scenario, `repeat` times over."""
    table: report.Table = {}
    # A quick run of many processes is bounded in time.
    tries = 1 if arguments.quick and arguments.many else TRIES
    for scenario in scenarios:
        for turn in range(arguments.repeat):
            for server in servers:
                if scenario.servers and server.key not in scenario.servers:
                    continue
                results = table.setdefault((scenario.name, server.key), report.Results())
                options = scenario.options_for(server.key, arguments.quick)
                results.adapted = adaptation(scenario, server)
                try:
                    outcome = measure(server, scenario, options, program, cores, tries)
                    results.outcomes.append(outcome)
                    said = outcome.summary(scenario)
                except Failed as failure:
                    results.failures.append(str(failure))
                    said = str(failure)
                print(f"{scenario.name} {turn + 1}, {server.title}: {said}", file=sys.stderr)
    return table


def adaptation(scenario: Scenario, server: Server) -> str:
    """What a reader must know of this server's options; how long it may drain is no such thing."""
    options = scenario.adapted.get(server.key, {})
    return ", ".join(f"{name} {value:g}" for name, value in options.items() if name != "drain")


def show(
    scenarios: Sequence[Scenario], servers: Sequence[Server], table: report.Table, cores: Cores
) -> None:
    print(report.machine(cores))
    for server in servers:
        print(f"* {server.version()}")
    print(f"\n{report.figures(scenarios, servers, table)}")
    print(f"\n{report.shares(scenarios, servers, table)}\n")
    for remark in report.remarks(scenarios, servers, table):
        print(f"* {remark}")


def exit_on(signum: int, frame: object) -> NoReturn:
    """A signal ends the benchmark by an exception, so that all it started is stopped."""
    raise SystemExit(128 + signum)


def main() -> None:
    arguments = parse_arguments()
    signal.signal(signal.SIGTERM, exit_on)
    raise_file_limit()
    cores = choose_cores(shared=arguments.many)
    os.sched_setaffinity(0, cores.load)
    known, kinds = (MANY, MANY_SERVERS) if arguments.many else (SCENARIOS, SERVERS)
    scenarios = [scenario for scenario in known if scenario.name in arguments.only]
    with tempfile.TemporaryDirectory(prefix="broadcast-bench-") as directory:
        program = compile_load(Path(directory))
        servers = prepared(kinds, arguments.peers, Path(directory))
        if not (servers and scenarios):
            raise Failed("nothing to measure")
        table = measure_all(scenarios, servers, arguments, program, cores)
        show(scenarios, servers, table, cores)


if __name__ == "__main__":
    try:
        with contextlib.suppress(KeyboardInterrupt):
            main()
    except Failed as failure:
        sys.exit(f"tests/bench/run: {failure}")
