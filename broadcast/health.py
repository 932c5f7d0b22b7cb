"""`/healthz`: whether this server lives, and whether it is ready.

`GET /healthz?live` answers 200 as long as the process does; it asks nobody. `GET /healthz` asks
the database, the channel layer and the backend, all at once, and answers 200 when all are there,
else 503; also while the server drains. Each has `SECONDS` to answer, and one that is frozen is
asked once: who comes meanwhile waits for the same answer. Where the engine is several servers one
that answers will do, since what happens to one happens to its streams alone: `partly`. Another
process that serves out of its own memory, too (`alone`), makes the backend `split`, and ready all
the same: nobody is better off without both. Whoever asks is told no more than that.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from threading import Thread
from typing import Any
from weakref import WeakKeyDictionary

from channels.layers import get_channel_layer
from django.db import connection
from django.http import HttpRequest, JsonResponse

from . import alone
from .api.answers import reading
from .backends import get_backend
from .conf import conf
from .exceptions import Unavailable
from .groups import group_name
from .installation import learn
from .models import Stream

logger = logging.getLogger(__name__)

#: Seconds that each part has to answer.
SECONDS = 2.0
#: What is said of a part.
OK, PARTLY, SILENT = "ok", "partly", "no answer"
#: And of a backend that is in this process' memory, while another process serves, too.
SPLIT = "split"
#: Names among which there is one for each server of an engine, most likely.
NAMES = tuple(f"healthz-{number}" for number in range(256))
#: Whether this server goes down, and whether it was ready when it was asked the last time.
_draining = False
_was_ready = True


def note_drain() -> None:
    """This server goes down: it is not ready any more."""
    global _draining
    _draining = True


@reading
async def healthz(request: HttpRequest) -> JsonResponse:
    if "live" in request.GET:
        return answer({"live": True}, 200)
    with suppress(Unavailable, TimeoutError):
        await asyncio.wait_for(learn(), SECONDS)
    names = one_name_each()
    states = await asyncio.gather(
        ask([""], _database), ask(names, _channel_layer), ask(names, _backend)
    )
    said = dict(zip(("database", "channel_layer", "backend"), states, strict=True))
    if alone.has_company():
        said["backend"] = SPLIT
    _log_change(said)
    ready = not _draining and SILENT not in states
    body = {"live": True, "ready": ready, "draining": _draining, **said}
    return answer(body, 200 if ready else 503)


def answer(body: dict[str, object], status: int) -> JsonResponse:
    return JsonResponse(body, status=status, headers={"Cache-Control": "no-store"})


def _log_change(said: dict[str, str]) -> None:
    """Say once in the log that something went away, and that all is back."""
    global _was_ready
    silent = [part for part, state in said.items() if state == SILENT]
    if silent and _was_ready:
        logger.warning("Not ready, there is no answer from: %s", ", ".join(silent))
    elif not silent and not _was_ready:
        logger.info("Ready again")
    _was_ready = not silent


# -- what it needs --------------------------------------------------------------------------

#: Asks for one server of a part, by a stream's name; an error says that it does not answer.
Question = Callable[[str], Awaitable[None]]


def one_name_each() -> list[str]:
    """A stream's name for each server of the engine."""
    place = get_backend().place
    try:
        return list({place(name): name for name in NAMES}.values())
    except Unavailable:
        # Without the prefix of this installation nothing has a name there.
        return [""]


async def _database(name: str) -> None:
    await in_thread(_ask_database)


def _ask_database() -> None:
    # A table of ours: SQLite makes an empty file where there is none.
    try:
        Stream.objects.exists()
    finally:
        connection.close()


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


async def _channel_layer(name: str) -> None:
    # To a group without members; and if there were one, it would not hear this stream.
    message = {"type": "broadcast.healthz", "stream": ""}
    await get_channel_layer(conf.CHANNEL_LAYER).group_send(group_name(name), message)


async def _backend(name: str) -> None:
    if name not in await get_backend().presence([name]):
        raise Unavailable("the backend does not answer")


#: Of each event loop: the questions that are under way.
_asking: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[Question, str], Any]]
_asking = WeakKeyDictionary()


async def ask(names: Iterable[str], question: Question) -> str:
    """How a part is: `OK`, `PARTLY` or `SILENT`, within `SECONDS`."""
    answered = await asyncio.gather(*(_answers(question, name) for name in names))
    return OK if all(answered) else PARTLY if any(answered) else SILENT


async def _answers(question: Question, name: str) -> bool:
    asking = _asking.setdefault(asyncio.get_running_loop(), {})
    key = question, name
    if key not in asking:
        asking[key] = asyncio.ensure_future(_has_answer(question(name)))
        asking[key].add_done_callback(lambda _: asking.pop(key))
    done, _ = await asyncio.wait({asking[key]}, timeout=SECONDS)
    return any(task.result() for task in done)


async def _has_answer(question: Awaitable[None]) -> bool:
    try:
        await question
    except Exception:
        # What it says may hold an address, or a password.
        return False
    return True
