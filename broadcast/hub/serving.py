"""Which event loop the streams of this server live in, and how other threads reach it."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from .. import lifespan, metrics
from ..backends import end_serving, get_backend, serve

T = TypeVar("T")

_loop: asyncio.AbstractEventLoop | None = None


def serve_here() -> None:
    """Say that this process is a server, and the running event loop, if one runs yet, its own."""
    global _loop
    try:
        here = asyncio.get_running_loop()
    except RuntimeError:
        here = None
    if here is not None and here is _loop:
        return
    serve()
    metrics.processes.set(1)
    _loop = here or _loop


def get_loop() -> asyncio.AbstractEventLoop | None:
    """The server's event loop; None: this process is no server, or its loop does not run yet."""
    return _loop


async def at_engine(coroutine: Coroutine[Any, Any, T]) -> T:
    """Await it where the engine is: what is in memory belongs to the server's own event loop."""
    here = asyncio.get_running_loop()
    if get_backend().shared or _loop is None or _loop is here or not _loop.is_running():
        return await coroutine
    # A thread of the server.
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, _loop))


def serve_no_more() -> None:
    """This process is no server any more: its event loop goes on with other work."""
    global _loop
    _loop = None
    metrics.processes.set(0)
    end_serving()


@lifespan.forked.connect
def _begin_child() -> None:
    global _loop
    _loop = None
