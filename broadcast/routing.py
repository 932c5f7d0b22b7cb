"""The paths of the sockets."""

from collections.abc import Awaitable
from typing import Any

from asgiref.sync import markcoroutinefunction
from channels.routing import URLRouter
from django.conf import settings
from django.urls import URLPattern, re_path

from .access import sole_process
from .access.addresses import ProxyMiddleware
from .access.origins import Application, OriginMiddleware
from .consumers import NowhereConsumer
from .hub.serving import serve_here
from .monitor.figures import FiguresConsumer
from .monitor.room_figures import RoomFiguresConsumer
from .pages.socket import PageConsumer
from .rooms.signaling import SignalingConsumer
from .streams.listener import ListenerConsumer
from .streams.streamer import StreamerConsumer

websocket_urlpatterns: list[Any] = [
    re_path(r"^ws/listener/(?P<slug>[^/]*)/$", ListenerConsumer.as_asgi()),
    re_path(r"^ws/streamer/(?P<slug>[^/]*)/$", StreamerConsumer.as_asgi()),
    re_path(r"^ws/signaling/$", SignalingConsumer.as_asgi()),
    re_path(r"^ws/admin/streams/$", FiguresConsumer.as_asgi()),
    re_path(r"^ws/admin/rooms/$", RoomFiguresConsumer.as_asgi()),
    # At `/` too, as the documented snippet of pakyow-realtime has it.
    re_path(r"^(?:ws/socket/)?$", PageConsumer.as_asgi()),
    re_path(r"", NowhereConsumer.as_asgi()),
]


def route_websockets(own: list[Any]) -> Application:
    """An application for every WebSocket: those of `own` paths first, then Broadcast's.

    The process that runs it is a server from then on. TypeError: `own` has something else.
    """
    for pattern in own:
        if not isinstance(pattern, URLPattern):
            what = "path(…) or re_path(…) with a consumer"
            raise TypeError(f"websocket is a list of {what}, and has {pattern!r}")
    ours: Any = OriginMiddleware(route)
    routes = ProxyMiddleware(URLRouter([*own, re_path(r"", ours)]) if own else ours)

    def application(scope: dict[str, Any], receive: Any, send: Any) -> Awaitable[None]:
        serve_here()
        sole_process.look_out()
        return routes(under_root(scope), receive, send)

    application.serves_broadcast = True  # type: ignore[attr-defined]
    marked: Application = markcoroutinefunction(application)
    return marked


def route(scope: dict[str, Any], receive: Any, send: Any) -> Awaitable[None]:
    """Have the socket of the path served, as Channels' router does, but without a coroutine of its
    own: that would stay for as long as the socket.
    """
    path: str = scope.get("path_remaining", "")
    if "path_remaining" not in scope:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
    path = path.lstrip("/")
    for pattern in websocket_urlpatterns:
        if match := pattern.pattern.match(path):
            url_route = {"args": match[1], "kwargs": match[2]}
            application: Application = pattern.callback
            return application({**scope, "url_route": url_route}, receive, send)
    raise AssertionError("the last pattern takes every path")


def under_root(scope: dict[str, Any]) -> dict[str, Any]:
    """The scope, with the path at which the site is mounted as its `root_path`."""
    prefix = settings.FORCE_SCRIPT_NAME
    if prefix and scope["path"].startswith(prefix):
        # Django does so with the paths of pages, and pages name sockets with it.
        scope = {**scope, "root_path": prefix}
    root: str = scope.get("root_path", "")
    if not scope["path"].startswith(root):
        # A proxy has taken the root off. Django takes such a path as it is; Channels fails at it.
        scope = {**scope, "path": root + scope["path"]}
    return scope


#: Every WebSocket of Broadcast, for tests, and for projects that route themselves.
websocket_application = route_websockets([])
