"""Tokens: signed, expiring grants for one stream or room, and one deed.

A token says what it grants, and is signed with the site's `SECRET_KEY`; nothing is kept of it. It
is made of characters that are legal in a URL and as a sub-protocol of a WebSocket (RFC 9110,
section 5.6.2), so the parts are joined by `.`, not by Django's `:`.
"""

from enum import StrEnum

from django.core.signing import BadSignature, Signer

from .exceptions import BadToken, Forbidden

#: No token is so long, in characters.
MOST = 500


class Deed(StrEnum):
    """What somebody does on a stream, or in a room."""

    LISTEN = "listen"
    PUBLISH = "publish"
    #: A room, which no other deed is done in: so no token of a stream is one of a room.
    ENTER = "enter"


def _signer() -> Signer:
    return Signer(salt="broadcast.tokens", sep=".")


def make(stream: int, deed: Deed, issued: float, expires: float) -> str:
    """A token for the stream or room with this primary key; the times are seconds since 1970."""
    return _signer().sign_object([stream, deed, round(issued, 6), int(expires)])


def check(token: str, stream: int, deed: Deed, valid_from: float, now: float) -> None:
    """Whether the token grants `deed` on the stream, now.

    BadToken: it is none, it ran out, or it was issued before `valid_from`. Forbidden: it grants
    something else.
    """
    try:
        if len(token) > MOST:
            raise BadSignature
        granted_stream, granted_deed, issued, expires = _signer().unsign_object(token)
    except BadSignature:
        raise BadToken("the token is none, or was tampered with") from None
    if granted_stream != stream:
        what = "room" if deed == Deed.ENTER else "stream"
        raise Forbidden(f"the token is for another {what}")
    if granted_deed != deed:
        raise Forbidden(f"the token is to {granted_deed}, not to {deed}")
    if issued < valid_from:
        raise BadToken("the token was withdrawn")
    if expires <= now:
        raise BadToken("the token ran out")
