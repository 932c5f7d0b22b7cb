"""The prefix of this installation: it is in every name that other installations could have, too.

Several installations may share a Redis, whatever its database numbers (pub/sub knows none), a
channel layer and a machine, and never hear, see or remove each other's. So the prefix is in every
key, channel and group, and `backends.remote` asks for it at the MessagePack-RPC port before it says
anything there.

The prefix is `BROADCAST_PREFIX`, or else the random one that a migration wrote into the database:
it stays when `SECRET_KEY` is rotated, and two databases have two. A copied database brings its
prefix along: one of the two installations then needs the setting.

A process reads the prefix once. Our server does before it serves, other processes when they first
need a name. Coroutines call `learn` before that, so that no event loop waits for the database.

A run of tests is an installation of its own, in this process alone: see `is_isolated`.
"""

import asyncio
import secrets
import sys
from collections import Counter
from functools import cache
from threading import Thread
from typing import Any

from asgiref.sync import sync_to_async
from django.apps import apps
from django.core.signals import setting_changed
from django.db import DatabaseError, connections, router

from .conf import conf
from .exceptions import Unavailable

#: Seconds that an event loop waits for the database where nobody has called `learn`.
SECONDS = 1.0

#: How the prefix of a test run begins; the rest of it is random.
TEST_PREFIX = "test-"

_modules = sys.modules
_prefix = ""
#: The thread that reads it for an event loop.
_reader: Thread | None = None


#: How many overrides of each setting are in force: those of tests, mostly.
_overrides: Counter[str] = Counter()


def is_test_run() -> bool:
    """Whether Django's test environment is set up in this process.

    Django's runner, also in each of its parallel processes, and pytest-django both do that with
    `setup_test_environment()`. No documented question tells it: `mail.outbox` comes with the locmem
    backend, too, which people use elsewhere, and a test may override `ALLOWED_HOSTS`, which has
    "testserver". So this asks for what Django itself looks at, to refuse a second set-up.
    """
    utils: Any = _modules.get("django.test.utils")
    return utils is not None and hasattr(utils._TestState, "saved_data")


def is_isolated(*wishes: str) -> bool:
    """Whether tests run here, and none of these settings is overridden at the moment.

    While it is so, nothing leaves this process, whatever the project's settings say. A test that
    overrides one of the settings asks for what it names, and gets it.
    """
    return is_test_run() and not any(_overrides[wish] for wish in wishes)


def get_prefix() -> str:
    """The prefix. Unavailable: the database does not tell it, or has not been set up."""
    if is_test_run() and is_isolated("BROADCAST_PREFIX"):
        # A test may have no database, and what it does in a Redis that it asks for is its own.
        return _test_prefix()
    if _prefix:
        return _prefix
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _read()
    return _read_beside()


async def learn() -> None:
    """Have the prefix read, where it is not known. Unavailable: as `get_prefix`."""
    if not (_prefix or is_isolated("BROADCAST_PREFIX")):
        await sync_to_async(_read)()


@cache
def _test_prefix() -> str:
    return TEST_PREFIX + secrets.token_hex(4)


def _read() -> str:
    global _prefix
    try:
        _prefix = conf.PREFIX or _model().objects.prefix()
    except DatabaseError as error:
        raise Unavailable(_reason()) from error
    return _prefix


def _model() -> Any:
    # By its name: models stand on this module.
    return apps.get_model("broadcast.Installation")


def _reason() -> str:
    """Why the database does not tell it."""
    connection = connections[router.db_for_write(_model())]
    try:
        tables = connection.introspection.table_names()
    except DatabaseError:
        return "the database does not answer"
    if _model()._meta.db_table in tables:
        return "the database does not answer"
    return "the database has not been set up: run `manage.py migrate`"


def _read_beside() -> str:
    """Read it in a thread, and hold up the running event loop for some time at most, and once."""
    global _reader
    if conf.PREFIX:
        return _read()
    if _reader is None or not _reader.is_alive():
        _reader = Thread(target=_read_and_close, daemon=True)
        _reader.start()
        _reader.join(SECONDS)
    if not _prefix:
        raise Unavailable("the database has not told yet which installation this is")
    return _prefix


def _read_and_close() -> None:
    try:
        _read()
    except Exception:
        # The next caller tries again.
        return
    finally:
        connections.close_all()


def _note(*, setting: str, enter: bool, **kwargs: object) -> None:
    global _prefix
    _overrides[setting] += 1 if enter else -1
    if setting == "BROADCAST_PREFIX":
        _prefix = ""


setting_changed.connect(_note)
