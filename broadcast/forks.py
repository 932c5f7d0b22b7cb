"""A forked process starts with a clean state, whatever its parent was doing.

The threads and event loops of the parent do not run in the child, so objects that would wait for
them are replaced: asgiref's thread for sync code and the threads of requests, which are gone while
their queues are still there, and our backend, which has the parent's connections, streamers and
listeners. A child of a server is no server.
"""

import os
from concurrent.futures import ThreadPoolExecutor

from asgiref.sync import SyncToAsync

from . import backends
from .access import alone
from .http import threads
from .hub import publishing
from .models import rows
from .rooms import hours


def begin_anew() -> None:
    SyncToAsync.single_thread_executor = ThreadPoolExecutor(max_workers=1)
    threads._threads = threads.Threads()
    backends._backend, backends._serving = None, False
    publishing._loop = alone._company = None
    hours._writing = None
    rows._reading.clear()


def watch() -> None:
    """Have every child do so from now on."""
    os.register_at_fork(after_in_child=begin_anew)
