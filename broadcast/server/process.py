"""Changes that our server makes to its process, all of them.

These settings concern the whole process, so a host that runs our server with code of its own may
switch them off (`BROADCAST_TUNE_PROCESS`); on other ASGI servers nothing of this happens.
"""

import asyncio
import gc
import resource
import sys

from prometheus_client import disable_created_metrics

#: At least so many requests and sockets end between two collections of their garbage, and as many
#: as are open: a collection looks at all open ones, and so takes a small part of the time.
COLLECT_AFTER = 2000
#: Young objects that begin a collection, and how many of those begin one of older objects.
THRESHOLDS = (50_000, 20, 100)
#: Seconds after which a thread that waits gets the interpreter's lock. With Python's 5 ms, threads
#: that look up sessions waited for the busy event loop: private streams took 670 joins per second.
SWITCH_SECONDS = 0.0005


def tune() -> None:
    """Set the process up for very many sockets; called once, when everything is loaded."""
    # Each socket is a file, and shells allow 1,024 of them unless asked.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # Everything loaded by now stays for good. Walking it and all connections again and again costs
    # a busy server a sixth of its time.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
    sys.setswitchinterval(SWITCH_SECONDS)
    # Nobody asks when a metric was made, and files of several workers do not tell.
    disable_created_metrics()  # type: ignore[no-untyped-call]


class Garbage:
    """Collects what requests and sockets leave that are gone.

    Each leaves a few KB of objects that hold each other. With `THRESHOLDS` these would wait for 100
    million new objects.
    """

    def __init__(self) -> None:
        self._gone = 0

    def note_gone(self, still_open: int) -> None:
        """A request or socket is gone, and so many are still there."""
        self._gone += 1
        if self._gone >= max(COLLECT_AFTER, still_open):
            self._gone = 0
            asyncio.get_event_loop().call_soon(gc.collect)
