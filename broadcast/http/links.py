"""Links with a token in them: how pages read it, keep it to themselves, and refuse a visitor.

A page's address may carry `?token=…`. The page hands it to its scripts, which show it to the
sockets. No other site and no cache may learn it.
"""

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.cache import add_never_cache_headers

from ..access.visitors import user_of
from ..exceptions import Forbidden
from .accounts import login_url
from .words import words_of


def token_of(request: HttpRequest) -> str:
    """The token in the page's address; "": there is none."""
    return request.GET.get("token", "")


def with_secret(response: HttpResponseBase, request: HttpRequest) -> HttpResponseBase:
    """Keep the token of the page's address, if there is one, from other sites and caches."""
    if token_of(request):
        response.headers["Referrer-Policy"] = "no-referrer"
        add_never_cache_headers(response)
    return response


def refuse(request: HttpRequest, error: Forbidden) -> HttpResponse:
    """Ask an unknown visitor to log in; tell a known one, or one with a token, the reason.

    Where nobody can log in, everybody is told.
    """
    known = user_of(request).is_authenticated or token_of(request)
    if not known and (url := login_url(request)):
        return redirect(url)
    # Not raised: Django would log a traceback, although the server did nothing wrong.
    said = {"exception": words_of(error)}
    return render(request, "broadcast/403.html", said, status=error.http_status)
