"""Short ways to the rooms of a backend."""

from typing import Any

from broadcast.backends import Backend
from broadcast.backends.rooms import Joined, Left, Most

WIDE = Most(100, None)
FAREWELL = b"{} left"


async def join(
    backend: Backend, peer: str, room: str = "r", most: Most = WIDE, **status: Any
) -> Joined:
    return await backend.rooms.join(room, peer, status, f"{peer} came".encode(), most)


async def leave(backend: Backend, peer: str, room: str = "r") -> Left | None:
    return await backend.rooms.leave(room, peer, FAREWELL)
