"""Where a listener begins on a stream: what it asks for, and what history can give."""

import math
import re
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from ..backends import StreamState, get_backend
from ..conf import conf
from ..exceptions import BadRequest
from ..media import content_type
from ..models import Stream
from ..publications import Publication
from ..wire.frames import Message, event
from .topics import Topic


class Wish(NamedTuple):
    """The query of a listener; an empty `epoch`: it does not resume."""

    history: int
    epoch: str
    since: int

    @classmethod
    def of(cls, query: dict[str, str]) -> "Wish":
        """BadRequest: a number that is none, or `epoch` and `since` not together."""
        if ("epoch" in query) != ("since" in query):
            raise BadRequest("epoch and since go together")
        since = number(query, "since") if "since" in query else 0
        history = number(query, "history") if "history" in query else 0
        return cls(min(history, conf.HISTORY_REPLAY), query.get("epoch", ""), since)


def query_of(scope: dict[str, Any]) -> dict[str, str]:
    """The query of the path. BadRequest: it says something twice, or is no query."""
    try:
        text = scope["query_string"].decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=20, errors="strict")
    except ValueError:
        raise BadRequest("the query makes no sense") from None
    if len(dict(pairs)) < len(pairs):
        raise BadRequest("the query says something twice")
    return dict(pairs)


def number(query: dict[str, str], name: str) -> int:
    if not re.fullmatch("[0-9]{1,20}", query[name]):
        raise BadRequest(f"{name} is a number of publications, 0 or more")
    return int(query[name])


class Start(NamedTuple):
    """Where a listener begins: after offset `cursor`, with the header `opening` before it.

    `waits`: at the first publication from there on that a newcomer can begin with.
    """

    cursor: int
    opening: Publication | None
    recovered: bool
    waits: bool = False


def outcome(wish: Wish, start: Start) -> str:
    """The way in which a listener came, in one word: see `metrics.joins`."""
    if not wish.epoch:
        return "new"
    return "recovered" if start.recovered else "unrecovered"


async def begin(topic: Topic, stream: Stream, wish: Wish) -> tuple[Start, Message]:
    """Where a newcomer to the topic begins, and the event `joined` that says so.

    It holds until something else is awaited.
    """
    state = await _state_of(topic)
    start = find_start(wish, state, stream.kind == Stream.Kind.MEDIA)
    joined = event(
        "joined",
        stream=stream.slug,
        epoch=state.epoch,
        offset=start.cursor,
        live=topic.live,
        recovered=start.recovered,
        content_type=content_type_of(stream, state) or None,
    )
    return start, joined


async def begin_at(topic: Topic, wish: Wish, seen: float) -> Start:
    """`begin` without a word. In another epoch, with all that was published after `seen`."""
    state = await _state_of(topic)
    if wish.epoch not in ("", state.epoch):
        since = await _newest_of(topic.name, state, seen)
        wish, state = Wish(0, state.epoch, since), await _state_of(topic)
    return find_start(wish, state)


async def _newest_of(stream: str, state: StreamState, moment: float) -> int:
    """The newest offset in history that was published up to `moment`: seconds since 1970."""
    if math.isinf(moment):
        return state.offset
    low, high = state.first - 1, state.offset
    while low < high:
        middle = (low + high) // 2
        _, found = await get_backend().read(stream, middle, 1, 1)
        if found and found[0].time <= moment:
            low = found[0].offset
        else:
            high = middle
    return low


async def _state_of(topic: Topic) -> StreamState:
    state = await get_backend().state(topic.name)
    if state.epoch != topic.epoch:
        topic.restart(state.epoch, state.offset)
    return state


def content_type_of(stream: Stream, state: StreamState) -> str:
    """The content type that is told: that of the row, else, of a media stream, that of its header.

    "": nothing is known.
    """
    if stream.content_type or stream.kind != Stream.Kind.MEDIA or not state.header:
        return stream.content_type
    return content_type(state.header.payload)


def find_start(wish: Wish, state: StreamState, is_media: bool = False) -> Start:
    """Where a listener begins on a stream that stands at `state`.

    It resumes where it can have all that it missed. Else it is a newcomer: with the last
    `history` publications if it asked for them, at the newest entry point if there is one, or
    live. A newcomer never begins before the header, which is the first thing it gets.

    Where `is_media`, never between two entry points either: the rest of a segment shows nothing.
    Where history has let go of the newest one, the next one is waited for. (History could keep it
    until then, but within some limit only; beyond that, this would be needed all the same.) A
    recording that has had none may never have one, and is heard live.
    """
    oldest = state.first - 1
    if wish.epoch == state.epoch and wish.since in range(oldest, state.offset + 1):
        return Start(wish.since, None, True)
    header = state.header
    header_offset = header.offset if header else 0
    cursor = newest = state.open_entry - 1 if state.open_entry else state.offset
    if wish.history:
        cursor = max(state.offset - wish.history, oldest, header_offset - 1)
        # A listener that asks for more history must not get less than one that does not.
        cursor = min(cursor, newest) if is_media else cursor
    opening = header if header_offset <= cursor else None
    return Start(cursor, opening, False, is_media and state.has_entries)
