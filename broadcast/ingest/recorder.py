"""Recordings of media streams, as files.

A `Recorder` gets the publications of its streamer, in that streamer's process and order, and no
others: so a recording has exactly its streamer's bytes, even if others publish on the stream.
Publications wait in memory for the disk (`backlog`), and threads of their own write them (`files`):
no streamer waits for the disk.

A file begins with a header and an entry point, so players open it, whenever it ends: it needs no
index at its end. Each header begins a new file, and a new row.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, TypeVar

from django.core.files.storage import InvalidStorageError
from django.db import Error as DatabaseError
from django.utils import timezone

from ..conf import conf
from ..logs import get_logger
from ..media import content_type
from ..models import Recording, Stream
from ..models.database import database_sync_to_async
from ..models.recordings import local_path
from ..publications import Kind, Publication
from .backlog import Backlog, Part, Piece
from .files import RecordingFile

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


class Recorder:
    """Records what one streamer publishes, from its coming to its going."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.backlog = Backlog()
        #: Whether it is logged that a segment is left out, since the disk last kept up.
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
            if publication.kind == Kind.BINARY and not self.backlog.take(publication):
                self._tell_left_out()
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

    def _tell_left_out(self) -> None:
        if not self.told:
            logger.warning(
                "The recording of %r leaves out a segment: the disk is slow", self.stream.slug
            )
        self.told = True

    # -- what becomes of it -----------------------------------------------------------------

    async def _run(self) -> None:
        try:
            while self.backlog or not self.over:
                await self.arrived.wait()
                self.arrived.clear()
                while self.backlog:
                    await self._write_some()
                self.told = False
        finally:
            await self._end()
            self.ended.set()

    async def _write_some(self) -> None:
        """Write what waits, up to the next header."""
        pieces = self.backlog.next()
        try:
            if pieces[0].part is Part.HEADER:
                await self._end()
                self.header = pieces[0].payload
            else:
                await self._write(pieces)
        except (OSError, DatabaseError, InvalidStorageError) as error:
            logger.error("The recording of %r stops: %s", self.stream.slug, error)
            await self._stop()
        finally:
            self.backlog.done(pieces)

    async def _write(self, pieces: list[Piece]) -> None:
        if not self.header:
            return
        if self.file is None:
            if pieces[0].part is not Part.ENTRY or not await self._begin():
                return
            pieces = [Piece(Part.HEADER, self.header), *pieces]
        assert self.file is not None
        await in_thread(self.file.write, pieces)
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
        """Record nothing until the next header."""
        self.header = b""
        await self._end()

    async def _begin(self) -> bool:
        """Begin a file and its row. False: the quota is full."""
        self.counted = 0
        self.space = await database_sync_to_async(Recording.objects.space)(self.stream)
        if self.space is not None and self.space <= 0:
            logger.warning("%r is not recorded: the quota is full", self.stream.slug)
            await self._stop()
            return False
        now = timezone.now()
        kind = content_type(self.header)
        name = name_of(self.stream.slug, kind, now)
        self.file = await in_thread(lambda: RecordingFile(local_path(name)))
        create = database_sync_to_async(Recording.objects.create)
        self.row = await create(stream=self.stream, name=name, started_at=now, content_type=kind)
        return True

    async def _end(self) -> None:
        file, row, self.file, self.row = self.file, self.row, None, None
        if file is None:
            return
        try:
            # End the row before the lock goes: else another process would find and end it, too.
            if row is not None:
                await database_sync_to_async(row.end)(timezone.now())
            else:
                await in_thread(file.path.unlink)
        except Exception as error:
            # Any error: storages are other people's code.
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
