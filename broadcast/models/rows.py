"""The row of a stream or room, without asking the database for each socket and each publication.

A process uses a row for `SECONDS` after it read it, and sees its own changes at once. So thousands
of sockets may come in a second at the price of one query, and a change made in another process
holds here two seconds later. In tests no row is kept: the end of one test takes its rows back.

Every door finds its stream or room here: `find_open` and `find_open_room` answer a row that is
open, or raise the error that the client is told.
"""

import asyncio
import time
from typing import Any

from django.db import transaction
from django.db.models.signals import post_delete, post_save

from .. import lifespan
from ..exceptions import NoSuchStream
from ..installation import is_isolated
from ..loops import spawn
from . import Room, Stream
from .database import database_sync_to_async, is_refused

SECONDS = 2.0
#: Rows that are kept, and names that have none.
MOST = 10_000

#: The key of a row: its model, and the value of the unique field.
Name = tuple[type[Stream] | type[Room], str]

_rows: dict[Name, tuple[float, Any]] = {}
#: Queries that are under way; later askers for the same row wait for the same answer.
_reading: dict[tuple[asyncio.AbstractEventLoop, Name], asyncio.Task[Any]] = {}
#: How often rows were forgotten. A query that began before must not be kept after.
_forgotten = 0


async def find_open(slug: str, names_it: bool = False) -> Stream:
    """The stream, which is open. NoSuchStream, StreamClosed.

    `names_it`: the error names the stream, for a program that uses several.
    """
    stream = await find_stream(slug)
    if stream is None:
        raise NoSuchStream("there is no such stream")
    stream.check_open(names_it)
    return stream


async def find_open_room(room_id: str) -> Room | None:
    """The room, which is open; None: it has no row, so anybody may open it. RoomClosed."""
    room = await find_room(room_id)
    if room:
        room.check_open()
    return room


async def find_stream(slug: str) -> Stream | None:
    """The stream's row, at most `SECONDS` old; None: it has none."""
    if ":" in slug or "\0" in slug:
        # A topic of a page or room; or a name that PostgreSQL refuses to look for.
        return None
    found: Stream | None = await _find((Stream, slug))
    return found


async def find_room(room_id: str) -> Room | None:
    """The room's row, at most `SECONDS` old; None: it has none."""
    if "\0" in room_id:
        # PostgreSQL refuses to look for it.
        return None
    found: Room | None = await _find((Room, room_id))
    return found


async def _find(name: Name) -> Any:
    known = _rows.get(name)
    if known and known[0] > time.monotonic():
        return known[1]
    key = (asyncio.get_running_loop(), name)
    reading = _reading.get(key)
    if reading is None:
        reading = _reading[key] = spawn(_read(name))
        reading.add_done_callback(lambda task: _reading.pop(key, None))
    return await asyncio.shield(reading)


async def _read(name: Name) -> Any:
    forgotten = _forgotten
    model, value = name
    try:
        row = await database_sync_to_async(_query)(model, value)
    except Exception as error:
        if not is_refused(error):
            raise
        # A test without a database: its streams have no rows.
        row = None
    if forgotten == _forgotten and not is_isolated("BROADCAST_PREFIX"):
        if len(_rows) > MOST:
            # A client that tries out names must not fill the memory.
            _rows.clear()
        _rows[name] = (time.monotonic() + SECONDS, row)
    return row


def _query(model: type[Stream] | type[Room], value: str) -> Any:
    return model.objects.named(value).first()


def forget() -> None:
    """Read all rows again."""
    global _forgotten
    _forgotten += 1
    _rows.clear()


@lifespan.forked.connect
def _begin_child() -> None:
    # The queries that were under way are the parent's.
    _reading.clear()


def _forget_twice(using: str, **kwargs: object) -> None:
    # Now for this transaction, and again when everybody else can see what it changed.
    forget()
    transaction.on_commit(forget, using=using)


for _model in (Stream, Room):
    post_save.connect(_forget_twice, sender=_model)
    post_delete.connect(_forget_twice, sender=_model)
