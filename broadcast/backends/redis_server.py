"""One Redis server, as an event loop talks to it.

Calls of scripts that wait while others are under way go together in the next round trip, in their
order: nothing is delayed, and a storm of thousands of calls needs two connections. What Redis does
not do is told as `Unavailable`, at once to everybody who waits, and while it is away to everybody
who comes; a call that failed so may have been carried out all the same, and is never repeated here.
That a server went away, and that it is back, is logged once.

A Redis that restarted may stand where it stood some time ago: it brings back its last snapshot.
The first connection after a restart has new epochs begin, unless an append-only file kept what was
written until the end.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from hashlib import sha1
from pathlib import Path
from typing import Any, NamedTuple

from django.core.exceptions import ImproperlyConfigured
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoScriptError,
    OutOfMemoryError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ..exceptions import Unavailable
from ..loops import rounds

logger = logging.getLogger(__name__)

#: Seconds to wait for Redis to connect or to answer.
TIMEOUT = 5.0
#: Seconds between two questions to a server that is away, whether it is back.
PROBE_SECONDS = 0.5
#: Calls in one round trip; their answers are in memory together.
MOST_CALLS = 64
#: The oldest Redis that knows all we ask for (exclusive ranges of XRANGE).
OLDEST = (6, 2)

#: The scripts of history begin with the same functions.
HISTORY = ("append", "expire", "read", "renew", "restart", "state")
#: Those of rooms with these, and some more.
ROOMS = ("room_join", "room_leave", "room_relay", "room_renew")


@cache
def script(name: str) -> str:
    """The Lua source of a script."""
    folder = Path(__file__).parent / "lua"
    before = ["common"] if name in HISTORY + ROOMS else []
    if name in ROOMS:
        before.append("room_common")
    return "".join((folder / f"{part}.lua").read_text() for part in (*before, name))


@cache
def digest(name: str) -> str:
    """What Redis knows a script by."""
    return sha1(script(name).encode(), usedforsecurity=False).hexdigest()


class TooOldError(RedisConnectionError):
    """This Redis does not know all we ask for."""


class Call(NamedTuple):
    script: str
    keys: Sequence[str]
    arguments: Sequence[Any]
    answer: asyncio.Future[Any]


class Lane:
    """Calls of one server in their order: what waits goes together, one round trip at a time."""

    def __init__(self, server: "RedisServer") -> None:
        self.server = server
        self.waiting: list[Call] = []
        self.working: asyncio.Task[None] | None = None

    async def call(self, call: Call) -> Any:
        self.waiting.append(call)
        if self.working is None:
            self.working = asyncio.ensure_future(self._work())
        return await call.answer

    async def _work(self) -> None:
        try:
            while self.waiting:
                await self._work_once()
        finally:
            self.working = None

    async def _work_once(self) -> None:
        calls, self.waiting[:MOST_CALLS] = self.waiting[:MOST_CALLS], []
        try:
            async with self.server.answering():
                answers = await self._carry_out(calls)
        except Exception as error:
            # Who came meanwhile need not wait for the same.
            calls, self.waiting = calls + self.waiting, []
            answers = [error] * len(calls)
        for call, answer in zip(calls, answers, strict=True):
            if not call.answer.done():
                settle(call.answer, answer)

    async def _carry_out(self, calls: list[Call]) -> list[Any]:
        answers = await self._send(calls)
        unknown = [index for index, one in enumerate(answers) if isinstance(one, NoScriptError)]
        if unknown:
            for name in {calls[index].script for index in unknown}:
                await self.server.client.script_load(script(name))
            again = await self._send([calls[index] for index in unknown])
            for index, answer in zip(unknown, again, strict=True):
                answers[index] = answer
        return answers

    async def _send(self, calls: list[Call]) -> list[Any]:
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
        try:
            options = parse_url(url)
        except ValueError as error:
            # The URL may hold a password: it is not shown.
            raise ImproperlyConfigured(f"a Redis URL makes no sense: {error}") from None
        self.name = options.get("path") or (
            f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
        )
        self.generation = generation
        pool = ConnectionPool.from_url(
            url,
            socket_timeout=TIMEOUT,
            socket_connect_timeout=TIMEOUT,
            redis_connect_func=self._greet,
            # With protocol 3 redis-py's pool does not notice that an idle connection was closed.
            protocol=2,
            # By default commands are repeated that may have been carried out.
            retry=Retry(NoBackoff(), 0),
        )
        self.client = Redis.from_pool(pool)
        #: Appends do not wait behind what thousands of listeners read who resume at once.
        #: All that changes who is in a room keeps its order.
        self.appends, self.rooms, self.others = Lane(self), Lane(self), Lane(self)
        #: Why it does not answer, while it does not.
        self.away: Exception | None = None
        self.probing: asyncio.Task[None] | None = None
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
        return await lane.call(Call(script, keys, arguments, asyncio.Future()))

    @asynccontextmanager
    async def answering(self) -> AsyncIterator[None]:
        """What goes wrong with Redis in the block is told as `Unavailable`."""
        if self.away:
            raise Unavailable("Redis does not answer") from self.away
        try:
            yield
        except ResponseError as error:
            raise refusal(error) from error
        except (RedisError, OSError) as error:
            if isinstance(error, RedisTimeoutError | TimeoutError):
                # It was waited for once: that is enough.
                self._note_away(error)
            if self.probing is None:
                self.probing = asyncio.ensure_future(self._probe())
            raise Unavailable("Redis does not answer") from error

    def _note_away(self, error: Exception) -> None:
        if not self.away:
            logger.error("Redis at %s does not answer: %s", self.name, error)
        self.away = error

    async def _probe(self) -> None:
        """Find out whether it is away, and when it is back; nobody else waits for it meanwhile."""
        self.answers = False
        await rounds("redis", self._ask_whether_back, until=lambda: self.answers)
        if self.away:
            logger.warning("Redis at %s answers again", self.name)
        self.away = self.probing = None

    async def _ask_whether_back(self) -> None:
        try:
            await self.client.ping()
            self.answers = True
        except (RedisError, OSError) as error:
            self._note_away(error)
            await asyncio.sleep(PROBE_SECONDS)

    async def check(self) -> None:
        """ImproperlyConfigured: this Redis will never do. Unavailable: it does not answer."""
        try:
            async with self.answering():
                await self.client.ping()
        except Unavailable as error:
            if isinstance(error.__cause__, AuthenticationError | ResponseError | TooOldError):
                reason = f"Redis at {self.name} cannot be used: {error.__cause__}"
                raise ImproperlyConfigured(reason) from None
            raise

    async def _greet(self, connection: Connection) -> None:
        """The first words of each connection: is it new enough, did it restart?"""
        await connection.on_connect()
        info = parse_info(await self._ask(connection, "INFO"))
        version = info.get("redis_version", "0.0")
        if tuple(map(int, version.split(".")[:2])) < OLDEST:
            least = ".".join(map(str, OLDEST))
            raise TooOldError(f"it is version {version}, and {least} is the least")
        if info.get("loading", "0") != "0":
            # Until it has read its append-only file, it says that it keeps none.
            raise BusyLoadingError("it is loading its data")
        arguments = (info.get("run_id", ""), info.get("aof_enabled", "0"))
        await self._ask(connection, "EVAL", script("greet"), 1, self.generation, *arguments)

    async def _ask(self, connection: Connection, *command: Any) -> Any:
        await connection.send_command(*command)
        return await connection.read_response()


def settle(future: asyncio.Future[Any], answer: Any) -> None:
    """Give the answer of one call, which may be an error of that call alone."""
    if isinstance(answer, ResponseError):
        future.set_exception(refusal(answer))
    elif isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)


def refusal(error: ResponseError) -> Unavailable:
    """Redis is there, and does not do it."""
    if isinstance(error, OutOfMemoryError):
        return Unavailable("Redis is full")
    logger.error("Redis refused: %s", error)
    return Unavailable("Redis refused")


def parse_info(said: bytes) -> dict[str, str]:
    lines = said.decode().splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)
