"""Everything that is ever asked of a Redis, asked once, with a stream and a room that nobody hears.

So a missing right of the user, or a command that the server lacks, shows before anybody publishes.
"""

import secrets
from collections.abc import Sequence
from typing import Protocol

from ..groups import room_stream
from ..publications import Draft
from . import Backend
from .redis_server import RedisServer
from .rooms import Most
from .values import HistoryLimits, MediaRun, Run

LIMITS = HistoryLimits(1, 100, 60)


class Engine(Backend, Protocol):
    """The backend that is rehearsed."""

    def server(self, stream: str) -> RedisServer:
        """The server that `stream` lives on."""

    def keys(self, stream: str, *names: str) -> Sequence[str]:
        """The keys of those names that belong to the stream."""

    async def say_who_is_there(self, stream: str, listeners: int) -> None:
        """Renew what this process says of one stream, and keep the stream."""


async def rehearse(backend: Engine, place: int) -> None:
    """Unavailable: something is refused, and why."""
    stream, room = "", ""
    while not stream or backend.place(stream) != place:
        # No slug has a colon.
        stream = f"rehearsal:{secrets.token_hex(8)}"
    while not room or backend.place(room_stream(room)) != place:
        room = secrets.token_hex(8)
    await _publish(backend, stream)
    await _attend(backend, stream)
    await _meet(backend, room)


async def _publish(backend: Engine, stream: str) -> None:
    drafts = [Draft.of("x"), Draft.of("y")]
    appended = await backend.append(stream, drafts, LIMITS, Run(stream, 1), key=stream)
    await backend.append(stream, drafts, LIMITS, MediaRun(stream, 0, 1, b"", b"x"))
    await backend.append(stream, drafts, LIMITS, MediaRun(stream, 1, 2, b"", b"x", goes_on=True))
    await backend.append(stream, drafts, LIMITS._replace(bytes=0))
    await backend.read(stream, 0, 1, 1)
    await backend.state(stream)
    await backend.accepted(stream, stream)
    await backend.recording(stream, stream)
    await backend.restart(stream, appended.epoch)
    await backend.clear(stream)


async def _attend(backend: Engine, stream: str) -> None:
    server = backend.server(stream)
    async with server.answering():
        # As a killed process leaves it.
        (key,) = backend.keys(stream, "presence")
        await server.client.hset(key, "listeners:nobody", "1 0")
    await backend.enter(stream, stream)
    await backend.say_who_is_there(stream, 1)
    await backend.presence([stream])
    await backend.leave(stream, stream)
    async with server.answering():
        await server.client.delete(*backend.keys(stream, "presence"))


async def _meet(backend: Engine, room: str) -> None:
    for peer in "ab":
        await backend.rooms.join(room, peer, {}, b"", Most(2, 1_000_000))
    await backend.rooms.relay(room, "a", "b", b"x")
    await backend.rooms.states([room])
    await backend.rooms.open(1)
    for peer in "ab":
        await backend.rooms.leave(room, peer, b"")
    await backend.clear(room_stream(room))
