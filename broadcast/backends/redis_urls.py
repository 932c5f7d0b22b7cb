"""The URLs of Redis servers: only this module reads them, and decides how to show them.

    redis://user:password@host:6379/0         rediss://…  the same over TLS
    unix:///run/redis.sock?db=0
    redis+sentinel://user:password@host1:26379,host2:26379/master/0?sentinel_password=…
                                              rediss+sentinel://…  all of it over TLS

A sentinel's URL names the sentinels and their name for the master; user and password are the
master's, `sentinel_username` and `sentinel_password` the sentinels'. The query has options as
redis-py knows them: `ssl_ca_certs`, `socket_timeout`, … Characters with a meaning in URLs are
written as %XX, in passwords too.

The rule: no text that anybody may see has a password. A URL is never shown, and neither is any part
of one that could not be read: `name` is. The text of a server goes through `scrub`, since it may
repeat a password that the server was sent.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote

from django.core.exceptions import ImproperlyConfigured
from redis.asyncio.connection import (
    URL_QUERY_ARGUMENT_PARSERS,
    AbstractConnection,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
    parse_url,
)
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from .redis_connections import Secret, Sentinels, to_master, watched

#: Seconds to wait for Redis to connect or to answer.
TIMEOUT = 5.0
#: Options that every connection has. With protocol 3 redis-py's pool does not notice that an idle
#: connection was closed; and by default commands are repeated that may have been carried out.
COMMON: dict[str, Any] = {
    "protocol": 2,
    "socket_timeout": TIMEOUT,
    "socket_connect_timeout": TIMEOUT,
    "retry": Retry(NoBackoff(), 0),
}

#: Where they listen, unless a URL says where.
PORT, SENTINEL_PORT = 6379, 26379
SCHEMES: dict[str, type[AbstractConnection]] = {
    "redis": Connection,
    "rediss": SSLConnection,
    "unix": UnixDomainSocketConnection,
    "redis+sentinel": Connection,
    "rediss+sentinel": SSLConnection,
}
URL = re.compile(
    r"(?P<scheme>[a-z+]+)://(?:(?P<user>[^/?#]*)@)?(?P<hosts>[^/?#@]*)"
    r"(?P<path>/[^?#@]*)?(?:\?(?P<query>[^#@]*))?"
)
#: Options that the query may have: redis-py's own, but for those that `COMMON` decides.
OPTION = re.compile(
    r"ssl_\w+|(?:sentinel_)?(?:username|password)|client_name|"
    + "|".join({*URL_QUERY_ARGUMENT_PARSERS} - {"protocol", "legacy_responses", "retry_on_timeout"})
)
HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.%]+)\]|(?P<name>[\w.%-]*))(?::(?P<port>[0-9]{1,5}))?")


class Address(NamedTuple):
    """A Redis that a URL names."""

    #: Its name in logs and errors: no password, no option.
    name: str
    #: The arguments with which redis-py makes connections with: of a `ConnectionPool`.
    options: dict[str, Any]
    #: Passwords.
    secrets: tuple[str, ...]

    def __repr__(self) -> str:
        return f"<Redis at {self.name}>"

    @property
    def has_stand_in(self) -> bool:
        """Whether sentinels say which server it is now."""
        return "sentinels" in self.options


class RedisURL(str):
    """A URL that is not shown by accident: `repr` has the address alone."""

    def __repr__(self) -> str:
        try:
            return repr(address_of(self))
        except ImproperlyConfigured:
            return "<a Redis URL that makes no sense>"


def split(text: str) -> list[str]:
    """The URLs of a text, which has commas between them, and perhaps in them."""
    urls = re.split(r",(?=\s*[a-z+]+://)", text.strip(", \t\r\n"))
    return [RedisURL(url.strip(", \t\r\n")) for url in urls if url]


@lru_cache(maxsize=64)
def address_of(url: str) -> Address:
    """The Redis that `url` names. ImproperlyConfigured: none; the reason repeats no part of it."""
    found = URL.fullmatch(url)
    if not found:
        raise nonsense(
            "it is scheme://user:password@host:port/number, with special characters of user name "
            "and password as %XX: %23 for #, %2C for a comma, %2F for /, %3F for ?, %40 for @"
        )
    if found["scheme"] not in SCHEMES:
        raise nonsense(f"it begins with one of {', '.join(f'{one}://' for one in SCHEMES)}")
    options = options_of(found["query"] or "", SCHEMES[found["scheme"]])
    sentinel = add_credentials(options, found)
    secrets = tuple(filter(None, (options.get("password"), sentinel.get("password"))))
    if found["scheme"] == "unix":
        name = add_path(options, found)
    elif found["scheme"].endswith("+sentinel"):
        name = add_sentinels(options, found, sentinel)
    else:
        name = add_host(options, found)
    try:
        # Only redis-py knows which options a connection takes, so make one to find out.
        options["connection_class"](**{**COMMON, **pool_free(options)})
    except (TypeError, ValueError, AttributeError, RedisError):
        raise nonsense("an option in its query is unknown, or has no such value") from None
    return Address(name, options, secrets)


def nonsense(reason: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"a Redis URL makes no sense: {reason}")


def pool_free(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a connection, without those of its pool."""
    own = ("connection_class", "max_connections", "timeout")
    return {name: value for name, value in options.items() if name not in own}


