"""Who may do what on a stream or in a room: one answer for every door."""

import time
from functools import partial

from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest

from ..exceptions import Forbidden
from ..models import Room, Stream
from ..tokens import Grant
from . import sessions
from .visitors import TRUSTED, Visitor


async def check_request(stream: Stream, grant: Grant, request: HttpRequest) -> None:
    """`check` for the client of the request."""
    await check(stream, grant, await Visitor.of_request(request))


async def check(stream: Stream | Room, grant: Grant, visitor: Visitor) -> None:
    """Whether the visitor may do it now. Forbidden, BadToken: no, and why.

    A token that is wrong takes nothing from somebody who may without one.
    """
    # Where anybody may, no session is read.
    if visitor is TRUSTED or stream.may(grant, AnonymousUser()):
        return
    refusal = Forbidden(f"you may not {grant} here")
    if visitor.token:
        try:
            return stream.check_token(visitor.token, grant, time.time())
        except Forbidden as error:
            refusal = error
    if not await sessions.ask(visitor, partial(stream.may, grant)):
        raise refusal
