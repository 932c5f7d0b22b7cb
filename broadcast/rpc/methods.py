"""MessagePack-RPC without a socket: bytes in, calls out, and what can be called.

Bare MessagePack objects one after another. A request `[0, msgid, method, params]` is answered
`[1, msgid, error or nil, result]`, in any order; a notification `[2, method, params]` never
(github.com/msgpack-rpc/msgpack-rpc/blob/master/spec.md). `decoder` turns bytes into calls,
`METHODS` says what can be called, `answer` carries a call out. `server.server` has the connections.
"""

import asyncio
import json
import os
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from inspect import Parameter, signature
from typing import Any, NamedTuple

import msgpack

from .. import metrics
from ..backends import get_backend
from ..conf import conf
from ..exceptions import BadRequest, BroadcastError, Forbidden
from ..hub.appending import check_name, enqueue
from ..hub.publishing import apublish_draft
from ..hub.relay import all_topics
from ..ingest.programs import Feeds
from ..installation import get_prefix, learn
from ..logs import get_logger
from ..models import EVERYONE, Stream, database
from ..publications import MARKS, MAX_NAME, Draft, Kind, Publication, decode_json
from .decoder import Call, decoded

logger = get_logger(__name__)

#: The first item of an answer.
RESPONSE = 1


def encode_answer(msgid: int, error: str | None, result: Any) -> bytes:
    """An answer as bytes. What MessagePack cannot carry is answered as an error."""
    try:
        # An error may repeat a part of the call that is not UTF-8.
        packed: bytes = msgpack.packb(
            [RESPONSE, msgid, error, result], unicode_errors="replace" if error else "strict"
        )
    except (OverflowError, TypeError, ValueError) as fault:
        error = f"BroadcastError: MessagePack cannot carry the result: {fault}"
        packed = msgpack.packb([RESPONSE, msgid, error, None])
    return packed


# -- what can be called ---------------------------------------------------------------------

#: Most channels of one `push`.
MAX_CHANNELS = 1000


@dataclass
class Figures:
    """Counters of the process since its start."""

    started: float = field(default_factory=time.monotonic)
    connections: int = 0
    calls: int = 0
    errors: int = 0


figures = Figures()


async def publish(
    stream: Any, payload: Any, options: Any = None, *, feeds: Feeds
) -> dict[str, Any]:
    """str → text, bin → binary, else JSON; options `header`, `entry`, `reset`, `json` (the payload
    is JSON as text), `idempotency_key`."""
    if not isinstance(options, dict | None):
        raise BadRequest("options are a map")
    given = {_text(key): value for key, value in (options or {}).items()}
    unknown = set(given) - {*MARKS, "json", "idempotency_key"}
    if unknown:
        raise BadRequest(f"unknown options: {', '.join(sorted(unknown))}")
    marks = sum(mark for name, mark in MARKS.items() if given.get(name))
    key = _text(given.get("idempotency_key", ""))
    draft = Draft.of(_decode(payload), marks) if given.get("json") else _draft(payload, marks)
    program = await feeds.program(_text(stream))
    if program and not key:
        position = await program.append([draft])
    else:
        position = await apublish_draft(_text(stream), draft, key)
    return {"epoch": position.epoch, "offset": position.offset}


async def feed(stream: Any, *, feeds: Feeds) -> None:
    """The connection is the stream's streamer, as long as it lasts."""
    await feeds.begin(check_name(_text(stream)))


async def push_data(data: Any) -> None:
    """To every page, and to the listeners of the stream `everyone`."""
    await apublish_draft(EVERYONE, _draft(data))


