"""The way in: everything that is said on a stream passes through here.

`apublish` answers when the publication has its offset, is in history and was handed to the channel
layer; every process that hears the stream gets it from there. `publish` is the same for sync code.
What happens in rooms is appended elsewhere (`rooms.meetings`), and handed over here, too. Nothing
else calls `group_send`.

Without a shared backend only the server's process has the streams. In any other one (a shell, a
management command, a task queue) publications go through the server's MessagePack-RPC port.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from asgiref.sync import async_to_sync, sync_to_async
from channels.layers import get_channel_layer

from .. import lifespan, metrics
from ..backends import Appended, Limits, Recording, Run, get_backend, is_serving, remote, serve
from ..conf import conf
from ..exceptions import BadRequest, StreamClosed, TooLarge, Unavailable
from ..groups import everybody, group_name, is_room
from ..installation import learn
from ..logs import get_logger
from ..loops import spawn
from ..models import Stream
from ..models.rows import find_stream
from ..publications import MAX_NAME, Draft, Mark, Position, Publication, encode_text, pack
from . import greenlets
from .relay import LEAVING, PUBLICATIONS, STREAMER, WAITING

logger = get_logger(__name__)

T = TypeVar("T")

#: Publications that go into one message of the layer: bytes, about.
MESSAGE_BYTES = 1024 * 1024


@dataclass(slots=True, eq=False)
class Waiting:
    """A call of `append` that waits for its turn."""

    stream: str | Stream
    drafts: Sequence[Draft]
    run: Run | Recording | None
    key: str
    #: Whether its size was looked at already.
    any_size: bool
    answer: asyncio.Future[Appended]
    #: Those of the stream, when its turn has come.
    limits: Limits = field(init=False)


#: Of each event loop, by stream: what waits while an append is under way.
_waiting: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, list[Waiting]]]
_waiting = WeakKeyDictionary()

#: Whether the channel layer took nothing, the last time: it is told once.
_layer_failed = False

#: The event loop that the streams of this server live in.
_loop: asyncio.AbstractEventLoop | None = None


def serve_here() -> None:
    """Say that this process is a server, and the running event loop, if one runs yet, its own."""
    global _loop
    serve()
    metrics.processes.set(1)
    with suppress(RuntimeError):
        _loop = asyncio.get_running_loop()


@lifespan.forked.connect
def _begin_child() -> None:
    global _loop
    _loop = None


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
    """What `apublish` does, with a draft that is made already."""
    name = check_name(stream)
    if not (is_serving() or get_backend().shared):
        return await sync_to_async(remote.publish)(name, draft, key)
    appended = await at_engine(append(stream, [draft], key=key, any_size=False))
    return Position(appended.epoch, appended.offset)


def _name_of(stream: str | Stream) -> str:
    return stream.slug if isinstance(stream, Stream) else stream


async def at_engine(coroutine: Coroutine[Any, Any, T]) -> T:
    """Await it where the engine is: what is in memory belongs to the server's own event loop."""
    here = asyncio.get_running_loop()
    if get_backend().shared or _loop is None or _loop is here or not _loop.is_running():
        return await coroutine
    # A thread of the server.
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, _loop))


def publish_draft(stream: str | Stream, draft: Draft, key: str = "") -> Position:
    """`apublish_draft` for sync code."""
    if greenlets.are_here():
        return remote.publish(_name_of(stream), draft, key)
    return async_to_sync(apublish_draft)(stream, draft, key)


async def apublish_drafts(stream: str | Stream, drafts: Sequence[Draft]) -> Position:
    """Publish several drafts, all or none; answers the last position. For shared backends."""
    appended = await append(stream, drafts, any_size=False)
    return Position(appended.epoch, appended.offset)


async def append(
    stream: str | Stream,
    drafts: Sequence[Draft],
    run: Run | Recording | None = None,
    key: str = "",
    any_size: bool = True,
) -> Appended:
    """Publish several drafts as one step; `run` and `key` as in `Backend.append`.

    With `any_size` their size is what the caller let in. While an append of the stream is under
    way, what comes waits, and goes all together into the next one: no stream is bound by the round
    trip to its history, and nothing is delayed for it.
    """
    return await enqueue(stream, drafts, run, key, any_size)


