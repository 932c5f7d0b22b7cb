"""The way in: everything that is said on a stream passes through here.

`apublish` answers when the publication has its offset, is in history and was handed to the
channel layer; every process that hears the stream gets it from there. `publish` is the same for
sync code. Nothing else calls `group_send`.

Without a shared backend only the server's process has the streams. In any other one (a shell, a
management command, a task queue) publications go through the server's MessagePack-RPC port.
"""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from asgiref.sync import async_to_sync, sync_to_async
from channels.layers import get_channel_layer

from . import remote
from .backends import Appended, Limits, Run, get_backend
from .conf import conf
from .exceptions import BadRequest, StreamClosed, TooLarge
from .models import Stream
from .publications import Draft, Mark, Position, Publication, encode_text, pack
from .relay import PUBLICATIONS, STREAMER, group_name
from .rows import find_stream

logger = logging.getLogger(__name__)

#: Publications that go into one message of the layer: bytes, about.
MESSAGE_BYTES = 1024 * 1024
#: The longest name of a stream, in characters.
MAX_NAME = 200

#: Whether this process is a server, and the event loop that its streams live in.
_serving = False
_loop: asyncio.AbstractEventLoop | None = None


def serve_here() -> None:
    """Say that this process is a server, and the running event loop, if one runs yet, its own."""
    global _serving, _loop
    _serving = True
    with suppress(RuntimeError):
        _loop = asyncio.get_running_loop()


def publish(
    stream: str | Stream,
    payload: Any,
    *,
    header: bool = False,
    entry: bool = False,
    idempotency_key: str = "",
) -> Position:
    """`apublish` for sync code: views, signals, commands, tasks, the shell."""
    return async_to_sync(apublish)(
        stream, payload, header=header, entry=entry, idempotency_key=idempotency_key
    )


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
    marks = (Mark.HEADER if header else 0) | (Mark.ENTRY if entry else 0)
    return await apublish_draft(stream, Draft.of(payload, marks), idempotency_key)


async def apublish_draft(stream: str | Stream, draft: Draft, key: str = "") -> Position:
    """What `apublish` does, with a draft that is made already."""
    shared = get_backend().shared
    if not (_serving or shared):
        name = stream.slug if isinstance(stream, Stream) else stream
        return await sync_to_async(remote.publish)(name, draft, key)
    appending = _append_checked(stream, draft, key)
    loop = asyncio.get_running_loop()
    if not shared and _loop is not None and _loop is not loop and _loop.is_running():
        # A thread of the server: what is in memory belongs to the server's own loop.
        appended = await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(appending, _loop))
    else:
        appended = await appending
    return Position(appended.epoch, appended.offset)


def publish_draft(stream: str | Stream, draft: Draft, key: str = "") -> Position:
    """`apublish_draft` for sync code."""
    return async_to_sync(apublish_draft)(stream, draft, key)


async def _append_checked(stream: str | Stream, draft: Draft, key: str) -> Appended:
    _, _, most = await _rules(stream)
    if len(draft.payload) > most:
        raise TooLarge(f"{len(draft.payload)} bytes are more than the {most} allowed")
    return await append(stream, [draft], key=key)


async def append(
    stream: str | Stream, drafts: Sequence[Draft], run: Run | None = None, key: str = ""
) -> Appended:
    """Publish several drafts as one step; `run` and `key` as in `Backend.append`.

    Their size is what the caller let in.
    """
    name, limits, _ = await _rules(stream)
    appended = await get_backend().append(name, drafts, limits, run, key)
    for message in _messages(appended.publications):
        await _send(name, type=PUBLICATIONS, epoch=appended.epoch, publications=pack(message))
    return appended


async def _rules(stream: str | Stream) -> tuple[str, Limits, int]:
    """Name, limits of history and largest payload. A name without a row has the default ones."""
    if not isinstance(stream, Stream):
        if not isinstance(stream, str) or not 0 < len(stream) <= MAX_NAME:
            raise BadRequest(f"the name of a stream has 1 to {MAX_NAME} characters")
        encode_text(stream)
        row = await find_stream(stream)
        if row is None:
            limits = Limits(conf.HISTORY_COUNT, conf.HISTORY_BYTES, conf.HISTORY_AGE)
            return stream, limits, conf.MAX_FRAME
        stream = row
    if stream.closed_at:
        raise StreamClosed(f"the stream {stream.slug!r} was closed")
    return stream.slug, stream.limits, stream.max_frame


def _messages(publications: Iterable[Publication]) -> Iterator[list[Publication]]:
    message: list[Publication] = []
    size = 0
    for publication in publications:
        message.append(publication)
        size += len(publication.payload)
        if size >= MESSAGE_BYTES:
            yield message
            message, size = [], 0
    if message:
        yield message


async def announce_streamer(stream: str, streamer: str) -> None:
    """Tell every process that `streamer` feeds the stream now; "": nobody does."""
    await _send(stream, type=STREAMER, streamer=streamer)


async def _send(stream: str, **message: Any) -> None:
    layer = get_channel_layer(conf.CHANNEL_LAYER)
    try:
        await layer.group_send(group_name(stream), {"stream": stream, **message})
    except Exception:
        # It is in history, so it is published: who hears the stream finds it there, a little
        # later. To say it failed would have it published again.
        logger.exception("The channel layer took nothing for %r", stream)
