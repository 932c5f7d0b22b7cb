"""The way in: everything that is said on a stream passes through here.

`apublish` answers when the publication has its offset, is in history and was handed to the channel
layer; every process that hears the stream gets it from there. `publish` is the same for sync code.
How a round of publications reaches history and the layer: `appending`.

Without a shared backend only the server's process has the streams. In any other one (a shell, a
management command, a task queue) publications go through the server's MessagePack-RPC port.
"""

import time
from collections.abc import Sequence
from typing import Any

from asgiref.sync import sync_to_async

from ..backends import is_here, remote
from ..models import Stream
from ..publications import Draft, Mark, Position, Publication, encode_text
from . import greenlets, hearing
from .appending import append, check_name
from .serving import at_engine


def publish(
    stream: str | Stream,
    payload: Any,
    *,
    header: bool = False,
    entry: bool = False,
    idempotency_key: str = "",
) -> Position:
    """`apublish` for sync code: views, signals, commands, tasks, the shell, greenlets, forks."""
    # In the caller's thread, where a lazy text has its language.
    return publish_draft(stream, _draft(payload, header, entry), as_key(idempotency_key))


async def apublish(
    stream: str | Stream,
    payload: Any,
    *,
    header: bool = False,
    entry: bool = False,
    idempotency_key: str = "",
) -> Position:
    """Publish on `stream`, by its name or row: `str` as text, bytes as binary, else as JSON.

    `header`: every newcomer gets it first. `entry`: a newcomer may start here. With an
    `idempotency_key` a repeat publishes nothing and answers the first position.

    On return it has its position, is in history and was handed to the channel layer. BadRequest,
    TooLarge, StreamClosed, Unavailable: nothing was published. Cancelled: it may have been.
    """
    return await apublish_draft(stream, _draft(payload, header, entry), as_key(idempotency_key))


def _draft(payload: Any, header: bool, entry: bool) -> Draft:
    return Draft.of(payload, (Mark.HEADER if header else 0) | (Mark.ENTRY if entry else 0))


def as_key(value: Any) -> str:
    """An idempotency key: text, or a value such as a UUID as text. BadRequest: it is no Unicode."""
    key = str(value) if value else ""
    encode_text(key)
    return key


async def apublish_draft(stream: str | Stream, draft: Draft, key: str = "") -> Position:
    """`apublish` with a draft that is made already."""
    name = check_name(stream)
    if not is_here():
        return await sync_to_async(_publish_remotely)(name, draft, key)
    appended = await at_engine(append(stream, [draft], key=key, any_size=False))
    return Position(appended.epoch, appended.offset)


def _name_of(stream: str | Stream) -> str:
    return stream.slug if isinstance(stream, Stream) else stream


def publish_draft(stream: str | Stream, draft: Draft, key: str = "") -> Position:
    """`apublish_draft` for sync code."""
    if greenlets.are_here():
        return _publish_remotely(_name_of(stream), draft, key)
    return greenlets.to_sync(apublish_draft)(stream, draft, key)


def _publish_remotely(name: str, draft: Draft, key: str) -> Position:
    position = remote.publish(name, draft, key)
    publication = Publication(
        position.offset, draft.kind, draft.payload, int(draft.marks), time.time()
    )
    hearing.tell(name, position.epoch, [publication])
    return position


async def apublish_drafts(stream: str | Stream, drafts: Sequence[Draft]) -> Position:
    """Publish several drafts, all or none; answers the last position. For shared backends."""
    appended = await append(stream, drafts, any_size=False)
    return Position(appended.epoch, appended.offset)