async def push(channels: Any, message: Any) -> int:
    """To one channel, or to each of a list once; answers to how many."""
    names = dict.fromkeys(map(_text, channels if isinstance(channels, list) else [channels]))
    if len(names) > MAX_CHANNELS:
        raise BadRequest(f"at most {MAX_CHANNELS} channels at a time")
    for name in names:
        if "*" in name:
            raise BadRequest("patterns are not taken: name each channel")
        check_name(name)
    drafts = [_draft(message)]
    # Each has its place at once: what the same client says next comes after it.
    pushes = [enqueue(name, drafts, any_size=False) for name in names]
    for outcome in await asyncio.gather(*pushes, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
    return len(names)


async def history(stream: Any, since: Any = 0, limit: Any = None) -> dict[str, Any]:
    """The publications after offset `since` that are still there, in order.

    At most `limit` of them, and about `SLICE_BYTES`; those that follow are asked for with the last
    offset. `offset` is that of the stream; `complete`: none is missing between `since` and them.
    """
    name = check_name(_text(stream))
    most = conf.HISTORY_REPLAY
    count = min(_number(limit, "limit"), most) if limit is not None else most
    since = _number(since, "since")
    backend = get_backend()
    epoch, found = await backend.read(name, since, count, conf.SLICE_BYTES)
    while (state := await backend.state(name)).epoch != epoch:
        epoch, found = await backend.read(name, since, count, conf.SLICE_BYTES)
    first = found[0].offset if found else state.first
    return {
        "epoch": epoch,
        "offset": state.offset,
        "complete": first <= since + 1 <= state.offset + 1,
        "publications": list(map(_describe, found)),
    }


def _describe(publication: Publication) -> dict[str, Any]:
    return {
        "offset": publication.offset,
        "kind": Kind(publication.kind).name.lower(),
        "data": _as_messagepack(publication),
        "time": publication.time,
    }


def _as_messagepack(publication: Publication) -> Any:
    """The value published; MessagePack has no whole numbers beyond 64 bits: they are floats."""
    if publication.kind != Kind.JSON:
        return publication.data
    return json.loads(publication.payload, parse_int=_number_of)


def _number_of(digits: str) -> int | float:
    number = int(digits)
    return number if -(2**63) <= number < 2**64 else float(digits)


async def positions(streams: Any) -> dict[str, dict[str, Any]]:
    """Where streams stand, and who is there, by their names, whether they have a row or not.

    Streams whose part of the engine does not answer are left out.
    """
    if not isinstance(streams, list) or len(streams) > MAX_CHANNELS:
        raise BadRequest(f"streams are a list of at most {MAX_CHANNELS} names")
    names = [check_name(_text(name)) for name in streams]
    backend = get_backend()
    presences, found = await asyncio.gather(backend.presence(names), backend.positions(names))
    return {
        name: {
            "epoch": epoch,
            "offset": offset,
            "streamer": presences[name].streamer,
            "listeners": presences[name].listeners,
        }
        for name, (epoch, offset) in found.items()
        if name in presences
    }


async def streams() -> list[dict[str, Any]]:
    """The streams that have a row and were not closed, and where they stand."""
    rows = {row.slug: row async for row in Stream.objects.filter(closed_at=None)}
    backend = get_backend()
    presences, positions = await asyncio.gather(backend.presence(rows), backend.positions(rows))
    return [
        {
            "slug": slug,
            "title": row.title,
            "kind": row.kind,
            "live": presences[slug].live,
            "listeners": presences[slug].listeners,
            "epoch": positions[slug][0],
            "offset": positions[slug][1],
        }
        for slug, row in rows.items()
        # Left out: those whose part of the engine does not answer.
        if slug in presences and slug in positions
    ]


async def stats() -> dict[str, Any]:
    """Counters of the process that answers, and its clients."""
    topics = all_topics()
    return {
        "pid": os.getpid(),
        "uptime": time.monotonic() - figures.started,
        "connections": figures.connections,
        "calls": figures.calls,
        "errors": figures.errors,
        "streams": len(list(topics)),
        "listeners": sum(topic.audience for topic in topics),
    }


async def ping() -> str:
    return "pong"


async def installation() -> str:
    """The prefix of this installation. It may be asked for before `authenticate`."""
    await learn()
    return get_prefix()


async def authenticate(secret: Any) -> None:
    """The first call on a connection, where `RPC_SECRET` is set; elsewhere it says nothing."""
    given, wanted = (
        value.encode("utf-8", "surrogateescape") for value in (_text(secret), conf.RPC_SECRET)
    )
    if wanted and not secrets.compare_digest(given, wanted):
        raise Forbidden("that is not the secret")


class Method(NamedTuple):
    function: Callable[..., Awaitable[Any]]
    #: How many parameters it takes, and whether it has to do with what the connection feeds.
    least: int
    most: int
    has_feeds: bool


def _method(function: Callable[..., Awaitable[Any]]) -> Method:
    parameters = signature(function).parameters
    given = [one for one in parameters.values() if one.kind != Parameter.KEYWORD_ONLY]
    least = sum(parameter.default is Parameter.empty for parameter in given)
    return Method(function, least, len(given), "feeds" in parameters)


METHODS = {
    function.__name__: _method(function)
    for function in (
        *(publish, feed, push, push_data, history, positions, streams, stats, ping),
        *(installation, authenticate),
    )
}

#: How many plain calls take as long as one of these; `BY_NAMES`: it goes by the names in a list.
WEIGHTS = {"history": 32, "streams": 32}
BY_NAMES = frozenset(("push", "positions"))


def weigh(call: Call) -> int:
    """How many plain calls take as long, about, its size aside."""
    if call.method in BY_NAMES and call.params and isinstance(call.params[0], list):
        return 1 + len(call.params[0])
    return WEIGHTS.get(call.method, 1)


def _text(value: Any) -> str:
    if not isinstance(value, str | bytes):
        raise BadRequest("a name is a string")
    return decoded(value)


def _number(value: Any, name: str) -> int:
    if type(value) is not int or value < 0:
        raise BadRequest(f"{name} is a number of publications, 0 or more")
    return min(value, 2**63 - 1)


def _decode(payload: Any) -> Any:
    if not isinstance(payload, str | bytes):
        raise BadRequest("with the option json, a payload is text")
    return decode_json(payload)


def _draft(payload: Any, marks: int = 0) -> Draft:
    if isinstance(payload, str):
        try:
            return Draft.of(payload, marks)
        except BadRequest:
            # A `str` that is not UTF-8 was bytes of the old *raw* type.
            return Draft.of(payload.encode("utf-8", "surrogateescape"), marks)
    try:
        return Draft.of(payload, marks)
    except BadRequest:
        return Draft.of(_without_bin(payload), marks)


def _without_bin(value: Any) -> Any:
    """JSON knows no bytes: in it, `bin` is text of a client that knows no `str`, as Perl's is."""
    try:
        if isinstance(value, bytes):
            return value.decode()
        if isinstance(value, list):
            return [_without_bin(item) for item in value]
        if isinstance(value, dict):
            return {_without_bin(key): _without_bin(item) for key, item in value.items()}
    except UnicodeDecodeError:
        raise BadRequest("not JSON: bytes are a publication of their own") from None
    except RecursionError:
        raise BadRequest("not JSON: nested too deeply") from None
    return value


async def answer(call: Call, feeds: Feeds) -> tuple[str | None, Any]:
    """Carry out a call: its error (None: there was none), and its result."""
    figures.calls += 1
    error, result = (call.error, None) if call.error else await _carry_out(call, feeds)
    figures.errors += error is not None
    return error, result


async def _carry_out(call: Call, feeds: Feeds) -> tuple[str | None, Any]:
    method = METHODS.get(call.method)
    if method is None:
        return f"method `{call.method[:MAX_NAME]}' is not accepted", None
    if not method.least <= len(call.params) <= method.most:
        takes = " to ".join(map(str, dict.fromkeys((method.least, method.most))))
        return f"wrong parameters for `{call.method}': it takes {takes}", None
    try:
        more = {"feeds": feeds} if method.has_feeds else {}
        with database.expected():
            return None, await method.function(*call.params, **more)
    except BroadcastError as error:
        metrics.note_refusal("rpc", type(error))
        return f"{type(error).__name__}: {error}", None
    except Exception:
        logger.exception("The call of %r failed", call.method)
        return "internal error", None
