"""The life of this process, for modules that must act when it changes.

A module that must know connects a receiver to a moment when it is imported; the server, or the
operating system, brings the moment about. So the server knows no module by name that only wants to
be told, and a module that was never imported has nothing to do.

* `started`: the event loop of our own server runs. Other ASGI servers do not say so.
* `draining`: our server takes no more connections, and its sockets will be closed within `seconds`.
* `leaving`: every socket of our server is closed; what must be written is written now.
* `forked`: this process is a child. The threads and event loops of the parent do not run in it, so
  whatever would wait for them is replaced, and it is no server, whatever the parent was.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Generic, TypeVar

from asgiref.sync import SyncToAsync

from .logs import get_logger

logger = get_logger(__name__)

Receiver = TypeVar("Receiver", bound=Callable[..., Any])


class Moment(Generic[Receiver]):
    """A moment in the life of a process, and the receivers that are told of it."""

    def __init__(self, name: str) -> None:
        self.name = name
        #: Whether it has come in this process.
        self.has_come = False
        self._receivers: list[Receiver] = []

    def connect(self, receiver: Receiver) -> Receiver:
        """Have it called at that moment, in the order of connecting; usable as a decorator."""
        if receiver not in self._receivers:
            self._receivers.append(receiver)
        return receiver

    def tell(self, *args: Any) -> None:
        """The moment has come. An error of one receiver is logged, and keeps no other from it."""
        self.has_come = True
        for receiver in self._receivers:
            try:
                receiver(*args)
            except Exception:
                logger.exception("%s failed when the server was %s", receiver, self.name)

    async def atell(self, seconds: float) -> None:
        """`tell` for coroutine functions: one after another, each within `seconds`."""
        self.has_come = True
        for receiver in self._receivers:
            with suppress(Exception):
                await asyncio.wait_for(receiver(), seconds)


started: Moment[Callable[[], None]] = Moment("starting")
draining: Moment[Callable[[float], None]] = Moment("draining")
leaving: Moment[Callable[[], Awaitable[None]]] = Moment("leaving")
forked: Moment[Callable[[], None]] = Moment("forked")


def watch_forks() -> None:
    """Have every child of this process told that it was forked."""
    os.register_at_fork(after_in_child=_begin_child)


def begin_again() -> None:
    """This process was a server, and may be one again."""
    for moment in (started, draining, leaving):
        moment.has_come = False


def _begin_child() -> None:
    begin_again()
    # asgiref's thread for sync code is gone, while its queue is still there.
    SyncToAsync.single_thread_executor = ThreadPoolExecutor(max_workers=1)
    forked.tell()
