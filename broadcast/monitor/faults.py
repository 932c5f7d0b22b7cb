"""What is wrong with backend and channel layer: found before anybody publishes or listens.

Everything that they are ever asked is asked once. So a layer that takes every message and delivers
none is noticed, too.
"""

import asyncio
import secrets
from collections.abc import Iterable
from typing import Any

from channels.layers import InMemoryChannelLayer
from django.core.exceptions import ImproperlyConfigured
from redis.exceptions import RedisError

from ..backends import get_backend
from ..backends.redis_faults import explain, fault_of
from ..exceptions import Unavailable
from ..groups import channel_start, group_name
from ..hub.bus import REHEARSAL
from ..hub.layer import get_layer
from .health import one_name_each

#: Seconds that a message on a layer may take.
REHEARSAL_SECONDS = 2.0
DEAF = "the channel layer takes messages and delivers none: may the Redis user subscribe?"


async def find_faults() -> list[str]:
    """Reasons not to trust backend and channel layer, although they work.

    ImproperlyConfigured: they will never work so. Unavailable: they do not work now.
    """
    await get_backend().check()
    layer = get_layer()
    if layer is not None and not isinstance(layer, InMemoryChannelLayer):
        try:
            await rehearse(layer, map(group_name, one_name_each()))
        except (RedisError, OSError) as error:
            fault = fault_of(error)
            if fault.lasts:
                reason = f"the channel layer cannot be used: {explain(error)}"
                raise ImproperlyConfigured(reason) from None
            raise Unavailable(fault.words) from None
    return get_backend().remarks()


async def rehearse(layer: Any, groups: Iterable[str]) -> None:
    """Check that messages to the groups are delivered. Unavailable: they are not.

    Errors of the layer come through.
    """
    channel = await layer.new_channel(channel_start())
    word, expected = secrets.token_hex(8), set(groups)
    for group in expected:
        await layer.group_add(group, channel)
        message = {"type": REHEARSAL, "word": word, "group": group}
        await layer.group_send(group, message)
    try:
        async with asyncio.timeout(REHEARSAL_SECONDS):
            while expected:
                heard = await layer.receive(channel)
                if heard.get("word") == word:
                    expected.discard(heard["group"])
    except TimeoutError:
        raise Unavailable(DEAF) from None
