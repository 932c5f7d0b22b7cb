"""What a run of pytest leaves out: without `--all`, tests that need more than Python, or long.

Hooks of pytest, which `tests/conftest.py` takes. The last lines of a run say what was left out.
"""

from collections import Counter
from typing import Any

import pytest

from tests.rig.needs import LEFT_OUT, needs_of

COUNTS = pytest.StashKey[Counter[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all", action="store_true", help="run all tests, whatever they need and however long"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[COUNTS] = Counter()


# Before pytest looks at `-m`.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark tests with what they need, and leave out those that the quick run has no place for."""
    reasons = {item: _reason(item) for item in items}
    if config.getoption("all"):
        return
    left_out = [item for item in items if reasons[item]]
    items[:] = [item for item in items if not reasons[item]]
    config.hook.pytest_deselected(items=left_out)
    config.stash[COUNTS].update(reasons[item] for item in left_out)


def _reason(item: pytest.Item) -> str:
    """The first of `LEFT_OUT` that keeps a test from the quick run, if any does."""
    if isinstance(item, pytest.Function):
        for need in needs_of(item):
            item.add_marker(need)
    return next((marker for marker in LEFT_OUT if item.get_closest_marker(marker)), "")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of xdist tells its parent, which collects nothing."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = dict(session.config.stash[COUNTS])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    # Every worker collects all tests: each says the same.
    node.config.stash[COUNTS] |= Counter(getattr(node, "workeroutput", {}).get("left_out", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counts = terminalreporter.config.stash[COUNTS]
    if counts:
        found = [
            f"{counts[marker]} need {LEFT_OUT[marker]}" for marker in LEFT_OUT if counts[marker]
        ]
        terminalreporter.section("left out", yellow=True)
        terminalreporter.line(
            f"{counts.total()} tests were left out: {', '.join(found)}. "
            "`tests/run` runs all; `pytest --all PATH` those in a path."
        )
