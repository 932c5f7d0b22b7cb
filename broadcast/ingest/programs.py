"""Programs that feed a stream: commands, and other programs of this machine.

A `Program` is the stream's streamer while it lasts, as a socket is (`streams.streamer`): in its
turn (`turns`), live, and recorded where the stream's row asks for it.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from ..access.guard import get_guard
from ..access.visitors import TRUSTED
from ..backends import MediaRun, get_backend, new_streamer
from ..exceptions import (
    BroadcastError,
    CloseCode,
    Replaced,
    RunGap,
    Unavailable,
)
from ..hub.appending import append, check_size
from ..hub.relay import get_relay
from ..hub.topics import Topic
from ..models import Stream
from ..models.rows import find_open
from ..publications import Draft, Position
from ..tokens import Grant
from .turns import TAKEN_OVER, Turn


class Program:
    """A streamer that is no socket; a `turns.Source`, and a `access.guard.Connection`.

    It is over with its first `error`, and leaves its place then, however long its connection lasts.
    """

    grant = Grant.PUBLISH
    visitor = TRUSTED
    way = "program"
    address = ""

    def __init__(self, stream: Stream, topic: Topic) -> None:
        self.slug = stream.slug
        self.since = time.time()
        self.id = new_streamer(self.since)
        self.turn = Turn(stream, topic, self)
        #: Calls of `append`.
        self.came = 0
        self.error: BroadcastError | None = None
        #: How often it appended, and how many of these are under way.
        self.appends = self.under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._leaving: asyncio.Task[None] | None = None

    @property
    def behind(self) -> int:
        return self.under_way

    @property
    def idle(self) -> bool:
        return not self.under_way

    async def append(self, drafts: Sequence[Draft]) -> Position:
        """Publish them, in the order of the calls. Replaced: somebody else feeds the stream now.

        Word of that may be late: so it is a recording, of which nothing is published any more when
        another one has begun. TooLarge is said of these drafts alone. After any other error nothing
        more is published: whether they are in is not known, so what follows might have a hole.
        """
        if self.error:
            raise self.error
        self.came += 1
        check_size(drafts, self.turn.stream.max_frame)
        before, self.appends = self.appends, self.appends + 1
        recording = MediaRun(self.id, before, self.appends, b"")
        self.under_way += 1
        self._idle.clear()
        try:
            appended = await append(self.slug, drafts, recording)
            self.turn.published(appended)
        except RunGap:
            # Or one of its own, before this one, was not let in.
            self.error = self.error or Replaced(TAKEN_OVER)
            raise self.error from None
        except Exception as error:
            said = error if isinstance(error, BroadcastError) else Unavailable("something was lost")
            self.error = self.error or said
            raise
        finally:
            self.under_way -= 1
            self._check_end()
        return Position(appended.epoch, appended.offset)

    def count(self, listeners: int) -> None:
        """It does not ask."""

    def end(self, code: CloseCode, reason: str) -> None:
        self.remove(Replaced(reason))

    def remove(self, error: BroadcastError) -> None:
        self.error = self.error or error
        self._check_end()

    def _check_end(self) -> None:
        if self.under_way:
            return
        self._idle.set()
        if self.error:
            self._begin_to_leave()

    def _begin_to_leave(self) -> asyncio.Task[None]:
        if self._leaving is None:
            get_guard().leave(self)
            self._leaving = asyncio.ensure_future(self._leave())
        return self._leaving

    async def _leave(self) -> None:
        await self.turn.leave()
        await self.turn.finish()

    async def leave(self) -> None:
        """It goes, when what is under way is in."""
        await self._idle.wait()
        await self._begin_to_leave()


@asynccontextmanager
async def feeding(name: str) -> AsyncIterator[Program]:
    """A program feeds the stream while the block runs: it is live, and recorded if its row says so.

    NoSuchStream, StreamClosed: nobody can feed it. Removed and others: it was sent away while it
    waited.
    """
    stream = await find_open(name, names_it=True)
    async with get_relay().topic(stream.slug) as topic:
        program = Program(stream, topic)
        try:
            await program.turn.take()
            # Not before: the guard may send it away, and it would leave a turn it has not taken.
            get_guard().enter(program)
            await program.turn.wait()
            state = await get_backend().state(stream.slug)
            if program.error:
                # Its turn is over already: nothing would end a recording that begins now.
                raise program.error
            program.turn.begin(state)
            yield program
        finally:
            await program.leave()


class Feeds:
    """The streams that programs on one connection feed, until it ends."""

    def __init__(self) -> None:
        self.programs: dict[str, Program] = {}
        self._stacks: dict[str, AsyncExitStack] = {}
        self._beginning = asyncio.Lock()

    async def begin(self, stream: str) -> None:
        """Feed it; begin again where an earlier feed is over."""
        async with self._beginning:
            former = self.programs.get(stream)
            if former and not former.error:
                return
            if former:
                await self._stacks[stream].aclose()
            stack = AsyncExitStack()
            self.programs[stream] = await stack.enter_async_context(feeding(stream))
            self._stacks[stream] = stack

    async def program(self, stream: str) -> Program | None:
        """What feeds the stream here, when all that was begun has begun."""
        async with self._beginning:
            return self.programs.get(stream)

    async def end(self) -> None:
        async with AsyncExitStack() as all_of_them:
            for stack in self._stacks.values():
                all_of_them.push_async_exit(stack)
