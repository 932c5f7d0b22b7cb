"""History, runs and presence in Redis, for any number of server processes.

History is one Redis Stream per stream with the offset as id, and a hash that says where it stands;
an append is one Lua script, so it is atomic and takes one round trip. A stream lives on one of the
Redis servers, chosen by its name. Presence is what each process says of itself every few seconds,
with the time until which it holds: what a process does not renew is gone `PRESENCE_SECONDS` later.

`Unavailable`: Redis does not answer. Whether an append that failed so went in is not known; with a
run or a key it can be said again.
"""

import asyncio
import secrets
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote
from weakref import WeakKeyDictionary

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import RedisError

from ..conf import conf
from ..exceptions import RunGap, Unavailable
from ..publications import Draft, Publication
from . import Appended, Limits, Presence, Run, StreamState
from .memory import KNOWN_KEYS, KNOWN_RUNS

#: Seconds for which what a process said of itself holds: the longest a killed one is counted.
PRESENCE_SECONDS = 25.0
#: Seconds after the last publication at which a stream's history is forgotten as a whole.
LIFE_SECONDS = 7 * 86400
#: Seconds to wait for Redis to connect or to answer.
TIMEOUT = 5.0


@cache
def script(name: str) -> str:
    """The Lua source of a script; those of history begin with the same functions."""
    folder = Path(__file__).parent / "lua"
    source = (folder / f"{name}.lua").read_text()
    return source if name in ("leave", "renew") else (folder / "common.lua").read_text() + source


