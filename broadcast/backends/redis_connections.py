"""Connections to a Redis with a stand-in, and connections that notice a dead other end."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from redis.asyncio.connection import AbstractConnection, Connection
from redis.exceptions import AuthenticationError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

#: Stands in a text in place of a password.
MASK = "***"
#: Seconds to wait for one sentinel, before the next one is asked.
SENTINEL_TIMEOUT = 1.0


class Secret(str):
    """A password that is not shown by accident, with the settings that it is in."""

    def __repr__(self) -> str:
        return repr(MASK)


def without(secrets: Iterable[object], text: str) -> str:
    """The text without the secrets, however a server or a library writes them."""
    for secret in secrets:
        word = str(secret or "")
        written = repr(word.encode("utf-8", "surrogatepass"))[2:-1]
        for form in {word, quote(word, safe="", errors="replace"), repr(word)[1:-1], written}:
            text = text.replace(form, MASK) if form else text
    return text


def scrub(error: BaseException, secrets: Sequence[object]) -> None:
    """Take the secrets out of the text of the error, and of all errors that led to it.

    A server may repeat bytes that it was sent, and a traceback shows all these errors.
    """
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        one.args = tuple(without(secrets, str(argument)) for argument in one.args)
        one = one.__cause__ or one.__context__


class NoMasterError(RedisConnectionError):
    """No sentinel names a master now. `hopeless`: none of them will."""

    hopeless = False


class Sentinels:
    """The sentinels of one master, at `hosts`; `options` are those of connections to them."""

    def __init__(
        self,
        hosts: Sequence[tuple[str, int]],
        master: str,
        connection_class: type[Connection],
        options: Mapping[str, Any],
    ) -> None:
        #: The one that answered last is the first.
        self.hosts = list(hosts)
        self.master = master
        self.connection_class = connection_class
        self.options = {
            **options,
            "socket_timeout": SENTINEL_TIMEOUT,
            "socket_connect_timeout": SENTINEL_TIMEOUT,
        }

    def __repr__(self) -> str:
        return f"<sentinels of {self.master!r}>"

    async def find(self) -> tuple[str, int]:
        """Where the master is. NoMasterError: none of them knows, or answers."""
        refusals = []
        for host in list(self.hosts):
            try:
                found = await self._ask(*host)
            except (AuthenticationError, ResponseError) as error:
                scrub(error, [self.options.get("password")])
                refusals.append(f"a sentinel refused: {error}")
            except (RedisError, OSError):
                continue
            else:
                if found:
                    self.hosts.remove(host)
                    self.hosts.insert(0, host)
                    return found
                refusals.append(f"no sentinel knows a master {self.master!r}")
        unknown = NoMasterError(refusals[0] if refusals else "no sentinel answers")
        unknown.hopeless = len(refusals) == len(self.hosts)
        raise unknown

    async def _ask(self, host: str, port: int) -> tuple[str, int] | None:
        # Not kept: they are asked when a connection is made, and that is seldom.
        connection = self.connection_class(host=host, port=port, **self.options)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
            await connection.send_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.master)
            found = await connection.read_response()
        finally:
            await connection.disconnect()
        return (found[0].decode(), int(found[1])) if found else None


if TYPE_CHECKING:
    Base = AbstractConnection
else:
    Base = object


class ToMaster(Base):
    """A connection to the server that is the master when the connection is made."""

    def __init__(self, *, sentinels: Sentinels, **options: Any) -> None:
        super().__init__(**options)
        self.sentinels = sentinels

    async def _connect(self) -> None:
        self.host, self.port = await self.sentinels.find()
        await super()._connect()  # type: ignore[no-untyped-call, safe-super]


class Watched(Base):
    """A connection that its subscriber reads again and again, and that is silent for long only
    where the other end is gone: frozen, or unreachable.

    After `health_check_interval` without a word redis-py asks, and waits for the answer for ever.
    """

    #: Since when nothing was heard, by the loop's clock; None: nothing was waited for since.
    silent_since: float | None = None

    async def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            heard = await super().read_response(*args, **options)
        except RedisError as error:
            scrub(error, [self.password])
            raise
        # A read without a `timeout` is the answer to a command, and that may be None.
        if heard is not None or options.get("timeout") is None:
            self.silent_since = None
            return heard
        now = asyncio.get_running_loop().time()
        self.silent_since = now if self.silent_since is None else self.silent_since
        if self.health_check_interval and now - self.silent_since > 2 * self.health_check_interval:
            self.silent_since = None
            raise RedisTimeoutError("nothing was heard for long")
        return None


@cache
def to_master(base: type[Connection]) -> type[Connection]:
    return type(f"ToMaster{base.__name__}", (ToMaster, base), {})


@cache
def watched(base: type[AbstractConnection]) -> type[AbstractConnection]:
    return type(f"Watched{base.__name__}", (Watched, base), {})
