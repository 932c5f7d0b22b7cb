"""Whose pages come in: the `Origin` of a WebSocket or request.

Two questions: may a page of this origin come in at all (`is_allowed`), and may it use the cookies
of its visitor (`is_own`).
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse
from django.http.request import split_domain_port, validate_host
from django.middleware.csrf import CsrfViewMiddleware

from .. import metrics
from ..conf import conf

Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


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
    return parts.scheme in {"http", "https"} and _is_host(parts.netloc, tuple(allowed))


@lru_cache(maxsize=1024)
def _is_host(name: str, allowed: tuple[str, ...]) -> bool:
    domain, _ = split_domain_port(name)
    return bool(domain) and validate_host(domain, allowed)


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
    host = header(scope, b"host")
    if host and origin == f"{scheme}://{host}" and _tells_itself() and is_allowed(origin):
        # What Django would find, in a tenth of the time.
        return True
    csrf: Any = CsrfViewMiddleware(lambda request: HttpResponse())
    try:
        return bool(csrf._origin_verified(_form(scope)))
    except DisallowedHost:
        return False


def origin_reached(scope: Mapping[str, Any]) -> str:
    """The origin that the request came to, as Django sees it, in words for the log."""
    request = _form(scope)
    try:
        return f"{request.scheme}://{request.get_host()}"
    except DisallowedHost:
        return "a host that is not allowed"


def _form(scope: Mapping[str, Any]) -> ASGIRequest:
    """A form that is sent with these headers."""
    scheme = "https" if scope.get("scheme") in ("wss", "https") else "http"
    form = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "scheme": scheme}
    return ASGIRequest({**scope, **form}, BytesIO())


def _tells_itself() -> bool:
    """Whether a request came to the host and by the scheme that it says itself, not a proxy."""
    return not (settings.USE_X_FORWARDED_HOST or settings.SECURE_PROXY_SSL_HEADER)


def header(scope: Mapping[str, Any], name: bytes) -> str | None:
    for key, value in scope["headers"]:
        if key == name:
            return str(value.decode("latin1"))
    return None