class RedisBackend:
    """The `Backend` of an installation. `clock` answers the seconds since 1970."""

    shared = True

    def __init__(self, clock: Callable[[], float] = time.time, prefix: str = "broadcast") -> None:
        self.clock = clock
        self.prefix = prefix
        self.process = secrets.token_hex(8)
        #: A connection belongs to an event loop.
        self._clients: WeakKeyDictionary[Any, list[Redis]] = WeakKeyDictionary()
        #: What this process says of itself: streamers and numbers of listeners by stream.
        self.streamers: dict[str, str] = {}
        self.listeners: dict[str, int] = {}

    # -- Redis ------------------------------------------------------------------------------

    def client(self, stream: str) -> Redis:
        """The connection to the server that `stream` lives on."""
        clients = self.clients()
        return clients[zlib.crc32(stream.encode("utf-8", "surrogatepass")) % len(clients)]

    def clients(self) -> list[Redis]:
        loop = asyncio.get_running_loop()
        clients = self._clients.get(loop)
        if clients is None:
            clients = self._clients[loop] = [
                Redis.from_url(url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT)
                for url in conf.REDIS_URLS
            ]
        return clients

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        for client in self._clients.pop(asyncio.get_running_loop(), []):
            await client.aclose()

    def keys(self, stream: str, *names: str) -> list[str]:
        # In braces: in a cluster all keys of a stream are together. Quoted: nothing in a name means
        # anything to Redis.
        tag = quote(stream.encode("utf-8", "surrogatepass"), safe="")
        return [f"{self.prefix}:{{{tag}}}:{name}" for name in names]

    async def _run(self, name: str, stream: str, keys: Sequence[str], *args: Any) -> Any:
        async with answering():
            client = self.client(stream)
            return await client.register_script(script(name))(
                keys=self.keys(stream, *keys), args=args
            )

    # -- history ----------------------------------------------------------------------------

    async def append(
        self,
        stream: str,
        drafts: Sequence[Draft],
        limits: Limits,
        run: Run | None = None,
        key: str = "",
    ) -> Appended:
        now = self.clock()
        packed = [part for one in drafts for part in (int(one.kind), int(one.marks), one.payload)]
        epoch, offset, fresh, accepted = await self._run(
            "append",
            stream,
            ("meta", "stream", "run_counts", "runs", "keys"),
            repr(now),
            *limits,
            secrets.token_hex(8),
            run.id if run else "",
            run.number if run else 0,
            key,
            KNOWN_RUNS,
            KNOWN_KEYS,
            LIFE_SECONDS,
            *packed,
        )
        if fresh < 0:
            raise RunGap(f"publication {accepted + 1} of the run is missing")
        new = enumerate(drafts[len(drafts) - fresh :], offset - fresh + 1)
        publications = [
            Publication(number, one.kind, one.payload, one.marks, now) for number, one in new
        ]
        return Appended(epoch.decode(), offset, publications, accepted)

    async def read(
        self, stream: str, since: int, count: int, size: int
    ) -> tuple[str, list[Publication]]:
        epoch, found = await self._run(
            *("read", stream, ("meta", "stream")),
            *(repr(self.clock()), secrets.token_hex(8), since, count, size),
        )
        return epoch.decode(), [publication(fields) for fields in found]

    async def state(self, stream: str) -> StreamState:
        epoch, offset, first, entry, header = await self._run(
            "state", stream, ("meta", "stream"), repr(self.clock()), secrets.token_hex(8)
        )
        return StreamState(
            epoch.decode(), offset, first, publication(header) if header else None, entry
        )

    async def positions(self, streams: Iterable[str]) -> dict[str, tuple[str, int]]:
        found: dict[str, tuple[str, int]] = {}
        for stream, (epoch, offset) in await self._ask_all(
            streams, lambda pipe, stream: pipe.hmget(*self.keys(stream, "meta"), "epoch", "offset")
        ):
            if epoch is None:
                epoch = (await self.state(stream)).epoch.encode()
            found[stream] = (epoch.decode(), int(offset or 0))
        return found

    async def _ask_all(
        self, streams: Iterable[str], ask: Callable[[Pipeline, str], Any]
    ) -> list[tuple[str, Any]]:
        """Ask something of each stream, in one round trip per Redis server."""
        by_client: dict[Redis, list[str]] = {}
        for stream in streams:
            by_client.setdefault(self.client(stream), []).append(stream)
        answers: list[tuple[str, Any]] = []
        for client, names in by_client.items():
            async with answering(), client.pipeline(transaction=False) as pipe:
                for name in names:
                    ask(pipe, name)
                answers.extend(zip(names, await pipe.execute(), strict=True))
        return answers

    async def accepted(self, stream: str, run: str) -> int:
        async with answering():
            (key,) = self.keys(stream, "run_counts")
            return int(await self.client(stream).hget(key, run) or 0)

    async def clear(self, stream: str) -> None:
        async with answering():
            keys = self.keys(stream, "meta", "stream", "run_counts", "runs", "keys")
            await self.client(stream).delete(*keys)

    async def prune(self) -> int:
        dropped = 0
        for client in self.clients():
            async with answering():
                async for key in client.scan_iter(match=f"{self.prefix}:*:meta", count=1000):
                    keys = [key, key.removesuffix(b"meta") + b"stream"]
                    expire = client.register_script(script("expire"))
                    dropped += int(await expire(keys=keys, args=[repr(self.clock())]))
        return dropped

    # -- presence ---------------------------------------------------------------------------

    async def enter(self, stream: str, streamer: str) -> None:
        self.streamers[stream] = streamer
        async with answering():
            (key,) = self.keys(stream, "presence")
            until = repr(self.clock() + PRESENCE_SECONDS)
            await self.client(stream).hset(key, mapping={"streamer": streamer, "until": until})

    async def leave(self, stream: str, streamer: str) -> bool:
        if self.streamers.get(stream) == streamer:
            del self.streamers[stream]
        return bool(await self._run("leave", stream, ["presence"], streamer))

    async def count_listeners(self, stream: str, listeners: int) -> None:
        # Told with the next renewal: thousands of sockets that come at once are one number.
        self.listeners[stream] = listeners

    async def renew(self) -> None:
        until = repr(self.clock() + PRESENCE_SECONDS)
        for stream in {*self.listeners, *self.streamers}:
            listeners, streamer = self.listeners.get(stream, 0), self.streamers.get(stream, "")
            arguments = (until, self.process, listeners, streamer, LIFE_SECONDS)
            await self._run("renew", stream, ["presence"], *arguments)
            if not listeners and not streamer:
                self.listeners.pop(stream, None)

    async def presence(self, streams: Iterable[str]) -> dict[str, Presence]:
        answers = await self._ask_all(
            streams, lambda pipe, stream: pipe.hgetall(*self.keys(stream, "presence"))
        )
        return {stream: self._presence(stream, said) for stream, said in answers}

    def _presence(self, stream: str, said: dict[bytes, bytes]) -> Presence:
        now = self.clock()
        streamer = said.get(b"streamer", b"") if float(said.get(b"until", 0)) >= now else b""
        listeners = self.listeners.get(stream, 0)
        for field, value in said.items():
            process = field.removeprefix(b"listeners:")
            if process != field and process.decode() != self.process:
                count, until = value.split()
                listeners += int(count) if float(until) >= now else 0
        return Presence(streamer.decode(), listeners)


def publication(fields: Sequence[bytes]) -> Publication:
    offset, kind, marks, time, payload = fields
    return Publication(int(offset), int(kind), payload, int(marks), float(time))


@asynccontextmanager
async def answering() -> AsyncIterator[None]:
    """What goes wrong with Redis in the block is told as `Unavailable`."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise Unavailable(f"Redis does not answer: {error}") from error
