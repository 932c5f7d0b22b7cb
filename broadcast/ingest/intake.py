"""Frames of one streamer in, drafts and counts out; no socket, no clock, no waiting.

An `Intake` decides what becomes of each frame. A door feeds it frames and takes batches from it:

    for _ in intake.take(draft):        # cuts media a bounded part at a time
        ...                             # let others have their turn
    if batch := intake.next():
        intake.accept(batch, (await append(slug, batch.drafts, batch.run)).accepted)

It promises: every frame is in one batch, in its order; `accepted` counts exactly the frames whose
publications, or whose held-back bytes, are kept.

On a stream of kind `media` binary frames are bytes of one recording, in whatever cuts, and a
`media.Segmenter` makes the publications: header, entry points and the pieces between. A client that
says `mark` before its first frame marks its frames itself, for the whole of its run.

With `?run=` the client counts its frames, and so does `accepted`, although a frame may be none or
several publications. All that the segmenter knows, held-back bytes included, is kept in one step
with the publications and the count of frames. So a frame is accepted when it came, and the next
connection goes on at the next frame, in any process, without a doubled or a lost byte. A stream
keeps that of its newest recording alone. Where another one began meanwhile, or the history is gone,
`accepted` is 0 (less than it was), and the client begins a new recording with the header of a new
recorder: the unsent rest of the old recording cannot go on. Held-back bytes are published when
the client is done (it closed its socket with 1000 or 1001), or counts no run.

`reset` drops what is held back of the recording; the next frame begins a header. A header that
comes without `reset`, on the same connection or a new one, begins a new recording, too.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from ..backends import MediaRun, Run
from ..conf import conf
from ..exceptions import BadRequest
from ..media import Segmenter, Snapshot
from ..publications import Draft, Kind, Mark

MARKS = {"header": Mark.HEADER, "entry": Mark.ENTRY}

#: The state of a recording that no later connection goes on with.
NOTHING = Snapshot(b"", b"", False)

#: Bytes that wait for history, before the door must take no more.
MOST_BYTES = 4 * 1024 * 1024


class Batch(NamedTuple):
    """The drafts and counts of one append."""

    drafts: list[Draft]
    run: Run | MediaRun | None
    #: Frames that it has.
    frames: int


class Intake:
    """What came from one connection of a streamer, and is not appended yet."""

    def __init__(
        self,
        streamer: str,
        run: str = "",
        is_media: bool = False,
        accepted: int = 0,
        segmenter: Segmenter | None = None,
    ) -> None:
        """`streamer`: its id. `run`: that of its client; "": it counts none. `accepted`: frames of
        the run that are in, and `segmenter`: what cuts the recording, if it goes on with one.
        """
        self.name = run or streamer
        self.run = run
        #: Frames of the run, or of this connection where there is none, that are in.
        self.accepted = accepted
        #: The number of the next frame that is appended.
        self.number = accepted + 1
        #: What cuts its bytes. `undecided`: it is not known yet whether they are to be cut.
        self.segmenter = segmenter
        self.undecided = is_media and not accepted
        #: The marks of the next frame.
        self.marks = 0
        #: The drafts that wait, the bytes they came in, and frames that are in no batch yet.
        self.waiting: list[Draft] = []
        self.size = 0
        self.frames = 0
        #: Whether a frame is being cut: nothing of it counts before all of it is cut.
        self.cutting = False
        #: Whether no further frame comes; and whether the client is done with its run, too.
        self.ended = self.is_done = False

    @property
    def is_busy(self) -> bool:
        """Whether something of it is still to be appended."""
        return self.cutting or bool(self.waiting)

    @property
    def is_full(self) -> bool:
        """Whether so much waits that the door must take no more for now."""
        return len(self.waiting) >= conf.STREAMER_QUEUE or self.size >= MOST_BYTES

    # -- what comes in ----------------------------------------------------------------------

    def hear(self, said: Any) -> Draft | None:
        """A text frame of `broadcast.v1` as JSON: answers the draft that is to be taken, if any.

        BadRequest: it is no publication, `mark` or `reset`, or not now.
        """
        name = said.get("event") if isinstance(said, dict) else None
        if name == "publication" and "data" in said:
            return Draft.of(said["data"])
        if name == "mark" and said.get("as") in tuple(MARKS):
            self.mark(MARKS[said["as"]])
        elif name == "reset":
            self.reset()
        else:
            raise BadRequest(
                'a text frame is JSON: {"event":"publication","data":…}, '
                '{"event":"mark","as":"header"|"entry"} or {"event":"reset"}'
            )
        return None

    def mark(self, mark: Mark) -> None:
        """Mark the next frame. BadRequest: its frames are cut, and marked, here."""
        if self.segmenter:
            raise BadRequest("the server marks these frames: mark before the first, or never")
        self.marks |= mark
        self.undecided = False

    def reset(self) -> None:
        """A new recording begins with the next frame."""
        if self.segmenter:
            self.segmenter = Segmenter()
        else:
            self.marks = Mark.RESET

    def take(self, draft: Draft) -> Iterable[None]:
        """Take a frame: it is in when the iteration is over. Take no other before.

        BadRequest: the bytes are no media, and nothing of the frame, nor held-back bytes, will be
        published.
        """
        if self.undecided:
            self.segmenter, self.marks, self.undecided = Segmenter(), 0, False
        if self.segmenter and draft.kind == Kind.BINARY:
            return self._cut(self.segmenter, draft.payload)
        self.waiting.append(draft._replace(marks=self.marks) if self.marks else draft)
        self.marks = 0
        self.frames += 1
        self.size += len(draft.payload)
        return ()

    def _cut(self, segmenter: Segmenter, payload: bytes) -> Iterable[None]:
        found: list[Draft] = []
        self.cutting = True
        try:
            yield from segmenter.feed_in_turns(payload, found)
        except BadRequest:
            # Publish nothing that it holds of the frame, when the rest is published.
            self.segmenter = Segmenter()
            raise
        finally:
            self.cutting = False
        self.waiting.extend(found)
        if self.ended:
            self._finish()
        self.frames += 1
        self.size += len(payload)

    def end(self) -> None:
        """No further frame comes; a frame that is being cut is still taken."""
        self.ended = True
        self._finish()

    def _finish(self) -> None:
        if self.segmenter and not self.cutting and (self.is_done or not self.run):
            # No later connection goes on with the bytes that it holds.
            self.waiting.extend(self.segmenter.finish())

    # -- what comes out ---------------------------------------------------------------------

    def next(self) -> Batch | None:
        """All that waits, to be appended in one step; None: nothing is to be appended.

        Of a run frames that made no publication yet are a batch, too: the next connection needs
        their count.
        """
        drafts, self.waiting, self.size = self.waiting, [], 0
        if not drafts and not (self.run and self.frames):
            return None
        frames, self.frames = self.frames, 0
        batch = Batch(drafts, self._counted(frames), frames)
        self.number += frames
        return batch

    def _counted(self, frames: int) -> Run | MediaRun | None:
        if self.segmenter:
            # When another recording has begun, or this one is over, nothing more of it is
            # published: with 0 frames in, no append can follow.
            kept = self.segmenter.snapshot() if self.run else NOTHING
            after = 0 if self.is_done else self.accepted + frames
            return MediaRun(self.name, self.accepted, after, *kept)
        return Run(self.run, self.number) if self.run else None

    def accept(self, batch: Batch, accepted: int) -> None:
        """The batch is in. `accepted`: what history counts of its run by now."""
        self.accepted = accepted if batch.run else self.accepted + batch.frames
