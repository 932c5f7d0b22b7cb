"""What is measured: the options of the load for each scenario, and the figures it yields."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Options = dict[str, float | bool]
Spent = dict[str, float]  # by the names of Measurement._clocks: seconds, commands, bytes


@dataclass(frozen=True)
class Memory:
    """Bytes of a server's processes: before the load, with its connections open, at the most."""

    before: int
    opened: int
    peak: int


Value = Callable[[dict[str, Any], Options, Memory], float]


@dataclass(frozen=True)
class Figure:
    """One line of the table, computed from the load's result and the server's memory.

    The result has besides what was `spent` while it was measured and while all was `idle`.
    """

    title: str
    value: Value
    digits: int = 0


@dataclass(frozen=True)
class Scenario:
    """Options of the load (see load.c), and what is different in a quick run and for some peers.

    `adapted` maps the key of a server that cannot hold the scenario as it is to other options.
    """

    name: str
    options: Options
    figures: tuple[Figure, ...]
    quick: Options = field(default_factory=dict)
    adapted: dict[str, Options] = field(default_factory=dict)
    publishes: bool = True
    signed_in: bool = False
    servers: tuple[str, ...] = ()  # keys of those that run it; () is all
    feigned: int = 0  # further processes, of which only Redis knows

    def options_for(self, server: str, quick: bool) -> Options:
        return self.options | (self.quick if quick else {}) | self.adapted.get(server, {})


def deliveries_rate(result: dict[str, Any], options: Options, memory: Memory) -> float:
    return float(result["deliveries"] / result["seconds"])


def publications_rate(result: dict[str, Any], options: Options, memory: Memory) -> float:
    """Publications per second that arrived, on all streams: an average over their listeners."""
    of_one = deliveries_rate(result, options, memory) / options["listeners"]
    return of_one * options.get("streams", 1)


def delivered_mb_rate(result: dict[str, Any], options: Options, memory: Memory) -> float:
    return deliveries_rate(result, options, memory) * options["size"] / 1e6


def published_mb_rate(result: dict[str, Any], options: Options, memory: Memory) -> float:
    return float(result["publications"] / result["seconds"] * options["size"] / 1e6)


def joins_rate(result: dict[str, Any], options: Options, memory: Memory) -> float:
    return float(result["joins"] / result["seconds"])


def kib_per_listener(result: dict[str, Any], options: Options, memory: Memory) -> float:
    return (memory.opened - memory.before) / 1024 / options["listeners"]


def growth_mb(result: dict[str, Any], options: Options, memory: Memory) -> float:
    return (memory.peak - memory.opened) / 1e6


def milliseconds(key: str) -> Value:
    return lambda result, options, memory: float(result[key])


JOINS = Figure("joins/s", joins_rate)
JOINING: Options = {"listeners": 0, "joins": 3000, "rate": 20, "origin": True}

SCENARIOS = (
    Scenario(
        "flood",
        {"listeners": 500, "size": 128, "seconds": 5, "warmup": 2, "window": 64, "nap": 200},
        (Figure("deliveries/s", deliveries_rate), Figure("publications/s", publications_rate)),
        quick={"seconds": 2, "warmup": 1},
        adapted={"channels": {"drain": 40}},
    ),
    Scenario(
        "paced",
        {"listeners": 500, "size": 128, "rate": 20, "seconds": 10, "warmup": 1},
        (
            Figure("latency p50, ms", milliseconds("p50"), 1),
            Figure("latency p99, ms", milliseconds("p99"), 1),
            Figure("latency max, ms", milliseconds("max"), 1),
        ),
        quick={"seconds": 4},
        adapted={"channels": {"drain": 60}},
    ),
    Scenario(
        "publish",
        {"listeners": 10, "size": 128, "seconds": 5, "warmup": 1, "window": 1000, "nap": 200},
        (Figure("publications/s", publications_rate),),
        quick={"seconds": 2},
        # nchan may stop for good when many frames come at once, and the in-memory layer drops
        # what comes beyond 100.
        adapted={"nchan": {"window": 64, "nap": 0}, "channels": {"window": 50}},
    ),
    Scenario(
        "bytes",
        {
            "listeners": 100,
            "size": 65536,
            "binary": True,
            "seconds": 5,
            "warmup": 1,
            "window": 8,
            "nap": 200,
        },
        (Figure("MB/s", delivered_mb_rate),),
        quick={"seconds": 2},
    ),
    Scenario(
        "idle",
        {"listeners": 8000, "seconds": 0, "warmup": 0, "drain": 0},
        (Figure("KiB each", kib_per_listener, 1),),
        adapted={"channels": {"listeners": 1000}},
        publishes=False,
    ),
    Scenario(
        "crowd",
        {"listeners": 19_000, "size": 128, "rate": 20, "seconds": 10, "warmup": 2, "drain": 30},
        (
            Figure("KiB each", kib_per_listener, 1),
            Figure("latency p50, ms", milliseconds("p50"), 1),
            Figure("latency p99, ms", milliseconds("p99"), 1),
        ),
        quick={"seconds": 4},
        adapted={"channels": {"listeners": 1000}},
    ),
    Scenario(
        "join", JOINING, (JOINS,), quick={"joins": 1000}, adapted={"channels": {"joins": 300}}
    ),
    Scenario(
        "join-session",
        JOINING,
        (JOINS,),
        quick={"joins": 1000},
        adapted={"channels": {"joins": 300}},
        signed_in=True,
    ),
    Scenario(
        "slow",
        {
            "listeners": 50,
            "deaf": 50,
            "size": 65536,
            "binary": True,
            "rate": 305,
            "window": 64,
            "seconds": 20,
            "warmup": 0,
        },
        (Figure("growth, MB", growth_mb), Figure("published, MB/s", published_mb_rate, 1)),
        quick={"seconds": 5},
        adapted={"channels": {"window": 16}},
    ),
)
