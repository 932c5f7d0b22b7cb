"""The threads that requests and calls of pages do their synchronous work in: `THREADS` in all.

Django handles each request in a thread of its own, and each thread has its own connections to
the database. These outlive the thread until the garbage collector finds them, which on our server
is rare: 100 requests one after another exhausted a PostgreSQL. Here few threads serve all requests,
so whatever the traffic and whatever `CONN_MAX_AGE`, there are no more connections than threads.

* *Until its answer begins, a request has one thread*, from its first synchronous work on, as Django
  promises to middleware and views. If all are taken the request waits for one, in order of
  arrival; after `PATIENCE` seconds it fails with `Unavailable`.
* *A request that waits for something else gives its thread to others.* If others wait for a thread,
  one that has had nothing to do for `IDLE` seconds goes to them. Its request gets another one
  for what it does next: a view may wait for minutes, as a long poll does.
* *Nobody holds a thread by reading slowly*: once the answer has begun the thread goes back. Each
  later piece of work borrows a thread. Only an answer that does not say its length may be a
  generator that goes on asking the database, for which Django promises one thread, too: it gets one
  of its own, outside the limit, when it first does synchronous work. That has a connection only if
  the generator asks the database. A view that is always answered (`application`) has one of its own
  from the beginning.
* *Work that outlives its request* (a task that was begun in it) borrows, too.

Connections are closed, or go back to their pool, where Django would do so: before a thread goes on
to the next request it calls `close_old_connections`.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import asynccontextmanager
from functools import partial
from threading import Lock
from typing import Any

from asgiref.sync import SyncToAsync, ThreadSensitiveContext
from django.db import close_old_connections, connections

from .. import lifespan
from ..conf import conf
from ..exceptions import Unavailable
from ..logs import get_logger

#: Seconds after which a request gives up waiting for a thread.
PATIENCE = 30.0
#: Seconds that a thread may have nothing to do while others wait for one.
IDLE = 1.0
#: Seconds within which the connections of all threads are closed in the end.
END_SECONDS = 5.0

logger = get_logger(__name__)


class Turn(Executor):
    """The executor of one request: one piece of work at a time, on one thread."""

    def __init__(self, threads: "Threads") -> None:
        self.threads = threads
        self.thread: ThreadPoolExecutor | None = None
        #: Whether the thread stays when there is nothing to do.
        self.keeps = True
        #: A thread outside the limit: whether it may have one, and the one it has.
        self.moved = False
        self.own: ThreadPoolExecutor | None = None
        #: Work that waits for a thread, and since when; when the last was done; how much runs.
        self.waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self.since = self.idle_since = 0.0
        self.running = 0

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if self.moved:
            self.own = self.own or ThreadPoolExecutor(1, "broadcast-answer")
            return self.own.submit(function, *args, **kwargs)
        future: Future[Any] = Future()
        with self.threads.lock:
            self.waiting.append((future, partial(function, *args, **kwargs)))
            if self.thread:
                self.begin()
            elif len(self.waiting) == 1:
                self.threads.want(self, asyncio.get_running_loop())
        return future

    def give_back(self) -> None:
        """From now on each piece of work borrows a thread."""
        with self.threads.lock:
            self.keeps = False
            if self.thread and not self.running:
                self.threads.take_back(self)

    def move_out(self) -> None:
        """Give the thread back; the next piece of work gets one of its own, which it keeps."""
        self.give_back()
        self.moved = True

    def end(self) -> None:
        """The request is over."""
        self.give_back()
        self.moved = False
        if self.own:
            self.own.submit(connections.close_all)
            self.own.shutdown(wait=False)
            self.own = None

    # -- with the lock ------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin the work that waits: there is a thread."""
        assert self.thread
        while self.waiting:
            self.running += 1
            self.thread.submit(self._work, *self.waiting.popleft())

    def fail(self, error: Exception) -> None:
        for future, _ in self.waiting:
            if future.set_running_or_notify_cancel():
                future.set_exception(error)
        self.waiting.clear()

    # -- in the thread ------------------------------------------------------------------------

    def _work(self, future: Future[Any], function: Callable[[], Any]) -> None:
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(error)
        with self.threads.lock:
            self.running -= 1
            self.idle_since = time.monotonic()
            if not self.running and not self.keeps:
                self.threads.take_back(self)


class Threads:
    """The threads of a process, whatever event loops ask for them."""

    def __init__(self) -> None:
        self.lock = Lock()
        #: The threads; the free ones; turns that have one; turns that wait for one.
        self.all: list[ThreadPoolExecutor] = []
        self.free: list[ThreadPoolExecutor] = []
        self.taken: set[Turn] = set()
        self.queue: deque[Turn] = deque()

    def want(self, turn: Turn, loop: asyncio.AbstractEventLoop) -> None:
        """Let it have a thread, now or later."""
        turn.since = time.monotonic()
        self.queue.append(turn)
        if not self.free and len(self.all) < conf.THREADS:
            self.all.append(ThreadPoolExecutor(1, "broadcast-request"))
            self.free.append(self.all[-1])
        self._hand_out()
        if turn.waiting:
            loop.call_later(IDLE, self._look, turn, loop)

    def take_back(self, turn: Turn) -> None:
        """Its thread goes to others as soon as its connections are tidy."""
        thread, turn.thread = turn.thread, None
        assert thread
        self.taken.discard(turn)
        thread.submit(self._tidy, thread)

    def _tidy(self, thread: ThreadPoolExecutor) -> None:
        try:
            close_old_connections()
        except Exception:
            logger.exception("A connection to the database could not be closed")
        with self.lock:
            self.free.append(thread)
            self._hand_out()

    def _hand_out(self) -> None:
        while self.queue and self.free:
            turn = self.queue.popleft()
            turn.thread = self.free.pop()
            self.taken.add(turn)
            turn.begin()

    def _look(self, turn: Turn, loop: asyncio.AbstractEventLoop) -> None:
        """If it still waits, make idle turns share; after `PATIENCE` seconds, let it fail."""
        with self.lock:
            if turn not in self.queue:
                return
            now = time.monotonic()
            for other in list(self.taken):
                if not other.running and now - other.idle_since >= IDLE:
                    self.take_back(other)
            if now - turn.since >= PATIENCE:
                self.queue.remove(turn)
                turn.fail(Unavailable("the server is too busy"))
            else:
                loop.call_later(IDLE, self._look, turn, loop)


_threads = Threads()


def end() -> None:
    """End the threads and their connections, when no request goes on. Later ones get new threads.

    A thread that is busy all the same ends later.
    """
    global _threads
    former, _threads = _threads, Threads()
    closings = [thread.submit(connections.close_all) for thread in former.all]
    wait(closings, END_SECONDS)
    for thread in former.all:
        thread.shutdown(wait=False)


@lifespan.forked.connect
def _begin_child() -> None:
    # The threads are gone, and their queues are not.
    global _threads
    _threads = Threads()


@asynccontextmanager
async def own_turn() -> AsyncIterator[Turn]:
    """Handle a request: the synchronous work in this block goes to one of the threads.

    Django's own context, inside, has no effect.
    """
    turn, context = Turn(_threads), ThreadSensitiveContext()
    # It stays there for tasks that were begun in this block, until the last of them is gone.
    SyncToAsync.context_to_thread_executor[context] = turn
    token = SyncToAsync.thread_sensitive_context.set(context)
    try:
        yield turn
    finally:
        SyncToAsync.thread_sensitive_context.reset(token)
        turn.end()
