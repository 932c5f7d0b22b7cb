"""System checks: each step that adds Broadcast to a project is missed when it is forgotten."""

import functools
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application
from django.urls import clear_url_caches
from pytest_django.fixtures import Settings

from broadcast.asgi import get_application
from broadcast.routing import websocket_application
from broadcast.server.applications import serves_sockets
from tests.rig.checks import found


def ids(deploy: bool = False) -> list[str]:
    return [message.id.removeprefix("broadcast.") for message in found(deploy)]


def paths(monkeypatch: pytest.MonkeyPatch, settings: Settings, name: str, text: str) -> None:
    """A module of that name, which has the project's paths."""
    module = ModuleType(name)
    exec(text, vars(module))
    monkeypatch.setitem(sys.modules, name, module)
    settings.ROOT_URLCONF = name
    clear_url_caches()


def test_the_middleware(settings: Settings) -> None:
    sockets = "broadcast.middleware.SocketMiddleware"
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if name != sockets]
    (message,) = found()
    assert message.id == "broadcast.W011" and sockets in message.msg


def test_the_paths(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        paths(monkeypatch, settings, "empty_urls", "urlpatterns = []")
        assert ids() == ["W012"]
        included = (
            "from django.urls import include, path\n"
            "urlpatterns = [path('a/b/', include('broadcast.urls'))]"
        )
        paths(monkeypatch, settings, "some_urls", included)
        assert ids() == []
        # Django tells what is wrong with the paths of a project.
        settings.ROOT_URLCONF = "no_such_urls"
        assert ids() == []
    finally:
        clear_url_caches()


def test_the_asgi_application(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("shop_asgi")
    monkeypatch.setitem(sys.modules, "shop_asgi", module)
    settings.ASGI_APPLICATION = "shop_asgi.application"
    vars(module)["application"] = get_asgi_application()
    (message,) = found()
    assert message.id == "broadcast.W016" and "get_application" in message.hint
    vars(module)["application"] = get_application()
    assert ids() == []
    # An application that cannot be imported is told of where it is served.
    settings.ASGI_APPLICATION = "no_such_asgi.application"
    assert ids() == []


def test_a_project_without_any_asgi_application(settings: Settings) -> None:
    settings.ASGI_APPLICATION = None
    assert ids() == []  # that beside its URLs
    settings.ROOT_URLCONF = "tests.browser.embedding.urls"
    assert "W016" in ids()


class Middleware:
    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


def closing(app: Any) -> Any:
    @functools.wraps(app)
    async def call(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)

    del call.__dict__["serves_broadcast"]
    return call


@pytest.mark.parametrize("number", range(5))
def test_an_application_is_found_within_others(number: int) -> None:
    routed = ProtocolTypeRouter({"websocket": websocket_application})
    wrapped = [
        websocket_application,
        routed,
        Middleware(Middleware(routed)),
        closing(websocket_application),
        Middleware([closing(websocket_application)]),
    ][number]
    assert serves_sockets(wrapped)


def test_an_application_that_is_not_there_is_not_found() -> None:
    loop = Middleware(None)
    loop.app = loop
    for application in (loop, ProtocolTypeRouter({"http": get_asgi_application()}), print, None):
        assert not serves_sockets(application)


def test_the_static_files(settings: Settings) -> None:
    settings.STATICFILES_DIRS = []
    (message,) = found()
    assert message.id == "broadcast.W017"
    assert "AppDirectoriesFinder" in message.hint


def test_static_files_that_were_not_collected(settings: Settings, tmp_path: Path) -> None:
    settings.STATIC_ROOT = tmp_path
    (message,) = (one for one in found(deploy=True) if one.id != "broadcast.W003")
    assert message.id == "broadcast.W018" and "collectstatic" in message.hint
    assert ids() == []
    (tmp_path / "broadcast").mkdir()
    (tmp_path / "broadcast" / "element.js").touch()
    assert ids(deploy=True) == ["W003"]


@pytest.mark.parametrize(("number", "expected"), [("4", ["W019"]), ("1", []), ("", []), ("x", [])])
def test_several_processes_in_memory(
    number: str, expected: list[str], monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", number)
    assert ids() == expected
    settings.BROADCAST_REDIS_URL = "redis://127.0.0.1/"
    assert ids() == []


def test_what_only_some_projects_need_is_told_before_deployment_alone(settings: Settings) -> None:
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
    settings.STORAGES = {
        name: storage for name, storage in settings.STORAGES.items() if name != "recordings"
    }
    assert ids() == []
    # Django keeps checks in a set.
    assert sorted(ids(deploy=True)) == ["I001", "I002", "W003"]
