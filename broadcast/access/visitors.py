"""Visitors: the token, session or user that a socket or request came with."""

from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, parse_cookie

from ..logs import get_logger
from ..models import session_rows
from .origins import header, is_own, origin_reached

logger = get_logger(__name__)

#: How a sub-protocol begins that is a token.
TOKEN_PROTOCOL = "token."


class Visitor:
    """A token, the key of a session, or a user that a middleware knows; any of them or none.

    It is kept for as long as a socket is open, since what holds when it comes may not hold later.
    Nothing of it is ever logged.
    """

    __slots__ = ("key", "token", "user")

    def __init__(self, token: str = "", key: str = "", user: Any = None) -> None:
        self.token = token
        self.key = key
        self.user = user

    def forget_session(self) -> None:
        """It has ended: from now on the visitor is nobody, perhaps with a token."""
        self.key, self.user = "", None

    @classmethod
    def of_scope(cls, scope: dict[str, Any], token: str = "") -> "Visitor":
        """The visitor of a WebSocket or an event stream, perhaps with a `token` in its query.

        The browser sends its session for a page of another site, port or scheme, too. Such a page
        must not use it: its visitor is nobody, perhaps with a token.
        """
        cookie = header(scope, b"cookie")
        key = _session_key(parse_cookie(cookie)) if cookie else ""
        user = scope.get("user")
        if (key or user is not None) and not is_own(scope):
            logger.info(
                "Left out the session of a page at %s: it asked another site, %s",
                header(scope, b"origin"),
                origin_reached(scope),
            )
            key, user = "", None
        token = token or _bearer(header(scope, b"authorization")) or _protocol_token(scope)
        if token or key or user is not None:
            return cls(token, key, user)
        return NOBODY

    @classmethod
    async def of_request(cls, request: HttpRequest) -> "Visitor":
        """The visitor of an HTTP request."""
        token = request.GET.get("token", "") or _bearer(request.headers.get("authorization"))
        key = _session_key(request.COOKIES)
        return cls(token, key, None if key else await auser_of(request))


NOBODY = Visitor()
#: A program of this machine, which may do whatever can be done there.
TRUSTED = Visitor()


def user_of(request: HttpRequest) -> Any:
    """The user that Django found; where the project looks for none, nobody is known."""
    user = getattr(request, "user", None)
    return AnonymousUser() if user is None else user


async def auser_of(request: HttpRequest) -> Any:
    """The same, in a coroutine."""
    return await request.auser() if hasattr(request, "auser") else AnonymousUser()


def _session_key(cookies: dict[str, str]) -> str:
    """The key of a session; "": there is none, or this project has no sessions at all."""
    return cookies.get(settings.SESSION_COOKIE_NAME, "") if session_rows.are_kept() else ""


def _bearer(authorization: str | None) -> str:
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _protocol_token(scope: dict[str, Any]) -> str:
    for name in scope.get("subprotocols", ()):
        if name.startswith(TOKEN_PROTOCOL):
            return str(name.removeprefix(TOKEN_PROTOCOL))
    return ""
