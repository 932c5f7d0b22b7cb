"""History, runs and presence in Redis, for any number of server processes.

History is one Redis Stream per stream with the offset as id, and a hash that says where it stands;
an append is one Lua script, so it is atomic and takes one round trip. A stream lives on one of the
Redis servers, chosen by its name as the channel layer chooses one for its group: what happens to
one server happens to its streams alone. Presence is what each process says of itself every few
seconds, with the time until which it holds: an entry that is not renewed is gone
`PRESENCE_SECONDS` later. Each key has an expiry; presence prolongs those of streams in use.

A Redis that evicts forgets keys one by one. If any key of a history or a room is missing, the next
script that looks deletes the rest of it, and a new epoch begins: nothing fails for good, and no old
offset is taken for a new one.

`Unavailable`: Redis does not answer. Whether an append that failed so went in is not known; with a
run or a key it can be said again.
"""

import asyncio
import math
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from redis.asyncio.client import Pipeline

from ..exceptions import RunGap, Unavailable
from ..publications import Draft, Publication
from .histories import KNOWN_KEYS, KNOWN_RUNS
from .redis_faults import explain, fault_of
from .redis_rehearsal import rehearse
from .redis_server import RedisServer
from .redis_shards import RedisShards
from .rooms import Rooms
from .rooms_redis import RedisRooms
from .values import RETRY_SECONDS, Appended, HistoryLimits, MediaRun, Presence, Run, StreamState

#: Seconds for which what a process said of itself holds: the longest a killed one is counted.
PRESENCE_SECONDS = 25.0
#: Seconds after which Redis drops presence that nobody renews at all.
PRESENCE_LIFE = math.ceil(3 * PRESENCE_SECONDS)
#: The keys of a stream's history, in the order in which scripts know them (lua/common.lua).
HISTORY_KEYS = ("meta", "stream", "run_counts", "runs", "keys", "held")


