"""Who feeds a stream: one streamer at a time, which everybody knows of, and which is recorded.

A `Place` is a streamer's at its stream, from its coming to its going: presence, the word to all
processes, and the recorder where the stream's row asks for one. Sockets have one (`streamers`), and
so has a `Program`, which publishes what a command or another program of this machine brings.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from .backends import Recording, StreamState, get_backend, new_streamer
from .exceptions import (
    BroadcastError,
    CloseCode,
    NoSuchStream,
    Replaced,
    RunGap,
    StreamClosed,
    Unavailable,
)
from .guard import get_guard
from .hub import Streamer, Topic
from .models import Stream
from .publications import Draft, Position
from .publishing import announce_streamer, append, check_size
from .recorder import Recorder
from .relay import get_relay
from .rows import find_stream
from .tokens import Deed
from .visitors import TRUSTED

TAKEN_OVER = "another streamer took over"


class Place:
    """The place of `streamer` at the stream. It is left once, whether it was taken or not."""

    recorder: Recorder | None = None
    #: Whether somebody else has taken it already, when it begins.
    lost = False
    #: The offset of the last that its streamer published; 0: it has published nothing.
    offset = 0

    def __init__(self, stream: Stream, topic: Topic, streamer: Streamer) -> None:
        self.stream = stream
        self.topic = topic
        self.streamer = streamer
        #: Who fed it before, as far as is known here.
        self.former = topic.streamer

    async def take(self) -> StreamState:
        """It feeds the stream from now on; whoever did is replaced. Where the stream stands."""
        await get_backend().enter(self.stream.slug, self.streamer.id)
        await announce_streamer(self.stream.slug, self.streamer.id)
        state = await get_backend().state(self.stream.slug)
        if self.topic.streamer not in ("", self.former, self.streamer.id):
            # Another one came while this one did; which of them is the newer, words do not say.
            self.lost = await is_fed_by_another(self.stream.slug, self.streamer.id)
        return state

    def begin(self, state: StreamState, goes_on: bool = False) -> None:
        """It hears of the stream, and is recorded from `state` on: with its header, if it goes on.

        At once when it was taken, or word of the next one is missed.
        """
        self.topic.add_streamer(self.streamer)
        if self.lost:
            self.streamer.end(CloseCode.REPLACED, TAKEN_OVER)
        if self.stream.record and self.stream.kind == Stream.Kind.MEDIA:
            self.recorder = Recorder.start(self.stream, self.topic, state, goes_on)

    def reach(self, offset: int) -> None:
        """Its streamer published up to there."""
        self.offset = offset
        if self.recorder:
            self.recorder.take_up_to(offset)

    def end(self) -> None:
        """Its streamer publishes nothing more: the next one's is the next one's to record."""
        if self.recorder:
            self.recorder.end_after(self.offset)

    async def leave(self) -> None:
        """Its streamer went. What that one sent is in the recording, or soon will be."""
        self.topic.remove_streamer(self.streamer)
        await get_relay().changed(self.topic)
        # Where the engine is away, its presence expires.
        with suppress(Unavailable):
            if await get_backend().leave(self.stream.slug, self.streamer.id):
                await announce_streamer(self.stream.slug, "")
        if self.recorder:
            await self.recorder.finish(self.offset)


async def is_fed_by_another(stream: str, streamer: str) -> bool:
    """Whether somebody else feeds it, as far as can be known."""
    with suppress(Unavailable):
        found = (await get_backend().presence([stream])).get(stream)
        return found is not None and found.streamer not in ("", streamer)
    return False


class Program:
    """A streamer that is no socket; a `hub.Streamer`, and a `guard.Connection`.

    It is over with its first `error`, and leaves its place then, however long its connection lasts.
    """

    deed = Deed.PUBLISH
    visitor = TRUSTED
    way = "program"
    address = ""

    def __init__(self, stream: Stream, topic: Topic) -> None:
        self.slug = stream.slug
        self.since = time.time()
        self.id = new_streamer(self.since)
        self.place = Place(stream, topic, self)
        self.error: BroadcastError | None = None
        #: How often it appended, and how many of these are under way.
        self.appends = self.under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._leaving: asyncio.Task[None] | None = None

    @property
    def behind(self) -> int:
        return self.under_way

    async def append(self, drafts: Sequence[Draft]) -> Position:
        """Publish them, in the order of the calls. Replaced: somebody else feeds the stream now.

        Word of that may be late: so it is a recording, of which nothing is published any more when
        another one has begun. TooLarge is said of these drafts alone. After any other error nothing
        more is published: whether they are in is not known, so what follows might have a hole.
        """
        if self.error:
            raise self.error
        check_size(drafts, self.place.stream.max_frame)
        before, self.appends = self.appends, self.appends + 1
        recording = Recording(self.id, before, self.appends, b"")
        self.under_way += 1
        self._idle.clear()
        try:
            appended = await append(self.slug, drafts, recording)
            self.place.reach(appended.offset)
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
            self.place.end()
            self._begin_to_leave()

    def _begin_to_leave(self) -> asyncio.Task[None]:
        if self._leaving is None:
            get_guard().leave(self)
            self._leaving = asyncio.ensure_future(self.place.leave())
        return self._leaving

    async def leave(self) -> None:
        """It goes, when what is under way is in."""
        await self._idle.wait()
        await self._begin_to_leave()


@asynccontextmanager
async def feeding(name: str) -> AsyncIterator[Program]:
    """A program feeds the stream while the block runs: it is live, and recorded if its row says so.

    NoSuchStream, StreamClosed: nobody can.
    """
    stream = await find_stream(name)
    if stream is None:
        raise NoSuchStream("there is no such stream")
    if stream.closed_at:
        raise StreamClosed(f"the stream {stream.slug!r} was closed")
    async with get_relay().topic(stream.slug) as topic:
        program = Program(stream, topic)
        try:
            state = await program.place.take()
            # Not before: it would lose a place that it has not taken yet.
            get_guard().enter(program)
            program.place.begin(state)
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
        """Feed it; anew where that is over."""
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
