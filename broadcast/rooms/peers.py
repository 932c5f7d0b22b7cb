"""Rooms: what a peer may do there, and what becomes of it. It knows no socket.

A `Peer` hears the messages of one client, one after another, and answers through its `Seat`: the
checks of palava's protocol in their order (`messages` has those of a message alone), then one
step of the backend. Whatever is wrong is a `RoomError` with the text that clients know; nothing
has happened then.

A Django app may have further events: see `room_handler`.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

from .. import metrics
from ..access import rules
from ..access.visitors import Visitor
from ..backends import get_backend
from ..backends.rooms import ALREADY_IN, NOT_IN_ROOM, UNKNOWN_PEER, Joined, Most
from ..conf import conf
from ..exceptions import Forbidden, RoomClosed, RoomError, Unavailable
from ..groups import room_stream
from ..hub.relay import get_relay
from ..hub.topics import Topic
from ..models.rows import find_open_room
from ..tokens import Grant
from .meetings import get_meetings
from .messages import (
    FAREWELL,
    PROTOCOL_VERSION,
    Said,
    data_of,
    is_id,
    is_relayed,
    new_peer,
    peer_updated_status,
    room_id_of,
    status_of,
    to_all,
    to_peer,
)

Handler = Callable[[dict[str, Any], "Peer"], Awaitable[None]]


class Seat(Protocol):
    """Where a peer sits, as the rules see it: its client's socket."""

    visitor: Visitor

    def say(self, message: dict[str, Any]) -> None:
        """Tell the client something."""

    def watch(self, room: str) -> None:
        """Look after it from now on whether the client may be in the room."""

    def hear(self, topic: Topic, joined: Joined) -> None:
        """It came in: tell the client, and from now on what is said in the room."""

    async def hear_no_more(self) -> None:
        """It is in no room any more, or did not come into one."""

    def forget(self) -> None:
        """The room went on without it: close the socket."""

    async def go(self) -> None:
        """Leave the room now."""


class Peer:
    """A client of rooms. What it says is given to `hear` one at a time.

    `id`: a UUID of version 4, for as long as its client is connected. `room`: the id of the room
    that it is in, or "". `status`: what of its status is kept, while it is in a room.
    """

    def __init__(self, id: str, seat: Seat) -> None:
        self.id = id
        self.seat = seat
        self.room = ""
        self.status: dict[str, str] = {}

    async def hear(self, said: Said) -> None:
        """Do what the client wants. RoomError: it cannot be done, and why. Unavailable: not now."""
        if said.event in EVENTS:
            await EVENTS[said.event](self, said.message)
        elif said.event in handlers:
            await handlers[said.event](said.message, self)
        else:
            raise RoomError("unknown event")

    # -- for handlers -----------------------------------------------------------------------

    async def send(self, message: dict[str, Any]) -> None:
        """Tell its client something: an object with an `event`. Room or not."""
        self.seat.say(message)

    async def send_to(self, peer: str, message: dict[str, Any]) -> None:
        """Tell another member of the room. RoomError: there is none of that id, or no room."""
        await self._relay(peer, to_peer(peer, message))

    async def send_to_room(self, message: dict[str, Any]) -> None:
        """Tell all members of the room, itself, too. RoomError: it is in none."""
        payload = to_all(message)
        await self._append(partial(get_backend().rooms.say, self._in_room(), payload))

    async def leave(self) -> None:
        """Leave the room; in none it is silent. Its client is not told."""
        room, self.room, self.status = self.room, "", {}
        if not room:
            return
        # Nothing more for it, from before the others know.
        await self.seat.hear_no_more()
        get_meetings().leave(room, self.id)
        call = partial(get_backend().rooms.leave, room, self.id, FAREWELL)
        # Where it is not carried out, the next renewal does it.
        with suppress(Unavailable):
            await get_meetings().do(room, call)

    # -- the events of the protocol ---------------------------------------------------------

    async def _info(self, message: dict[str, Any]) -> None:
        self.seat.say({"event": "info", "protocol_version": PROTOCOL_VERSION})

    async def _ping(self, message: dict[str, Any]) -> None:
        self.seat.say({"event": "pong"})

    async def _join_room(self, message: dict[str, Any]) -> None:
        room = room_id_of(message)
        if self.room:
            raise RoomError(ALREADY_IN)
        status, known = status_of(message)
        self.seat.watch(room)
        try:
            most = await self._ask(room)
            announcement = new_peer(self.id, status)
            join = partial(get_backend().rooms.join, room, self.id, known, announcement, most)
            async with get_relay().topic(room_stream(room)) as topic:
                joined = await get_meetings().do(room, join)
                self.room, self.status = room, known
                get_meetings().enter(room, self.id, self.seat)
                self.seat.hear(topic, joined)
        except BaseException:
            await self.seat.hear_no_more()
            raise

    async def _ask(self, room: str) -> Most:
        """How many may be in. RoomError: its client may not. A room without a row is for all."""
        try:
            row = await find_open_room(room)
            if row is None:
                return Most(conf.MAX_PEERS, conf.MAX_ROOMS)
            await rules.check(row, Grant.ENTER, self.seat.visitor)
        except (Forbidden, RoomClosed) as error:
            raise RoomError(str(error)) from None
        return Most(row.max_peers or conf.MAX_PEERS, conf.MAX_ROOMS)

    async def _leave_room(self, message: dict[str, Any]) -> None:
        await self.leave()

    async def _send_to_peer(self, message: dict[str, Any]) -> None:
        data = data_of(message)
        self._in_room()
        target = message.get("peer_id")
        if not isinstance(target, str) or not is_id(target):
            raise RoomError(UNKNOWN_PEER)
        allowed = is_relayed(data)
        payload = to_peer(target, {**data, "sender_id": self.id}) if allowed else b""
        await self._relay(target, payload)
        if not allowed:
            raise RoomError("event not allowed")
        metrics.relays.inc()

    async def _update_status(self, message: dict[str, Any]) -> None:
        room = self._in_room()
        status, known = status_of(message)
        if not known:
            return
        merged = {**self.status, **known}
        payload = peer_updated_status(self.id, status)
        await self._append(partial(get_backend().rooms.update, room, self.id, merged, payload))
        self.status = merged

    def _in_room(self) -> str:
        if not self.room:
            raise RoomError(NOT_IN_ROOM)
        return self.room

    async def _relay(self, target: str, payload: bytes) -> None:
        room = self._in_room()
        await self._append(partial(get_backend().rooms.relay, room, self.id, target, payload))

    async def _append(self, call: Callable[[], Awaitable[Any]]) -> None:
        await get_meetings().do(self._in_room(), call)


#: The events of the protocol.
EVENTS: dict[str, Callable[[Peer, dict[str, Any]], Awaitable[None]]] = {
    "info": Peer._info,
    "join_room": Peer._join_room,
    "leave_room": Peer._leave_room,
    "send_to_peer": Peer._send_to_peer,
    "update_status": Peer._update_status,
    "ping": Peer._ping,
}

#: The events of Django apps.
handlers: dict[str, Handler] = {}


def room_handler(event: str) -> Callable[[Handler], Handler]:
    """Have a coroutine function called with each message of this `event`, and the `Peer`.

    The messages of one peer come one at a time. A `RoomError` it raises is told the client. Any
    name will do but those of the protocol, once: ValueError.
    """

    def register(handler: Handler) -> Handler:
        if event in EVENTS or event in handlers:
            raise ValueError(f"there is a handler of {event!r} already")
        handlers[event] = handler
        return handler

    return register
