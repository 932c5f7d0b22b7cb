"""`/metrics`: who may read what is counted (`metrics`), and that.

Staff may, and programs with `METRICS_TOKEN`. Where there is no token programs of this machine may,
too, if no proxy stands between: they must not come with a proxy's headers, nor ask for another
name than this machine's own.
"""

import asyncio
from ipaddress import IPv6Address, ip_address

from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.http.request import split_domain_port
from django.utils.crypto import constant_time_compare
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from .. import metrics
from ..access.visitors import auser_of
from ..conf import conf
from ..exceptions import Forbidden, Unavailable
from ..http.answers import reading
from ..hub.relay import all_topics
from ..models import users

#: Headers of requests that came through a proxy.
PROXY_HEADERS = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP")
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


@reading
async def scrape(request: HttpRequest) -> HttpResponse:
    if not (has_token(request) or is_local(request) or await is_staff(request)):
        raise Forbidden("staff and programs with the token may read the metrics")
    metrics.refresh(all_topics())
    text = await asyncio.to_thread(metrics.text)
    return HttpResponse(text, content_type=CONTENT_TYPE_PLAIN_0_0_4)


def has_token(request: HttpRequest) -> bool:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if not conf.METRICS_TOKEN or scheme.lower() != "bearer":
        return False
    return constant_time_compare(token.strip(), conf.METRICS_TOKEN)


def is_local(request: HttpRequest) -> bool:
    """Whether a program of this machine asks, itself, where no token is set."""
    if conf.METRICS_TOKEN or any(name in request.headers for name in PROXY_HEADERS):
        return False
    try:
        client = ip_address(request.META.get("REMOTE_ADDR", ""))
    except ValueError:
        return False
    if isinstance(client, IPv6Address) and client.ipv4_mapped:
        client = client.ipv4_mapped
    return client.is_loopback and split_domain_port(request.get_host())[0] in LOOPBACK_NAMES


async def is_staff(request: HttpRequest) -> bool:
    try:
        return users.is_staff(await auser_of(request))
    except DatabaseError:
        raise Unavailable("the database does not answer") from None
