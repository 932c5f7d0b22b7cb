"""Whose pages come in: the `Origin` of a WebSocket; what pages may run: their CSP; and the page
socket of a request.

Whether a page comes in, and whether it may use its visitor's cookies, are two questions: see
`is_allowed` and `is_own`.
"""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse
from django.http.request import split_domain_port, validate_host
from django.http.response import HttpResponseBase
from django.middleware.csrf import CsrfViewMiddleware
from django.shortcuts import render
from django.utils.cache import patch_cache_control
from django.utils.decorators import sync_and_async_middleware

from . import database, metrics
from .conf import conf
from .exceptions import Unavailable
from .page_markup import socket_attributes, with_attributes

Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]

CONTENT_SECURITY_POLICY = (
    "default-src 'self'",
    "img-src 'self' data: blob:",
    "media-src 'self' blob:",
    "connect-src 'self' ws: wss:",
    "object-src 'none'",
    "base-uri 'none'",
    "form-action 'self'",
)

#: What a page may ask a person for: cameras, microphones and screens are for studios and rooms.
PERMISSIONS_POLICY = ", ".join(
    (
        *("camera=(self)", "microphone=(self)", "display-capture=(self)"),
        *("geolocation=()", "payment=()", "usb=()"),
    )
)


def content_security_policy(frame_ancestors: str = "'none'") -> str:
    """What a page may run, and which sites' pages may have it in a frame, as CSP names them."""
    return "; ".join((*CONTENT_SECURITY_POLICY, f"frame-ancestors {frame_ancestors}"))


def protect(response: HttpResponseBase) -> HttpResponseBase:
    """Have browsers keep to our policy with this answer, where it has none of its own."""
    response.headers.setdefault("Content-Security-Policy", content_security_policy())
    response.headers.setdefault("Permissions-Policy", PERMISSIONS_POLICY)
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    return response


@sync_and_async_middleware
def ContentSecurityPolicyMiddleware(get_response: Callable[..., Any]) -> Callable[..., Any]:
    """Pages run scripts and styles from this site's files alone; nothing is inline."""

    if inspect.iscoroutinefunction(get_response):

        async def middleware(request: HttpRequest) -> HttpResponseBase:
            return protect(await get_response(request))

        return middleware

    def sync_middleware(request: HttpRequest) -> HttpResponseBase:
        return protect(get_response(request))

    return sync_middleware


@sync_and_async_middleware
def SocketMiddleware(get_response: Callable[..., Any]) -> Callable[..., Any]:
    """Gives every request its `request.socket`; it stands after the middleware of sessions.

    Where a view used the connection id and its page came out without it, it is put into the page's
    `<body>`. Whoever does not use it gets neither session nor `Vary`. A view that fails since the
    engine is away answers 503.
    """
    # It needs the models, and this module is imported by the settings' middleware before them.
    from .subscriptions import PageSocket

    def begin(request: Any) -> None:
        if not hasattr(request, "socket"):
            request.socket = PageSocket(request)

    if inspect.iscoroutinefunction(get_response):

        async def middleware(request: Any) -> HttpResponseBase:
            begin(request)
            response: HttpResponseBase = await get_response(request)
            if request.socket.is_new:
                await request.socket.akey()
                render_socket(request.socket, response)
            return response

        middleware.process_exception = excuse  # type: ignore[attr-defined]
        return middleware

    def sync_middleware(request: Any) -> HttpResponseBase:
        begin(request)
        response: HttpResponseBase = get_response(request)
        if request.socket.is_new:
            request.socket.key()
            render_socket(request.socket, response)
        return response

    sync_middleware.process_exception = excuse  # type: ignore[attr-defined]
    return sync_middleware


def excuse(request: HttpRequest, exception: Exception) -> HttpResponse | None:
    """Say when to come back. It is no fault of the view, and was logged when it began."""
    error = exception if isinstance(exception, Unavailable) else database.unavailable(exception)
    return not_now(request, error) if error else None


def not_now(request: HttpRequest, error: Unavailable) -> HttpResponse:
    """A page that says when to come back; it asks neither database nor engine."""
    response = render(None, "503.html", status=error.http_status)
    for name, value in error.http_headers.items():
        response.headers[name] = value
    return response


def render_socket(socket: Any, response: Any) -> None:
    """Have the page say its connection id; and nobody keep it for another visitor."""
    patch_cache_control(response, private=True)
    is_page = response.get("Content-Type", "").split(";")[0].strip().lower() == "text/html"
    if socket.is_rendered or not is_page or response.streaming or "Content-Encoding" in response:
        return
    try:
        page = response.content.decode(response.charset)
    except UnicodeDecodeError:
        return
    response.content = with_attributes(page, socket_attributes(socket.connection_id))
    if "Content-Length" in response:
        response["Content-Length"] = str(len(response.content))


class OriginMiddleware:
    """Refuses the handshake of a page from another site (status 403).

    A browser always says which site's page opens a WebSocket. That must be one of
    `ALLOWED_HOSTS`, or in `BROADCAST_ALLOWED_ORIGINS`. No `Origin` at all means that no browser
    is there, and nobody's cookies are misused: programs come in. A page of another port or scheme
    of a host comes in, too, but without the session of its visitor: see `Visitor.of_scope`.
    """

    def __init__(self, inner: Application) -> None:
        self.inner = inner

    def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> Awaitable[None]:
        # Not a coroutine of its own: it would stay for as long as the socket, and cost 376 bytes.
        origin = header(scope, b"origin")
        if origin is None or is_allowed(origin):
            return self.inner(scope, receive, send)
        metrics.note_refusal("socket", "origin")
        return refuse(receive, send)


async def refuse(receive: Any, send: Any) -> None:
    """Refuse a handshake: closed before it was accepted, it is answered with 403."""
    await receive()
    await send({"type": "websocket.close"})


def is_allowed(origin: str) -> bool:
    if origin in conf.ALLOWED_ORIGINS:
        return True
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    allowed = settings.ALLOWED_HOSTS
    if settings.DEBUG and not allowed:
        allowed = [".localhost", "127.0.0.1", "[::1]"]
    domain, _ = split_domain_port(parts.netloc)
    return parts.scheme in {"http", "https"} and bool(domain) and validate_host(domain, allowed)


def is_own(scope: Mapping[str, Any], *, trusts: bool = True) -> bool:
    """Whether the request may act for the person whose cookies came with it.

    A browser sends the cookies of a host to all its ports, whichever page made the request. So the
    page's `Origin` must have the scheme, host and port that the request came to, as Django compares
    them for a form. `CSRF_TRUSTED_ORIGINS` names further origins, and, where `trusts` is true,
    `BROADCAST_ALLOWED_ORIGINS` does. A request without `Origin` comes from no page of another site.
    """
    origin = header(scope, b"origin")
    if origin is None or (trusts and origin in conf.ALLOWED_ORIGINS):
        return True
    scheme = "https" if scope.get("scheme") in ("wss", "https") else "http"
    form = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "scheme": scheme}
    csrf: Any = CsrfViewMiddleware(lambda request: HttpResponse())
    try:
        return bool(csrf._origin_verified(ASGIRequest({**scope, **form}, BytesIO())))
    except DisallowedHost:
        return False


def header(scope: Mapping[str, Any], name: bytes) -> str | None:
    for key, value in scope["headers"]:
        if key == name:
            return str(value.decode("latin1"))
    return None
