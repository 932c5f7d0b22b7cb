"""The ASGI application for HTTP: Django's, and what must not go through it.

A view may have an `application`, an ASGI application that takes its place; and a `max_body`, which
answers the most bytes of a body that are read for it.
"""

from typing import Any

from django.urls import Resolver404, ResolverMatch, resolve

from . import alone
from .api.answers import failure
from .exceptions import TooLarge
from .middleware import Application, header


class HTTPApplication:
    """Wraps Django's application, with or without static files."""

    def __init__(self, django: Application) -> None:
        self.django = django

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        alone.look_out()
        match = find_view(scope["path"], scope.get("root_path", ""))
        if match is not None and hasattr(match.func, "application"):
            scope["url_route"] = {"args": match.args, "kwargs": match.kwargs}
            await match.func.application(scope, receive, send)
            return
        most = max_body(match)
        if most is None:
            await self.django(scope, receive, send)
        else:
            await self._limited(scope, receive, send, most)

    async def _limited(self, scope: dict[str, Any], receive: Any, send: Any, most: int) -> None:
        size = 0

        async def receive_some() -> dict[str, Any]:
            nonlocal size
            message: dict[str, Any] = await receive()
            size += len(message.get("body", b""))
            if size > most:
                raise too_large(most)
            return message

        length = header(scope, b"content-length") or "0"
        try:
            if length.isdecimal() and int(length) > most:
                raise too_large(most)
            await self.django(scope, receive_some, send)
        except TooLarge as error:
            await refuse(send, error)


def find_view(path: str, root: str = "") -> ResolverMatch | None:
    try:
        return resolve(path.removeprefix(root))
    except Resolver404:
        return None


def max_body(match: ResolverMatch | None) -> int | None:
    """The most bytes of a body that are read for a view; None: it does not say."""
    limit = getattr(match.func, "max_body", None) if match else None
    most: int | None = limit() if limit else None
    return most


def too_large(most: int) -> TooLarge:
    return TooLarge(f"a publication has at most {most} bytes")


async def refuse(send: Any, error: TooLarge) -> None:
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    body = failure(error).content
    await send({"type": "http.response.start", "status": error.http_status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
