"""What all tests share: coroutine tests, a clean slate for each, real server processes."""

import inspect
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from functools import cache
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from channels.layers import channel_layers
from django.test import override_settings
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from pytest_django.fixtures import Settings

from broadcast import backends
from broadcast.access import sole_process
from broadcast.backends import Backend
from broadcast.backends.redis import RedisBackend
from broadcast.http import threads
from broadcast.hub import serving
from broadcast.models import rows
from broadcast.rooms import hours
from tests.rig.backends import BACKENDS
from tests.rig.clock import Clock
from tests.rig.doors import Door, InProcessDoor, ServerDoor, door_of
from tests.rig.pages import Person
from tests.rig.processes import PREFIX, Installation, RedisProcess, ServerProcess
from tests.rig.selection import (
    pytest_addoption,
    pytest_collection_modifyitems,
    pytest_configure,
    pytest_sessionfinish,
    pytest_terminal_summary,
    pytest_testnodedown,
)

#: Hooks that pytest finds here.
__all__ = [
    "pytest_addoption",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_sessionfinish",
    "pytest_terminal_summary",
    "pytest_testnodedown",
]

# The same examples each time, however slow the machine is.
hypothesis_settings.register_profile(
    "steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("steady")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run coroutine tests in the test's own thread, so that they see its database transaction."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    arguments = {name: pyfuncitem.funcargs[name] for name in names}

    async def run() -> None:
        try:
            await pyfuncitem.obj(**arguments)
        finally:
            # What a test opened is closed in the loop that it belongs to.
            for argument in arguments.values():
                if isinstance(argument, Door | Person | RedisBackend):
                    await argument.aclose()

    async_to_sync(run)()
    return True


@pytest.fixture(autouse=True)
def clean_slate(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A channel layer and a backend of its own for each test, in a process that is a server."""
    # Calls of pages have threads of their own, and only the test's has the test's database.
    for module in ("pages.calls", "pages.actions"):
        monkeypatch.setattr(f"broadcast.{module}.own_turn", nullcontext)
    # A thread that goes on to the next test would bring its connection to the database along.
    monkeypatch.setattr(threads, "_threads", threads.Threads())
    monkeypatch.setattr(channel_layers, "backends", {})
    monkeypatch.setattr(backends, "_backend", None)
    monkeypatch.setattr(backends, "_serving", True)
    monkeypatch.setattr(serving, "_loop", None)
    monkeypatch.setattr(hours, "_counts", Counter())
    # Nobody else serves what is in a test's transaction.
    monkeypatch.setattr(sole_process, "_company", None)
    monkeypatch.setattr(sole_process, "look_out", lambda: None)
    rows.forget()
    soon = {"BROADCAST_LINGER_SECONDS": 0.05, "BROADCAST_WATCH_SECONDS": 0.2}
    with override_settings(BROADCAST_PREFIX=PREFIX, **soon):
        yield
    rows.forget()


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis server of the tests' own, without a disk."""
    with RedisProcess(tmp_path_factory.mktemp("redis")) as process:
        yield process.url


@pytest.fixture(scope="module")
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    """A Redis server of a module's own."""
    with RedisProcess(tmp_path_factory.mktemp("redis")) as process:
        yield process


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=list(BACKENDS))
def backend(request: Any, clock: Clock, settings: Settings) -> Backend:
    """An empty backend that lives by `clock`."""
    if request.param == "redis":
        settings.BROADCAST_REDIS_URLS = [request.getfixturevalue("redis_url")]
    return BACKENDS[request.param](clock)


@pytest.fixture(scope="session")
def servers(
    request: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], ServerProcess]]:
    """Answers the running server of a kind, which is started when it is first needed.

    "broadcast" is ours with all in its memory, "redis" ours on Redis, "uvicorn" another one. Each
    has the streams `demo` and `everyone`.
    """
    started: list[ServerProcess] = []
    with ExitStack() as stack:

        @cache
        def server_of(kind: str) -> ServerProcess:
            directory = tmp_path_factory.mktemp(kind)
            if kind == "redis":
                url = request.getfixturevalue("redis_url")
                process = ServerProcess("broadcast", directory, REDIS_URL=url)
            else:
                process = ServerProcess(kind, directory)
            started.append(stack.enter_context(process))
            return process

        yield server_of
        for process in started:
            process.stop()
            # Daphne tells of an exception up to a second later: the last tests' are told here.
            process.assert_clean_log()


@pytest.fixture(params=["broadcast", "redis", "uvicorn", "in_process"])
def door(request: Any, db: None) -> Iterator[Door]:
    """A way in. What a test does there must not make the server log a fault of its own."""
    # `db` stands here for `in_process`: pytest-django makes a test database for those who name it.
    if request.param == "in_process":
        yield request.getfixturevalue("in_process")
    else:
        yield from _server_door(request, request.param)


@pytest.fixture(params=["broadcast", "redis", "uvicorn"])
def server_door(request: Any) -> Iterator[ServerDoor]:
    """A way into a real server process."""
    yield from _server_door(request, request.param)


@pytest.fixture(params=["broadcast", "redis"])
def our_door(request: Any) -> Iterator[ServerDoor]:
    """A way into our own server."""
    yield from _server_door(request, request.param)


def _server_door(request: Any, kind: str) -> Iterator[ServerDoor]:
    yield from door_of(request.getfixturevalue("servers")(kind))


@pytest.fixture
def in_process(db: None, caplog: pytest.LogCaptureFixture) -> Iterator[InProcessDoor]:
    """The application in the test's own loop, with the test's own database."""
    yield InProcessDoor()
    assert not [record for record in caplog.records if record.exc_info]


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server of a module's own that closes listeners after a second without taking anything."""
    with ServerProcess(
        "broadcast",
        tmp_path_factory.mktemp("impatient"),
        DJANGO_SETTINGS_MODULE="tests.settings",
        BROADCAST_SLOW_SECONDS="1",
        BROADCAST_WATCH_SECONDS="0.2",
        BROADCAST_METRICS_TOKEN="",
    ) as process:
        yield process


@pytest.fixture
def impatient_door(impatient: ServerProcess) -> Iterator[ServerDoor]:
    yield from door_of(impatient)


# -- installations: several servers on Redis, which a module runs as its fixture `running` ---------


@pytest.fixture
def installation(running: Installation) -> Iterator[Installation]:
    """Its servers know that Redis is there, and whatever happens to it, they log no fault."""
    running.wait_until_available()
    yield running
    for server in running.servers:
        server.assert_calm_log()


@pytest.fixture
def redis(installation: Installation) -> RedisProcess:
    return installation.redis[0]


@pytest.fixture
def doors(installation: Installation) -> list[ServerDoor]:
    return [ServerDoor(server) for server in installation.servers]


@pytest.fixture
def here(doors: list[ServerDoor]) -> ServerDoor:
    return doors[0]


@pytest.fixture
def there(doors: list[ServerDoor]) -> ServerDoor:
    return doors[1]


@pytest.fixture
def elsewhere(doors: list[ServerDoor]) -> ServerDoor:
    return doors[2]


@pytest.fixture
def slug(installation: Installation) -> str:
    """A stream with a long history that no other test uses."""
    return installation.unused_stream("long")
