"""Streamers that have published."""

from typing import Any

from tests.rig.doors import Door, Socket


async def published(door: Door, slug: str, *payloads: Any) -> Socket:
    """A streamer that has published all this: `("header", x)` and `("entry", x)` are marked."""
    streamer = await door.streamer(slug)
    for payload in payloads:
        if isinstance(payload, tuple):
            mark, payload = payload
            await streamer.tell("mark", **{"as": mark})
        await streamer.publish(payload)
    await streamer.accepted(len(payloads))
    return streamer
