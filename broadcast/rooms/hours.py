"""Statistics of rooms: as metrics at once, and by hours in the database soon after.

Who left is noted by the process that had it leave, and written together with others every
`SECONDS`: not one query for each.
"""

import asyncio
from collections import Counter

from .. import lifespan, metrics
from ..backends.rooms import Left
from ..exceptions import Unavailable
from ..loops import repeat, spawn
from ..models import RoomHour, database
from ..models.database import database_sync_to_async
from ..models.room_hours import Counted
from ..models.times import moment

#: Seconds after which what was noted is written.
SECONDS = 5.0

_counts: Counter[Counted] = Counter()
_writing: asyncio.Task[None] | None = None


def note(left: Left) -> None:
    """Somebody left a room, which may have ended with it."""
    global _writing
    hour = moment(left.at).replace(minute=0, second=0, microsecond=0)
    minutes = int(max(left.at - left.member.since, 0) // 60)
    _counts[hour, RoomHour.Kind.MINUTES, minutes] += 1
    metrics.room_minutes.observe(minutes)
    if left.peak:
        _counts[hour, RoomHour.Kind.PEAK, left.peak] += 1
        metrics.room_peaks.observe(left.peak)
    if _writing is None or _writing.get_loop() is not asyncio.get_running_loop():
        _writing = spawn(_write_all())


@lifespan.forked.connect
def _begin_child() -> None:
    global _writing
    _writing = None


async def _write_all() -> None:
    global _writing
    try:
        await repeat("room_hours", _wait_and_write, Unavailable, until=lambda: not _counts)
    finally:
        _writing = None


async def _wait_and_write() -> None:
    await asyncio.sleep(SECONDS)
    with database.expected():
        await write()


async def write() -> None:
    """Write the notes. If the database fails with an error, keep the notes that it did not take."""
    counts = dict(_counts)
    _counts.clear()
    if not counts:
        return
    try:
        await database_sync_to_async(RoomHour.objects.add)(counts)
    except BaseException:
        _counts.update(counts)
        raise
