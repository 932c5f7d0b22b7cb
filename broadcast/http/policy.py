"""The policies that browsers keep to with pages, static files and answers of the API."""

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render

from ..exceptions import Unavailable

CONTENT_SECURITY_POLICY = (
    "default-src 'self'",
    "img-src 'self' data: blob:",
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


def content_security_policy(frame_ancestors: str = "'none'") -> str:
    """The policy of a page: its own scripts alone, and the sites that may have it in a frame."""
    return "; ".join((*CONTENT_SECURITY_POLICY, f"frame-ancestors {frame_ancestors}"))


def protect(response: HttpResponseBase) -> HttpResponseBase:
    """Have browsers keep to our policy with this answer, where it has none of its own."""
    response.headers.setdefault("Content-Security-Policy", content_security_policy())
    response.headers.setdefault("Permissions-Policy", PERMISSIONS_POLICY)
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    return response


def not_now(request: HttpRequest, error: Unavailable) -> HttpResponse:
    """A page that says when to come back; it asks neither database nor engine."""
    response = render(None, "broadcast/503.html", status=error.http_status)
    for name, value in error.http_headers.items():
        response.headers[name] = value
    return response
