"""One Redis server, as an event loop talks to it.

Calls of scripts that wait while others are under way go together in the next round trip, in their
order: nothing is delayed, and a storm of thousands of calls needs two connections. What Redis does
not do is told as `Unavailable`, at once to everybody who waits, and while it is away to everybody
who comes; a call that failed so may have been carried out all the same, and is never repeated here.
The log says once that a server went away, that it is back, and what it refuses.

No error from here has a password, nor has the log: `scrub` takes them out.

A Redis that restarted may stand where it stood some time ago: it brings back its last snapshot.
The first connection after a restart has new epochs begin, unless an append-only file kept what was
written until the end.
"""

import asyncio
import math
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import cache
from hashlib import sha1
from pathlib import Path
from typing import Any, NamedTuple

from django.core.exceptions import ImproperlyConfigured
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import Connection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ..exceptions import Unavailable
from ..logs import get_logger
from ..loops import Rounds, repeat
from .redis_connections import scrub
from .redis_faults import (
    FULL,
    REFUSED,
    REPLICA,
    Fault,
    UnfitError,
    explain,
    fault_of,
    judge,
    remark_on,
)
from .redis_urls import TIMEOUT, address_of, pool_options

logger = get_logger(__name__)

#: Seconds between two questions to a server that is away, whether it is back.
PROBE_SECONDS = 0.5
#: Connections of one event loop to one server.
MOST_CONNECTIONS = 20
#: Calls in one round trip; their answers are in memory together.
MOST_CALLS = 64
#: Seconds after which a refusal that goes on is logged again.
SAY_AGAIN_SECONDS = 60.0

#: The scripts of history begin with the same functions.
HISTORY = ("accepted", "append", "expire", "read", "recording", "renew", "restart", "state")
#: The scripts of streamers begin with functions of their own.
STREAMERS = ("enter", "leave", "replaced")
#: The scripts of rooms begin with the functions of history, and some more.
ROOMS = ("room_join", "room_leave", "room_relay", "room_renew")


@cache
def script(name: str) -> str:
    """The Lua source of a script."""
    folder = Path(__file__).parent / "lua"
    before = ["common"] if name in HISTORY + ROOMS else []
    if name in STREAMERS:
        before.append("streamers")
    if name in ROOMS:
        before.append("room_common")
    return "".join((folder / f"{part}.lua").read_text() for part in (*before, name))


@cache
def digest(name: str) -> str:
    """What Redis knows a script by."""
    return sha1(script(name).encode(), usedforsecurity=False).hexdigest()


class ScriptCall(NamedTuple):
    script: str
    keys: Sequence[str]
    arguments: Sequence[Any]
    answer: asyncio.Future[Any]


class Lane:
    """Calls of one server in their order: what waits goes together, one round trip at a time."""

    def __init__(self, server: "RedisServer") -> None:
        self.server = server
        self._rounds: Rounds[str, ScriptCall] = Rounds(self._work, MOST_CALLS)

    async def call(self, call: ScriptCall) -> Any:
        self._rounds.add("", call)
        return await call.answer

    async def _work(self, key: str, calls: list[ScriptCall]) -> None:
        try:
            async with self.server.answering():
                answers = await self._carry_out(calls)
        except Exception as error:
            # Calls that came meanwhile would fail in the same way: they need not wait for it.
            calls = calls + self._rounds.take(key)
            answers = [error] * len(calls)
        for call, answer in zip(calls, answers, strict=True):
            if not call.answer.done():
                self._settle(call.answer, answer)

    def _settle(self, future: asyncio.Future[Any], answer: Any) -> None:
        """Give the answer of one call, which may be an error of that call alone."""
        if isinstance(answer, ResponseError):
            future.set_exception(self.server.refusal(answer))
        elif isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)

    async def _carry_out(self, calls: list[ScriptCall]) -> list[Any]:
        answers = await self._send(calls)
        unknown = [index for index, one in enumerate(answers) if isinstance(one, NoScriptError)]
        if unknown:
            for name in {calls[index].script for index in unknown}:
                await self.server.client.script_load(script(name))
            again = await self._send([calls[index] for index in unknown])
            for index, answer in zip(unknown, again, strict=True):
                answers[index] = answer
        for answer in answers:
            if isinstance(answer, ResponseError) and fault_of(answer) is REPLICA:
                raise answer
        return answers

    async def _send(self, calls: list[ScriptCall]) -> list[Any]:
        async with self.server.client.pipeline(transaction=False) as pipe:
            for call in calls:
                keys = (*call.keys, self.server.generation)
                pipe.evalsha(digest(call.script), len(keys), *keys, *call.arguments)
            answers: list[Any] = await pipe.execute(raise_on_error=False)
        return answers


