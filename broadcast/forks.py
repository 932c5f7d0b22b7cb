"""A process that was forked off another one begins anew, whatever that one was doing.

What runs in the threads and event loops of the parent does not run in the child. What would wait
for them is made anew: asgiref's thread for sync code and those of requests, which are gone while
their queues are still there, and our backend, with the connections, streamers and listeners that
are the parent's. A child of a server is no server.
"""

import os
from concurrent.futures import ThreadPoolExecutor

from asgiref.sync import SyncToAsync

from . import alone, backends, publishing, room_hours, rows, threads


def begin_anew() -> None:
    SyncToAsync.single_thread_executor = ThreadPoolExecutor(max_workers=1)
    threads._threads = threads.Threads()
    backends._backend, backends._serving = None, False
    publishing._loop = alone._company = None
    room_hours._writing = None
    rows._reading.clear()


def watch() -> None:
    """Have it done in every child from now on."""
    os.register_at_fork(after_in_child=begin_anew)
