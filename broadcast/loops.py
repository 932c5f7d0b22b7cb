"""Work in the background that goes on for as long as its event loop.

Every loop of this process runs through `rounds`, and no error ends one. The first of several failed
rounds is logged, with its traceback, and so is the next round that succeeds. The metric
`broadcast_failed_rounds_total` counts each failed round by the loop's name. The next round comes
after a pause that grows to `MOST_SECONDS`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import copy_context
from typing import Any

from asgiref.sync import SyncToAsync

from . import metrics
from .logs import get_logger

logger = get_logger(__name__)

#: Seconds between a round that failed and the next one: at first, and at most.
FIRST_SECONDS, MOST_SECONDS = 0.5, 5.0

#: The names of all loops, as metrics have them, and the log's words for a failure of each.
LOOPS = {
    "access": "Who may still be at the streams is not known",
    "alone": "Whether another process serves, too, is not known",
    "channel_layer": "The channel layer brings nothing",
    "drain": "Sockets could not be closed for the end of this server",
    "messages": "A message of the channel layer could not be handled",
    "housekeeping": "What has expired could not be dropped",
    "pages": "What pages hear is not known",
    "redis": "Whether Redis is back is not known",
    "relay": "What the channel layer lost could not be looked for",
    "room_hours": "What happened in rooms could not be written",
    "rooms": "Who is in rooms could not be told",
    "workers": "Workers could not be replaced",
}

#: Tasks that nobody else keeps.
_tasks: set[asyncio.Task[Any]] = set()


def spawn(coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Run it in a task of its own. Its errors concern nobody else.

    It does not use the thread of the current request: work that all need must not wait for the turn
    of the request that needs it first (`http.threads`).
    """
    context = copy_context()
    context.run(SyncToAsync.thread_sensitive_context.set, None)  # type: ignore[arg-type]
    task = asyncio.get_event_loop().create_task(coroutine, context=context)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
    return task


class Failures:
    """The failures of one loop in a row: logs them, and knows how long to pause."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.number = 0

    def note(self, error: Exception, is_known: bool = False) -> float:
        """A round failed; answers how many seconds to wait. `is_known`: others log that."""
        metrics.failed_rounds.labels(self.name).inc()
        if not self.number and not is_known:
            logger.error("%s; trying again", LOOPS[self.name], exc_info=error)
        self.number += not is_known
        return float(min(FIRST_SECONDS * 2 ** min(max(self.number - 1, 0), 10), MOST_SECONDS))

    def end(self) -> None:
        """A round succeeded."""
        if self.number:
            logger.warning("%s: that is over, after %d failures", LOOPS[self.name], self.number)
        self.number = 0


async def rounds(
    name: str,
    work: Callable[[], Awaitable[object]],
    known: type[Exception] | tuple[type[Exception], ...] = (),
    until: Callable[[], bool] = lambda: False,
) -> None:
    """Do `work` again and again, as long as not `until`; it waits by itself for its next round.

    Errors of the `known` types are not logged here: the code that raised them has logged them.
    """
    failures = Failures(name)
    while not until():
        try:
            await work()
        except Exception as error:
            await asyncio.sleep(failures.note(error, isinstance(error, known)))
        else:
            failures.end()
