"""The row of a stream, without asking the database for each socket and each publication.

A process goes on for `SECONDS` with what it read; what it changes itself it sees at once. So
thousands of sockets may come in a second at the price of one query, and a change made elsewhere
holds here two seconds later.
"""

import time

from channels.db import database_sync_to_async
from django.db.models.signals import post_delete, post_save

from .models import Stream

SECONDS = 2.0

_rows: dict[str, tuple[float, Stream | None]] = {}


async def find_stream(slug: str) -> Stream | None:
    """The stream's row, at most `SECONDS` old; None: it has none."""
    known = _rows.get(slug)
    if known and known[0] > time.monotonic():
        return known[1]
    if len(_rows) > 10_000:
        # Names that somebody tries out must not fill the memory.
        _rows.clear()
    row: Stream | None = await database_sync_to_async(Stream.objects.filter(slug=slug).first)()
    _rows[slug] = (time.monotonic() + SECONDS, row)
    return row


def forget(*args: object, **kwargs: object) -> None:
    """Read rows anew from here on."""
    _rows.clear()


post_save.connect(forget, sender=Stream)
post_delete.connect(forget, sender=Stream)
