"""The Markdown that the benchmark prints."""

import math
import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .measuring import Cores, Outcome
from .scenarios import Scenario
from .servers import Server


@dataclass
class Results:
    """All outcomes of one scenario with one server, and why others are missing."""

    outcomes: list[Outcome] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    adapted: str = ""

    def median(self, figure: int) -> float | None:
        values = [outcome.figures[figure] for outcome in self.outcomes]
        return statistics.median(values) if values else None

    def spread(self) -> float:
        """Half the range of the first figure, as a share of its median."""
        values = [outcome.figures[0] for outcome in self.outcomes]
        middle = statistics.median(values)
        return (max(values) - min(values)) / 2 / abs(middle) if middle else 0.0

    def remarks(self) -> list[str]:
        """Each remark once, the adaptation first."""
        said = [remark for outcome in self.outcomes for remark in outcome.remarks]
        adapted = [f"with {self.adapted}"] if self.adapted else []
        others = max((outcome.others_cpu for outcome in self.outcomes), default=0)
        disturbed = sum(outcome.is_disturbed() for outcome in self.outcomes)
        if disturbed:
            said.append(f"{disturbed} disturbed: others took up to {others:.0%} of a core")
        return list(dict.fromkeys(adapted + said + self.failures))


Table = dict[tuple[str, str], Results]  # (the scenario's name, the server's key) → its results


def results(table: Table, scenario: Scenario, server: Server) -> Results:
    """None where this server does not run this scenario."""
    return table.get((scenario.name, server.key), Results())


def machine(cores: Cores) -> str:
    """Processor, kernel, Python, and who ran where."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    processor = f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"
    shared = f"all on the same {len(cores.server)} cores"
    pinned = shared if cores.shared() else "server on one core, load on another"
    return f"{processor}, Linux {platform.release()}, Python {platform.python_version()}; {pinned}"


def figures(scenarios: Sequence[Scenario], servers: Sequence[Server], table: Table) -> str:
    """The medians of every figure, then what the first server's is of each other's."""
    first, *others = servers
    ratios = [f"{first.title} / {other.title}" for other in others]
    rows = []
    for scenario in scenarios:
        for index, figure in enumerate(scenario.figures):
            medians = [results(table, scenario, server).median(index) for server in servers]
            cells = [number(median, figure.digits) for median in medians]
            rows.append(
                [f"{scenario.name}: {figure.title}", *cells]
                + [ratio(medians[0], median) for median in medians[1:]]
            )
    return markdown(["", *(server.title for server in servers), *ratios], rows)


def shares(scenarios: Sequence[Scenario], servers: Sequence[Server], table: Table) -> str:
    """How busy the two cores were and how far the repetitions lay apart."""
    rows = [
        [scenario.name, *(share(results(table, scenario, server)) for server in servers)]
        for scenario in scenarios
        if scenario.publishes
    ]
    if not rows:
        return ""
    return markdown(["CPU", *(server.title for server in servers)], rows)


def remarks(scenarios: Sequence[Scenario], servers: Sequence[Server], table: Table) -> list[str]:
    return [
        f"{scenario.name}, {server.title}: {remark}"
        for scenario in scenarios
        for server in servers
        for remark in results(table, scenario, server).remarks()
    ]


def share(results: Results) -> str:
    if not results.outcomes:
        return "–"
    server = statistics.median(outcome.server_cpu for outcome in results.outcomes)
    load = statistics.median(outcome.load_cpu for outcome in results.outcomes)
    return f"server {server:.0%}, load {load:.0%}, ±{results.spread():.0%}"


def number(value: float | None, digits: int) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:,.{digits}f}"


def ratio(value: float | None, other: float | None) -> str:
    return "–" if value is None or not other or math.isnan(other) else f"{value / other:,.2f}"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *rows])
