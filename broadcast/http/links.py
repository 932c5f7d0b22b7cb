"""Links with a token in them: how pages read it, keep it to themselves, and refuse a visitor.

A page's address may carry `?token=…`. The page hands it to its scripts, which show it to the
sockets. No other site and no cache may learn it.
"""

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.cache import add_never_cache_headers

from ..exceptions import Forbidden


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
    """Ask an unknown visitor to log in; tell a known one, or one with a token, the reason."""
    if request.user.is_authenticated or token_of(request):
        # Not raised: Django would log a traceback, although the server did nothing wrong.
        context = {"exception": str(error)}
        return render(request, "broadcast/403.html", context, status=error.http_status)
    return redirect_to_login(request.get_full_path())
