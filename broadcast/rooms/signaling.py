"""The socket of rooms, at `/ws/signaling/`: clients of palava connect here.

It speaks no sub-protocol: one JSON object in each text frame (`messages`). What a client gets
wrong it is told, and its socket stays open; only what no client says by mistake closes it: frames
over the limit (1009), too many of them (4429), and answers that nobody takes (4408).

What a client says is done in its order, one at a time, while the next is read; `ping` alone is
answered at once. What is said in its room reaches it as a listener of the room's topic.
"""

import asyncio
import math
import time
import uuid
from collections import deque
from typing import Any

from .. import lifespan, metrics
from ..access import limits
from ..access.guard import get_guard
from ..access.visitors import Visitor
from ..backends.rooms import Joined
from ..conf import conf
from ..consumers import SocketConsumer
from ..exceptions import BroadcastError, RoomError, TooLarge, TooSlow, Unavailable
from ..groups import room_stream
from ..hub.joining import leave
from ..hub.listeners import Listener
from ..hub.starts import query_of
from ..hub.topics import Topic
from ..logs import get_logger
from ..loops import PerLoop
from ..models import database
from ..tokens import Grant
from ..wire.frames import Message, event
from ..wire.sinks import EXTENSION
from .messages import Said, as_message, encoding_of, joined_room, parse
from .messages import error as told_error
from .peers import Peer

logger = get_logger(__name__)

#: Messages and bytes of a client that wait, before its socket is read no more.
WAITING, WAITING_BYTES = 1024, 4 * 1024 * 1024
#: Seconds for which a client that is gone waits for the end of what it said.
END_SECONDS = 60.0
#: Bytes of answers to a client that takes nothing, before it is closed.
OWED_BYTES = 1024 * 1024

#: The error where the engine does not answer.
UNAVAILABLE = "not available now, try again"
#: The error where a handler of an app failed.
FAILED = "the server failed to do that"


