"""Everything that happens in rooms, in one order, told to each process with a member there.

Everything that changes a room goes through `Meetings.do`: while something of a room is under way
in this process, what comes for it waits, and goes together into the next round trip. So what this
process appended is handed to the channel layer in its order, and a joiner's announcement is on its
way before anything that the joiner says.

Every few seconds the backend is told that this process lives. What that puts right is announced
like everything else: members whose process died leave. Members of ours whom the backend has
forgotten, since we were away for too long, cannot know what they missed: they are closed with 4408
and come back.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol, TypeVar

from .. import lifespan
from ..backends import Appended, get_backend
from ..backends.rooms import Joined, Left
from ..conf import conf
from ..exceptions import Unavailable
from ..groups import room_stream
from ..hub.appending import hand_over
from ..logs import get_logger
from ..loops import PerLoop, Rounds, repeat, spawn
from . import hours
from .messages import FAREWELL

logger = get_logger(__name__)

T = TypeVar("T", Joined, Left | None, Appended, Appended | None)

#: A call of the backend, and the future of its outcome.
Waiting = tuple[Callable[[], Awaitable[Any]], asyncio.Future[Any]]


class Attendee(Protocol):
    """A member that is connected to this process."""

    def forget(self) -> None:
        """The room went on without it."""

    async def go(self) -> None:
        """Leave the room now."""


class Meetings:
    """The rooms of one event loop."""

    def __init__(self) -> None:
        #: The members that are connected here, by room and id.
        self.here: dict[tuple[str, str], Attendee] = {}
        self._rounds = Rounds(self._work_on)
        self._watching = False

    async def do(self, room: str, call: Callable[[], Awaitable[T]]) -> T:
        """What `call`, a call of the backend for this room, answers; what it appended is told.

        RoomError, Unavailable: as the backend says.
        """
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._rounds.add(room, (call, answer))
        return await answer

    async def _work_on(self, room: str, calls: list[Waiting]) -> None:
        # They begin in this order, and an engine keeps it.
        attempts = [attempt(call) for call, _ in calls]
        single = len(attempts) == 1
        outcomes = [await attempts[0]] if single else await asyncio.gather(*attempts)
        failure = await attempt(partial(self._tell, room, outcomes))
        if isinstance(failure, Exception):
            logger.error("Messages of a room could not be handed over", exc_info=failure)
        for (_, answer), outcome in zip(calls, outcomes, strict=True):
            if answer.done():
                continue
            if isinstance(outcome, Exception):
                answer.set_exception(outcome)
            else:
                answer.set_result(outcome)

    async def _tell(self, room: str, outcomes: list[Any]) -> None:
        """Hand over what was appended, and note who left."""
        appended = []
        for outcome in outcomes:
            if isinstance(outcome, Left):
                hours.note(outcome)
            if isinstance(outcome, Joined | Left):
                appended.append(outcome.appended)
            elif isinstance(outcome, Appended):
                appended.append(outcome)
        await hand_over(room_stream(room), appended)

    # -- who is here ------------------------------------------------------------------------

    def enter(self, room: str, peer: str, attendee: Attendee) -> None:
        """It is a member now, and will be looked after."""
        self.here[room, peer] = attendee
        if not self._watching:
            self._watching = True
            # The backend has logged that the engine is away.
            spawn(repeat("rooms", self._renew, known=Unavailable))

    def leave(self, room: str, peer: str) -> None:
        self.here.pop((room, peer), None)

    async def everybody_leaves(self) -> None:
        """Let all leave that are connected here: the server goes."""
        leaving = [attendee.go() for attendee in list(self.here.values())]
        await asyncio.gather(*leaving, return_exceptions=True)

    async def _renew(self) -> None:
        await asyncio.sleep(conf.WATCH_SECONDS)
        renewed = await get_backend().rooms.renew(FAREWELL)
        if renewed.left:
            logger.info("%d left rooms without a word", len(renewed.left))
        for left in renewed.left:
            await self._tell(left.room, [left])
        for room, peer in renewed.forgotten:
            if attendee := self.here.get((room, peer)):
                attendee.forget()


async def attempt(call: Callable[[], Awaitable[Any]]) -> Any:
    """Its answer, or the error that it raises."""
    try:
        return await call()
    except Exception as error:
        return error


#: The meetings of the running event loop.
get_meetings = PerLoop(Meetings)


@lifespan.leaving.connect
async def leave() -> None:
    """Let all members leave that are connected to this server, and write what hours were like."""
    await get_meetings().everybody_leaves()
    await hours.write()