class RedisServer:
    """The server at `url`; `generation` is the key that counts its lossy restarts.

    ImproperlyConfigured: the URL is none.
    """

    def __init__(self, url: str, generation: str) -> None:
        self.address = address_of(url)
        self.name = self.address.name
        self.generation = generation
        pool = BlockingConnectionPool(
            **{
                # Callers beyond these wait for one, as they would for an answer.
                "max_connections": MOST_CONNECTIONS,
                "timeout": TIMEOUT,
                **pool_options(self.address),
            },
            redis_connect_func=self._greet,
        )
        self.client = Redis.from_pool(pool)
        #: Appends do not wait behind what thousands of listeners read who resume at once.
        #: All that changes who is in a room keeps its order.
        self.appends, self.rooms, self.others = Lane(self), Lane(self), Lane(self)
        #: Why it does not answer, while it does not.
        self.away: Exception | None = None
        self.probing: asyncio.Task[None] | None = None
        #: Host and port of the newest connection; of a socket's path, nothing.
        self.at: tuple[str, int] | None = None
        #: Why it cannot be trusted; "": it can.
        self.remark = ""
        #: Its refusals, and when each was logged. `doubtful`: it has yet to be checked whether the
        #: server can do all that is needed.
        self.refused: dict[Fault, float] = {}
        self.doubtful = True
        #: Whether it answered while it was probed.
        self.answers = True

    async def aclose(self) -> None:
        if self.probing:
            self.probing.cancel()
        await self.client.aclose()

    async def call(self, script: str, keys: Sequence[str], *arguments: Any) -> Any:
        """What the script answers. Unavailable: it may have been carried out or not."""
        lane = self.appends if script == "append" else self.others
        lane = self.rooms if script in ROOMS else lane
        return await lane.call(ScriptCall(script, keys, arguments, asyncio.Future()))

    @asynccontextmanager
    async def answering(self) -> AsyncIterator[None]:
        """What goes wrong with Redis in the block is told as `Unavailable`."""
        if self.away:
            raise Unavailable(fault_of(self.away).words) from self.away
        try:
            yield
        except ResponseError as error:
            if fault_of(error) is REPLICA:
                await self._leave(error)
            raise self.refusal(error) from error
        except (RedisError, OSError) as error:
            scrub(error, self.address.secrets)
            if isinstance(error, RedisTimeoutError | TimeoutError):
                # It was waited for once: that is enough.
                self._note_away(error)
            self._find_out()
            raise Unavailable(fault_of(error).words) from error

    async def follow(self) -> None:
        """Go where the master is now, if sentinels say so.

        A master that was replaced while it lives learns of it seconds later, and all that it
        accepts until then is lost.
        """
        sentinels = self.address.options.get("sentinels")
        if sentinels and self.at and not self.away:
            with suppress(RedisError, OSError):
                if await sentinels.find() != self.at:
                    await self._leave(RedisConnectionError("sentinels name another master"))

    async def _leave(self, error: Exception) -> None:
        """Leave a server that is the master no more: new connections find the new master."""
        self._note_away(error)
        await self.client.connection_pool.disconnect(inuse_connections=False)
        self._find_out()

    def refusal(self, error: ResponseError) -> Unavailable:
        """The error for callers when Redis answers, and refuses. Logged once in a while."""
        scrub(error, self.address.secrets)
        fault = fault_of(error)
        self.doubtful = self.doubtful or fault is not REFUSED
        now = time.monotonic()
        if fault is not FULL and now - self.refused.get(fault, -math.inf) > SAY_AGAIN_SECONDS:
            self.refused[fault] = now
            logger.error("Redis at %s refused: %s", self.name, error)
        refused = Unavailable(fault.words)
        refused.__cause__ = error
        return refused

    def _note_away(self, error: Exception) -> None:
        if not self.away:
            if fault_of(error).lasts:
                logger.error("Redis at %s cannot be used: %s", self.name, explain(error))
            else:
                logger.error("Redis at %s does not answer: %s", self.name, error)
        self.away = error

    def _find_out(self) -> None:
        if self.probing is None:
            self.probing = asyncio.ensure_future(self._probe())

    async def _probe(self) -> None:
        """Find out whether it is away, and when it is back; nobody else waits for it meanwhile."""
        self.answers = False
        await repeat("redis", self._ask_whether_back, until=lambda: self.answers)
        if self.away:
            logger.warning("Redis at %s answers again", self.name)
        self.away = self.probing = None

    async def _ask_whether_back(self) -> None:
        try:
            await self.client.ping()
            self.answers = True
        except (RedisError, OSError) as error:
            scrub(error, self.address.secrets)
            self._note_away(error)
            await asyncio.sleep(PROBE_SECONDS)

    async def check(self) -> None:
        """ImproperlyConfigured: this Redis will never do. Unavailable: it does not answer."""
        try:
            await self.probe()
        except Unavailable as error:
            if not (error.__cause__ and self._lasts(error.__cause__)):
                raise
            said = f"Redis at {self.name} cannot be used: {explain(error.__cause__)}"
            raise ImproperlyConfigured(said) from None

    def _lasts(self, error: BaseException) -> bool:
        fault = fault_of(error)
        # Sentinels tell of another master soon.
        return fault.lasts and not (fault is REPLICA and self.address.has_stand_in)

    async def probe(self) -> None:
        """Check that it can be used. Unavailable: it cannot, and why, or it does not answer."""
        async with self.answering():
            self._judge(await self.client.info())

    def _judge(self, info: Mapping[str, Any]) -> None:
        judge(info)
        self.remark = remark_on(info)

    async def _greet(self, connection: Connection) -> None:
        """The first words of each connection: is it what it must be, did it restart?"""
        try:
            await connection.on_connect()
            info = parse_info(await self._ask(connection, "INFO"))
            self._judge(info)
            fields = ("run_id", "master_replid2", "aof_enabled")
            said = [info.get(field, "") for field in fields]
            greeting = (script("greet"), 1, self.generation, *said, secrets.token_hex(8))
            await self._ask(connection, "EVAL", *greeting)
            self.at = getattr(connection, "host", ""), getattr(connection, "port", 0)
        except ResponseError as error:
            raise UnfitError(fault_of(error), str(error)) from error

    async def _ask(self, connection: Connection, *command: Any) -> Any:
        await connection.send_command(*command)
        return await connection.read_response()


def parse_info(said: bytes) -> dict[str, str]:
    lines = said.decode().splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)
