"""Decorators of views: for caches and policies of their answers, and for transactions.

One rule for caches: an answer that depends on the client says so.

* An answer of the HTTP API holds now, and for this client: no cache keeps it (`unkept`).
* A page is for its visitor: only their browser keeps it, and asks before it shows it (`personal`).
* No cache keeps a private answer, or one with a token in its address: `links.with_secret`,
  `never_cache`.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast

from django.db import connections, transaction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.cache import patch_cache_control, patch_vary_headers

from .policy import protect_page

View = TypeVar("View", bound=Callable[..., Any])
Response = TypeVar("Response", bound=HttpResponseBase)

#: Headers of a request that identify its visitor.
ASKER = ("Cookie", "Authorization")


def unkept(response: Response) -> Response:
    """An answer that no cache keeps."""
    patch_vary_headers(response, ASKER)
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def finished_by(finish: Callable[[HttpRequest, Any], Any]) -> Callable[[View], View]:
    """A decorator of views, of either kind, for what is done to their answers."""

    def decorate(view: View) -> View:
        @functools.wraps(view)
        async def async_wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            return finish(request, await view(request, *args, **kwargs))

        @functools.wraps(view)
        def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            return finish(request, view(request, *args, **kwargs))

        chosen: Any = async_wrapper if inspect.iscoroutinefunction(view) else wrapper
        return cast(View, chosen)

    return decorate


def personal(view: View) -> View:
    """A view whose answers only its visitor's browser keeps."""
    return finished_by(_make_personal)(view)


def _make_personal(request: HttpRequest, response: Response) -> Response:
    patch_vary_headers(response, ASKER)
    patch_cache_control(response, private=True, no_cache=True)
    return response


def page(view: View) -> View:
    """A view whose answers are pages of ours: see `policy`."""
    return finished_by(protect_page)(view)


def without_transaction(view: View) -> View:
    """An async view without `ATOMIC_REQUESTS`: Django cannot run async views in a transaction."""
    for alias in connections:
        view = transaction.non_atomic_requests(using=alias)(view)
    return view
