"""The connections of a stream, asked of all processes; and the removal of one of them.

The question goes to the group of all processes, and each that has anybody there answers to the
asker's own channel, with those who are furthest behind (`guard.Guard.answer`). So it costs one
look, however many listen. Nobody knows how many processes will answer: after `PATIENCE` seconds
those have that will.
"""

import asyncio
import secrets
from typing import Any

from ..hub import bus
from ..hub.relay import get_relay
from .guard import MOST

#: Seconds in which processes answer.
PATIENCE = 0.3

#: The answers so far, by question.
_answers: dict[str, list[dict[str, Any]]] = {}


async def who_is_at(stream: str) -> list[dict[str, Any]]:
    """At most `guard.MOST` connections of the stream, those first that are furthest behind.

    Each: `id`, `deed` (the grant that it uses), `way` ("broadcast.v1", "plain" or "events"),
    `address`, `user` ("": unknown), `token` (whether it came with one), `behind` (publications),
    `since` (seconds since 1970). Processes that do not answer in time are left out. Unavailable:
    the layer is away.
    """
    relay = get_relay()
    await relay.attend(bus.TheseAreThere, _hear)
    question = secrets.token_hex(8)
    found = _answers[question] = []
    try:
        await bus.atell_everybody(bus.WhoIsThere(stream, question, relay.channel))
        await asyncio.sleep(PATIENCE)
    finally:
        del _answers[question]
    return sorted(found, key=lambda one: (-one["behind"], one["since"]))[:MOST]


async def remove(stream: str, connection: str) -> None:
    """Close a connection of the stream with 4510, by its id, in whatever process it is.

    Unavailable: this process reaches no other, and is no server.
    """
    await bus.atell_everybody(bus.Remove(stream, connection))


def _hear(message: bus.TheseAreThere) -> None:
    # An answer that comes too late is nobody's.
    _answers.get(message.question, []).extend(message.connections)
