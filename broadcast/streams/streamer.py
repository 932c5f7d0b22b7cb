"""The socket that feeds a stream.

This module has the socket, its place among the streamers (`ingest.turns`), and the waiting: it
reads frames, has an `ingest.intake.Intake` make publications of them, appends these one batch after
another, and tells the client how many of its frames are accepted.

It promises: frames that came before the socket went are published all the same. What the client is
told was accepted, or was answered with a clean close, is published. While too much waits for
history, the socket is not read.

A client that closes its socket with 1000 or 1001 is done with its run; a client that wants to go on
with it must not say goodbye.
"""

import asyncio
import time
import uuid
from typing import Any

from .. import metrics
from ..access import limits
from ..backends import get_backend, new_streamer
from ..consumers import SocketConsumer
from ..exceptions import BadRequest, BroadcastError, CloseCode, Replaced, RunGap, TooLarge, TooMany
from ..hub.appending import append
from ..hub.relay import get_relay
from ..hub.starts import query_of
from ..ingest.intake import Batch, Intake
from ..ingest.turns import TAKEN_OVER, TOO_LATE, Turn, is_fed_by_another
from ..logs import get_logger
from ..loops import PerLoop, spawn
from ..media import Segmenter
from ..models import Stream, database
from ..publications import Draft, Kind, decode_json
from ..tokens import Grant
from ..wire.frames import Message, event
from ..wire.sinks import EXTENSION

logger = get_logger(__name__)

#: Of the streamers of an event loop one at a time goes on with what it cuts: however many there
#: are, others wait for the parts of one.
get_cutting = PerLoop(asyncio.Lock)


