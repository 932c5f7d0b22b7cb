"""Floods of publications, and listeners that never read what is sent to them."""

import asyncio
from contextlib import AsyncExitStack

from tests.rig.doors import ServerDoor, Socket
from tests.rig.raw import RawSocket

KIB = 1024
MIB = 1024 * KIB
#: A publication of tests that fill buffers: large, and not a divisor of them.
SIZE = 64 * KIB
#: More of them than all buffers of the kernel and the history of a stream hold: 31 MiB.
FLOOD = 500


def payload(number: int) -> bytes:
    return number.to_bytes(4, "big") * (SIZE // 4)


async def never_reading(
    stack: AsyncExitStack, door: ServerDoor, slug: str, *protocols: str
) -> RawSocket:
    """A listener that has joined and stops reading there."""
    before = await door.listeners(slug)
    raw = await stack.enter_async_context(door.raw(receive_buffer=4096))
    await raw.open(f"/ws/listener/{slug}/", *protocols)
    await door.until_listeners(slug, before + 1)
    return raw


async def flood(streamer: Socket, listener: Socket, first: int = 1, last: int = FLOOD) -> None:
    """Publish so many, and see that `listener` gets them all meanwhile."""

    async def hear() -> None:
        for number in range(first, last + 1):
            assert await listener.told() == (number, payload(number))
            heard.release()

    # Not further ahead than this: here a fast listener stays one on a busy machine, too.
    heard = asyncio.Semaphore(32)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(hear())
        for number in range(first, last + 1):
            await heard.acquire()
            await streamer.publish(payload(number))
