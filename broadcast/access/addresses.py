"""Where a connection comes from: the address of the person, not of the proxy before us.

`X-Forwarded-For` is a list: each proxy adds at its end the address that it was reached from. A
client may begin it with anything, so it is read from the end, and only as far as the proxies that
`BROADCAST_PROXIES` names have written it.
"""

import re
from collections.abc import Awaitable, Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from ..conf import conf
from .origins import Application

#: The name in `PROXIES` of a proxy at a Unix socket, which has no address.
UNIX = "unix:"

#: An address with a port, or in brackets.
WITH_PORT = re.compile(r"(?:\[(.+)\]|([\d.]+))(?::\d{1,5})?")


def address_of(scope: dict[str, Any]) -> str:
    """The address of its client; "" for a client without one, as at a Unix socket."""
    client = scope.get("client")
    if not client:
        return ""
    # Where one socket takes IPv4 and IPv6.
    return str(client[0]).removeprefix("::ffff:")


def parse(text: str) -> IPv4Address | IPv6Address | None:
    """The address that `text` is, whose port does not matter; None: it is none."""
    if found := WITH_PORT.fullmatch(text):
        text = found[1] or found[2]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


@lru_cache(maxsize=4096)
def household(address: str) -> str:
    """What counts as one address: of IPv6 a /64, since a client that has one address has all of
    it."""
    parsed = parse(address)
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((int(parsed) >> 64 << 64, 64)))
    return address if parsed is None else str(parsed)


class Proxies:
    """Proxies by name: addresses, networks, and `unix:`. ImproperlyConfigured: one is none."""

    def __init__(self, names: Iterable[str]) -> None:
        self.unix = UNIX in names
        try:
            self.networks = [ip_network(name, strict=False) for name in names if name != UNIX]
        except ValueError as error:
            raise ImproperlyConfigured(f"BROADCAST_PROXIES: {error}") from None

    def __contains__(self, address: str) -> bool:
        parsed = parse(address)
        if parsed is None:
            return self.unix
        return any(parsed in network for network in self.networks)

    def client(self, peer: str, forwarded: str) -> str:
        """The address that came to the first of the proxies; `peer` came to us."""
        client = peer
        for hop in reversed(forwarded.split(",")):
            hop = hop.strip()
            if client not in self:
                break
            parsed = parse(hop)
            if parsed:
                client = str(parsed)
            elif hop and not (hop == UNIX and self.unix):
                # A proxy knows no address, or writes what we cannot read: it stands for them.
                break
        return client


@lru_cache(maxsize=16)
def _named(names: tuple[str, ...]) -> Proxies:
    return Proxies(names)


def named_proxies() -> Proxies:
    """Those of `BROADCAST_PROXIES`. ImproperlyConfigured: it names something else, too."""
    return _named(tuple(conf.PROXIES))


class ProxyMiddleware:
    """Has everything behind it see the person instead of the proxies that are named.

    `scope["client"]`, and so `REMOTE_ADDR`, logs and limits; the port is 0. Other headers that
    only a proxy may send are dropped when anybody else sends them: see `claims`.
    """

    def __init__(self, inner: Application) -> None:
        self.inner = inner
        # A server names faults of the setting when it starts.
        named_proxies()

    def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> Awaitable[None]:
        if conf.PROXIES:
            scope = seen_through(scope, named_proxies())
        return self.inner(scope, receive, send)


def claims() -> set[bytes]:
    """Headers that Django believes, and that say how somebody came to the first proxy.

    `X-Forwarded-Proto`, what `SECURE_PROXY_SSL_HEADER` names, and where `USE_X_FORWARDED_HOST` and
    `USE_X_FORWARDED_PORT` are set the name and the port of the site.
    """
    names = ["x-forwarded-proto"]
    if settings.SECURE_PROXY_SSL_HEADER:
        names.append(settings.SECURE_PROXY_SSL_HEADER[0].removeprefix("HTTP_").replace("_", "-"))
    if settings.USE_X_FORWARDED_HOST:
        names.append("x-forwarded-host")
    if settings.USE_X_FORWARDED_PORT:
        names.append("x-forwarded-port")
    return {name.lower().encode() for name in names}


def seen_through(scope: dict[str, Any], proxies: Proxies) -> dict[str, Any]:
    """The scope with who is behind the proxies as its client."""
    peer = address_of(scope)
    if peer not in proxies:
        claimed = claims()
        headers = [pair for pair in scope["headers"] if pair[0] not in claimed]
        return {**scope, "headers": headers} if len(headers) < len(scope["headers"]) else scope
    lines = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
    client = proxies.client(peer, b",".join(lines).decode("latin1"))
    return scope if client == peer else {**scope, "client": [client, 0]}


def is_loopback(host: str) -> bool:
    """Whether only programs on this machine reach it."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
