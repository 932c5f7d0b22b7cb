"""Short ways into rooms."""

import itertools
import secrets
from datetime import UTC, datetime
from typing import Any

from broadcast.backends import Appended
from broadcast.backends.rooms import Left, Member
from tests.rig.doors import Door, Socket

PATH = "/ws/signaling/"
INFO = {"event": "info", "protocol_version": "1.0.0"}
HOUR = datetime(2026, 1, 1, 12, tzinfo=UTC)
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


async def meet(door: Door, count: int = 2) -> tuple[str, list[Socket], list[str]]:
    """So many clients in a room of their own, who know of each other; the room, and their ids."""
    room = new_room()
    sockets: list[Socket] = []
    ids: list[str] = []
    for _ in range(count):
        socket, joined = await enter(door, room)
        for other in sockets:
            assert (await other.event())["event"] == "new_peer"
        sockets.append(socket)
        ids.append(joined["own_id"])
    return room, sockets, ids


async def answers(socket: Socket) -> list[dict[str, Any]]:
    """Everything that it is told before the answer to what it asks now; in no room, that is all."""
    await socket.tell("info")
    found = []
    while (said := await socket.event()) != INFO:
        found.append(said)
    return found


async def heard(socket: Socket, own: str) -> list[dict[str, Any]]:
    """Everything that it is told in its room before what it says to itself now."""
    mark = {"event": "message", "mark": secrets.token_hex(8)}
    await socket.tell("send_to_peer", peer_id=own, data=mark)
    found = []
    while (said := await socket.event()) != {**mark, "sender_id": own}:
        found.append(said)
    return found


def error(text: str) -> dict[str, str]:
    return {"event": "error", "message": text, "description": text}


def left(minutes: float, peak: int = 0, hour: datetime = HOUR) -> Left:
    """A member who left after so many minutes, ten minutes into the hour."""
    at = hour.timestamp() + 600
    member = Member("a", {}, at - 60 * minutes)
    return Left("r", member, at, Appended("", 0, [], 0), peak)
