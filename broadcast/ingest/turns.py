"""Streamers in turn: which one feeds a stream, in which order, and how much of it is published.

The rule: what a client sent before its clean close is published, exactly once, before anything that
a connection opened after that close sends, in whatever process. A recording has exactly its
streamer's bytes. So:

* A `Turn` is taken before the client learns that it is connected. Turns have the order in which
  connections were opened, however long other steps take.
* A streamer publishes nothing before all former ones have left (`wait`). It asks for them again and
  again, and they answer for as long as they have not left. That is bounded: it gives up a former
  one that has not answered for `SILENT_SECONDS`, and the oldest of them when none has left for
  `TAKE_OVER_SECONDS`; the newcomer is told.
* A streamer that is overtaken goes on for as long as something comes that had reached this machine
  before, and leaves when all of it is published; also when it is overtaken while it waits itself.
* A clean close is answered when the streamer has left (`SocketConsumer.answer_close`). An answer
  with another code says that not all of what was sent is published.

Sockets have a turn (`streams.streamer`), and so have programs (`programs`).
"""

import asyncio
from contextlib import suppress
from typing import Protocol

from ..backends import Appended, StreamState, get_backend
from ..exceptions import CloseCode, Unavailable
from ..hub import bus
from ..hub.relay import get_relay
from ..hub.topics import Topic
from ..logs import get_logger
from ..loops import spawn
from ..models import Stream
from .recorder import Recorder

logger = get_logger(__name__)

TAKEN_OVER = "another streamer took over"
TOO_LATE = "the streamer before did not end in time: what it sent last may be missing, or come late"

#: Seconds in which the next of those before a newcomer has to leave, and each of them to answer.
TAKE_OVER_SECONDS = 5.0
SILENT_SECONDS = 2.0
#: Seconds between two questions to those before, whether they have left: messages may be lost.
LOOK_SECONDS = 0.25
#: Seconds between two looks whether anything more comes of an overtaken streamer.
TICK_SECONDS = 0.025
#: Seconds after which an overtaken streamer ends as soon as all that came is published, although
#: its client goes on sending; and after which it ends in any case.
BUSY_SECONDS = 0.25
DRAIN_SECONDS = 2.0
#: Seconds between two attempts to tell that a streamer left, while the engine is away; how many.
TELL_SECONDS, TELLINGS = 0.5, 50


class Source(Protocol):
    """The streamer of a turn."""

    id: str
    #: How much has come from its client; only that it changes is looked at.
    came: int

    @property
    def idle(self) -> bool:
        """Whether it could take more from its client at once."""

    def count(self, listeners: int) -> None:
        """So many hear the stream now; often the number it was told before."""

    def end(self, code: CloseCode, reason: str) -> None:
        """Publish what has come, and go."""


