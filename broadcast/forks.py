"""A process that was forked off another one begins anew, whatever that one was doing.

What runs in the threads and event loops of the parent does not run in the child. What would wait
for them is made anew: asgiref's thread for sync code, which is gone while its queue is still there,
and our backend, with the connections, streamers and listeners that are the parent's. A child of a
server is no server.
"""

import os
from concurrent.futures import ThreadPoolExecutor

from asgiref.sync import SyncToAsync

from . import backends, publishing, room_hours, rows


def begin_anew() -> None:
    SyncToAsync.single_thread_executor = ThreadPoolExecutor(max_workers=1)
    backends._backend = None
    publishing._serving, publishing._loop = False, None
    room_hours._writing = None
    rows._reading.clear()


def watch() -> None:
    """Have it done in every child from now on."""
    os.register_at_fork(after_in_child=begin_anew)
