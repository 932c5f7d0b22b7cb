"""Middleware: the policy of each answer, and the page socket that views use."""

import inspect
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import patch_cache_control
from django.utils.decorators import sync_and_async_middleware

from .access.origins import OriginMiddleware as OriginMiddleware
from .exceptions import Unavailable
from .http.policy import not_now, protect
from .logs import Sparing, get_logger
from .models import database
from .pages.markup import socket_attributes, with_attributes

logger = get_logger(__name__)
#: Pages that cannot say their connection id.
_bodiless = Sparing()


@sync_and_async_middleware
def ContentSecurityPolicyMiddleware(get_response: Callable[..., Any]) -> Callable[..., Any]:
    """Pages run scripts and styles from this site's files alone; nothing is inline."""

    if inspect.iscoroutinefunction(get_response):

        async def middleware(request: HttpRequest) -> HttpResponseBase:
            response: HttpResponseBase = await get_response(request)
            return protect(response)

        return middleware

    def sync_middleware(request: HttpRequest) -> HttpResponseBase:
        response: HttpResponseBase = get_response(request)
        return protect(response)

    return sync_middleware


@sync_and_async_middleware
def SocketMiddleware(get_response: Callable[..., Any]) -> Callable[..., Any]:
    """Gives every request its `request.socket`; it stands after the middleware of sessions.

    Where a view used the connection id and its page came out without it, it is put into the page's
    `<body>`. A view that does not use it gets neither session nor `Vary`. A view that fails since
    the engine is away answers 503.
    """
    # It needs the models, and this module is imported by the settings' middleware before them.
    from .pages.subscriptions import PageSocket

    def begin(request: Any) -> None:
        if not hasattr(request, "socket"):
            request.socket = PageSocket(request)

    if inspect.iscoroutinefunction(get_response):

        async def middleware(request: Any) -> HttpResponseBase:
            begin(request)
            response: HttpResponseBase = await get_response(request)
            if request.socket.is_new:
                await request.socket.akey()
                render_socket(request, response)
            return response

        middleware.process_exception = excuse  # type: ignore[attr-defined]
        return middleware

    def sync_middleware(request: Any) -> HttpResponseBase:
        begin(request)
        response: HttpResponseBase = get_response(request)
        if request.socket.is_new:
            request.socket.key()
            render_socket(request, response)
        return response

    sync_middleware.process_exception = excuse  # type: ignore[attr-defined]
    return sync_middleware


def excuse(request: HttpRequest, exception: Exception) -> HttpResponse | None:
    """Say when to come back. It is no fault of the view, and was logged when it began."""
    error = exception if isinstance(exception, Unavailable) else database.unavailable(exception)
    return not_now(request, error) if error else None


def render_socket(request: Any, response: Any) -> None:
    """Have the page say its connection id; and nobody keep it for another visitor."""
    patch_cache_control(response, private=True)
    is_page = response.get("Content-Type", "").split(";")[0].strip().lower() == "text/html"
    is_whole = not response.streaming and "Content-Encoding" not in response
    if request.socket.is_rendered or not is_page or not is_whole:
        return
    try:
        page = response.content.decode(response.charset)
    except UnicodeDecodeError:
        return
    said = with_attributes(page, socket_attributes(request.socket.connection_id))
    if said == page and response.status_code == 200:
        warn_of_no_body(request.path)
    response.content = said
    if "Content-Length" in response:
        response["Content-Length"] = str(len(response.content))


def warn_of_no_body(path: str) -> None:
    """Log it: the author of the page would only see that nothing comes."""
    if (more := _bodiless.more()) is not None:
        logger.warning(
            "The page %s will hear nothing: the view used request.socket, and the page has no "
            "<body> tag to say the connection id in%s",
            path,
            more,
        )
