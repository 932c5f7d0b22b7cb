"""What a test needs beside Python: found in its code, and that of its fixtures and helpers.

Nobody has to mark a test that starts a Redis through a fixture of a fixture, and no mark is
forgotten. A name that is only mentioned counts as used.
"""

import inspect
import subprocess
from collections.abc import Iterator
from functools import cache
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest

from tests.rig import catalogues, films
from tests.rig.chromium import chromium
from tests.rig.postgres import PostgresProcess
from tests.rig.processes import RedisProcess

#: Markers, by whatever brings the need along.
NEEDS: dict[Any, str] = {
    RedisProcess: "needs_redis",
    PostgresProcess: "needs_postgres",
    chromium: "needs_browser",
    films.ffmpeg: "needs_ffmpeg",
    catalogues.wanted: "needs_gettext",
    subprocess: "needs_processes",
}
#: The markers of parameters of fixtures that start what they are asked for.
VALUES = {
    "redis": {"needs_redis"},
    "broadcast": {"needs_processes"},
    "uvicorn": {"needs_processes"},
}
#: Markers of tests that the quick run leaves out, and the word for each.
LEFT_OUT = {
    "needs_browser": "a browser",
    "needs_postgres": "PostgreSQL",
    "needs_redis": "Redis",
    "needs_ffmpeg": "ffmpeg",
    "needs_gettext": "gettext",
    "needs_processes": "processes of their own",
    "slow": "more time",
}


def needs_of(item: pytest.Function) -> set[str]:
    """The markers of a test."""
    fixtures = item._fixtureinfo.name2fixturedefs.values()
    functions = [item.function, *(one.func for definitions in fixtures for one in definitions)]
    found = set().union(*map(_needs_of_function, functions))
    for value in item.callspec.params.values() if hasattr(item, "callspec") else ():
        if isinstance(value, str):
            found |= VALUES.get(value, set())
    if "browser" in item.nodeid.split("/"):
        found.add("needs_browser")
    return found


@cache
def _needs_of_function(function: Any) -> frozenset[str]:
    found, waiting = set(), {function}
    while waiting:
        thing = waiting.pop()
        if thing not in found:
            found.add(thing)
            # What a need itself stands on is not looked at: ffmpeg is a process, too.
            waiting |= frozenset() if thing in NEEDS else _used_by(thing)
    return frozenset(NEEDS[thing] for thing in found if thing in NEEDS)


@cache
def _used_by(thing: Any) -> frozenset[Any]:
    """Functions and classes of the tests, and modules, that a function or class has names of."""
    if isinstance(thing, type):
        return frozenset(_ours([*vars(thing).values(), *thing.__bases__]))
    # A test that hypothesis runs with made-up arguments is inside of a function of hypothesis.
    function = inspect.unwrap(getattr(getattr(thing, "hypothesis", None), "inner_test", thing))
    if not isinstance(function, FunctionType):
        return frozenset()
    names = set(_names(function.__code__))
    values = [function.__globals__[name] for name in names if name in function.__globals__]
    for module in values:
        if isinstance(module, ModuleType) and module.__name__.startswith("tests."):
            values += [vars(module)[name] for name in names if name in vars(module)]
    return frozenset(_ours(values))


def _ours(values: list[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, property):
            value = value.fget
        if isinstance(value, classmethod | staticmethod):
            value = value.__func__
        ours = str(getattr(value, "__module__", "")).startswith("tests.")
        if value is subprocess or (ours and callable(value)):
            yield value


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
