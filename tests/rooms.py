"""Short ways into rooms."""

import itertools
import secrets
from typing import Any

from tests.doors import Door, Socket

PATH = "/ws/signaling/"
_numbers = itertools.count(1)


def new_room() -> str:
    """The id of a room that no other test uses."""
    return f"room-{next(_numbers)}-{secrets.token_hex(3)}"


async def enter(door: Door, room: str, **status: Any) -> tuple[Socket, dict[str, Any]]:
    """A client that is in the room, and what it was told: `joined_room`, first."""
    socket = await door.connect(PATH)
    return socket, await join(socket, room, **status)


async def join(socket: Socket, room: str, **status: Any) -> dict[str, Any]:
    await socket.tell("join_room", room_id=room, status=status)
    joined = await socket.event()
    assert joined["event"] == "joined_room", joined
    return joined
