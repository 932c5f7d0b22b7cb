"""What people who run rooms see moving: who is inside now, in all processes.

A socket at `/ws/admin/rooms/`, for staff who may view rooms, like the one of streams (`figures`).

* `?rooms=1,2,3`, primary keys: `{"event":"figures","streams":{"1":{"inside":…,"peak":…,
  "since":…}}}`. `since`: when the first of them came, in seconds since 1970, and `peak`: how many
  were in at a time since then; both null while nobody is in.
* `?room=1`, besides: `{"event":"connections","connections":[…]}`, who is inside by when they came:
  as `who_is_at` tells, and `name` and `agent`, what they say they are.
"""

from typing import Any

from ..access.connections import who_is_at
from ..backends import get_backend
from ..groups import room_stream
from ..models import Room
from ..models.database import database_sync_to_async
from .figures import FiguresConsumer


class RoomFiguresConsumer(FiguresConsumer):
    """A page of rooms in the admin that moves by itself."""

    one, many = "room", "rooms"
    #: The ids of the rooms by their keys.
    ids: dict[str, str] | None = None

    async def _figures(self, now: float) -> dict[str, Any]:
        if self.ids is None:
            self.ids = await database_sync_to_async(ids_of)(self.slugs)
        states = await get_backend().rooms.states(list(self.ids.values()))
        told = {}
        for key, room in self.ids.items():
            state = states.get(room)
            told[key] = {
                "inside": len(state.members) if state else 0,
                "peak": state.peak if state else None,
                "since": state.since if state else None,
            }
        return told

    async def _tell_details(self, told: dict[str, Any]) -> None:
        assert self.ids
        self._say("connections", connections=await who_is_in(self.ids[self.shown]))


def ids_of(keys: list[str]) -> dict[str, str]:
    """The ids of the rooms that have these primary keys."""
    rooms = Room.objects.in_bulk([int(key) for key in keys if key.isdecimal() and len(key) < 19])
    return {str(key): room.room_id for key, room in rooms.items()}


async def who_is_in(room: str) -> list[dict[str, Any]]:
    """Everybody in the room. Of whom no process told in time only that is known which the room is.

    Unavailable: the engine or the layer is away.
    """
    states = await get_backend().rooms.states([room])
    if room not in states:
        return []
    connected = {one["id"]: one for one in await who_is_at(room_stream(room))}
    unknown = {"deed": "enter", "way": "palava", "address": "", "user": "", "token": False}
    return [
        {
            **(connected.get(member.id) or {**unknown, "behind": 0}),
            "id": member.id,
            "since": member.since,
            # A name that is not valid Unicode is one that JSON can say, and a frame cannot.
            "name": member.status.get("name", "").encode("utf-8", "replace").decode(),
            "agent": member.status.get("user_agent", ""),
        }
        for member in states[room].members
    ]