def enqueue(
    stream: str | Stream,
    drafts: Sequence[Draft],
    run: Run | Recording | None = None,
    key: str = "",
    any_size: bool = True,
) -> asyncio.Future[Appended]:
    """What `append` does, begun: calls for one stream keep their order.

    So a call has its place before anything is awaited, and the row of the stream is looked for
    afterwards. BadRequest: no stream can have that name.
    """
    name = check_name(stream)
    loop = asyncio.get_running_loop()
    waiting = _waiting.setdefault(loop, {})
    answer: asyncio.Future[Appended] = loop.create_future()
    call = Waiting(stream, drafts, run, key, any_size, answer)
    if name in waiting:
        waiting[name].append(call)
    else:
        waiting[name] = [call]
        spawn(_append_waiting(name, waiting))
    return answer


async def _append_waiting(name: str, waiting: dict[str, list[Waiting]]) -> None:
    try:
        while calls := waiting[name]:
            waiting[name] = []
            await _append_all(name, calls)
    finally:
        # After an error, too: later calls would wait for work that nobody does.
        del waiting[name]


async def _append_all(name: str, calls: list[Waiting]) -> None:
    groups = list(_together(await _let_in(calls)))
    outcomes = await asyncio.gather(
        *(_append_together(name, group) for group in groups), return_exceptions=True
    )
    try:
        await hand_over(name, [one for one in outcomes if isinstance(one, Appended)])
    except Exception:
        # It is in history, so it is published, and heard a little later.
        logger.exception("Publications that are in history could not be handed over")
    for group, outcome in zip(groups, outcomes, strict=True):
        _answer(group, outcome)


async def _let_in(calls: Iterable[Waiting]) -> list[Waiting]:
    """Those that may publish, with their limits; the others are told why not."""
    found = []
    of_name: tuple[Limits, int] | None = None
    for call in calls:
        try:
            if isinstance(call.stream, Stream):
                rules = await _rules(call.stream)
            else:
                # All of them gave the same name: it is looked for once.
                rules = of_name = of_name or await _rules(call.stream)
            call.limits, most = rules
            if not call.any_size:
                check_size(call.drafts, most)
        except Exception as error:
            if not call.answer.done():
                call.answer.set_exception(error)
        else:
            found.append(call)
    return found


def check_size(drafts: Iterable[Draft], most: int) -> None:
    """TooLarge: one of them has more than `most` bytes."""
    largest = max(len(draft.payload) for draft in drafts)
    if largest > most:
        raise TooLarge(f"{largest} bytes are more than the {most} allowed")


def _together(calls: Iterable[Waiting]) -> Iterator[list[Waiting]]:
    """Calls that can be one append: those without a run or a key, up to some size."""
    group: list[Waiting] = []
    size = 0
    for call in calls:
        alone = bool(call.run or call.key)
        if group and (alone or size > MESSAGE_BYTES or group[-1].run or group[-1].key):
            yield group
            group, size = [], 0
        group.append(call)
        size += sum(len(draft.payload) for draft in call.drafts)
    if group:
        yield group


async def _append_together(name: str, group: list[Waiting]) -> Appended:
    last = group[-1]
    drafts = [draft for call in group for draft in call.drafts]
    started = time.perf_counter()
    appended = await get_backend().append(name, drafts, last.limits, last.run, last.key)
    metrics.note_append(appended.publications, time.perf_counter() - started)
    return appended


def _answer(group: list[Waiting], outcome: Appended | BaseException) -> None:
    """Tell each call what became of its part."""
    if isinstance(outcome, Appended):
        # All of them are new, unless the one call of the group is a repeat.
        end = 0
        first = outcome.offset - len(outcome.publications)
        for call in group:
            start, end = end, end + len(call.drafts)
            own = outcome.publications[start:end]
            offset = first + end if len(group) > 1 else outcome.offset
            if not call.answer.done():
                call.answer.set_result(outcome._replace(offset=offset, publications=own))
    else:
        for call in group:
            if not call.answer.done():
                call.answer.set_exception(outcome)


