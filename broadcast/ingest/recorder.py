"""Recordings of media streams, as files.

A `Recorder` gets the publications of its streamer, in that streamer's process and order, and no
others: so a recording has exactly its streamer's bytes, even if others publish on the stream.
Publications wait in memory for the disk, in threads of its own, and nobody waits for them.

When more than `RECORDING_QUEUE_BYTES` wait, the segment that is coming is left out, as a whole:
what is already written of it is cut off again, and the file goes on at the next entry point.

A file begins with a header and an entry point, so players open it, whenever it ends: it needs no
index at its end. Each header begins a new file.
"""

import asyncio
import fcntl
import os
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from channels.db import database_sync_to_async
from django.core.files.storage import InvalidStorageError
from django.db import Error as DatabaseError
from django.utils import timezone

from ..conf import conf
from ..logs import get_logger
from ..media import content_type
from ..models import Recording, Stream
from ..models.recordings import local_path
from ..publications import Kind, Mark, Publication

logger = get_logger(__name__)

#: Threads that write: a disk that hangs holds up recordings, and nothing else.
WRITERS = 4
#: Seconds in which the end of a stream is written, before its socket's handler goes on.
END_SECONDS = 5.0

#: Bytes after which a recording says how large it is, for the quotas.
COUNT_BYTES = 16 * 1024 * 1024

_writers = ThreadPoolExecutor(WRITERS, thread_name_prefix="recorder")
_running: set[asyncio.Task[None]] = set()

T = TypeVar("T")


class Segment(NamedTuple):
    """A part of a recording that waits for the disk.

    `place` is what it is: "header", "entry" (the beginning of a segment), "more" of the last one,
    or "cut": the last segment, as far as it was written, is to go.
    """

    place: str
    payload: bytes = b""


def make_private(directory: Path) -> None:
    """Make a directory, and the missing ones above it, for this user alone."""
    if not directory.is_dir():
        make_private(directory.parent)
        directory.mkdir(mode=0o700, exist_ok=True)


class RecordingFile:
    """A file that is being written; all of it blocks. OSError: the disk does not take it."""

    def __init__(self, path: Path) -> None:
        make_private(path.parent)
        # Nobody but the server reads it: who may, the page of the stream decides.
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        self.path = path
        self.file = os.fdopen(descriptor, "wb", buffering=0)
        fcntl.flock(self.file, fcntl.LOCK_EX)
        self.size = 0
        #: Where the last segment begins.
        self.segment = 0

    def write(self, segments: Sequence[Segment]) -> None:
        for segment in segments:
            if segment.place == "cut":
                self._cut(self.segment)
            if segment.place == "entry":
                self.segment = self.size
            self._write(segment.payload)

    def _write(self, payload: bytes) -> None:
        rest, start = memoryview(payload), self.size
        try:
            while rest:
                written = self.file.write(rest)
                self.size += written
                rest = rest[written:]
        except OSError:
            # Truncate the partial write.
            self._cut(start)
            raise

    def _cut(self, size: int) -> None:
        self.size = size
        self.file.seek(self.size)
        self.file.truncate()

    def close(self) -> None:
        self.file.close()


