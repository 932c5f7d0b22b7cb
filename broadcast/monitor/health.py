"""`/healthz`: whether this server lives, and whether it is ready.

`GET /healthz?live` answers 200 as long as the process does; it asks nobody. `GET /healthz` asks the
database, the channel layer and the backend, all at once, and answers 200 when all are there, else
503; also while the server drains. Each has `SECONDS` to answer, and one that is frozen is asked
once: later requests wait for the same answer. If the engine is several servers, one that answers is
enough (`partly`), since the fault of one concerns its streams alone. Another process that serves
out of its own memory, too (`access.sole_process`), makes the backend `split`, and ready all the
same: nobody is better off without both. `reasons` name known faults, and known risks of one.
Everybody may ask, so they are words of ours: no address, no secret, no text of another server.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from threading import Thread
from typing import Any, NamedTuple

from django.db import connections
from django.http import HttpRequest, JsonResponse

from .. import lifespan
from ..access import sole_process
from ..backends import get_backend
from ..backends.redis_errors import RedisError
from ..backends.redis_faults import SILENT as REDIS_IS_SILENT
from ..backends.redis_faults import fault_of
from ..exceptions import Unavailable
from ..groups import group_name
from ..http.answers import reading
from ..hub.bus import HEALTHZ
from ..hub.layer import get_layer
from ..installation import learn
from ..logs import get_logger
from ..loops import PerLoop
from ..models import Stream

logger = get_logger(__name__)

#: Seconds that each part has to answer.
SECONDS = 2.0
#: The states of a part.
OK, PARTLY, SILENT = "ok", "partly", "no answer"
#: A backend is split when it is in this process' memory while another process serves, too.
SPLIT = "split"
PARTS = ("database", "channel_layer", "backend")
#: Names among which there is one for each server of an engine, most likely.
NAMES = tuple(f"healthz-{number}" for number in range(256))
#: Whether this server was ready when it was asked the last time.
_was_ready = True


@reading
async def healthz(request: HttpRequest) -> JsonResponse:
    if "live" in request.GET:
        return answer({"live": True}, 200)
    with suppress(Unavailable, TimeoutError):
        await asyncio.wait_for(learn(), SECONDS)
    names = one_name_each()
    parts = await asyncio.gather(
        ask([""], _database), ask(names, _channel_layer), ask(names, _backend)
    )
    said = {name: state for name, (state, _) in zip(PARTS, parts, strict=True)}
    if sole_process.has_company():
        said["backend"] = SPLIT
    reasons = sorted(set().union(*(told for _, told in parts)))
    _log_change(said, reasons)
    draining = lifespan.draining.has_come
    ready = not draining and SILENT not in said.values()
    body = {"live": True, "ready": ready, "draining": draining, **said}
    return answer(body | ({"reasons": reasons} if reasons else {}), 200 if ready else 503)


#: A server that has all the connections, or all the views at work, that it may have is healthy.
healthz.is_always_answered = True  # type: ignore[attr-defined]


def answer(body: dict[str, object], status: int) -> JsonResponse:
    return JsonResponse(body, status=status)


def _log_change(said: dict[str, str], reasons: list[str]) -> None:
    """Say once in the log that something went away, and that all is back."""
    global _was_ready
    silent = [part for part, state in said.items() if state == SILENT]
    if silent and _was_ready:
        why = f" ({'; '.join(reasons)})" if reasons else ""
        logger.warning("Not ready, there is no answer from: %s%s", ", ".join(silent), why)
    elif not silent and not _was_ready:
        logger.info("Ready again")
    _was_ready = not silent


# -- what it needs --------------------------------------------------------------------------

#: Asks for one server of a part, by a stream's name. Answers what may go wrong there, or "". An
#: error says that it does not answer; the text of `Unavailable` says why.
Question = Callable[[str], Awaitable[str]]


def one_name_each() -> list[str]:
    """A stream's name for each server of the engine."""
    place = get_backend().place
    try:
        return list({place(name): name for name in NAMES}.values())
    except Unavailable:
        # Without the prefix of this installation nothing has a name there.
        return [""]


async def _database(name: str) -> str:
    await in_thread(_ask_database)
    return ""


def _ask_database() -> None:
    # A table of ours: SQLite makes an empty file where there is none.
    try:
        Stream.objects.exists()
    finally:
        # Whichever database the table is in.
        connections.close_all()


def in_thread(work: Callable[[], object]) -> asyncio.Future[None]:
    """Do `work` in a thread that nobody waits for: neither the next request, nor the exit."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(error: Exception | None) -> None:
        if error:
            done.set_exception(error)
        else:
            done.set_result(None)

    def run() -> None:
        failure = None
        try:
            work()
        except Exception as error:
            failure = error
        with suppress(RuntimeError):  # The loop is closed.
            loop.call_soon_threadsafe(settle, failure)

    Thread(target=run, daemon=True).start()
    return done


async def _channel_layer(name: str) -> str:
    # To a group without members; and if there were one, it would not hear this stream.
    message = {"type": HEALTHZ, "stream": ""}
    try:
        await get_layer().group_send(group_name(name), message)
    except RedisError as error:
        raise Unavailable(fault_of(error).words) from error
    return ""


async def _backend(name: str) -> str:
    return await get_backend().probe(name)


#: The questions of the running event loop that are under way.
_get_asking: PerLoop[dict[tuple[Question, str], Any]] = PerLoop(dict)


async def ask(names: Iterable[str], question: Question) -> tuple[str, set[str]]:
    """How a part is (`OK`, `PARTLY` or `SILENT`), and the known reasons, within `SECONDS`."""
    answers = await asyncio.gather(*(_answer_of(question, name) for name in names))
    answered = [answer.there for answer in answers]
    state = OK if all(answered) else PARTLY if any(answered) else SILENT
    return state, {answer.said for answer in answers if answer.said}


class Answer(NamedTuple):
    there: bool
    said: str


async def _answer_of(question: Question, name: str) -> Answer:
    asking = _get_asking()
    key = question, name
    if key not in asking:
        asking[key] = asyncio.ensure_future(_put(question(name)))
        asking[key].add_done_callback(lambda _: asking.pop(key))
    done, _ = await asyncio.wait({asking[key]}, timeout=SECONDS)
    return next((task.result() for task in done), Answer(False, ""))


async def _put(question: Awaitable[str]) -> Answer:
    try:
        return Answer(True, await question)
    except Unavailable as error:
        return Answer(False, "" if str(error) == REDIS_IS_SILENT.words else str(error))
    except Exception:
        # The text of the error may hold an address, or a password.
        return Answer(False, "")
