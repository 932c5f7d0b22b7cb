"""The way in to a stream, for sockets and event streams: found, open, allowed, looked after.

A connection comes in with its scope and query; the row of its stream comes out, or the error that
its client is told. It promises: from before it is let in, the guard looks after it, so no change
of access is missed in between.
"""

import secrets
import time
from typing import Any

from ..models import Stream
from ..models.rows import find_open
from . import rules
from .guard import Connection, get_guard
from .visitors import Visitor

#: The name of this process among all.
PROCESS = secrets.token_hex(6)


def id_of(connection: Connection) -> str:
    """Its name among the connections of all processes, for one that has no other."""
    return f"{PROCESS}-{id(connection):x}-{connection.since}"


async def admit(connection: Connection, scope: dict[str, Any], query: dict[str, str]) -> Stream:
    """The stream of the path, for a visitor who may be there. BroadcastError: why not."""
    stream = await find_open(scope["url_route"]["kwargs"]["slug"])
    connection.slug, connection.since = stream.slug, time.time()
    connection.visitor = Visitor.of_scope(scope, query.get("token", ""))
    get_guard().enter(connection)
    await rules.check(stream, connection.deed, connection.visitor)
    return stream
