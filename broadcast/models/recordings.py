"""Recordings: files of what was broadcast on media streams. `ingest.recorder` writes them.

The file is in the storage that `BROADCAST_RECORDINGS_STORAGE` names. Where that is the file system
it is written where it stays; else it is written to a directory of this user's alone among the
machine's temporary files, and handed over at the end. The process that writes it holds a lock,
which goes with its process: so a file that nobody holds is finished, even if nobody said so. Of a
machine that does not come back nobody sees the files: what it was writing is given up.
"""

import fcntl
import os
import stat
import tempfile
from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from typing import Any

from django.core.files import File
from django.core.files.storage import (
    FileSystemStorage,
    InvalidStorageError,
    Storage,
    storages,
)
from django.db import DatabaseError, models, transaction
from django.db.models import Sum
from django.db.models.signals import post_delete
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from ..conf import conf
from ..logs import get_logger
from .streams import Stream
from .times import moment

logger = get_logger(__name__)


def get_storage() -> Storage:
    """Where recordings are kept. InvalidStorageError: STORAGES has none of that name."""
    return storages[conf.RECORDINGS_STORAGE]


def is_local() -> bool:
    """Whether the storage is the file system."""
    return isinstance(get_storage(), FileSystemStorage)


def local_path(name: str) -> Path:
    """Where the file is while it is written; where the storage `is_local` it stays there."""
    if is_local():
        return Path(get_storage().path(name))
    return private_directory() / name


def private_directory() -> Path:
    """Where this user's recordings are written. PermissionError: somebody else can get at it."""
    path = Path(tempfile.gettempdir()) / f"broadcast-recordings-{os.getuid()}"
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        # Its name is known to everybody, and everybody may make directories there.
        raise PermissionError(f"{path} is not a directory of this user's alone")
    return path


def is_being_written(path: Path) -> bool:
    """Whether a process of this machine holds the file."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


class RecordingQuerySet(models.QuerySet["Recording"]):
    def ended(self) -> "RecordingQuerySet":
        """Those that can be had."""
        return self.filter(state=Recording.State.ENDED, ended_at__isnull=False)

    def given_up(self) -> "RecordingQuerySet":
        return self.filter(state=Recording.State.ENDED, ended_at=None)

    def give_up(self, since: datetime, live: Collection[str]) -> int:
        """Mark those as ended of which there is no file here, without a time; answers how many.

        Of those that began before `since`, but for the streams with the slugs `live`. If the
        machine comes back, it ends them as they are.
        """
        running = self.filter(state=Recording.State.RUNNING, started_at__lt=since)
        lost = [
            recording.pk
            for recording in running.exclude(stream__slug__in=live)
            if not local_path(recording.name).exists()
        ]
        return self.filter(pk__in=lost).update(state=Recording.State.ENDED)

    def bytes(self) -> int:
        """Bytes of their files together; files that are being written count as of a while ago."""
        return int(self.aggregate(bytes=Sum("size"))["bytes"] or 0)

    def space(self, stream: Stream) -> int | None:
        """Bytes that one more recording of the stream may have beside these; None: any number.

        Less than 0: none may be made, until somebody deletes some.
        """
        quotas = (
            (conf.MAX_RECORDINGS_BYTES, self),
            (conf.MAX_STREAM_RECORDINGS_BYTES, self.filter(stream=stream)),
        )
        left = [most - rows.bytes() for most, rows in quotas if most is not None]
        return min(left, default=None)

    def end_lost(self) -> int:
        """Mark those as ended whose server was killed, on this machine; answers how many."""
        ended = 0
        for recording in self.filter(state=Recording.State.RUNNING) | self.given_up():
            try:
                if recording.is_lost():
                    written = local_path(recording.name).stat().st_mtime
                    recording.end(moment(written))
                    ended += 1
            except (DatabaseError, InvalidStorageError):
                raise
            except Exception as error:
                # Storages raise what they like, and a server must start all the same.
                logger.error("The recording %s could not be ended: %r", recording.pk, error)
        return ended


class Recording(models.Model):
    """A file of what was broadcast from one header to the next, or until the streamer went."""

    class State(models.TextChoices):
        RUNNING = "running", _("is being recorded")
        ENDED = "ended", _("ended")

    stream = models.ForeignKey(
        Stream, on_delete=models.CASCADE, related_name="recordings", verbose_name=_("stream")
    )
    name = models.CharField(_("file"), max_length=300, unique=True)
    content_type = models.CharField(_("content type"), max_length=200, blank=True)
    started_at = models.DateTimeField(_("started"))
    ended_at = models.DateTimeField(_("ended"), null=True, blank=True)
    size = models.PositiveBigIntegerField(_("bytes"), default=0)
    state = models.CharField(
        _("state"), max_length=10, choices=State, default=State.RUNNING, db_index=True
    )

    objects = RecordingQuerySet.as_manager()

    class Meta:
        ordering = ("-started_at",)
        verbose_name = _("recording")
        verbose_name_plural = _("recordings")

    def __str__(self) -> str:
        return f"{self.stream}, {self.started_at:%Y-%m-%d %H:%M}"

    def get_absolute_url(self) -> str:
        return reverse("broadcast:recording", args=[self.stream.slug, self.pk])

    @property
    def file_name(self) -> str:
        """The name under which a visitor saves it."""
        ending = Path(self.name).suffix
        return f"{self.stream.slug}-{self.started_at:%Y%m%d-%H%M%S}{ending}"

    @property
    def entity_tag(self) -> str | None:
        """A strong validator of the file (RFC 9110, section 8.8.3); None: it still grows.

        A number may be given to another recording, but that ends at another time.
        """
        if self.ended_at is None:
            return None
        return f'"{self.pk}-{self.size}-{self.ended_at.timestamp():.6f}"'

    def is_lost(self) -> bool:
        """Whether it is said to be written, and nobody does. Files of other machines are not."""
        path = local_path(self.name)
        return path.exists() and not is_being_written(path)

    def end(self, now: datetime) -> None:
        """Nothing more is written. OSError: the storage did not take it; the file stays here."""
        path = local_path(self.name)
        if not Recording.objects.filter(pk=self.pk).exists():
            # It was deleted, perhaps with its stream, and perhaps elsewhere.
            path.unlink(missing_ok=True)
            return
        self.size = path.stat().st_size
        if not is_local():
            with path.open("rb") as file:
                self.name = get_storage().save(self.name, File(file))
            path.unlink()
        self.ended_at, self.state = now, Recording.State.ENDED
        fields = {name: getattr(self, name) for name in ("name", "size", "ended_at", "state")}
        # It may have been deleted meanwhile, and must not come back.
        Recording.objects.filter(pk=self.pk).update(**fields)

    def open(self) -> Any:
        """The file, to be read and closed. OSError: it is not there, or not yet."""
        return get_storage().open(self.name, "rb")


def _delete_file(instance: Recording, using: str, **kwargs: object) -> None:
    def delete() -> None:
        get_storage().delete(instance.name)
        local_path(instance.name).unlink(missing_ok=True)

    # After a rollback the row is still there, and needs its file.
    transaction.on_commit(delete, using=using, robust=True)


post_delete.connect(_delete_file, sender=Recording)
