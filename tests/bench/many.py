"""Several processes on Redis beside one in memory: what is measured."""

import math
from dataclasses import replace
from typing import Any

from .scenarios import (
    SCENARIOS,
    Figure,
    Memory,
    Options,
    Scenario,
    Value,
    publications_rate,
)


def per(what: str, name: str, scale: float = 1) -> Value:
    """What was spent of `name` for each `what`, without what is spent while idle, where known.

    Not a number for what there is none of: Redis, to a server in memory.
    """

    def value(result: dict[str, Any], options: Options, memory: Memory) -> float:
        spent = result["spent"]
        background = spent["elapsed"] * while_idle(name)(result, options, memory)
        return float((spent.get(name, math.nan) - background) / result[what] * scale)

    return value


def while_idle(name: str, scale: float = 1) -> Value:
    """What was spent of `name` in a second without publications; 0 where there was none."""

    def value(result: dict[str, Any], options: Options, memory: Memory) -> float:
        if "idle" not in options:
            return 0.0
        idle = result["idle"]
        return float(idle.get(name, math.nan) / idle["elapsed"] * scale)

    return value


COSTS = (
    Figure("servers' CPU, µs per publication", per("publications", "servers", 1e6)),
    Figure("Redis' CPU, µs per publication", per("publications", "redis", 1e6), 1),
    Figure("commands at Redis per publication", per("publications", "commands"), 1),
    Figure("bytes into Redis per publication", per("publications", "bytes in")),
    Figure("bytes out of Redis per publication", per("publications", "bytes out")),
)
SCRIPTS = (
    Figure("µs in the append's script per publication", per("publications", "scripts", 1e6), 1),
    Figure("µs in PUBLISH per publication", per("publications", "publishing", 1e6), 1),
)
WATCHING = (
    Figure("commands/s at Redis while idle", while_idle("commands")),
    Figure("Redis' CPU while idle, ms/s", while_idle("redis", 1e3), 1),
    Figure("servers' CPU while idle, ms/s", while_idle("servers", 1e3)),
)
DELIVERING = Figure("servers' CPU, µs per delivery", per("deliveries", "servers", 1e6), 2)
JOINING = (
    Figure("servers' CPU, µs per join", per("joins", "servers", 1e6)),
    Figure("Redis' CPU, µs per join", per("joins", "redis", 1e6)),
    Figure("commands at Redis per join", per("joins", "commands"), 1),
)
#: Scenarios that are the same as beside the peers, and what is shown of them besides.
ALSO = {
    "flood": (DELIVERING, *COSTS),
    "paced": (DELIVERING,),
    "publish": COSTS + SCRIPTS,
    "join": JOINING,
}
FIFTY: Options = {"streams": 50, "listeners": 50, "size": 128, "seconds": 5, "nap": 200}


def cost(name: str, listeners: int, feigned: int = 0) -> Scenario:
    """Single publications: each waits until the last one has come, on a busy machine too.

    Processes look at their streams every two seconds: what is compared are multiples of that.
    """
    return Scenario(
        name,
        {
            "listeners": listeners,
            "size": 128,
            "rate": 50,
            "window": 1,
            "seconds": 10,
            "warmup": 1,
            "idle": 4,
        },
        COSTS + SCRIPTS,
        quick={"seconds": 2, "warmup": 0.5, "idle": 2},
        servers=("redis",),
        feigned=feigned,
    )


MANY = (
    *(
        replace(scenario, figures=scenario.figures + ALSO[scenario.name])
        for scenario in SCENARIOS
        if scenario.name in ALSO
    ),
    Scenario(
        "publish-50",
        FIFTY | {"window": 100, "idle": 4},
        (Figure("publications/s", publications_rate), *COSTS, *WATCHING),
        quick={"seconds": 2, "idle": 2},
    ),
    Scenario(
        "single-50",
        FIFTY | {"window": 1, "nap": 0},
        (Figure("publications/s", publications_rate), *COSTS),
        quick={"seconds": 2},
        servers=("redis",),
    ),
    cost("cost-10", 10),
    cost("cost-100", 100),
    cost("cost-1000", 1000),
    # With 98 more the two processes are a hundred.
    cost("processes-100", 10, feigned=98),
)
