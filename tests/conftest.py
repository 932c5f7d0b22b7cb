"""What all tests share: coroutine tests, a clean slate for each, real server processes."""

import inspect
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from channels.layers import channel_layers
from django.test import override_settings

from broadcast import backends, publishing, rows
from tests.processes import ServerProcess


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run coroutine tests in the test's own thread, so that they see its database transaction."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    async_to_sync(pyfuncitem.obj)(**{name: pyfuncitem.funcargs[name] for name in names})
    return True


@pytest.fixture(autouse=True)
def clean_slate(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A channel layer and a backend of its own for each test, in a process that is a server."""
    # Channels closes the connections of the thread it works in, which here is the test's.
    monkeypatch.setattr("channels.db.close_old_connections", lambda: None)
    monkeypatch.setattr(channel_layers, "backends", {})
    monkeypatch.setattr(backends, "_backend", None)
    monkeypatch.setattr(publishing, "_serving", True)
    rows.forget()
    with override_settings(BROADCAST_LINGER_SECONDS=0.05, BROADCAST_WATCH_SECONDS=0.2):
        yield
    rows.forget()


@pytest.fixture(scope="session", params=["broadcast", "uvicorn"])
def server(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A real server process with the streams `demo` and `everyone`: ours, and another one."""
    with ServerProcess(request.param, tmp_path_factory.mktemp("server")) as process:
        yield process
