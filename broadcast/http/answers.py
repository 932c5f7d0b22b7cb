"""How the HTTP API answers: which methods there are, and what went wrong, as JSON.

No cache keeps any answer: see `decorators`.
"""

import sys
from collections.abc import Callable, Coroutine
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.urls import NoReverseMatch, reverse
from django.utils.log import log_response
from django.views import defaults
from django.views.decorators.csrf import csrf_exempt

from .. import metrics
from ..exceptions import BadToken, BroadcastError, Unavailable
from ..models.database import unavailable
from . import cors
from .decorators import unkept, without_transaction
from .policy import not_now, protect

View = Callable[..., Coroutine[Any, Any, HttpResponseBase]]


class Refusal(Exception):
    """A request that HTTP has a status of its own for."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


def resource(**views: View) -> View:
    """One path of the API: its view for each method. GET answers HEAD, too.

    A POST looks itself after who sends it: it may come without Django's CSRF token. Pages of
    allowed sites may read the answers, and send what it takes: see `cors`.
    """
    return _answering(views, cross_site=True)


def _answering(views: dict[str, View], *, cross_site: bool) -> View:
    allowed = sorted([*views, "HEAD"])

    async def view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = await respond(request, *args, **kwargs)
        if cross_site:
            cors.open_to_sites(request, response)
        return protect(unkept(response))

    async def respond(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        answer = views.get("GET" if request.method == "HEAD" else str(request.method))
        try:
            if cross_site and cors.is_preflight(scope := cors.scope_of(request)):
                headers = cors.preflight_headers(scope, allowed)
                return HttpResponse(status=204, headers=headers)
            if answer is None:
                raise not_allowed(str(request.method), allowed)
            return await answer(request, *args, **kwargs)
        except BroadcastError as error:
            metrics.note_refusal("http", type(error))
            return failure(error)
        except Refusal as error:
            return failure(error)
        except Exception as error:
            if away := unavailable(error):
                return failure(away)
            return fault(request, error)

    view.methods = allowed  # type: ignore[attr-defined]
    view.is_cross_site = cross_site  # type: ignore[attr-defined]
    exempt: View = csrf_exempt(without_transaction(view))
    return exempt


def reading(view: View) -> View:
    """A view for GET and HEAD alone, which no page of another site reads."""
    return _answering({"GET": view}, cross_site=False)


def is_cross_site(view: object) -> bool:
    """Whether pages of allowed sites may read what the view answers."""
    return getattr(view, "is_cross_site", False)


def not_allowed(method: str, allowed: list[str]) -> Refusal:
    return Refusal(405, f"{method} is not allowed here", Allow=", ".join(allowed))


def failure(error: BroadcastError | Refusal) -> JsonResponse:
    """The answer that tells the client of its error."""
    status, headers = describe(error)
    return JsonResponse({"error": str(error)}, status=status, headers=headers)


def describe(error: BroadcastError | Refusal) -> tuple[int, dict[str, str]]:
    """The status of an error, and its headers."""
    if isinstance(error, Refusal):
        return error.status, error.headers
    headers = error.http_headers
    if isinstance(error, BadToken):
        # RFC 6750, section 3.1.
        headers = headers | {"WWW-Authenticate": 'Bearer error="invalid_token"'}
    return error.http_status, headers


def fault(request: HttpRequest, error: Exception) -> JsonResponse:
    """A fault of ours: logged once, with all there is to know; told without."""
    response = JsonResponse({"error": "the server failed"}, status=500)
    said = "Internal Server Error: %s"
    log_response(said, request.path, response=response, request=request, exception=error)
    return response


@csrf_exempt
@without_transaction
async def nowhere(request: HttpRequest, path: str) -> JsonResponse:
    """Any other path of the API."""
    return protect(unkept(JsonResponse({"error": "there is nothing here"}, status=404)))


# -- what goes wrong before a view is asked: handlers of the URL configuration -------------------


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    if is_api(request):
        return unkept(JsonResponse({"error": "the request makes no sense"}, status=400))
    return defaults.bad_request(request, exception)


def server_error(request: HttpRequest) -> HttpResponseBase:
    """Django calls it while it handles the exception."""
    error = sys.exc_info()[1]
    if away := error if isinstance(error, Unavailable) else unavailable(error):
        return failure(away) if is_api(request) else not_now(request, away)
    if is_api(request):
        return unkept(JsonResponse({"error": "the server failed"}, status=500))
    return defaults.server_error(request)


def is_api(request: HttpRequest) -> bool:
    """Whether the path is below that of the API, wherever the project has it."""
    try:
        api = reverse("broadcast:api_stream_list").removesuffix("streams/")
    except NoReverseMatch:
        return False
    return request.path.startswith(api)
