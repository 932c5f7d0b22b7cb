"""The row of a stream, without asking the database for each socket and each publication.

A process goes on for `SECONDS` with what it read; what it changes itself it sees at once. So
thousands of sockets may come in a second at the price of one query, and a change made elsewhere
holds here two seconds later.
"""

import asyncio
import time

from channels.db import database_sync_to_async
from django.db import transaction
from django.db.models.signals import post_delete, post_save

from .models import Stream

SECONDS = 2.0
#: Rows that are kept, and names that have none.
MOST = 10_000

_rows: dict[str, tuple[float, Stream | None]] = {}
#: Queries that are under way: who asks for the same row meanwhile waits for its answer.
_reading: dict[tuple[asyncio.AbstractEventLoop, str], asyncio.Task[Stream | None]] = {}
#: How often rows were forgotten: what was asked before is not kept after.
_forgotten = 0


async def find_stream(slug: str) -> Stream | None:
    """The stream's row, at most `SECONDS` old; None: it has none."""
    if ":" in slug:
        # Topics that are no streams: a page, a room.
        return None
    known = _rows.get(slug)
    if known and known[0] > time.monotonic():
        return known[1]
    key = (asyncio.get_running_loop(), slug)
    reading = _reading.get(key)
    if reading is None:
        reading = _reading[key] = asyncio.ensure_future(_read(slug))
        reading.add_done_callback(lambda task: _reading.pop(key, None))
    return await asyncio.shield(reading)


async def _read(slug: str) -> Stream | None:
    forgotten = _forgotten
    row: Stream | None = await database_sync_to_async(Stream.objects.filter(slug=slug).first)()
    if forgotten == _forgotten:
        if len(_rows) > MOST:
            # Names that somebody tries out must not fill the memory.
            _rows.clear()
        _rows[slug] = (time.monotonic() + SECONDS, row)
    return row


def forget() -> None:
    """Read rows anew from here on."""
    global _forgotten
    _forgotten += 1
    _rows.clear()


def _forget_twice(using: str, **kwargs: object) -> None:
    # Now for this transaction, and again when everybody else can see what it changed.
    forget()
    transaction.on_commit(forget, using=using)


post_save.connect(_forget_twice, sender=Stream)
post_delete.connect(_forget_twice, sender=Stream)