class Recorder:
    """Records what one streamer publishes, from its coming to its going."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.waiting: deque[Segment] = deque()
        #: Bytes that wait, what is being written included.
        self.size = 0
        #: Whether it takes nothing before the next entry point.
        self.skips = True
        #: Whether it was told that something is left out, since the disk last kept up.
        self.told = False
        self.arrived = asyncio.Event()
        self.ended = asyncio.Event()
        #: Whether nothing more comes.
        self.over = False
        self.header = b""
        self.file: RecordingFile | None = None
        self.row: Recording | None = None
        #: The size that its row has, and how large it may become by the quotas; None: any size.
        self.counted = 0
        self.space: int | None = None

    @classmethod
    def start(cls, stream: Stream, header: Publication | None = None) -> "Recorder":
        """Begin to record, with `header` first, if a recording goes on that has this header."""
        self = cls(stream)
        if header:
            self.take([header])
        task = asyncio.ensure_future(self._run())
        _running.add(task)
        task.add_done_callback(_running.discard)
        return self

    def take(self, publications: Iterable[Publication]) -> None:
        """Record these publications, which follow all earlier ones."""
        for publication in publications:
            if publication.kind == Kind.BINARY:
                self._take(publication)
        self.arrived.set()

    def end(self) -> None:
        """No more publications come."""
        self.over = True
        self.arrived.set()

    async def finish(self) -> None:
        """End when everything is written; wait for that, but not long."""
        self.end()
        try:
            async with asyncio.timeout(END_SECONDS):
                await self.ended.wait()
        except TimeoutError:
            logger.warning("The end of the recording of %r is late", self.stream.slug)

    def _take(self, publication: Publication) -> None:
        if publication.marks & Mark.HEADER:
            self._wait("header", publication.payload)
            self.skips = True
        elif publication.marks & Mark.ENTRY:
            # Half of it free: not to skip again at once.
            self.skips = self.skips and self.size > conf.RECORDING_QUEUE_BYTES / 2
            if not self.skips:
                self._wait("entry", publication.payload)
        elif not self.skips:
            self._wait("more", publication.payload)
        if self.size > conf.RECORDING_QUEUE_BYTES and not self.skips:
            self._leave_out()

    def _wait(self, place: str, payload: bytes) -> None:
        self.waiting.append(Segment(place, payload))
        self.size += len(payload)

    def _leave_out(self) -> None:
        """Nothing more before the next entry point, and nothing of the segment that was coming."""
        if not self.told:
            logger.warning(
                "The recording of %r leaves out a segment: the disk is slow", self.stream.slug
            )
        self.skips = self.told = True
        while self.waiting and self.waiting[-1].place == "more":
            self.size -= len(self.waiting.pop().payload)
        if self.waiting and self.waiting[-1].place == "entry":
            self.size -= len(self.waiting.pop().payload)
        else:
            self._wait("cut", b"")

    # -- what becomes of it -----------------------------------------------------------------

    async def _run(self) -> None:
        try:
            while self.waiting or not self.over:
                await self.arrived.wait()
                self.arrived.clear()
                while self.waiting:
                    await self._write_some()
                self.told = False
        finally:
            await self._end()
            self.ended.set()

    async def _write_some(self) -> None:
        """Write what waits, up to the next header."""
        if self.waiting[0].place == "header":
            await self._end()
            self.header = self._next().payload
            self.size -= len(self.header)
            return
        segments = [self._next()]
        while self.waiting and self.waiting[0].place != "header":
            segments.append(self._next())
        try:
            await self._write(segments)
        except (OSError, DatabaseError, InvalidStorageError) as error:
            logger.error("The recording of %r stops: %s", self.stream.slug, error)
            await self._stop()
        finally:
            self.size -= sum(len(segment.payload) for segment in segments)

    def _next(self) -> Segment:
        return self.waiting.popleft()

    async def _write(self, segments: list[Segment]) -> None:
        if not self.header:
            return
        if self.file is None:
            if segments[0].place != "entry":
                return
            self.counted = 0
            self.space = await database_sync_to_async(Recording.objects.space)(self.stream)
            if self.space is not None and self.space <= 0:
                logger.warning("%r is not recorded: the quota is full", self.stream.slug)
                await self._stop()
                return
            segments = [Segment("header", self.header), *segments]
            await self._begin()
        assert self.file is not None
        await in_thread(self.file.write, segments)
        if self.file.size > self.counted + COUNT_BYTES:
            await self._count()
        most = conf.MAX_RECORDING_BYTES
        if most is not None and self.file.size > most:
            logger.warning("The recording of %r has its %d bytes, and ends", self.stream.slug, most)
            await self._stop()
        elif self.space is not None and self.file.size > self.space:
            logger.warning("The recording of %r ends: the quota is full", self.stream.slug)
            await self._stop()

    async def _count(self) -> None:
        """Say how large it is by now, and ask how large it may become beside all others.

        A database that is away meanwhile ends no recording: it is asked again some bytes later.
        """
        assert self.file and self.row
        self.counted = self.file.size
        rows = Recording.objects.exclude(pk=self.row.pk)
        count = Recording.objects.filter(pk=self.row.pk).update
        try:
            await database_sync_to_async(count)(size=self.counted)
            self.space = await database_sync_to_async(rows.space)(self.stream)
        except DatabaseError as error:
            logger.warning("The recording of %r goes on uncounted: %s", self.stream.slug, error)

    async def _stop(self) -> None:
        """Until the next header nothing is recorded."""
        self.header = b""
        await self._end()

    async def _begin(self) -> None:
        now = timezone.now()
        kind = content_type(self.header)
        name = name_of(self.stream.slug, kind, now)
        self.file = await in_thread(lambda: RecordingFile(local_path(name)))
        create = database_sync_to_async(Recording.objects.create)
        self.row = await create(stream=self.stream, name=name, started_at=now, content_type=kind)

    async def _end(self) -> None:
        file, row, self.file, self.row = self.file, self.row, None, None
        if file is None:
            return
        try:
            # Before the lock goes: nobody else is to find it and end it, too.
            if row is not None:
                await database_sync_to_async(row.end)(timezone.now())
            else:
                await in_thread(file.path.unlink)
        except Exception as error:
            # Storages raise what they like.
            logger.error("The recording of %r could not be ended: %r", self.stream.slug, error)
        finally:
            await in_thread(file.close)


async def in_thread(work: Callable[..., T], *args: Any) -> T:
    waiting: Awaitable[T] = asyncio.get_running_loop().run_in_executor(_writers, work, *args)
    return await waiting


def name_of(slug: str, kind: str, now: datetime) -> str:
    """A name for the storage that nobody can guess, should its files be served to all."""
    subtype = kind.partition(";")[0].partition("/")[2]
    ending = {"webm": "webm", "mp4": "mp4", "x-matroska": "mkv"}.get(subtype, "bin")
    return f"{slug}/{now:%Y%m%d-%H%M%S}-{secrets.token_urlsafe(12)}.{ending}"
