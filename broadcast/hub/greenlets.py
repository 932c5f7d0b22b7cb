"""Greenlets: what gevent and eventlet make of threads.

All greenlets share one thread, and asyncio allows one running event loop per thread: while one
greenlet runs a loop, no other can, and Django refuses all of them its database. So sync code
among greenlets publishes through a server's MessagePack-RPC port, by a plain socket that waits as
greenlets do, whatever the backend is.

Playwright runs a loop in a greenlet beside the browser test that uses it, which is no coroutine.
"""

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import async_to_sync

from ..installation import is_isolated

P = ParamSpec("P")
T = TypeVar("T")


def are_here() -> bool:
    """Whether the threads of this process are greenlets."""
    gevent: Any = sys.modules.get("gevent.monkey")
    eventlet: Any = sys.modules.get("eventlet.patcher")
    patched = [gevent.is_module_patched] if gevent else []
    patched += [eventlet.is_monkey_patched] if eventlet else []
    return any(is_patched(module) for is_patched in patched for module in ("thread", "select"))


def to_sync(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """asgiref's `async_to_sync`. RuntimeError: greenlets cannot use it."""
    if are_here():
        raise RuntimeError(
            "greenlets (gevent, eventlet) cannot do this: use threads or processes here, or "
            "broadcast.publish, which goes through a server's MessagePack-RPC port"
        )
    return beside_playwright(async_to_sync(function))


def beside_playwright(function: Callable[P, T]) -> Callable[P, T]:
    """What calls `function` as if no event loop ran in this thread, where a test asks for that.

    It does so as Django has it, for the database: by `DJANGO_ALLOW_ASYNC_UNSAFE`.
    """
    loop = asyncio._get_running_loop()
    if loop is None or not is_isolated() or not os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE"):
        return function

    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        asyncio._set_running_loop(None)
        try:
            return function(*args, **kwargs)
        finally:
            asyncio._set_running_loop(loop)

    return call