class SignalingConsumer(SocketConsumer):
    """A client of rooms; a `peers.Seat`, a `meetings.Attendee` and a `access.guard.Connection`."""

    grant = Grant.ENTER
    has_v1 = False
    way = "palava"
    listener: Listener | None = None
    peer: Peer | None = None
    #: Bytes that it was told since its socket took something.
    owed = 0
    #: Whether it did something wrong.
    erred = False

    async def enter(self) -> None:
        self.since = time.time()
        self.visitor = Visitor.of_scope(self.scope, query_of(self.scope).get("token", ""))
        self.id = str(uuid.uuid4())
        self.peer = Peer(self.id, self)
        self.room_encoding = encoding_of(self.id, self.encoding)
        #: Its messages that are not handled yet, with their sizes in bytes.
        self.waiting: deque[tuple[Said | RoomError, int]] = deque()
        self.size = 0
        self.space = asyncio.Event()
        self.working: asyncio.Task[None] | None = None
        self.sink.on_space(self._go_on)
        transport = self.scope.get("extensions", {}).get(EXTENSION)
        if transport is not None:
            transport.max_frame = conf.MAX_SIGNAL
            transport.stays = True
        get_clients().sockets.add(self)
        if until := get_clients().until:
            left = max(until - asyncio.get_running_loop().time(), 0)
            self.tell(event("shutdown", seconds=math.ceil(left)))

    # -- what the client says ---------------------------------------------------------------

    async def receive(self, message: dict[str, Any]) -> None:
        if self.peer is None:
            return
        limits.check_signal(self.id)
        text = message.get("text")
        size = len(message["bytes"] if text is None else text.encode())
        if size > conf.MAX_SIGNAL:
            raise TooLarge(f"a message has at most {conf.MAX_SIGNAL} bytes here")
        try:
            said: Said | RoomError = parse(text)
        except RoomError as error:
            said = error
        if isinstance(said, Said) and said.event == "ping":
            await self.peer.hear(said)
            return
        self.waiting.append((said, size))
        self.size += size
        if self.working is None:
            self.working = asyncio.ensure_future(self._work())
        while len(self.waiting) >= WAITING or self.size >= WAITING_BYTES:
            self.space.clear()
            await self.space.wait()

    async def _work(self) -> None:
        assert self.peer
        while self.waiting and not self.refused:
            said, size = self.waiting.popleft()
            self.size -= size
            self.space.set()
            try:
                if isinstance(said, RoomError):
                    raise said
                with database.expected():
                    await self.peer.hear(said)
            except RoomError as wrong:
                self._tell_error(str(wrong))
            except Unavailable:
                self._tell_error(UNAVAILABLE)
            except BroadcastError as wrong:
                self.refuse(wrong)
            except Exception:
                logger.exception("A message of a client of rooms failed")
                self._tell_error(FAILED)
        self.working = None
        if self.refused:
            self.waiting.clear()
            self.size = 0
            self.space.set()

    def _tell_error(self, text: str) -> None:
        metrics.room_errors.inc()
        if not self.erred:
            # Log it once per client, which may repeat it for ever.
            logger.info(
                "Refused a message of a client of rooms at %s: %s", self.address or "?", text
            )
            self.erred = True
        self.say(told_error(text))

    # -- what it is told --------------------------------------------------------------------

    def say(self, message: dict[str, Any]) -> None:
        self._say(as_message(message))

    def _say(self, message: Message) -> None:
        if self.sink.write(self.encoding.messages([message])):
            return
        if self.listener:
            self.listener.topic.note_full(self.listener)
        self.owed += len(message[1][0])
        if self.owed > OWED_BYTES and not self.refused:
            self.refuse(TooSlow("nothing is taken of what is answered"))

    def _go_on(self) -> None:
        self.owed = 0
        if self.listener:
            self.listener.resume()

    def tell(self, message: Message) -> bool:
        """Tell an event of the server's, in the words of this protocol."""
        self._say(message)
        return True

    # -- its place in a room ----------------------------------------------------------------

    def watch(self, room: str) -> None:
        self.slug = room_stream(room)
        get_guard().enter(self)

    def hear(self, topic: Topic, joined: Joined) -> None:
        assert self.peer
        epoch, offset = joined.appended.epoch, joined.appended.offset
        if epoch != topic.epoch:
            topic.restart(epoch, offset)
        # Messages before its own announcement are not for it; all later ones are.
        self.listener = Listener(topic, self.sink, self.room_encoding, offset)
        if not self.refused:
            known = ((member.id, member.status) for member in joined.members)
            self.say(joined_room(self.id, known))
            topic.add(self.listener)

    async def hear_no_more(self) -> None:
        get_guard().leave(self)
        listener, self.listener = self.listener, None
        if listener:
            await leave(listener)

    @property
    def behind(self) -> int:
        return self.listener.behind if self.listener else 0

    def forget(self) -> None:
        self.remove(TooSlow("the room went on without you"))

    # -- its end ----------------------------------------------------------------------------

    def _close(self, error: BroadcastError) -> None:
        if self.listener:
            # Nothing of the room after the reason.
            self.listener.topic.remove(self.listener)
        self.say(told_error(str(error)))
        self.sink.close(error.close_code, str(error))

    async def go(self) -> None:
        self.refused = True
        await self._end()

    async def closed(self) -> None:
        get_clients().sockets.discard(self)
        # Daphne cancels who takes longer than 10 s: it leaves its room all the same.
        ending = asyncio.ensure_future(self._end())
        _ending.add(ending)
        ending.add_done_callback(_ending.discard)
        await asyncio.shield(ending)

    async def _end(self) -> None:
        """Handle its earlier messages, unless it was sent away; then leave."""
        if self.peer is None:
            return
        if working := self.working:
            await asyncio.wait({working}, timeout=END_SECONDS)
            working.cancel()
        await self.peer.leave()


#: The clients that are gone and have still to leave.
_ending: set[asyncio.Task[None]] = set()


class Clients:
    """The clients of rooms of one event loop."""

    def __init__(self) -> None:
        #: In a room or not.
        self.sockets: set[SignalingConsumer] = set()
        #: Until when a server that goes down goes on, by the loop's clock; 0: it does not go down.
        self.until = 0.0


#: The clients of rooms of the running event loop.
get_clients = PerLoop(Clients)


@lifespan.draining.connect
def announce_end(seconds: float) -> None:
    """Tell all clients of rooms, and those that come from now on, how long the server goes on."""
    clients = get_clients()
    clients.until = asyncio.get_running_loop().time() + seconds
    for socket in list(clients.sockets):
        socket.tell(event("shutdown", seconds=math.ceil(seconds)))
