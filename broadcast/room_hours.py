"""What happened in rooms, counted: as metrics at once, and by hours in the database soon after.

Who left is noted by the process that had it leave, and written together with others every
`SECONDS`: not one query for each.
"""

import asyncio
from collections import Counter
from datetime import UTC, datetime

from channels.db import database_sync_to_async
from django.db import Error

from . import metrics
from .backends.rooms import Left
from .logs import get_logger
from .models import RoomHour
from .models.room_hours import Counted

logger = get_logger(__name__)

#: Seconds after which what was noted is written.
SECONDS = 5.0

_counts: Counter[Counted] = Counter()
_writing: asyncio.Task[None] | None = None


def note(left: Left) -> None:
    """Somebody left a room, which may have ended with it."""
    global _writing
    hour = datetime.fromtimestamp(left.at, UTC).replace(minute=0, second=0, microsecond=0)
    minutes = int(max(left.at - left.member.since, 0) // 60)
    _counts[hour, RoomHour.Kind.MINUTES, minutes] += 1
    metrics.room_minutes.observe(minutes)
    if left.peak:
        _counts[hour, RoomHour.Kind.PEAK, left.peak] += 1
        metrics.room_peaks.observe(left.peak)
    if _writing is None or _writing.get_loop() is not asyncio.get_running_loop():
        _writing = asyncio.ensure_future(_write_all())


async def _write_all() -> None:
    global _writing
    try:
        while _counts:
            await asyncio.sleep(SECONDS)
            await write()
    finally:
        _writing = None


async def write() -> None:
    """Write what was noted. What the database does not take is kept for the next time."""
    counts = dict(_counts)
    _counts.clear()
    if not counts:
        return
    try:
        await database_sync_to_async(RoomHour.objects.add)(counts)
    except Error as error:
        logger.error("What happened in rooms could not be written: %s", error)
        _counts.update(counts)
