"""The ASGI application of a project that has Broadcast in it.

    # asgi.py
    from broadcast.asgi import get_application

    application = get_application(websocket=[path("ws/chat/", ChatConsumer.as_asgi())])

To import this module sets Django up, so what is imported after it may import models.

It serves HTTP by Django and past it (event streams), the project's own sockets, and those of
Broadcast. It works under our own server (`manage.py serve`, `runserver`) and every other ASGI
server. Where a server speaks the lifespan protocol (uvicorn, hypercorn, gunicorn's uvicorn worker),
MessagePack-RPC is served beside it, so that `publish` in another process finds this one where there
is no Redis; our own server does that by itself, and plain Daphne not at all.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any

import django
from django.apps import apps
from django.conf import settings
from django.core.asgi import get_asgi_application

if not (apps.ready or apps.loading):
    django.setup()

# They need the app registry.
from . import lifespan
from .access.addresses import ProxyMiddleware
from .backends import get_backend
from .http import HTTPApplication
from .http.static_files import StaticFilesHandler
from .hub.serving import serve_here
from .loops import spawn
from .routing import route_websockets
from .rpc.server import serve_beside

__all__ = ["get_application"]

ASGIApplication = Callable[[dict[str, Any], Any, Any], Awaitable[None]]

#: Seconds that what is told of the end of a process has for it.
LEAVE_SECONDS = 1.0


def get_application(
    *, websocket: Iterable[Any] = (), static_files: bool | None = None
) -> ASGIApplication:
    """The application of the project: HTTP, its own sockets, and those of Broadcast.

    `websocket`: the project's own, as `path(…, consumer)` or `re_path`, as `URLRouter` takes them.
    They come first. Each is wrapped in what it needs, such as
    `AllowedHostsOriginValidator(AuthMiddlewareStack(…))`: the rules for the origin of a page that
    Broadcast has are those of its own sockets alone. A path that nobody has is refused with 403.

    `static_files`: whether static files are served too, as Django's `runserver` does it, and from
    `STATIC_ROOT`; None: with `DEBUG`. In production a web server or WhiteNoise does that.

    TypeError: `websocket` is no list of paths.
    """
    if static_files is None:
        static_files = settings.DEBUG and apps.is_installed("django.contrib.staticfiles")
    pages: Any = get_asgi_application()
    if static_files:
        pages = StaticFilesHandler(pages)
    return Application(ProxyMiddleware(HTTPApplication(pages)), route_websockets(list(websocket)))


class Application:
    """HTTP and sockets, each with its own application, and the life of the server."""

    #: A system check looks for it.
    serves_broadcast = True

    def __init__(self, http: ASGIApplication, websocket: ASGIApplication) -> None:
        self.applications = {"http": http, "websocket": websocket, "lifespan": live}
        #: Our own server asks it for sockets: a coroutine less, for as long as each of them lives.
        self.websocket = websocket

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        application = self.applications.get(scope["type"])
        if application is None:
            raise ValueError(f"no application for the scope type {scope['type']!r}")
        # Daphne alone does not tell that it begins, and its first request may be one for a page.
        serve_here()
        await application(scope, receive, send)


async def live(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The lifespan of the server: a process that has one serves MessagePack-RPC, too."""
    await receive()
    serve_here()
    rpc = spawn(serve_beside(lambda is_ours: None))
    lifespan.started.tell()
    await send({"type": "lifespan.startup.complete"})
    try:
        await receive()
    finally:
        rpc.cancel()
    lifespan.draining.tell(0.0)
    await lifespan.leaving.atell(LEAVE_SECONDS)
    with suppress(Exception):
        await asyncio.wait_for(get_backend().renew(), LEAVE_SECONDS)
    with suppress(asyncio.CancelledError):
        await rpc
    await send({"type": "lifespan.shutdown.complete"})
