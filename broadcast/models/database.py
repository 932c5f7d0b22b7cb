"""When the database is away, or has no connection left for us.

That is no fault of a request or a socket, and passes: it is told as `Unavailable` on every door
(503 with `Retry-After`, close code 4200, an error over MessagePack-RPC), so that clients come back,
and logged in one line now and then, without a traceback. Any other error of a query is a
fault of ours, and stays one.
"""

import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import SyncToAsync
from django.db import InterfaceError, OperationalError, connections, models, router

from ..exceptions import Unavailable
from ..installation import is_isolated
from ..logs import Sparing, get_logger

P = ParamSpec("P")
R = TypeVar("R")

logger = get_logger(__name__)

#: How SQLSTATEs of PostgreSQL begin: no connection; no resources, connections for one; going down.
STATES = ("08", "53", "57P")
#: SQLite's primary result codes: busy, locked, I/O, full, cannot open.
SQLITE_CODES = frozenset((5, 6, 10, 13, 14))
#: MySQL's: too many connections, cannot connect, gone.
MYSQL_CODES = frozenset((1040, 1203, 2002, 2003, 2006, 2013))

_lines = Sparing()


class Queries(SyncToAsync[P, R]):
    """A call in a thread, before and after which broken and old connections are closed."""

    def thread_handler(self, loop: Any, *args: Any, **kwargs: Any) -> Any:
        close_old_connections()
        try:
            return super().thread_handler(loop, *args, **kwargs)  # type: ignore[no-untyped-call]
        finally:
            close_old_connections()


def database_sync_to_async(function: Callable[P, R]) -> Callable[P, Coroutine[Any, Any, R]]:
    """Channels' function, for code that a view may call, too.

    Channels' own closes the connection of a view in whose transaction it is called: it takes one
    that does not commit by itself for one that was left so.
    """
    return Queries(function)


class WrittenManager(models.Manager[Any]):
    """Rows that are needed as they are now: where they are written, not in a replica of that."""

    def get_queryset(self) -> models.QuerySet[Any]:
        rows = super().get_queryset()
        return rows if self._db else rows.using(written_at(self.model))


def written_at(model: type[models.Model]) -> str:
    """The name of the database that rows of the model are written to."""
    return router.db_for_write(model)


def close_old_connections() -> None:
    """Close connections that are broken, or old, unless somebody is in a transaction there."""
    for connection in connections.all(initialized_only=True):
        # One without a connection would be connected to be looked at.
        if connection.connection is not None and not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()


def unavailable(error: BaseException | None) -> Unavailable | None:
    """The error to raise for `error`, which is logged; None: the database did not go away."""
    if not is_away(error):
        return None
    _log(error)
    return Unavailable("the database does not answer")


@contextmanager
def expected() -> Iterator[None]:
    """A block that needs the database. Unavailable: the database went away."""
    try:
        yield
    except (InterfaceError, OperationalError) as error:
        if away := unavailable(error):
            raise away from None
        raise


def is_away(error: BaseException | None) -> bool:
    if isinstance(error, InterfaceError):
        return True
    if not isinstance(error, OperationalError):
        return False
    cause = error.__cause__ or error
    if (code := getattr(cause, "sqlite_errorcode", None)) is not None:
        return code & 0xFF in SQLITE_CODES
    if hasattr(cause, "sqlstate"):
        # A connection that could not be had, or broke, has none.
        return cause.sqlstate is None or cause.sqlstate.startswith(STATES)
    return bool(cause.args) and cause.args[0] in MYSQL_CODES


def is_refused(error: BaseException) -> bool:
    """Whether the test that runs here has no database: then nothing has a row."""
    if not is_isolated():
        return False
    testcases: Any = sys.modules.get("django.test.testcases")
    if testcases and isinstance(error, testcases.DatabaseOperationForbidden):
        return True
    # pytest-django's has no class of its own.
    return isinstance(error, RuntimeError) and str(error).startswith("Database access not allowed")


def _log(error: BaseException | None) -> None:
    if (more := _lines.more()) is not None:
        lines = str(error).splitlines() or [repr(error)]
        logger.error("The database does not answer%s: %s", more, lines[0][:300])
