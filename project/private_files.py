"""Files that nobody but the user who runs the project reads: its secret key, its database."""

import fcntl
import os
import secrets
from contextlib import suppress
from io import FileIO
from pathlib import Path
from string import whitespace

from django.core.exceptions import ImproperlyConfigured


def local_secret_key(path: Path) -> str:
    """The key that is kept in `path`: made on first use, readable by its owner alone.

    So a fresh clone starts without configuration and still has a key nobody else knows. Processes
    that start at once have the same key: they wait for the one that writes it. A file without a
    key, which a killed start may leave, gets one. ImproperlyConfigured: the file can neither be
    read nor written.
    """
    try:
        with _open(path) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            with suppress(OSError):
                os.fchmod(file.fileno(), os.fstat(file.fileno()).st_mode & 0o700)
            return file.read().decode().strip(whitespace + "\0") or _write_key(file)
    except (OSError, UnicodeDecodeError) as error:
        raise ImproperlyConfigured(
            f"the secret key of this site cannot be kept in {path} ({_reason(error)}): set "
            "SECRET_KEY, or let this user write there"
        ) from None


def _open(path: Path) -> FileIO:
    try:
        return FileIO(os.open(path, os.O_CREAT | os.O_RDWR, 0o600), "r+")
    except OSError:
        # A file that was put there for us to read.
        if not path.is_file():
            raise
        return FileIO(path)


def _write_key(file: FileIO) -> str:
    """Write a new key, whole or not at all."""
    if not file.writable():
        raise OSError("it is empty, and cannot be written")
    key = secrets.token_urlsafe(50)
    file.truncate(0)
    try:
        if os.pwrite(file.fileno(), key.encode(), 0) < len(key):
            raise OSError("the disk is full")
        os.fsync(file.fileno())
    except OSError:
        file.truncate(0)
        raise
    return key


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def keep_database_private(path: Path) -> None:
    """Keep users other than this one, and the file's group if it may, from an SQLite database.

    SQLite makes a file for everybody to read, so an empty one is made here before. The files that
    it writes beside it get the same permissions. If this fails here, SQLite fails
    too, and says so.
    """
    with suppress(OSError):
        os.close(os.open(path, os.O_CREAT | os.O_RDONLY, 0o600))
    for ending in ("", "-wal", "-shm", "-journal"):
        with suppress(OSError):
            file = Path(f"{path}{ending}")
            if (mode := file.stat().st_mode) & 0o007:
                file.chmod(mode & 0o770)
