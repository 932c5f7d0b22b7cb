"""The Redis servers of an installation: which one has a stream, and what its keys are called.

A stream lives on one server, chosen by its name as the channel layer chooses one for its group, so
what happens to one server happens to its streams alone.
"""

import asyncio
import secrets
import time
import zlib
from collections.abc import Callable
from functools import cached_property
from urllib.parse import quote

from ..groups import group_name
from ..installation import get_prefix
from ..loops import PerLoop
from . import redis_servers
from .redis_server import RedisServer


class RedisShards:
    """`clock` answers the seconds since 1970; `prefix` begins all keys; "": the installation's."""

    def __init__(self, clock: Callable[[], float] = time.time, prefix: str = "") -> None:
        self.clock = clock
        if prefix:
            self.prefix = prefix
        self.process = secrets.token_hex(8)
        #: A connection belongs to an event loop.
        self.servers = PerLoop(self._connect)

    @cached_property
    def prefix(self) -> str:
        """The beginning of all its keys. No prefix has a colon, so none is the start of another."""
        return f"broadcast:{get_prefix()}"

    def server(self, stream: str) -> RedisServer:
        """The server that `stream` lives on."""
        return self.servers()[self.place(stream)]

    def place(self, stream: str) -> int:
        return shard(group_name(stream), len(redis_servers()))

    def _connect(self) -> list[RedisServer]:
        generation = f"{self.prefix}:generation"
        servers = [RedisServer(url, generation) for url in redis_servers()]
        self._close_with(asyncio.get_running_loop())
        return servers

    def _close_with(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close the connections when `loop` is closed: `publish` in sync code makes many loops.

        As channels-redis does; nothing else tells of a loop's end.
        """
        close = loop.close

        def close_both() -> None:
            setattr(loop, "close", close)  # noqa: B010 (mypy: a method)
            if not loop.is_running():
                loop.run_until_complete(self.aclose())
            close()

        setattr(loop, "close", close_both)  # noqa: B010

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        for server in self.servers.forget() or []:
            await server.aclose()

    def keys(self, stream: str, *names: str) -> list[str]:
        # Quoted: nothing in a name means anything to Redis.
        tag = quote(stream.encode("utf-8", "surrogatepass"), safe="")
        return [f"{self.prefix}:{{{tag}}}:{name}" for name in names]


def shard(group: str, servers: int) -> int:
    """Which of so many servers channels-redis' pub/sub layer has a group on (channels_redis.utils).

    With the layer's default `prefix`. Other than there, a stream's history and its group would
    depend on two servers, not on one.
    """
    return (zlib.crc32(f"asgi__group__{group}".encode()) & 0xFFF) * servers // 4096