class RedisBackend(RedisShards):
    """The `Backend` of an installation. `clock` answers the seconds since 1970.

    `prefix`: the beginning of its keys; "": that of this installation.
    """

    shared = True

    def __init__(self, clock: Callable[[], float] = time.time, prefix: str = "") -> None:
        super().__init__(clock, prefix)
        #: Presence of this process: streamers and numbers of listeners by stream.
        self.streamers: dict[str, str] = {}
        self.listeners: dict[str, int] = {}
        self.rooms: Rooms = RedisRooms(self)

    # -- Redis ------------------------------------------------------------------------------

    async def check(self) -> None:
        for place, server in enumerate(self.servers()):
            await server.check()
            try:
                await self._rehearse(place)
            except Unavailable as error:
                if error.__cause__ and fault_of(error.__cause__).lasts:
                    reason = f"Redis at {server.name} cannot be used: {explain(error.__cause__)}"
                    raise ImproperlyConfigured(reason) from None
                raise

    async def probe(self, stream: str) -> str:
        server = self.server(stream)
        await server.probe()
        if server.doubtful:
            await self._rehearse(self.place(stream))
        return server.remark

    async def _rehearse(self, place: int) -> None:
        server = self.servers()[place]
        await rehearse(self, place)
        server.doubtful = False
        server.refused.clear()

    def remarks(self) -> list[str]:
        return [f"Redis at {one.name}: {one.remark}" for one in self.servers() if one.remark]

    async def _run(self, name: str, stream: str, keys: Sequence[str], *args: Any) -> Any:
        return await self.server(stream).call(name, self.keys(stream, *keys), *args)

    # -- history ----------------------------------------------------------------------------

    async def append(
        self,
        stream: str,
        drafts: Sequence[Draft],
        limits: HistoryLimits,
        run: Run | MediaRun | None = None,
        key: str = "",
    ) -> Appended:
        now = self.clock()
        counted = run if isinstance(run, Run) else Run("", 0)
        recording = run if isinstance(run, MediaRun) else MediaRun("", 0, 0, b"")
        packed = [part for one in drafts for part in (int(one.kind), int(one.marks), one.payload)]
        epoch, offset, fresh, accepted = await self._run(
            "append",
            stream,
            HISTORY_KEYS,
            repr(now),
            *limits,
            secrets.token_hex(8),
            *counted,
            key.encode("utf-8", "surrogatepass"),
            KNOWN_RUNS,
            KNOWN_KEYS,
            RETRY_SECONDS,
            *(*recording[:-1], int(recording.goes_on)),
            *packed,
        )
        if fresh < 0:
            if isinstance(run, MediaRun):
                raise RunGap(f"{accepted} frames of the recording are in, not {run.before}")
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
            *("read", stream, HISTORY_KEYS),
            *(repr(self.clock()), secrets.token_hex(8), since, count, size),
        )
        return epoch.decode(), [publication(fields) for fields in found]

    async def state(self, stream: str) -> StreamState:
        epoch, offset, first, entry, header = await self._run(
            "state", stream, HISTORY_KEYS, repr(self.clock()), secrets.token_hex(8)
        )
        return StreamState(
            epoch.decode(), offset, first, publication(header) if header else None, entry
        )

    async def restart(self, stream: str, epoch: str) -> None:
        await self._run(
            *("restart", stream, ("meta", "stream")),
            *(repr(self.clock()), secrets.token_hex(8), epoch),
        )

    async def positions(self, streams: Iterable[str]) -> dict[str, tuple[str, int]]:
        def ask(pipe: Pipeline, stream: str) -> None:
            pipe.hmget(*self.keys(stream, "meta"), "epoch", "offset", "generation")

        found: dict[str, tuple[str, int]] = {}

        async def ask_one(server: RedisServer, names: list[str]) -> None:
            generation = await self._generation(server)
            unsure = []
            for name, (epoch, offset, known) in await self._ask(server, names, ask):
                if epoch is None or known != generation:
                    unsure.append(name)
                else:
                    found[name] = epoch.decode(), int(offset or 0)
            # At once: thousands of streams may be new.
            states = await asyncio.gather(*map(self.state, unsure))
            found.update(
                (name, (state.epoch, state.offset))
                for name, state in zip(unsure, states, strict=True)
            )

        await self._each_server(streams, ask_one)
        return found

    async def _generation(self, server: RedisServer) -> Any:
        async with server.answering():
            return await server.client.hget(server.generation, "count") or b"0"

    async def _each_server(
        self,
        streams: Iterable[str],
        work: Callable[[RedisServer, list[str]], Awaitable[None]],
    ) -> None:
        """Do `work` for the streams of each server, at the same time; one that is away has none."""
        names: dict[RedisServer, list[str]] = {}
        for stream in streams:
            names.setdefault(self.server(stream), []).append(stream)

        async def attempt(server: RedisServer) -> None:
            with suppress(Unavailable):
                await work(server, names[server])

        await asyncio.gather(*map(attempt, names))

    async def _ask(
        self, server: RedisServer, streams: Iterable[str], ask: Callable[[Pipeline, str], Any]
    ) -> list[tuple[str, Any]]:
        """Ask something of each stream, in one round trip."""
        async with server.answering(), server.client.pipeline(transaction=False) as pipe:
            for stream in streams:
                ask(pipe, stream)
            return list(zip(streams, await pipe.execute(), strict=True))

    async def accepted(self, stream: str, run: str) -> int:
        return int(await self._run("accepted", stream, HISTORY_KEYS, secrets.token_hex(8), run))

    async def recording(self, stream: str, id: str) -> tuple[int, bytes, bytes]:
        frames, state, held = await self._run(
            "recording", stream, HISTORY_KEYS, secrets.token_hex(8), id
        )
        return frames, state, held

    async def clear(self, stream: str) -> None:
        server = self.server(stream)
        async with server.answering():
            await server.client.delete(*self.keys(stream, *HISTORY_KEYS))

    async def forget(self, stream: str) -> None:
        # Its epoch is one of its keys.
        await self.clear(stream)

    def remembered(self, prefix: str) -> list[str]:
        return []

    async def prune(self) -> int:
        dropped = 0
        for server in self.servers():
            async with server.answering():
                metas = server.client.scan_iter(match=f"{self.prefix}:*:meta", count=1000)
                found = [key.decode() async for key in metas]
            for meta in found:
                keys = [meta, f"{meta.removesuffix('meta')}stream"]
                dropped += await server.call("expire", keys, repr(self.clock()))
        return dropped

    async def sweep(self) -> None:
        """Nothing: Redis drops keys whose time has come."""

    # -- presence ---------------------------------------------------------------------------

    async def enter(self, stream: str, streamer: str) -> list[str]:
        now = self.clock()
        arguments = (repr(now), repr(now + PRESENCE_SECONDS), streamer, PRESENCE_LIFE)
        found = await self._run("enter", stream, ["presence"], *arguments)
        self.streamers[stream] = streamer
        return [former.decode() for former in found]

    async def replaced(self, stream: str) -> list[str]:
        found = await self._run("replaced", stream, ["presence"], repr(self.clock()))
        return [former.decode() for former in found]

    async def leave(self, stream: str, streamer: str) -> bool:
        if self.streamers.get(stream) == streamer:
            del self.streamers[stream]
        return bool(await self._run("leave", stream, ["presence"], streamer))

    async def count_listeners(self, stream: str, listeners: int) -> None:
        # Told with the next renewal: thousands of sockets that come at once are one number.
        self.listeners[stream] = listeners

    async def renew(self) -> None:
        async def renew_all(server: RedisServer, streams: list[str]) -> None:
            told = {stream: self.listeners.get(stream, 0) for stream in streams}
            await asyncio.gather(*(self.say_who_is_there(*one) for one in told.items()))
            for stream, listeners in told.items():
                if not listeners and not self.listeners.get(stream):
                    self.listeners.pop(stream, None)

        await asyncio.gather(
            self._each_server({*self.listeners, *self.streamers}, renew_all),
            *(server.follow() for server in self.servers()),
        )

    async def say_who_is_there(self, stream: str, listeners: int) -> None:
        """Renew what this process says of one stream, and keep the stream."""
        until = repr(self.clock() + PRESENCE_SECONDS)
        said = (self.process, listeners, self.streamers.get(stream, ""))
        keys = (*HISTORY_KEYS, "presence")
        await self._run("renew", stream, keys, until, *said, PRESENCE_LIFE, repr(self.clock()))

    async def presence(self, streams: Iterable[str]) -> dict[str, Presence]:
        def ask(pipe: Pipeline, stream: str) -> None:
            pipe.hgetall(*self.keys(stream, "presence"))

        found: dict[str, Presence] = {}

        async def ask_one(server: RedisServer, names: list[str]) -> None:
            for name, said in await self._ask(server, names, ask):
                found[name] = self._presence(name, said)
                if stale := self._stale(said):
                    async with server.answering():
                        await server.client.hdel(*self.keys(name, "presence"), *stale)

        await self._each_server(streams, ask_one)
        return found

    def _presence(self, stream: str, said: dict[bytes, bytes]) -> Presence:
        now = self.clock()
        streamer = said.get(b"streamer", b"") if float(said.get(b"until", 0)) >= now else b""
        elsewhere = sum(
            count
            for process, count, until in listeners(said)
            if process != self.process and until >= now
        )
        return Presence(streamer.decode(), self.listeners.get(stream, 0), elsewhere)

    def _stale(self, said: dict[bytes, bytes]) -> list[str]:
        """The fields of processes that were killed: nobody else removes them."""
        past = self.clock() - PRESENCE_SECONDS
        return [f"listeners:{process}" for process, _, until in listeners(said) if until < past]


def listeners(said: dict[bytes, bytes]) -> Iterator[tuple[str, int, float]]:
    """What processes said of a stream: which one, how many listeners, until when that holds."""
    for field, value in said.items():
        if field.startswith(b"listeners:"):
            count, until = value.split()
            yield field.removeprefix(b"listeners:").decode(), int(count), float(until)


def publication(fields: Sequence[bytes]) -> Publication:
    offset, kind, marks, time, payload = fields
    return Publication(int(offset), int(kind), payload, int(marks), float(time))
