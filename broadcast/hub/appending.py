"""Appending to history: many calls in one round, each in its order, and on to the channel layer.

While an append of a stream is under way, calls for the same stream wait, and go together into the
next one: no stream is bound by the round trip to its history, and nothing is delayed for it. What
is in history is handed to the channel layer in the order of its offsets.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from .. import metrics
from ..backends import Appended, HistoryLimits, MediaRun, Run, get_backend
from ..conf import conf
from ..exceptions import BadRequest, TooLarge
from ..groups import is_room
from ..installation import learn
from ..logs import get_logger
from ..loops import PerLoop, Rounds
from ..models import Stream
from ..models.rows import find_stream
from ..publications import MAX_NAME, Draft, Publication, encode_text, pack
from . import bus, hearing

logger = get_logger(__name__)

#: Publications that go into one message of the layer: bytes, about.
MESSAGE_BYTES = 1024 * 1024


@dataclass(slots=True, eq=False)
class Append:
    """A call of `append` that waits for its round."""

    stream: str | Stream
    drafts: Sequence[Draft]
    run: Run | MediaRun | None
    key: str
    #: Whether its size was looked at already.
    any_size: bool
    answer: asyncio.Future[Appended]
    #: Those of the stream, when its turn has come.
    limits: HistoryLimits = field(init=False)


async def append(
    stream: str | Stream,
    drafts: Sequence[Draft],
    run: Run | MediaRun | None = None,
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
    run: Run | MediaRun | None = None,
    key: str = "",
    any_size: bool = True,
) -> asyncio.Future[Appended]:
    """Begin an `append`: calls for one stream keep their order.

    So a call has its place before anything is awaited, and the row of the stream is looked for
    afterwards. BadRequest: no stream can have that name.
    """
    name = check_name(stream)
    answer: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()
    get_rounds().add(name, Append(stream, drafts, run, key, any_size, answer))
    return answer


async def _append_all(name: str, calls: list[Append]) -> None:
    groups = list(_together(await _let_in(calls)))
    outcomes = await asyncio.gather(
        *(_append_together(name, group) for group in groups), return_exceptions=True
    )
    appended = [one for one in outcomes if isinstance(one, Appended)]
    for one in appended:
        hearing.tell(name, one.epoch, one.publications)
    try:
        await hand_over(name, appended)
    except Exception:
        # It is in history, so it is published, and heard a little later.
        logger.exception("Publications that are in history could not be handed over")
    for group, outcome in zip(groups, outcomes, strict=True):
        _answer(group, outcome)


#: The appends of the running event loop, by stream.
get_rounds: PerLoop[Rounds[str, Append]] = PerLoop(lambda: Rounds(_append_all))


async def _let_in(calls: Iterable[Append]) -> list[Append]:
    """Those that may publish, with their limits; the others are told why not."""
    found = []
    of_name: tuple[HistoryLimits, int] | None = None
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


def _together(calls: Iterable[Append]) -> Iterator[list[Append]]:
    """Calls that can be one append: those without a run or a key, up to some size."""
    group: list[Append] = []
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


async def _append_together(name: str, group: list[Append]) -> Appended:
    last = group[-1]
    drafts = [draft for call in group for draft in call.drafts]
    started = time.perf_counter()
    appended = await get_backend().append(name, drafts, last.limits, last.run, last.key)
    metrics.note_append(appended.publications, time.perf_counter() - started)
    return appended


def _answer(group: list[Append], outcome: Appended | BaseException) -> None:
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
            await bus.tell_stream(bus.Published(name, epoch, pack(message)))


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


async def _rules(stream: str | Stream) -> tuple[HistoryLimits, int]:
    """HistoryLimits of history and largest payload. A name without a row has the default ones."""
    await learn()
    row = stream if isinstance(stream, Stream) else await find_stream(stream)
    if row is None:
        limits = HistoryLimits(conf.HISTORY_COUNT, conf.HISTORY_BYTES, conf.HISTORY_AGE)
        return limits, conf.MAX_FRAME
    row.check_open(names_it=True)
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
