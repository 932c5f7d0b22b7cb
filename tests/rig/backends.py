"""Backends to be tested, each empty, and short ways to say something to one.

An engine is added with one line in `BACKENDS`.
"""

import secrets
from collections.abc import Callable
from typing import Any

from broadcast.backends import Appended, Backend, HistoryLimits
from broadcast.backends.memory import MemoryBackend
from broadcast.backends.redis import RedisBackend
from broadcast.publications import Draft
from tests.rig.clock import Clock

WIDE = HistoryLimits(1000, 1_000_000, 3600)
ALL = 1_000_000


def redis_backend(clock: Clock) -> RedisBackend:
    """Keys of its own, so that it is empty."""
    return RedisBackend(clock, prefix=f"test-{secrets.token_hex(8)}")


BACKENDS: dict[str, Callable[[Clock], Backend]] = {
    "memory": MemoryBackend,
    "redis": redis_backend,
}


def use_redis(settings: Any, *urls: str) -> None:
    """Have backend and channel layer on these servers, as the project has with `REDIS_URL`."""
    settings.BROADCAST_REDIS_URL = ",".join(urls)


def text(payload: str = "x", marks: int = 0) -> Draft:
    return Draft.of(payload, marks)


async def append(backend: Backend, *payloads: str, limits: HistoryLimits = WIDE) -> Appended:
    """Append texts to the stream `s`."""
    return await backend.append("s", [text(payload) for payload in payloads], limits)


async def kept(backend: Backend, since: int = 0) -> list[str]:
    """The texts in the history of `s` after `since`."""
    _, found = await backend.read("s", since, ALL, ALL)
    return [publication.payload.decode() for publication in found]
