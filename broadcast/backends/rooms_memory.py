"""The members of rooms in this process' memory: each call is one step of the event loop."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..conf import conf
from ..exceptions import RoomError
from ..groups import room_stream
from ..publications import Draft, Kind
from .histories import History
from .rooms import (
    AFTERLIFE_SECONDS,
    ALREADY_IN,
    FULL,
    HISTORY,
    NOT_IN_ROOM,
    TOO_MANY_ROOMS,
    UNKNOWN_PEER,
    Joined,
    Left,
    Member,
    Most,
    Renewed,
    RoomState,
)
from .values import Appended


class Memory(Protocol):
    """The backend that these rooms are in."""

    histories: dict[str, History]
    clock: Callable[[], float]

    def history(self, stream: str) -> History:
        """The stream's history, or an empty one that is not kept."""

    async def forget(self, stream: str) -> None:
        """Drop all there is of the stream."""


@dataclass
class Room:
    since: float
    peak: int = 0
    members: dict[str, Member] = field(default_factory=dict)


class MemoryRooms:
    """The `Rooms` of a `MemoryBackend`."""

    def __init__(self, backend: Memory) -> None:
        self.backend = backend
        self.rooms: dict[str, Room] = {}
        #: When rooms ended whose histories are still there, by their ids.
        self.ended: OrderedDict[str, float] = OrderedDict()

    def _history(self, room: str) -> History:
        stream = room_stream(room)
        history = self.backend.histories[stream] = self.backend.history(stream)
        return history

    def _append(self, room: str, payload: bytes) -> Appended:
        now = self.backend.clock()
        history = self._history(room)
        publication = history.add(Draft(Kind.TEXT, payload), now)
        share = conf.ROOMS_BYTES // max(len(self.rooms), 1)
        history.trim(HISTORY._replace(bytes=min(HISTORY.bytes, share)), now)
        return Appended(history.epoch, history.offset, [publication], 0)

    async def join(
        self, room: str, peer: str, status: dict[str, Any], announcement: bytes, most: Most
    ) -> Joined:
        found = self.rooms.get(room)
        if found is None and most.rooms is not None and len(self.rooms) >= most.rooms:
            raise RoomError(TOO_MANY_ROOMS)
        now = self.backend.clock()
        found = found or Room(now)
        if peer in found.members:
            raise RoomError(ALREADY_IN)
        if len(found.members) >= most.peers:
            raise RoomError(FULL)
        self.rooms[room] = found
        self.ended.pop(room, None)
        before = list(found.members.values())
        found.members[peer] = Member(peer, status, now)
        found.peak = max(found.peak, len(found.members))
        return Joined(self._append(room, announcement), before)

    async def leave(self, room: str, peer: str, farewell: bytes) -> Left | None:
        found = self.rooms.get(room)
        if found is None or peer not in found.members:
            return None
        member = found.members.pop(peer)
        now = self.backend.clock()
        if found.members:
            appended = self._append(room, farewell.replace(b"{}", peer.encode(), 1))
            return Left(room, member, now, appended, 0)
        del self.rooms[room]
        self.ended[room] = now
        history = self._history(room)
        history.publications.clear()
        history.size = 0
        return Left(room, member, now, Appended(history.epoch, history.offset, [], 0), found.peak)

    async def update(
        self, room: str, peer: str, status: dict[str, Any], announcement: bytes
    ) -> Appended:
        members = self._with(room, peer)
        members[peer] = members[peer]._replace(status=status)
        return self._append(room, announcement)

    async def relay(self, room: str, peer: str, target: str, payload: bytes) -> Appended | None:
        if target not in self._with(room, peer):
            raise RoomError(UNKNOWN_PEER)
        return self._append(room, payload) if payload else None

    async def say(self, room: str, payload: bytes) -> Appended | None:
        return self._append(room, payload) if room in self.rooms else None

    def _with(self, room: str, peer: str) -> dict[str, Member]:
        """The members of the room, of whom the peer is one."""
        found = self.rooms.get(room)
        if found is None or peer not in found.members:
            raise RoomError(NOT_IN_ROOM)
        return found.members

    async def renew(self, farewell: bytes) -> Renewed:
        """Forget what was said in rooms that ended; members of other processes there are none."""
        # Its order begins again then: nobody here may have heard the old one.
        past = self.backend.clock() - max(AFTERLIFE_SECONDS, 2 * conf.LINGER_SECONDS)
        while self.ended and next(iter(self.ended.values())) < past:
            room, _ = self.ended.popitem(last=False)
            await self.backend.forget(room_stream(room))
        for room in self.rooms:
            # Quiet rooms must lose old messages, too.
            self.backend.history(room_stream(room))
        return Renewed([], [])

    async def states(self, rooms: list[str]) -> dict[str, RoomState]:
        return {
            room: RoomState(list(found.members.values()), found.peak, found.since)
            for room in rooms
            if (found := self.rooms.get(room))
        }

    async def open(self, most: int) -> list[str]:
        return list(self.rooms)[:most]
