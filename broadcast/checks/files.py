"""Files that others must not read."""

from pathlib import Path
from typing import Any

from django.core.checks import CheckMessage, Tags, Warning, register
from django.core.files.storage import FileSystemStorage, InvalidStorageError, storages
from django.db import connections

from ..conf import conf
from .values import TAG


@register(TAG, Tags.security)
def check_recordings(**kwargs: Any) -> list[CheckMessage]:
    """New ones are for their user alone; those of an older version may not be."""
    try:
        storage = storages[conf.RECORDINGS_STORAGE]
    except InvalidStorageError:
        return []
    if not isinstance(storage, FileSystemStorage):
        return []
    return _for_everybody(Path(storage.location), "700")


@register(TAG, Tags.security, deploy=True)
def check_databases(**kwargs: Any) -> list[CheckMessage]:
    found = []
    for connection in connections.all():
        name = connection.settings_dict["NAME"]
        if connection.vendor == "sqlite" and name and not str(name).startswith((":", "file:")):
            found += _for_everybody(Path(name), "600")
    return found


def _for_everybody(path: Path, mode: str) -> list[CheckMessage]:
    try:
        if not path.stat().st_mode & 0o007:
            return []
    except OSError:
        return []
    message = f"Every user of this machine can read {path}."
    return [Warning(message, hint=f"Run: chmod {mode} {path}", id="broadcast.W013")]
