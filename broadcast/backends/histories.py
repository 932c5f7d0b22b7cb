"""The history of one stream in memory: publications in order, runs, idempotency keys.

All of it is bounded: publications by the limits that each append brings, the others by number.
"""

from collections import OrderedDict, deque

from ..publications import Draft, Mark, Publication
from .values import GRACE_SECONDS, RETRY_SECONDS, HistoryLimits, MediaRun

#: Runs and idempotency keys that a stream remembers, the newest ones.
KNOWN_RUNS = 100
KNOWN_KEYS = 1000


class History:
    """The history of one stream."""

    def __init__(self, epoch: str, now: float) -> None:
        self.epoch = epoch
        #: When it was last added to, or left by its last listener or streamer: seconds since 1970.
        self.time = now
        self.offset = 0
        self.publications: deque[Publication] = deque()
        self.size = 0
        self.seconds = 0.0
        self.header: Publication | None = None
        self.entry = 0
        self.runs: OrderedDict[str, int] = OrderedDict()
        self.keys: OrderedDict[str, int] = OrderedDict()
        self.recording: MediaRun | None = None
        #: Bytes that the recording holds back.
        self.held = bytearray()

    @property
    def first(self) -> int:
        return self.publications[0].offset if self.publications else self.offset + 1

    def add(self, draft: Draft, now: float) -> Publication:
        self.offset += 1
        self.time = now
        publication = Publication(self.offset, draft.kind, draft.payload, draft.marks, now)
        self.publications.append(publication)
        self.size += len(draft.payload)
        if draft.marks:
            self.note_marks(publication)
        return publication

    def note_marks(self, publication: Publication) -> None:
        if publication.marks & (Mark.HEADER | Mark.RESET):
            self.forget_recording()
        if publication.marks & Mark.RESET:
            self.header, self.entry = None, 0
        if publication.marks & Mark.HEADER:
            self.header = publication
        if publication.marks & Mark.ENTRY:
            self.entry = publication.offset

    def trim(self, limits: HistoryLimits, now: float) -> None:
        self.seconds = limits.seconds
        while len(self.publications) > limits.publications or self.size > limits.bytes:
            self.drop_oldest()
        self.expire(now)

    def expire(self, now: float) -> int:
        before = len(self.publications)
        while self.publications and self.publications[0].time < now - self.seconds:
            self.drop_oldest()
        return before - len(self.publications)

    @property
    def end(self) -> float:
        """When it is forgotten, if nobody is at the stream until then: seconds since 1970."""
        retried = self.runs or self.keys or self.recording
        return self.time + max(self.seconds, RETRY_SECONDS if retried else 0) + GRACE_SECONDS

    def drop_oldest(self) -> None:
        self.size -= len(self.publications.popleft().payload)

    def remember_run(self, run: str, accepted: int) -> None:
        self.runs[run] = accepted
        self.runs.move_to_end(run)
        if len(self.runs) > KNOWN_RUNS:
            self.runs.popitem(last=False)

    def keep_recording(self, recording: MediaRun, held: bytearray) -> None:
        """`held`: what the recording held back before."""
        self.held = held if recording.goes_on else bytearray()
        self.held += recording.held
        self.recording = recording._replace(held=b"")

    def forget_recording(self) -> None:
        self.recording, self.held = None, bytearray()

    def frames_of(self, id: str) -> int:
        return self.recording.after if self.recording and self.recording.id == id else 0

    def remember_key(self, key: str) -> None:
        self.keys[key] = self.offset
        if len(self.keys) > KNOWN_KEYS:
            self.keys.popitem(last=False)
