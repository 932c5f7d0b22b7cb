"""What event loops have and do: objects, tasks, work that repeats, calls that go together.

* `PerLoop`: an object that exists once per event loop.
* `spawn`: a task that nobody waits for.
* `repeat`: work in the background that goes on for as long as its event loop. Every such loop of
  this process runs through it, and no error ends one. The first of several failed rounds is logged,
  with its traceback, and so is the next round that succeeds. The metric
  `broadcast_failed_rounds_total` counts each failed round by the loop's name. The next round comes
  after a pause that grows to `MOST_SECONDS`.
* `Rounds`: calls that come while a round is under way wait, and go together into the next one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import copy_context
from typing import Any, Generic, TypeVar

from asgiref.sync import SyncToAsync

from . import metrics
from .logs import get_logger

logger = get_logger(__name__)

#: Seconds between a round that failed and the next one: at first, and at most.
FIRST_SECONDS, MOST_SECONDS = 0.5, 5.0

#: The names of all loops, as metrics have them, and the log's words for a failure of each.
LOOPS = {
    "access": "Open sockets could not be checked for their permissions",
    "alone": "The check for another server process failed",
    "channel_layer": "The channel layer could not be read",
    "drain": "Sockets could not be closed for the shutdown",
    "accept": "Connections could not be accepted",
    "messages": "A message of the channel layer could not be handled",
    "housekeeping": "Expired data could not be dropped",
    "pages": "The subscriptions of open pages could not be read",
    "pings": "Silent clients could not be pinged",
    "redis": "Redis could not be asked whether it is back",
    "relay": "Lost messages of the channel layer could not be looked for",
    "room_hours": "Statistics of rooms could not be written",
    "rooms": "The members of rooms could not be renewed",
    "workers": "Workers could not be replaced",
}

T = TypeVar("T")
K = TypeVar("K")
C = TypeVar("C")


#: All there are. Modules make them, so there are few.
_per_loop: "list[PerLoop[Any]]" = []


class PerLoop(Generic[T]):
    """What exists once per event loop: `make` makes it when code in the loop first asks for it.

    An object may hold its loop. It is dropped when another loop asks, after its own was closed.
    """

    def __init__(self, make: Callable[[], T], end: Callable[[T], None] | None = None) -> None:
        """`end` is called with what is dropped of a loop that goes on: see `end` of this module."""
        self._make = make
        self._end = end
        self._made: dict[asyncio.AbstractEventLoop, T] = {}
        _per_loop.append(self)

    def __call__(self) -> T:
        """That of the running event loop."""
        loop = asyncio.get_running_loop()
        made = self._made.get(loop)
        if made is None:
            for other in [one for one in list(self._made) if one.is_closed()]:
                self._made.pop(other, None)
            made = self._made[loop] = self._make()
        return made

    def find(self) -> T | None:
        """That of the running event loop, if it has been asked for."""
        return self._made.get(asyncio.get_running_loop())

    def forget(self) -> T | None:
        """Drop that of the running event loop, if it has been asked for; answers it."""
        return self.drop(asyncio.get_running_loop())

    def drop(self, loop: asyncio.AbstractEventLoop) -> T | None:
        """Drop that of the event loop, if it has been asked for; answers it."""
        return self._made.pop(loop, None)

    def end(self, loop: asyncio.AbstractEventLoop) -> None:
        """Drop that of the event loop, and end what it has begun there."""
        made = self.drop(loop)
        if made is not None and self._end:
            self._end(made)

    def loops(self) -> list[asyncio.AbstractEventLoop]:
        """The event loops that have asked for theirs."""
        return list(self._made)


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


def end(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what `spawn` began in the event loop, and drop what exists once in it.

    For a loop that goes on when its work is over. Call it in the loop, or while that does not run.
    """
    for task in list(_tasks):
        if task.get_loop() is loop:
            task.cancel()
    for per_loop in _per_loop:
        per_loop.end(loop)


def known() -> set[asyncio.AbstractEventLoop]:
    """The event loops that have something which exists once in each."""
    return {loop for per_loop in _per_loop for loop in per_loop.loops()}


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


async def repeat(
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


class Rounds(Generic[K, C]):
    """Calls that come while a round is under way wait, and go together into the next one.

    So nothing is delayed for others, and many calls need few round trips. Calls of one key keep
    their order, and one round of a key is under way at a time; the rounds of two keys run beside
    each other.
    """

    def __init__(
        self, work: Callable[[K, list[C]], Awaitable[None]], most: int | None = None
    ) -> None:
        """`work` does a round of at most `most` calls, and settles each of them, failed ones too:
        an error that it raises ends the rounds of the key, and leaves its calls unsettled.
        """
        self._work = work
        self._most = most
        self._waiting: dict[K, list[C]] = {}

    def add(self, key: K, call: C) -> None:
        """Have the call done: now, or in the next round of its key."""
        if key in self._waiting:
            self._waiting[key].append(call)
        else:
            self._waiting[key] = [call]
            spawn(self._go_on(key))

    def take(self, key: K) -> list[C]:
        """The calls that wait for the next round of the key, and wait no more."""
        calls = self._waiting[key]
        self._waiting[key] = []
        return calls

    async def _go_on(self, key: K) -> None:
        try:
            while calls := self._waiting[key]:
                most = self._most or len(calls)
                self._waiting[key] = calls[most:]
                await self._work(key, calls[:most])
        finally:
            # After an error, too: later calls would wait for work that nobody does.
            del self._waiting[key]
