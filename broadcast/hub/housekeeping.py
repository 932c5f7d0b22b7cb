"""Every process that has sockets, with or without pages, drops expired data by itself.

A few times a second it makes one round, of bounded work. A round drops histories and states of
streams that are past their age (`Backend.sweep`), rows of subscriptions and sessions that have
ended, and messages to pages that are gone. `manage.py prune` drops the same, all at once.
"""

import asyncio

from django.utils import timezone

from .. import lifespan
from ..backends import get_backend
from ..exceptions import Unavailable
from ..groups import PAGE_PREFIX
from ..installation import is_isolated
from ..loops import PerLoop, repeat, spawn
from ..models import Subscription, database
from ..models.database import database_sync_to_async, written_at
from ..models.session_rows import get_session_model

#: Seconds between two rounds, and between two looks at rows when the last one found few.
SECONDS, ROWS_SECONDS = 0.25, 60.0
#: Rows of each kind that one round drops.
ROWS = 1000


class Housekeeping:
    """The rounds of one event loop."""

    def __init__(self) -> None:
        self.rows_at = asyncio.get_running_loop().time() + ROWS_SECONDS
        self.task = spawn(repeat("housekeeping", self._wait_and_work, known=Unavailable))

    async def _wait_and_work(self) -> None:
        await asyncio.sleep(SECONDS)
        await get_backend().sweep()
        now = asyncio.get_running_loop().time()
        if now < self.rows_at or is_isolated("BROADCAST_PREFIX"):
            # The rows of a test are the test's.
            return
        with database.expected():
            if not await drop_expired():
                self.rows_at = now + ROWS_SECONDS


async def drop_expired() -> bool:
    """Drop rows that have expired, and messages to pages that are gone.

    Answers whether there may be more of them.
    """
    # List the names before the rows are read: a page that comes meanwhile must not lose anything.
    names = get_backend().remembered(PAGE_PREFIX)
    now = timezone.now()
    gone, is_full = await database_sync_to_async(Subscription.objects.prune_some)(now, ROWS)
    # Other programs drop rows, too, and cannot reach what this process remembers.
    for start in range(0, len(names), ROWS):
        some = [name.removeprefix(PAGE_PREFIX) for name in names[start : start + ROWS]]
        gone |= await database_sync_to_async(Subscription.objects.unknown)(some)
    for digest in gone:
        await get_backend().forget(PAGE_PREFIX + digest)
    return bool(await database_sync_to_async(drop_sessions)(ROWS)) or is_full


def drop_sessions(most: int) -> bool:
    """Drop at most `most` ended sessions, where they are rows. True: there may be more.

    Other engines have their own way, or `prune`.
    """
    model = get_session_model()
    if model is None:
        return False
    rows = model._default_manager.using(written_at(model))
    expired = rows.filter(expire_date__lt=timezone.now()).values_list("pk", flat=True)
    some = list(expired[:most])
    # Their sockets were told when the sessions ended: no signal is needed for each row.
    rows.filter(pk__in=some, expire_date__lt=timezone.now())._raw_delete(rows.db)
    return len(some) == most


_get_housekeeping = PerLoop(Housekeeping)


@lifespan.started.connect
def start() -> None:
    """Keep house from now on, as long as this event loop runs. Twice is once."""
    _get_housekeeping()
