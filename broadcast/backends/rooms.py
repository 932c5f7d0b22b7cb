"""What keeps the members of rooms: the part of a backend that is not about streams.

A room is there while it has a member. What happens in it is appended to the history of its stream
(`groups.room_stream`) in the same step, so of all that happens in a room there is one order: who
joins learns who is in and where in that order it came in. `payload`, `announcement` and `farewell`
are what is appended, and mean nothing here; in a `farewell` the first `{}` stands for the peer's
id. `Unavailable`: the engine does not answer, and whether it was done is not known. Members whose
joining or leaving was lost so are put right by the next `renew`.
"""

from typing import Any, NamedTuple, Protocol

from .values import Appended, HistoryLimits

#: The history of a room, for members that are behind: publications, bytes, seconds. Where there are
#: many rooms each has its share of `BROADCAST_ROOMS_BYTES`: a member further behind is closed
#: with 4408, and comes back.
HISTORY = HistoryLimits(10_000, 8 * 1024 * 1024, 60)
#: Seconds for which the order of a room goes on that has ended: a newcomer must not
#: take it for another.
AFTERLIFE_SECONDS = 30

#: Why something is refused (`RoomError`).
FULL = "room is full"
TOO_MANY_ROOMS = "too many rooms"
NOT_IN_ROOM = "currently not in any room"
UNKNOWN_PEER = "unknown peer"
ALREADY_IN = "already joined another room"


class Most(NamedTuple):
    """How many members the room may have, and how many rooms there may be; None: any number."""

    peers: int
    rooms: int | None


class Member(NamedTuple):
    """Somebody in a room; `since`: seconds since 1970."""

    id: str
    status: dict[str, Any]
    since: float


class Joined(NamedTuple):
    """Who joined was announced by `appended`; `members` are those that were in before."""

    appended: Appended
    members: list[Member]


class Left(NamedTuple):
    """A member left at `at`. `appended` has its farewell, unless nobody was left to hear it.

    `peak`: how many were in at a time, of a room that has ended with it; 0: it goes on.
    """

    room: str
    member: Member
    at: float
    appended: Appended
    peak: int


class Renewed(NamedTuple):
    """What a renewal put right: who left, and whom of ours, by room, the engine forgot."""

    left: list[Left]
    forgotten: list[tuple[str, str]]


class RoomState(NamedTuple):
    """A room that is there: its members by when they came, the most it had, since when."""

    members: list[Member]
    peak: int
    since: float


class Rooms(Protocol):
    async def join(
        self, room: str, peer: str, status: dict[str, Any], announcement: bytes, most: Most
    ) -> Joined:
        """RoomError: `FULL`, `TOO_MANY_ROOMS`, `ALREADY_IN` (this very room)."""

    async def leave(self, room: str, peer: str, farewell: bytes) -> Left | None:
        """None: it was not in."""

    async def update(
        self, room: str, peer: str, status: dict[str, Any], announcement: bytes
    ) -> Appended:
        """`status` is what the member has from now on. RoomError: `NOT_IN_ROOM`."""

    async def relay(self, room: str, peer: str, target: str, payload: bytes) -> Appended | None:
        """Append what `peer` says to `target`; where it is empty, only see whether it could.

        RoomError: `NOT_IN_ROOM` (the peer), `UNKNOWN_PEER` (the target).
        """

    async def say(self, room: str, payload: bytes) -> Appended | None:
        """Append what the server says to the room. None: nobody is in."""

    async def renew(self, farewell: bytes) -> Renewed:
        """Say that this process lives, and let those leave whose process has died."""

    async def states(self, rooms: list[str]) -> dict[str, RoomState]:
        """Those of the rooms that are there now."""

    async def open(self, most: int) -> list[str]:
        """Rooms that are there now, so many at most."""