async def hand_over(name: str, appended: Iterable[Appended]) -> None:
    """Give what is in history to the channel layer, in order."""
    for epoch, of_epoch in groupby(appended, key=lambda one: one.epoch):
        for message in _messages(new for one in of_epoch for new in one.publications):
            await _send(name, type=PUBLICATIONS, epoch=epoch, publications=pack(message))


def check_name(stream: str | Stream) -> str:
    """The name of a stream. BadRequest: none can have it."""
    if isinstance(stream, Stream):
        return stream.slug
    if not isinstance(stream, str) or not 0 < len(stream) <= MAX_NAME:
        raise BadRequest(f"the name of a stream has 1 to {MAX_NAME} characters")
    if is_room(stream):
        raise BadRequest("a name that begins with room: is no stream's")
    encode_text(stream)
    return stream


async def _rules(stream: str | Stream) -> tuple[Limits, int]:
    """Limits of history and largest payload. A name without a row has the default ones."""
    await learn()
    row = stream if isinstance(stream, Stream) else await find_stream(stream)
    if row is None:
        limits = Limits(conf.HISTORY_COUNT, conf.HISTORY_BYTES, conf.HISTORY_AGE)
        return limits, conf.MAX_FRAME
    if row.closed_at:
        raise StreamClosed(f"the stream {row.slug!r} was closed")
    return row.limits, row.max_frame


def _messages(publications: Iterable[Publication]) -> Iterator[list[Publication]]:
    message: list[Publication] = []
    size = 0
    for publication in publications:
        # Between two appends another process may have had its own: a message has no holes.
        if message and (size >= MESSAGE_BYTES or publication.offset != message[-1].offset + 1):
            yield message
            message, size = [], 0
        message.append(publication)
        size += len(publication.payload)
    if message:
        yield message


async def announce_streamer(stream: str, streamer: str) -> None:
    """Tell every process that `streamer` feeds the stream now; "": nobody does."""
    await _send(stream, type=STREAMER, streamer=streamer)


async def announce_leaving(stream: str, streamer: str, left: bool) -> None:
    """Tell every process that `streamer`, which was replaced, is about to leave, or has left."""
    await _send(stream, type=LEAVING, streamer=streamer, left=left)


async def announce_waiting(stream: str, streamer: str) -> None:
    """Ask in every process for streamers that `streamer` waits for: they announce themselves."""
    await _send(stream, type=WAITING, streamer=streamer)


def tell_everybody(**message: Any) -> None:
    """Tell something to all processes that have sockets, from sync code: soon, or not at all.

    Use it only for news that they would find out by themselves, later: a layer may lose a message,
    and there is no way from outside a server without a shared layer, or among greenlets.
    """
    if is_serving() and _loop is not None and _loop.is_running():
        asyncio.run_coroutine_threadsafe(_send_to(everybody, message), _loop)
    elif get_backend().shared and not greenlets.are_here():
        async_to_sync(_send_to)(everybody, message)


async def atell_everybody(**message: Any) -> None:
    """`tell_everybody` for news that nobody would find out. Unavailable: no way leads from here."""
    if not (is_serving() or get_backend().shared):
        raise Unavailable("only the running server can be told this; or set REDIS_URL")
    await _send_to(everybody, message)


async def answer(channel: str, **message: Any) -> None:
    """Tell one process something, by the channel that it gave; soon, or not at all."""
    with suppress(Exception):
        await get_channel_layer(conf.CHANNEL_LAYER).send(channel, message)


async def _send(stream: str, **message: Any) -> None:
    await _send_to(partial(group_name, stream), {"stream": stream, **message})


async def _send_to(name: Callable[[], str], message: dict[str, Any]) -> None:
    global _layer_failed
    try:
        layer = get_channel_layer(conf.CHANNEL_LAYER)
        await learn()
        await layer.group_send(name(), message)
        _layer_failed = False
    except Exception as error:
        # It is in history, so it is published: who hears the stream finds it there, a little
        # later. To say it failed would have it published again.
        if not _layer_failed:
            logger.error("The channel layer takes nothing: %r", error)
        _layer_failed = True
