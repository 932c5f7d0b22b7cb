"""The policies that browsers keep to with pages, static files and answers of the API.

A project decides on the policy of its own pages. If it has our middleware, that sets ours wherever
there is none. Without it we set one on nothing but our own answers:

* On a page if its base template asks for it, as ours does (`{% content_security_policy %}`): a base
  of the project's own may need scripts of other sites. And not if a middleware looks after
  policies: it sets the project's (`is_set_elsewhere`).
* On a page for frames, a recording and an answer of the API always: nothing of the project is in
  them.

What a project's middleware writes over that is what holds.
"""

from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.templatetags.static import static

from ..exceptions import Unavailable

#: One of the static files.
SOME_FILE = "broadcast/mark.svg"

Response = TypeVar("Response", bound=HttpResponseBase)

CONTENT_SECURITY_POLICY = (
    "default-src 'self'{static}",
    "img-src 'self'{static} data: blob:",
    "media-src 'self' blob:",
    "connect-src 'self' ws: wss:",
    "object-src 'none'",
    "base-uri 'none'",
    "form-action 'self'",
)

#: Features that a page may ask for: cameras, microphones and screens are for studios and rooms.
PERMISSIONS_POLICY = ", ".join(
    (
        *("camera=(self)", "microphone=(self)", "display-capture=(self)"),
        *("geolocation=()", "payment=()", "usb=()"),
    )
)


#: Attributes of requests at which Django's middleware of policies, and django-csp's, keep a nonce.
NONCES = ("_csp_nonce", "csp_nonce")
#: The attribute of a request whose page asks for our policy.
WANTED = "broadcast_policy_is_wanted"
MIDDLEWARE = "broadcast.middleware.ContentSecurityPolicyMiddleware"


def content_security_policy(frame_ancestors: str = "") -> str:
    """The policy of a page: static files alone, and the sites that may have it in a frame.

    Those are, where nobody says so, the ones that `X_FRAME_OPTIONS` allows for.
    """
    if not frame_ancestors:
        is_same = settings.X_FRAME_OPTIONS.upper() == "SAMEORIGIN"
        frame_ancestors = "'self'" if is_same else "'none'"
    policy = "; ".join((*CONTENT_SECURITY_POLICY, f"frame-ancestors {frame_ancestors}"))
    storages: Any = settings.STORAGES
    origin = static_origin(settings.STATIC_URL or "", storages["staticfiles"]["BACKEND"])
    return policy.format(static=origin and f" {origin}")


@lru_cache(maxsize=8)
def static_origin(url: str, storage: str) -> str:
    """The other site that the static files come from, such as a CDN; "": they come from this one.

    `url` and `storage` are the settings that decide it.
    """
    try:
        where = urlsplit(static(SOME_FILE))
    except ValueError:
        # A storage with hashes in its names, before `collectstatic`.
        where = urlsplit(url)
    return f"{where.scheme or 'https'}://{where.netloc}" if where.netloc else ""


def protect(response: Response) -> Response:
    """Have browsers keep to our policy with this answer, where it has none of its own."""
    response.headers.setdefault("Content-Security-Policy", content_security_policy())
    response.headers.setdefault("Permissions-Policy", PERMISSIONS_POLICY)
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    return response


def is_for_all() -> bool:
    """Whether the project has our policy on all of its answers."""
    return MIDDLEWARE in settings.MIDDLEWARE


def is_set_elsewhere(request: HttpRequest) -> bool:
    """Whether a middleware will set the project's own policy, unless there is one by then."""
    return any(hasattr(request, name) for name in NONCES)


def want(request: HttpRequest) -> None:
    """The page that is rendered for the request runs nothing but files of this site."""
    setattr(request, WANTED, True)


def protect_page(request: HttpRequest, response: Response) -> Response:
    """Put a page under our policy if it asks for it, and the project has none."""
    if getattr(request, WANTED, False) and not is_set_elsewhere(request):
        protect(response)
    return response


def not_now(request: HttpRequest, error: Unavailable) -> HttpResponse:
    """A page that says when to come back; it asks neither database nor engine."""
    response = render(None, "broadcast/503.html", status=error.http_status)
    for name, value in error.http_headers.items():
        response.headers[name] = value
    return response
