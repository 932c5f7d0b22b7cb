"""The members of rooms in Redis: joining, leaving and saying something are one Lua script each.

A room is where the history of its stream is. Each process says of every room that it has members
in, and which, each third of `BROADCAST_PEER_SECONDS`; what was lost of their coming and going is
put right so. Members of a process that said nothing for `BROADCAST_PEER_SECONDS` leave, in the next
renewal of any other process that Redis has answered for as long: after an outage everybody has had
the time to say that they are still there.

A limit on the number of rooms is shared out among several Redis servers.
"""

import asyncio
import json
import secrets
from collections.abc import Sequence
from typing import Any

from ..conf import conf
from ..exceptions import RoomError, Unavailable
from ..groups import room_stream
from ..publications import Kind, Publication
from . import redis_servers
from .redis_server import RedisServer
from .redis_shards import RedisShards
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

#: Seconds after which a room is forgotten of which nobody says anything any more.
LIFE_SECONDS = 3600
#: Rooms without a living process that one renewal looks at.
SWEEP = 100
#: The refusals of `room_join` and `room_relay`, by their answers.
JOINING = {1: FULL, 2: TOO_MANY_ROOMS, 3: ALREADY_IN}
SAYING = {1: NOT_IN_ROOM, 2: UNKNOWN_PEER}