# -- parts of a URL -------------------------------------------------------------------------


def options_of(query: str, connection_class: type[AbstractConnection]) -> dict[str, Any]:
    """The options in the query, as redis-py reads them."""
    try:
        names = [name for name, _ in parse_qsl(query, keep_blank_values=True, strict_parsing=True)]
    except ValueError:
        names = [] if not query else [""]
    if len(names) != len(set(names)) or not all(map(OPTION.fullmatch, names)):
        raise nonsense("its query is no list of options, or has an unknown one")
    try:
        options: dict[str, Any] = dict(parse_url(f"redis://localhost?{query}"))
    except ValueError:
        raise nonsense("an option in its query has a value that it cannot have") from None
    options.pop("host")
    return {**options, "connection_class": connection_class}


def add_credentials(options: dict[str, Any], found: re.Match[str]) -> dict[str, Any]:
    """Add user and password of the Redis. Answers those of its sentinels."""
    user, _, password = (found["user"] or "").partition(":")
    options.update({"username": unquote(user)} if user else {})
    options.update({"password": unquote(password)} if password else {})
    for name in ("password", "sentinel_password"):
        options.update({name: Secret(options[name])} if name in options else {})
    sentinel = {
        name: options.pop(f"sentinel_{name}")
        for name in ("username", "password")
        if f"sentinel_{name}" in options
    }
    if sentinel and not found["scheme"].endswith("+sentinel"):
        raise nonsense("there is no sentinel that would be told a user or a password")
    return sentinel


def host_of(text: str, port: int) -> tuple[str, int]:
    found = HOST.fullmatch(text)
    number = int(found["port"] or port) if found else 0
    if not found or not 0 < number < 65536:
        raise nonsense("a host is a name or an address, and perhaps the number of a port")
    return found["v6"] or unquote(found["name"]) or "localhost", number


def shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def add_db(options: dict[str, Any], text: str) -> None:
    if text and not re.fullmatch("[0-9]{1,9}", text):
        raise nonsense("behind the host is the number of a database")
    if text:
        options["db"] = int(text)


def add_path(options: dict[str, Any], found: re.Match[str]) -> str:
    if found["hosts"] or not found["path"]:
        raise nonsense("a socket has a path from the root: unix:///run/redis.sock")
    options["path"] = unquote(found["path"])
    return str(options["path"])


def add_host(options: dict[str, Any], found: re.Match[str]) -> str:
    options["host"], options["port"] = host_of(found["hosts"], PORT)
    add_db(options, (found["path"] or "/")[1:])
    return shown(options["host"], options["port"])


def add_sentinels(options: dict[str, Any], found: re.Match[str], own: dict[str, Any]) -> str:
    """Have the connections ask sentinels; `own`: user and password of the sentinels."""
    hosts = [host_of(host, SENTINEL_PORT) for host in found["hosts"].split(",") if host]
    if len(hosts) <= found["hosts"].count(","):
        raise nonsense("between two commas is a sentinel")
    master, _, number = (found["path"] or "/")[1:].partition("/")
    if not master:
        raise nonsense("behind the sentinels is their name for the master: /mymaster/0")
    add_db(options, number)
    tls = {name: value for name, value in options.items() if name.startswith("ssl_")}
    asking = options["connection_class"]
    options["sentinels"] = Sentinels(hosts, unquote(master), asking, {**COMMON, **tls, **own})
    options["connection_class"] = to_master(asking)
    return f"master {unquote(master)!r} of {', '.join(shown(*host) for host in hosts)}"


# -- what connects --------------------------------------------------------------------------

#: Seconds of silence after which a connection of the channel layer asks whether the other end is
#: there; twice that, and it is not.
WATCH_SECONDS = 5


def pool_options(address: Address) -> dict[str, Any]:
    """For a pool that talks to it, unless its URL says otherwise."""
    return {**COMMON, **address.options}


def layer_host(url: str) -> dict[str, Any]:
    """An item of `hosts`, for the channel layers of channels-redis."""
    try:
        options = pool_options(address_of(url))
    except ImproperlyConfigured:
        # The backend is asked first, and says so.
        return {"address": "redis://redis-url-makes-no-sense.invalid"}
    options["connection_class"] = watched(options["connection_class"])
    return {"health_check_interval": WATCH_SECONDS, **options}
