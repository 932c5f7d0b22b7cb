"""Messages between processes over the channel layer: every kind of them, in one place.

A message about a stream goes to the stream's group, and is heard by the processes that have the
stream's topic. Any other message goes to the group of all processes that have sockets, or, as an
answer, to the channel of the process that asked. Nothing else calls `group_send` or `send`, but for
probes of the layer itself (`monitor.health`, `monitor.faults`).

On the layer a message is a dict of its fields and of `type`. Both are kept for the version before
and the next one, which may share the layer during an upgrade: a field may be added with a default,
none may be renamed, and what a process does not know it leaves out.

A layer may lose, double and reorder messages. So what must not be lost is in history, in the
backend or in a row as well, and a message only says that it is time to look.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from asgiref.sync import async_to_sync

from ..backends import get_backend, is_here, is_serving
from ..exceptions import Unavailable
from ..groups import everybody, group_name
from ..installation import learn
from ..logs import get_logger
from . import greenlets, serving
from .layer import get_layer

logger = get_logger(__name__)


class Published(NamedTuple):
    """These were put into history: the relay of each process hands them to its topic."""

    stream: str
    epoch: str
    #: See `publications.pack`.
    publications: bytes


class StreamerCame(NamedTuple):
    """`streamer`, by its id, feeds the stream now; "": nobody does."""

    stream: str
    streamer: str


class StreamerLeaves(NamedTuple):
    """`streamer`, which was replaced, is about to leave, or `left`: see `ingest.turns`."""

    stream: str
    streamer: str
    left: bool


class StreamerWaits(NamedTuple):
    """`streamer` waits for those before it: each that is replaced answers with `StreamerLeaves`."""

    stream: str
    streamer: str


class AccessChanged(NamedTuple):
    """Who may be at `stream` changed ("": at any), or the session of the mark `session` ended."""

    stream: str
    session: str


class WhoIsThere(NamedTuple):
    """Processes with sockets at the stream answer to `channel` with `TheseAreThere`."""

    stream: str
    question: str
    channel: str


class TheseAreThere(NamedTuple):
    """The answer of one process: see `access.connections.who_is_at`."""

    question: str
    connections: list[dict[str, Any]]


class Remove(NamedTuple):
    """A person removed this connection: the process that has it closes it."""

    stream: str
    connection: str


class PageChanged(NamedTuple):
    """The subscriptions of the page changed; it leaves the channels in `leave` at once."""

    digest: str
    leave: list[str]


class SessionEnded(NamedTuple):
    """The session of this mark ended, and with it its pages."""

    session: str


Message = (
    Published
    | StreamerCame
    | StreamerLeaves
    | StreamerWaits
    | AccessChanged
    | WhoIsThere
    | TheseAreThere
    | Remove
    | PageChanged
    | SessionEnded
)

#: The kinds of messages by the name that they have on the layer.
KINDS: dict[str, Any] = {
    "broadcast.publications": Published,
    "broadcast.streamer": StreamerCame,
    "broadcast.leaving": StreamerLeaves,
    "broadcast.waiting": StreamerWaits,
    "broadcast.change": AccessChanged,
    "broadcast.who": WhoIsThere,
    "broadcast.here": TheseAreThere,
    "broadcast.remove": Remove,
    "broadcast.page": PageChanged,
    "broadcast.session": SessionEnded,
}
NAMES: dict[Any, str] = {kind: name for name, kind in KINDS.items()}

#: Probes that nobody handles, from `/healthz` and `manage.py check`.
HEALTHZ, REHEARSAL = "broadcast.healthz", "broadcast.rehearsal"

#: Whether the channel layer took nothing, the last time: it is told once.
_layer_failed = False


def read(said: dict[str, Any]) -> Message | None:
    """The message that came from the layer; None: one that this version does not know."""
    kind = KINDS.get(said["type"])
    if kind is None:
        return None
    message: Message = kind(**{field: said[field] for field in kind._fields if field in said})
    return message


async def tell_stream(
    message: Published | StreamerCame | StreamerLeaves | StreamerWaits,
) -> None:
    """Tell the processes that have the stream's topic: soon, or not at all."""
    await _send(partial(group_name, message.stream), message)


def tell_everybody(message: Message) -> None:
    """Tell all processes that have sockets, from sync code: soon, or not at all.

    Use it only for news that they would find out by themselves, later: a layer may lose a message,
    and there is no way from outside a server without a shared layer, or among greenlets.
    """
    loop = serving.get_loop()
    if is_serving() and loop is not None and loop.is_running():
        asyncio.run_coroutine_threadsafe(_send(everybody, message), loop)
    elif get_backend().shared and not greenlets.are_here():
        async_to_sync(_send)(everybody, message)


async def atell_everybody(message: Message) -> None:
    """`tell_everybody` for news that nobody would find out. Unavailable: no way leads from here."""
    if not is_here():
        raise Unavailable("only the running server can be told this; or set BROADCAST_REDIS_URL")
    await _send(everybody, message)


async def answer(channel: str, message: TheseAreThere) -> None:
    """Tell one process something, by the channel that it gave; soon, or not at all."""
    with suppress(Exception):
        await get_layer().send(channel, written(message))


def written(message: Message) -> dict[str, Any]:
    """The message as it goes to the layer."""
    return {"type": NAMES[type(message)], **message._asdict()}


async def _send(name: Callable[[], str], message: Message) -> None:
    global _layer_failed
    try:
        layer = get_layer()
        await learn()
        await layer.group_send(name(), written(message))
        _layer_failed = False
    except Exception as error:
        # Publications are in history: listeners find them there, a little later. An error for the
        # caller would have it publish them again.
        if not _layer_failed:
            logger.error("The channel layer takes no messages: %r", error)
        _layer_failed = True