class RedisRooms:
    """The `Rooms` of a `RedisBackend`."""

    def __init__(self, backend: RedisShards) -> None:
        self.backend = backend
        #: The members of this process, by room and id, and when they came.
        self.here: dict[str, dict[str, float]] = {}
        #: Rooms of which it is not known whether somebody came in or left.
        self.unsure: set[str] = set()
        #: When it is said next who is here.
        self.due = 0.0
        #: Since when each Redis has answered, by its place.
        self.answering: dict[int, float] = {}

    async def join(
        self, room: str, peer: str, status: dict[str, Any], announcement: bytes, most: Most
    ) -> Joined:
        if peer in self.here.get(room, ()):
            raise RoomError(ALREADY_IN)
        now = self.backend.clock()
        # Before it is in: a renewal meanwhile must not take it for one that has left.
        self.here.setdefault(room, {})[peer] = now
        record = self._record(now, status)
        # Rounded up: one room at least.
        rooms = "" if most.rooms is None else -(-most.rooms // len(redis_servers()))
        try:
            code, *answer = await self._run(
                "room_join", room, now, peer, record, most.peers, rooms, announcement
            )
        except Unavailable:
            self._take_out(room, peer)
            self.unsure.add(room)
            raise
        if code:
            self._take_out(room, peer)
            if JOINING[code] == ALREADY_IN:
                # It left, and that was lost.
                self.unsure.add(room)
            raise RoomError(JOINING[code])
        epoch, offset, before = answer
        members = [member(*one) for one in zip(before[::2], before[1::2], strict=True)]
        members.sort(key=lambda one: one.since)
        return Joined(appended(epoch, offset, announcement, now), members)

    async def leave(self, room: str, peer: str, farewell: bytes) -> Left | None:
        now = self.backend.clock()
        self._take_out(room, peer)
        try:
            answer = await self._run("room_leave", room, now, peer, farewell)
        except Unavailable:
            self.unsure.add(room)
            raise
        return left(room, answer[0], answer[1], farewell, now) if answer else None

    def _take_out(self, room: str, peer: str) -> None:
        here = self.here.get(room, {})
        here.pop(peer, None)
        if not here:
            self.here.pop(room, None)

    async def update(
        self, room: str, peer: str, status: dict[str, Any], announcement: bytes
    ) -> Appended:
        since = self.here.get(room, {}).get(peer)
        if since is None:
            raise RoomError(NOT_IN_ROOM)
        found = await self._say(room, peer, "", self._record(since, status), announcement)
        assert found
        return found

    async def relay(self, room: str, peer: str, target: str, payload: bytes) -> Appended | None:
        return await self._say(room, peer, target, "", payload)

    async def say(self, room: str, payload: bytes) -> Appended | None:
        try:
            return await self._say(room, "", "", "", payload)
        except RoomError:
            return None

    async def _say(
        self, room: str, peer: str, target: str, record: str, payload: bytes
    ) -> Appended | None:
        now = self.backend.clock()
        name = target.encode("utf-8", "surrogatepass")
        code, *answer = await self._run("room_relay", room, now, peer, name, record, payload)
        if code:
            raise RoomError(SAYING[code])
        epoch, offset = answer
        return appended(epoch, offset, payload, now) if offset else None

    # -- who is there -----------------------------------------------------------------------

    async def renew(self, farewell: bytes) -> Renewed:
        now = self.backend.clock()
        is_due = now >= self.due
        rooms = {*self.unsure, *self.here} if is_due else set(self.unsure)
        places: dict[int, list[str]] = {}
        if is_due:
            places = {place: [] for place in range(len(redis_servers()))}
        for room in rooms:
            places.setdefault(self.backend.place(room_stream(room)), []).append(room)
        answers = await asyncio.gather(
            *(self._renew_at(place, some, is_due, now, farewell) for place, some in places.items())
        )
        if is_due:
            known = all(answer is not None for answer in answers)
            self.due = now + conf.PEER_SECONDS / 3 if known else now
        found = [one for answer in answers for one in answer or ()]
        return Renewed(
            [one for answer in found for one in answer.left],
            [one for answer in found for one in answer.forgotten],
        )

    async def _renew_at(
        self, place: int, rooms: list[str], is_due: bool, now: float, farewell: bytes
    ) -> list[Renewed] | None:
        """Renew rooms of one Redis. None: it did not answer for all of them."""
        may_bury = now - self.answering.get(place, now) >= conf.PEER_SECONDS
        try:
            # Asked for in any case: does it answer?
            deserted = await self._deserted(place, now) if is_due else []
        except Unavailable:
            self.answering.pop(place, None)
            return None
        answers = await asyncio.gather(
            *(self._renew(room, now, farewell, may_bury) for room in {*rooms, *deserted}),
            return_exceptions=True,
        )
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, Unavailable):
                raise answer
        found = [answer for answer in answers if isinstance(answer, Renewed)]
        if len(found) < len(answers):
            self.answering.pop(place, None)
        else:
            self.answering.setdefault(place, now)
        return found

    async def _deserted(self, place: int, now: float) -> list[str]:
        """Some rooms of which no process has said anything for long."""
        server = self.backend.servers()[place]
        async with server.answering():
            found: list[Any] = await server.client.zrangebyscore(
                self._all_rooms(), "-inf", now, start=0, num=SWEEP
            )
        return [room.decode() for room in found]

    async def _renew(self, room: str, now: float, farewell: bytes, may_bury: bool) -> Renewed:
        self.unsure.discard(room)
        here = list(self.here.get(room, ()))
        try:
            epoch, forgotten, leaving = await self._run(
                "room_renew", room, now, farewell, int(may_bury), *here
            )
        except Unavailable:
            self.unsure.add(room)
            raise
        gone = [peer.decode() for peer in forgotten]
        for peer in gone:
            self._take_out(room, peer)
        return Renewed(
            [left(room, epoch, one, farewell, now) for one in leaving],
            [(room, peer) for peer in gone],
        )

    async def states(self, rooms: list[str]) -> dict[str, RoomState]:
        places: dict[RedisServer, list[str]] = {}
        for room in rooms:
            places.setdefault(self.backend.server(room_stream(room)), []).append(room)
        found: dict[str, RoomState] = {}
        for server, some in places.items():
            async with server.answering(), server.client.pipeline(transaction=False) as pipe:
                for room in some:
                    for key in self.backend.keys(room_stream(room), "members", "room"):
                        pipe.hgetall(key)
                answers = await pipe.execute()
            for room, members, known in zip(some, answers[::2], answers[1::2], strict=True):
                if members:
                    found[room] = state(members, known)
        return found

    async def open(self, most: int) -> list[str]:
        found: list[str] = []
        for server in self.backend.servers():
            async with server.answering():
                some: list[Any] = await server.client.zrangebyscore(
                    self._all_rooms(), self.backend.clock(), "+inf", start=0, num=most
                )
            found.extend(room.decode() for room in some)
        return found[:most]

    # -- what goes to Redis -----------------------------------------------------------------

    def _all_rooms(self) -> str:
        return f"{self.backend.prefix}:rooms"

    async def _run(self, script: str, room: str, now: float, *arguments: Any) -> Any:
        stream = room_stream(room)
        names = ("meta", "stream", "members", "processes", "room")
        return await self.backend.server(stream).call(
            script,
            [*self.backend.keys(stream, *names), self._all_rooms()],
            *(repr(now), secrets.token_hex(8), room, self.backend.process),
            *(repr(now + conf.PEER_SECONDS), *HISTORY, LIFE_SECONDS, AFTERLIFE_SECONDS),
            conf.ROOMS_BYTES // len(redis_servers()),
            *arguments,
        )

    def _record(self, since: float, status: dict[str, Any]) -> str:
        return f"{self.backend.process} {since!r} {json.dumps(status)}"


def member(peer: bytes, record: bytes) -> Member:
    _, since, status = record.split(b" ", 2)
    return Member(peer.decode(), json.loads(status), float(since))


def state(members: dict[bytes, bytes], known: dict[bytes, bytes]) -> RoomState:
    found = sorted((member(*one) for one in members.items()), key=lambda one: one.since)
    since = float(known.get(b"since", found[0].since))
    return RoomState(found, int(known.get(b"peak", len(found))), since)


def appended(epoch: bytes, offset: int, payload: bytes, now: float) -> Appended:
    publication = Publication(offset, Kind.TEXT, payload, 0, now)
    return Appended(epoch.decode(), offset, [publication], 0)


def left(room: str, epoch: bytes, taken_out: Sequence[Any], farewell: bytes, now: float) -> Left:
    """What became of a member that a script took out."""
    peer, record, offset, peak = taken_out
    said = Appended(epoch.decode(), offset, [], 0)
    if offset:
        said = appended(epoch, offset, farewell.replace(b"{}", peer, 1), now)
    return Left(room, member(peer, record), now, said, peak)