class StreamerConsumer(SocketConsumer):
    """A socket that feeds a stream, at `/ws/streamer/<slug>/`; a `ingest.turns.Source`.

    Frames wait in `intake` while an append is under way; all of them go into the next one.
    """

    grant = Grant.PUBLISH
    turn: Turn | None = None
    feeding: asyncio.Task[None] | None = None
    #: Makes publications of its frames; set while `feeding` is.
    intake: Intake
    #: Whether there are limits to what it publishes, to be asked for each publication.
    limited = False
    #: Frames that came, and whether the next one waits until there is space for it.
    came = 0
    blocked = False

    async def prepare(self) -> None:
        self.id = new_streamer(time.time())
        query = query_of(self.scope)
        self.run = self._run_of(query)
        self.stream = await self.admit(query)
        async with get_relay().topic(self.stream.slug) as topic:
            self.turn = Turn(self.stream, topic, self)
            await self.turn.take()

    async def enter(self) -> None:
        assert self.turn
        self.max_frame = self.stream.max_frame
        self.limited = limits.limits_publications()
        self._allow_frames(self.stream.max_frame)
        self.listeners = 0
        self.arrived = asyncio.Event()
        self.space = asyncio.Event()
        #: Whether nothing more is taken; and code and reason of the close, if this side closes.
        self.ending = False
        self.closing: tuple[CloseCode, str] | None = None
        #: Whether its socket is full, and what it is told when it has drained, by event.
        self.full = False
        self.untold: dict[str, Message] = {}
        in_time = await self.turn.wait()
        self.intake = await self._resume(self.stream)
        accepted = self.intake.accepted
        state = await get_backend().state(self.slug)
        if self.refused:
            return
        self.sink.on_space(self._go_on)
        metrics.streamer_joins.inc()
        where = {"epoch": state.epoch, "offset": state.offset}
        self._tell_newest("ready", stream=self.slug, **where, accepted=accepted)
        if not (in_time or accepted):
            self._tell_newest("error", message=TOO_LATE)
        self.turn.begin(state, goes_on=bool(accepted))
        self.feeding = asyncio.ensure_future(self._feed())

    async def _resume(self, stream: Stream) -> Intake:
        """The intake of a new connection: it begins where the last one of its run stood."""
        is_media, accepted, segmenter = stream.kind == Stream.Kind.MEDIA, 0, None
        if self.run and is_media:
            accepted, state, held = await get_backend().recording(stream.slug, self.run)
            segmenter = Segmenter.restore(state, held) if accepted else None
        if self.run and not accepted:
            accepted = await get_backend().accepted(stream.slug, self.run)
        return Intake(self.id, self.run, is_media, accepted, segmenter)

    @staticmethod
    def _run_of(query: dict[str, str]) -> str:
        try:
            return str(uuid.UUID(query["run"])) if "run" in query else ""
        except ValueError:
            raise BadRequest("run is a UUID") from None

    def _allow_frames(self, size: int) -> None:
        transport = self.scope.get("extensions", {}).get(EXTENSION)
        if transport is not None:
            transport.max_frame = size

    @property
    def behind(self) -> int:
        return len(self.intake.waiting) if self.feeding else 0

    @property
    def idle(self) -> bool:
        return not (self.blocked or self.intake.is_busy)

    # -- what the streamer sends ------------------------------------------------------------

    async def receive(self, message: dict[str, Any]) -> None:
        if self.feeding is None or self.ending:
            return
        self.came += 1
        text = message.get("text")
        payload = message["bytes"] if text is None else text.encode()
        if len(payload) > self.max_frame:
            raise TooLarge(f"a frame has at most {self.max_frame} bytes here")
        draft: Draft | None
        if text is None:
            draft = Draft(Kind.BINARY, payload)
        elif not self.encoding.tells:
            draft = Draft(Kind.TEXT, payload)
        else:
            draft = self._hear(text)
        if draft is not None and not (self.limited and self._is_too_much(len(draft.payload))):
            await self._take(draft)
        if not self.ending and self.intake.is_full:
            await self._wait_for_space()

    async def _take(self, draft: Draft) -> None:
        try:
            for _ in self.intake.take(draft):
                async with get_cutting():
                    await asyncio.sleep(0)
        finally:
            self.arrived.set()

    async def _wait_for_space(self) -> None:
        # Never while it ends: perhaps nothing more is appended, so nothing would make space.
        self.space.clear()
        self.blocked = True
        await self.space.wait()
        self.blocked = False

    def _hear(self, text: str) -> Draft | None:
        """An event of `broadcast.v1`; answers what is to be published, if anything is."""
        try:
            said = decode_json(text)
            if isinstance(said, dict) and said.get("event") == "ping":
                self._tell_newest("pong")
                return None
            return self.intake.hear(said)
        except BadRequest as error:
            if self.run and '"publication"' in text:
                # Client and server could no longer agree on whether it counts.
                raise
            logger.info("Refused a message of a streamer of %s: %s", self.slug, error)
            self._tell_newest("error", message=str(error))
        return None

    def _is_too_much(self, size: int) -> bool:
        """Whether one more is over a limit: what came before is published, then it is closed."""
        try:
            limits.check_publication(self.address, self.slug, size)
        except TooMany as error:
            logger.info("Closing a streamer of %s: %s", self.slug, error)
            metrics.note_refusal("socket", type(error))
            self.remove(error)
            return True
        return False

    # -- what becomes of it -----------------------------------------------------------------

    async def _feed(self) -> None:
        """Append what waits, all of it at once, until the socket ends and nothing waits."""
        try:
            while self.intake.is_busy or not self.ending:
                await self.arrived.wait()
                self.arrived.clear()
                batch = self.intake.next()
                self.space.set()
                if batch:
                    with database.expected():
                        await self._append(batch)
        except BroadcastError as error:
            await self._fail(error)
        except Exception:
            logger.exception("Publications on %s could not be appended", self.slug)
            self._fail_with(CloseCode.SHUTDOWN, "the server could not publish")
        self.space.set()
        assert self.turn
        if self.closing:
            self.sink.close(*self.closing)
        # Now, not when its socket is gone: a broken line is noticed late.
        await self.turn.leave()

    async def _fail(self, error: BroadcastError) -> None:
        # News of a take-over may come late: told of a gap, the client would take over again.
        if isinstance(error, RunGap) and await is_fed_by_another(self.slug, self.id):
            error = Replaced(TAKEN_OVER)
        metrics.note_refusal("socket", type(error))
        if not self.run:
            # The client of a run sends the rest again: nothing is lost.
            logger.warning(
                "The last frames of a streamer of %r are not published: %s", self.slug, error
            )
        self._fail_with(error.close_code, str(error))

    def _fail_with(self, code: CloseCode, reason: str) -> None:
        self.ending, self.closing = True, (code, reason)
        self.tell(event("error", message=reason))

    async def _append(self, batch: Batch) -> None:
        appended = await append(self.slug, batch.drafts, batch.run)
        assert self.turn
        self.turn.published(appended)
        self.intake.accept(batch, appended.accepted)
        self._tell_newest("accepted", accepted=self.intake.accepted, offset=appended.offset)

    def _tell_newest(self, name: str, **fields: Any) -> None:
        """Tell an event now or, of each name the newest alone, when the full socket has drained."""
        message = event(name, **fields)
        if self.full:
            self.untold[name] = message
        else:
            self.full = not self.tell(message)

    def _go_on(self) -> None:
        self.full = False
        untold, self.untold = self.untold, {}
        for message in untold.values():
            self.full = not self.tell(message) or self.full

    # -- what the hub tells -----------------------------------------------------------------

    def count(self, listeners: int) -> None:
        if listeners != self.listeners:
            self.listeners = listeners
            self._tell_newest("listeners", count=listeners)

    def remove(self, error: BroadcastError) -> None:
        if self.feeding is None:
            super().remove(error)
        elif not self.ending:
            self.tell(event("error", message=str(error)))
            self.end(error.close_code, str(error))

    def end(self, code: CloseCode, reason: str) -> None:
        if not self.ending:
            self.closing = (code, reason)
            self._end()

    def _end(self) -> None:
        """Take nothing more."""
        self.ending = True
        self.intake.end()
        self.arrived.set()

    async def closed(self) -> None:
        if self.feeding:
            self.intake.is_done = self.said_goodbye
        if self.turn:
            # Daphne cancels this if it takes over 10 s: the streamer publishes and leaves anyway.
            await asyncio.shield(spawn(self._leave(self.turn)))
            self.answer_close()
            await self.turn.finish()

    async def _leave(self, turn: Turn) -> None:
        if self.feeding:
            # Frames that came before the socket went are published all the same.
            if not self.ending:
                self._end()
            await self.feeding
        await turn.leave()
