"""The socket that feeds a stream.

On a stream of kind `media` binary frames are bytes of one recording, in whatever cuts, and a
`media.Segmenter` makes the publications: header, entry points and the pieces between. A client that
says `mark` before its first frame marks its frames itself instead, for the whole of its run.

With `?run=` the client counts its frames, and so does `accepted`, although a frame may be none or
several publications. All that the segmenter knows, what it holds back included, is kept in one step
with the publications and the count of frames, so a frame is accepted when it came, and the next
connection goes on at the next frame, in whatever process, without a doubled or a lost byte. A
stream keeps that of its newest recording alone: where another one began meanwhile, or the history
is gone, `ready.accepted` is 0 (less than it was), and the client begins a new recording, with the
header of a new recorder: of what it had not sent of the old one nothing can go on. A client that
closes its socket with 1000 or 1001 is done, and held-back bytes go out; a client that wants to go
on with its run must not say goodbye. See `ingest.turns` for the order in which streamers publish.

`reset` drops what is held back of the recording; the next frame begins a header. A header that
comes without it, on the same connection or a new one, begins a new recording just so.
"""

import asyncio
import time
import uuid
from typing import Any

from .. import metrics
from ..access import limits
from ..backends import Recording, Run, get_backend, new_streamer
from ..conf import conf
from ..consumers import SocketConsumer
from ..exceptions import BadRequest, BroadcastError, CloseCode, Replaced, RunGap, TooLarge, TooMany
from ..hub.appending import append
from ..hub.relay import get_relay
from ..hub.starts import query_of
from ..ingest.turns import TAKEN_OVER, TOO_LATE, Turn, is_fed_by_another
from ..logs import get_logger
from ..loops import spawn
from ..media import Segmenter, Snapshot
from ..models import Stream, database
from ..publications import Draft, Kind, Mark, decode_json
from ..tokens import Grant
from ..wire.frames import Message, event
from ..wire.sinks import EXTENSION

logger = get_logger(__name__)

#: What is kept of a recording that nobody comes back to.
NOTHING = Snapshot(b"", b"", False)

MARKS = {"header": Mark.HEADER, "entry": Mark.ENTRY}

#: Bytes of a streamer that wait for history, before its socket is read no more.
STREAMER_BYTES = 4 * 1024 * 1024


