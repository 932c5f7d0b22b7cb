"""Whether this is the only process that serves the installation, where it must be.

Without a shared backend each server process has histories, listeners and rooms of its own. Two that
serve one installation (`-w 2` of another ASGI server, two machines with one database) each know
half of what is published. So each process has a name, and checks every few seconds that the
installation's row has it; if not, the process writes it there. A process that finds another name
where it wrote its own is not alone: it logs that once, and `/healthz` tells it.

A killed process leaves its name behind, which alarms nobody. A process that is alone writes once.
"""

import secrets
from contextlib import suppress

from django.db import DatabaseError

from .. import lifespan
from ..backends import get_backend, is_serving
from ..installation import is_isolated
from ..logs import get_logger
from ..loops import PerLoop
from ..models import Installation
from ..models.database import database_sync_to_async
from .watch import Watch

logger = get_logger(__name__)

#: After so many looks in a row that find nobody else, the other process is taken for gone.
CALM = 3


class Company:
    """The other processes that serve the installation, as this one knows. `name`: its own name."""

    def __init__(self, name: str) -> None:
        self.name = name
        #: Looks in a row that found its name; None: it has not written it yet.
        self.calm: int | None = None
        self.is_there = False
        self.has_ended = False

    async def look(self, changed: set[str] | None) -> None:
        if self.has_ended:
            return
        # `/healthz` and every socket tell that the database is away, or has no tables.
        with suppress(DatabaseError):
            self.find(await database_sync_to_async(Installation.objects.take)(self.name))

    def find(self, before: str) -> None:
        """Judge by `before`: the name in the row before this process wrote its own; "": none."""
        if before == self.name:
            self.calm = (self.calm or 0) + 1
            if self.is_there and self.calm >= CALM:
                self.is_there = False
                logger.info("No other process serves this installation any more")
            return
        if before and self.calm is not None and not self.is_there:
            self.is_there = True
            logger.error(
                "Another process serves this installation, too, and each keeps what is published "
                "in its own memory: half of it is lost. Run one server process, or set "
                "BROADCAST_REDIS_URL"
            )
        self.calm = 0


_company: Company | None = None


@lifespan.started.connect
def look_out() -> None:
    """Look from now on, where that matters. Called with each request: other ASGI servers do not say
    when they start, and may fork after all was imported.
    """
    if is_isolated("BROADCAST_PREFIX"):
        # Nobody else serves what is in a test's database.
        return
    if _get_watch.find() is None and is_serving() and not get_backend().shared:
        _get_watch().start()


def _new_watch() -> Watch:
    global _company
    if _company is None:
        _company = Company(secrets.token_hex(8))
    return Watch("alone", _company.look)


_get_watch = PerLoop(_new_watch)


@lifespan.draining.connect
def end(seconds: float) -> None:
    """This process goes down: another may serve already."""
    if _company:
        _company.has_ended = True


@lifespan.forked.connect
def _begin_child() -> None:
    global _company
    _company = None


def has_company() -> bool:
    """Whether another process serves this installation from a memory of its own, too."""
    return _company is not None and _company.is_there
