"""Which pages of other sites may read what the API answers (CORS: Fetch standard, section 3.2).

A page of an origin that may open sockets (`access.origins.is_allowed`) may read the API, and may
send what the API takes: its browser asks for that beforehand, by a preflight. It may send the
cookies of its visitor only where the API takes them (`is_own`): a preflight promises nothing that
the answer would refuse. Every answer varies by `Origin`, so that no cache gives one site the answer
of another.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers

from ..access.origins import header, is_allowed, is_own
from ..exceptions import Forbidden
from .decorators import ASKER

#: What an answer depends on.
VARY = (*ASKER, "Origin")
#: Headers that a page of another site may send, beyond those that every page may.
TAKEN = (
    *("Accept", "Authorization", "Cache-Control", "Content-Type"),
    *("Idempotency-Key", "Last-Event-ID", "X-CSRFToken"),
)
#: Headers of an answer that it may read, beyond those that every page may.
TOLD = ("Allow", "Retry-After", "WWW-Authenticate")
#: Seconds for which a browser need not ask again.
PREFLIGHT_SECONDS = 600


def is_preflight(scope: Mapping[str, Any]) -> bool:
    """Whether a browser asks what a page of another site may send."""
    return scope["method"] == "OPTIONS" and header(scope, b"origin") is not None


def answer_headers(scope: Mapping[str, Any]) -> dict[str, str]:
    """The headers by which a page of an allowed site may read the answer to this request."""
    origin = header(scope, b"origin")
    if origin is None or not is_allowed(origin):
        return {}
    headers = {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": ", ".join(TOLD),
    }
    return headers | ({"Access-Control-Allow-Credentials": "true"} if is_own(scope) else {})


def preflight_headers(scope: Mapping[str, Any], methods: Iterable[str]) -> dict[str, str]:
    """The headers that answer a preflight. Forbidden: pages of that site may send nothing."""
    origin = header(scope, b"origin")
    if origin is None or not is_allowed(origin):
        raise Forbidden("pages of other sites may not ask here")
    return {
        "Access-Control-Allow-Methods": ", ".join(methods),
        "Access-Control-Allow-Headers": ", ".join(TAKEN),
        "Access-Control-Max-Age": str(PREFLIGHT_SECONDS),
    }


def open_to_sites(request: HttpRequest, response: HttpResponseBase) -> None:
    """Let pages of allowed sites read the answer."""
    patch_vary_headers(response, VARY)
    for name, value in answer_headers(scope_of(request)).items():
        response.headers.setdefault(name, value)


def scope_of(request: HttpRequest) -> Mapping[str, Any]:
    """The scope of the request, or what would be in it, where it came by WSGI."""
    scope: Mapping[str, Any] | None = getattr(request, "scope", None)
    if scope is not None:
        return scope
    pairs = request.headers.items()
    headers = [(name.lower().encode("latin1"), value.encode("latin1")) for name, value in pairs]
    return {"method": request.method, "scheme": request.scheme, "headers": headers}