class StreamerConsumer(SocketConsumer):
    """A socket that feeds a stream, at `/ws/streamer/<slug>/`; a `hub.feeds.Streamer`.

    What came waits in `waiting` until the append that is under way is through; then all of it
    goes into the next one. While too much waits, the socket is not read.
    """

    grant = Grant.PUBLISH
    turn: Turn | None = None
    feeding: asyncio.Task[None] | None = None
    #: Whether what it publishes is counted: nothing is asked for each publication where not.
    limited = False
    #: What cuts its bytes. `undecided`: it is not known yet whether they are to be cut.
    segmenter: Segmenter | None = None
    undecided = False
    #: Frames that came, and whether the next one waits until there is space for it.
    came = 0
    blocked = False
    #: Whether a frame is being cut: nothing of it counts before it is through.
    cutting = False

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
        self.marks = 0
        self.listeners = 0
        self.waiting: list[Draft] = []
        self.size = 0
        #: Frames that came and are not in `accepted` yet.
        self.frames = 0
        self.arrived = asyncio.Event()
        self.space = asyncio.Event()
        #: Whether nothing more is taken; and code and reason of the close, if this side closes.
        self.ending = False
        self.closing: tuple[CloseCode, str] | None = None
        #: Whether its socket is full, and what it is told when it has drained, by event.
        self.full = False
        self.untold: dict[str, Message] = {}
        in_time = await self.turn.wait()
        #: Frames of the run, or of this connection where there is none, that are in.
        self.accepted = await self._accepted_of(self.stream)
        self.undecided = self.stream.kind == Stream.Kind.MEDIA and not self.accepted
        state = await get_backend().state(self.slug)
        if self.refused:
            return
        #: The number of the next one that comes.
        self.number = self.accepted + 1
        self.sink.on_drain(self._drained)
        metrics.streamer_joins.inc()
        where = {"epoch": state.epoch, "offset": state.offset}
        self._tell_newest("ready", stream=self.slug, **where, accepted=self.accepted)
        if not (in_time or self.accepted):
            self._tell_newest("error", message=TOO_LATE)
        self.turn.begin(state, goes_on=bool(self.accepted))
        self.feeding = asyncio.ensure_future(self._feed())

    async def _accepted_of(self, stream: Stream) -> int:
        if not self.run:
            return 0
        if stream.kind == Stream.Kind.MEDIA:
            frames, state, held = await get_backend().recording(stream.slug, self.run)
            if frames:
                self.segmenter = Segmenter.restore(state, held)
                return frames
        return await get_backend().accepted(stream.slug, self.run)

    @staticmethod
    def _run_of(query: dict[str, str]) -> str:
        try:
            return str(uuid.UUID(query["run"])) if "run" in query else ""
        except ValueError:
            raise BadRequest("run is a UUID") from None

    def _allow_frames(self, size: int) -> None:
        transport = self.scope.get("extensions", {}).get(EXTENSION)
        if transport is not None:
            transport.maxMessagePayloadSize = transport.maxFramePayloadSize = size

    @property
    def behind(self) -> int:
        return len(self.waiting) if self.feeding else 0

    @property
    def idle(self) -> bool:
        return not (self.blocked or self.cutting or self.waiting)

    # -- what the streamer sends ------------------------------------------------------------

    async def receive(self, message: dict[str, Any]) -> None:
        if self.feeding is None or self.ending:
            return
        self.came += 1
        text = message.get("text")
        payload = message["bytes"] if text is None else text.encode()
        if len(payload) > self.max_frame:
            raise TooLarge(f"a frame has at most {self.max_frame} bytes here")
        if text is None:
            await self._take(Draft(Kind.BINARY, payload))
        elif not self.encoding.tells:
            await self._take(Draft(Kind.TEXT, payload))
        else:
            await self._receive_text(text)
        if not self.ending and self._is_full():
            # A streamer that ends takes nothing more, and nobody may be left to make space.
            self.space.clear()
            self.blocked = True
            await self.space.wait()
            self.blocked = False

    def _is_full(self) -> bool:
        return len(self.waiting) >= conf.STREAMER_QUEUE or self.size >= STREAMER_BYTES

    async def _receive_text(self, text: str) -> None:
        try:
            await self._receive_event(decode_json(text))
        except BadRequest as error:
            if self.run and '"publication"' in text:
                # Whether it counts, client and server could no longer agree on.
                raise
            logger.info("A streamer of %s said something wrong: %s", self.slug, error)
            self._tell_newest("error", message=str(error))

    async def _receive_event(self, said: Any) -> None:
        name = said.get("event") if isinstance(said, dict) else None
        if name == "publication" and "data" in said:
            await self._take(Draft.of(said["data"]))
        elif name == "mark" and said.get("as") in tuple(MARKS):
            if self.segmenter:
                raise BadRequest("the server marks these frames: mark before the first, or never")
            self.marks |= MARKS[said["as"]]
            self.undecided = False
        elif name == "reset" and self.segmenter:
            self.segmenter = Segmenter()
        elif name == "reset":
            self.marks = Mark.RESET
        elif name == "ping":
            self._tell_newest("pong")
        else:
            raise BadRequest(
                'a text frame is JSON: {"event":"publication","data":…}, '
                '{"event":"mark","as":"header"|"entry"} or {"event":"reset"}'
            )

    async def _take(self, draft: Draft) -> None:
        if self.limited and self._is_too_much(len(draft.payload)):
            return
        if self.undecided:
            self.segmenter, self.marks, self.undecided = Segmenter(), 0, False
        if self.segmenter and draft.kind == Kind.BINARY:
            await self._cut(self.segmenter, draft.payload)
        else:
            self.waiting.append(draft._replace(marks=self.marks) if self.marks else draft)
            self.marks = 0
        self.frames += 1
        self.size += len(draft.payload)
        self.arrived.set()

    async def _cut(self, segmenter: Segmenter, payload: bytes) -> None:
        found: list[Draft] = []
        self.cutting = True
        try:
            for _ in segmenter.feed_in_turns(payload, found):
                await asyncio.sleep(0)
        except BadRequest:
            # What it holds of it is not to be published, when the rest is.
            self.segmenter, found = Segmenter(), []
            raise
        finally:
            self.cutting = False
            self.arrived.set()
        self.waiting.extend(found)
        if self.ending:
            self._finish()

    def _is_too_much(self, size: int) -> bool:
        """Whether one more is over a limit: what came before is published, then it is closed."""
        try:
            limits.check_publication(self.address, self.slug, size)
        except TooMany as error:
            logger.info("A streamer of %s is sent away: %s", self.slug, error)
            metrics.note_refusal("socket", type(error))
            self.remove(error)
            return True
        return False

    # -- what becomes of it -----------------------------------------------------------------

    async def _feed(self) -> None:
        """Append what waits, all of it at once, until the socket ends and nothing waits."""
        try:
            while self.waiting or self.cutting or not self.ending:
                await self.arrived.wait()
                self.arrived.clear()
                drafts, self.waiting, self.size = self.waiting, [], 0
                self.space.set()
                # Frames that made no publication yet are kept for whoever comes back to them.
                if drafts or (self.run and self.frames):
                    with database.expected():
                        await self._append(drafts)
        except BroadcastError as error:
            await self._fail(error)
        except Exception:
            logger.exception("Publications on %s could not be appended", self.slug)
            self._fail_with(CloseCode.SHUTDOWN, "the server could not publish")
        self.space.set()
        assert self.turn
        if self.closing:
            self.sink.close(*self.closing)
        # Not when its socket is gone: a line that was lost is noticed late.
        await self.turn.leave()

    async def _fail(self, error: BroadcastError) -> None:
        # News of a take-over may come late: told of a gap, the client would take over again.
        if isinstance(error, RunGap) and await is_fed_by_another(self.slug, self.id):
            error = Replaced(TAKEN_OVER)
        metrics.note_refusal("socket", type(error))
        if not self.run:
            # Of a run nothing is lost: its client sends the rest again.
            logger.warning("What a streamer of %r sent last is not published: %s", self.slug, error)
        self._fail_with(error.close_code, str(error))

    def _fail_with(self, code: CloseCode, reason: str) -> None:
        self.ending, self.closing = True, (code, reason)
        self.tell(event("error", message=reason))

    async def _append(self, drafts: list[Draft]) -> None:
        frames, self.frames = self.frames, 0
        run = self._counted(frames)
        appended = await append(self.slug, drafts, run)
        assert self.turn
        self.number += frames
        self.turn.published(appended)
        self.accepted = appended.accepted if run else self.accepted + frames
        self._tell_newest("accepted", accepted=self.accepted, offset=appended.offset)

    def _counted(self, frames: int) -> Run | Recording | None:
        if self.segmenter:
            # Nothing of a recording is published any more when another one has begun, or it is
            # over: with 0 frames it is one that nobody knows.
            kept = self.segmenter.snapshot() if self.run else NOTHING
            after = 0 if self.said_goodbye else self.accepted + frames
            return Recording(self.run or self.id, self.accepted, after, *kept)
        return Run(self.run, self.number) if self.run else None

    def _tell_newest(self, name: str, **fields: Any) -> None:
        """Tell an event now or, of each name the newest alone, when the full socket has drained."""
        message = event(name, **fields)
        if self.full:
            self.untold[name] = message
        else:
            self.full = not self.tell(message)

    def _drained(self) -> None:
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
        self._finish()
        self.arrived.set()

    def _finish(self) -> None:
        if self.segmenter and not self.cutting and (self.said_goodbye or not self.run):
            # No connection comes back to the bytes that it holds.
            self.waiting.extend(self.segmenter.finish())

    async def closed(self) -> None:
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