class Turn:
    """One streamer's turn at its stream, left once: a `hub.streamers.Streamer`."""

    recorder: Recorder | None = None
    #: Whether its streamer publishes, whether it is overtaken, and whether it has left.
    begun = overtaken = left = False
    listeners = 0
    _making_room: asyncio.Task[None] | None = None

    def __init__(self, stream: Stream, topic: Topic, source: Source) -> None:
        self.stream = stream
        self.topic = topic
        self.source = source
        self.id = source.id
        #: Streamers before it that have not left, and when each answered last, by the loop's clock.
        self.formers: set[str] = set()
        self.answered: dict[str, float] = {}
        self._news = asyncio.Event()
        #: When it last answered those that wait for it.
        self._said_at = 0.0

    async def take(self) -> None:
        """Feed the stream from now on; the streamer that did is told."""
        known = self.topic.streamers.current
        self.formers = set(await get_backend().enter(self.stream.slug, self.id))
        self.topic.streamers.add(self)
        if self.topic.streamers.current not in ("", known, self.id):
            # Another streamer came at the same time, and may be the newer one.
            self.overtake()
        await bus.tell_stream(bus.StreamerCame(self.stream.slug, self.id))

    async def wait(self) -> bool:
        """Wait until the streamers before it have left. False: some had not, in time."""
        loop = asyncio.get_running_loop()
        started, late = loop.time(), set[str]()
        self.answered = dict.fromkeys(self.formers, started) | self.answered
        while self.formers:
            before = len(self.formers)
            self._news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._news.wait()
                    started = loop.time()
                    continue
            await bus.tell_stream(bus.StreamerWaits(self.stream.slug, self.id))
            self.formers &= set(await get_backend().replaced(self.stream.slug))
            late |= await self._give_up(started)
            if len(self.formers) < before:
                started = loop.time()
        if late:
            logger.warning("%d streamers of %r did not end in time", len(late), self.stream.slug)
        return not late

    async def _give_up(self, started: float) -> set[str]:
        """Wait for some no longer. `started`: when the last of them left, or this one came."""
        now = asyncio.get_running_loop().time()
        # While one after another leaves, nobody asks, and nobody answers.
        heard = {one: max(self.answered[one], started) for one in self.formers}
        late = {one for one, at in heard.items() if now - at >= SILENT_SECONDS}
        if self.formers and now - started >= TAKE_OVER_SECONDS:
            # The others may wait for this one themselves: an id begins with the time.
            late.add(min(self.formers))
        for former in late:
            # The next streamer must not wait for it, too.
            await get_backend().leave(self.stream.slug, former)
        self.formers -= late
        return late

    def begin(self, state: StreamState, goes_on: bool = False) -> None:
        """Its streamer publishes from now on, and is recorded from `state` on.

        With the header there is, if it goes on with a recording.
        """
        self.begun = True
        self.source.count(self.listeners)
        if self.stream.record and self.stream.kind == Stream.Kind.MEDIA:
            self.recorder = Recorder.start(self.stream, state.header if goes_on else None)

    def published(self, appended: Appended) -> None:
        """Its streamer published these."""
        if self.recorder:
            self.recorder.take(appended.publications)

    async def leave(self) -> None:
        """Its streamer publishes nothing more."""
        if self.left:
            return
        self.left = True
        if self._making_room:
            self._making_room.cancel()
        if self.recorder:
            self.recorder.end()
        self.topic.streamers.remove(self)
        await get_relay().changed(self.topic)
        try:
            await self._tell_that_it_left()
        except Unavailable:
            spawn(self._tell_later())

    async def _tell_that_it_left(self) -> None:
        if await get_backend().leave(self.stream.slug, self.id):
            await bus.tell_stream(bus.StreamerCame(self.stream.slug, ""))
        else:
            await bus.tell_stream(bus.StreamerLeaves(self.stream.slug, self.id, left=True))

    async def _tell_later(self) -> None:
        """Tell it when the engine is back: the next one is not to wait. Later presence expires."""
        for _ in range(TELLINGS):
            await asyncio.sleep(TELL_SECONDS)
            with suppress(Unavailable):
                return await self._tell_that_it_left()

    async def finish(self) -> None:
        """Wait until its recording is written, but not long."""
        if self.recorder:
            await self.recorder.finish()

    # -- what the hub tells -----------------------------------------------------------------

    def count(self, listeners: int) -> None:
        self.listeners = listeners
        if self.begun:
            self.source.count(listeners)

    def overtake(self) -> None:
        if self._making_room is None:
            self._making_room = spawn(self._make_room())
        elif self.overtaken:
            spawn(self._answer())

    def hear_leaving(self, streamer: str, left: bool) -> None:
        if left and streamer in self.formers:
            self.formers.discard(streamer)
            self._news.set()
        elif not left:
            self.answered[streamer] = asyncio.get_running_loop().time()

    async def _answer(self) -> None:
        """Tell those that wait that this one is still about to leave: all of them at once."""
        now = asyncio.get_running_loop().time()
        if now - self._said_at >= LOOK_SECONDS / 2:
            self._said_at = now
            await bus.tell_stream(bus.StreamerLeaves(self.stream.slug, self.id, left=False))

    async def _make_room(self) -> None:
        # Two announcements may arrive in either order: only the backend knows which is newer.
        while (overtaken := await self._is_overtaken()) is None:  # noqa: ASYNC110
            # The engine does not answer, and no further announcement may come.
            await asyncio.sleep(LOOK_SECONDS)
        if not overtaken:
            self._making_room = None
            return
        self.overtaken = True
        await self._answer()
        loop = asyncio.get_running_loop()
        came, since = -1, None
        while since is None or not self._is_drained(came, loop.time() - since):
            came = self.source.came
            if since is None and self.begun:
                since = loop.time()
            await asyncio.sleep(TICK_SECONDS)
        self.source.end(CloseCode.REPLACED, TAKEN_OVER)

    async def _is_overtaken(self) -> bool | None:
        """None: that cannot be known now."""
        with suppress(Unavailable):
            if self.id in await get_backend().replaced(self.stream.slug):
                return True
            feeder = await feeder_of(self.stream.slug)
            return None if feeder is None else feeder not in ("", self.id)
        return None

    def _is_drained(self, came: int, seconds: float) -> bool:
        """`came`: what had come at the last look; `seconds` since the first."""
        quiet = self.source.came == came or seconds >= BUSY_SECONDS
        return quiet and self.source.idle or seconds >= DRAIN_SECONDS


async def feeder_of(stream: str) -> str | None:
    """The id of the streamer that feeds it; "": none does; None: that cannot be known now."""
    with suppress(Unavailable):
        found = (await get_backend().presence([stream])).get(stream)
        return found and found.streamer
    return None


async def is_fed_by_another(stream: str, streamer: str) -> bool:
    """Whether somebody else feeds it, as far as can be known."""
    return await feeder_of(stream) not in (None, "", streamer)
