"""Who may come in: origins, hosts, sessions, MessagePack-RPC."""

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register

from ..access.addresses import is_loopback
from ..conf import conf
from .values import TAG, are_sound


@register(TAG, Tags.security)
def check_allowed_origins(**kwargs: Any) -> list[CheckMessage]:
    if not are_sound("ALLOWED_ORIGINS"):
        return []
    return [
        Error(
            f"BROADCAST_ALLOWED_ORIGINS has {origin!r}, and no browser sends that as an Origin.",
            hint="An origin is a scheme and a host, nothing behind: https://www.example.org",
            id="broadcast.E004",
        )
        for origin in conf.ALLOWED_ORIGINS
        if not _is_origin(origin)
    ]


def _is_origin(origin: str) -> bool:
    """Whether it is a scheme and a host as browsers write them; "null" may be any site's."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    whole = f"{parts.scheme}://{parts.netloc}" == origin == origin.lower()
    return whole and bool(parts.scheme and parts.hostname) and "*" not in origin


@register(TAG, Tags.security)
def check_hosts(**kwargs: Any) -> list[CheckMessage]:
    if settings.DEBUG or "*" not in settings.ALLOWED_HOSTS:
        return []
    message = (
        "ALLOWED_HOSTS has '*': the pages of any site may open sockets, and publish where anybody "
        "may, from the machines of their visitors."
    )
    hint = "Name the hosts of this site. Those of others go into BROADCAST_ALLOWED_ORIGINS."
    return [Warning(message, hint=hint, id="broadcast.W005")]


@register(TAG, Tags.security, deploy=True)
def check_sessions(**kwargs: Any) -> list[CheckMessage]:
    if settings.SESSION_ENGINE != "django.contrib.sessions.backends.signed_cookies":
        return []
    message = (
        "Sessions are in cookies, and cannot be ended: a copied cookie opens sockets after its "
        "owner has logged out."
    )
    hint = "Set SESSION_ENGINE to 'django.contrib.sessions.backends.db'."
    return [Warning(message, hint=hint, id="broadcast.W006")]


@register(TAG, Tags.security, deploy=True)
def check_proxies(**kwargs: Any) -> list[CheckMessage]:
    if not are_sound("PROXIES") or not conf.PROXIES or settings.SECURE_PROXY_SSL_HEADER:
        return []
    message = (
        "BROADCAST_PROXIES names a proxy, and Django does not believe it who comes by https: their "
        "forms are refused, and their sockets have no session."
    )
    hint = (
        "Set SECURE_PROXY_SSL_HEADER = ('HTTP_X_FORWARDED_PROTO', 'https'). If nobody comes by "
        f"https, silence {TAG}.W020."
    )
    return [Warning(message, hint=hint, id="broadcast.W020")]


@register(TAG, Tags.security)
def check_rpc_host(**kwargs: Any) -> list[CheckMessage]:
    if not are_sound("RPC_HOST", "RPC_SECRET") or is_loopback(conf.RPC_HOST):
        return []
    if reason := reason_for_loopback(conf.RPC_HOST):
        hint = "Set BROADCAST_RPC_SECRET, or BROADCAST_RPC_HOST to 127.0.0.1."
        return [Error(f"{reason}.", hint=hint, id="broadcast.E005")]
    message = (
        f"MessagePack-RPC listens at {conf.RPC_HOST!r}, not encrypted: a listener on "
        "the network learns the secret, can publish on every stream, and read private ones."
    )
    hint = "Set BROADCAST_RPC_HOST to 127.0.0.1, or let nobody but your programs reach the port."
    return [Warning(message, hint=hint, id="broadcast.W007")]


def reason_for_loopback(host: str) -> str:
    """Why MessagePack-RPC must not listen at `host`; "": it may."""
    if is_loopback(host) or conf.RPC_SECRET:
        return ""
    return f"at {host!r} MessagePack-RPC is open to other machines, and has no secret"
