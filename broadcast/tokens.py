"""Tokens: each is signed, expires, and grants one thing on one stream or in one room.

A token says what it grants, and is signed with the site's `SECRET_KEY`; the server keeps nothing of
it. It is made of characters that are legal in a URL and as a sub-protocol of a WebSocket (RFC 9110,
section 5.6.2), so the parts are joined by `.`, not by Django's `:`.
"""

from enum import StrEnum

from django.core.signing import BadSignature, Signer

from .exceptions import BadToken, Forbidden

#: No token is so long, in characters.
MOST = 500


class Grant(StrEnum):
    """The actions on a stream or in a room that a token grants; the values stand in tokens."""

    LISTEN = "listen"
    PUBLISH = "publish"
    #: Only for rooms, which have no other grant: so a token of a stream never opens a room.
    ENTER = "enter"


def _signer() -> Signer:
    return Signer(salt="broadcast.tokens", sep=".")


def make(stream: int, grant: Grant, issued: float, expires: float) -> str:
    """A token for the stream or room with this primary key; the times are seconds since 1970."""
    return _signer().sign_object([stream, grant, round(issued, 6), int(expires)])


def check(token: str, stream: int, grant: Grant, valid_from: float, now: float) -> None:
    """Check that the token gives `grant` on the stream, now.

    BadToken: it is none, it ran out, or it was issued before `valid_from`. Forbidden: it is for
    another stream or grant.
    """
    try:
        if len(token) > MOST:
            raise BadSignature
        granted_stream, granted, issued, expires = _signer().unsign_object(token)
    except BadSignature:
        raise BadToken("the token is none, or was tampered with") from None
    if granted_stream != stream:
        what = "room" if grant == Grant.ENTER else "stream"
        raise Forbidden(f"the token is for another {what}")
    if granted != grant:
        raise Forbidden(f"the token is to {granted}, not to {grant}")
    if issued < valid_from:
        raise BadToken("the token was withdrawn")
    if expires <= now:
        raise BadToken("the token ran out")
