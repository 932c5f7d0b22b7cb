"""`permessage-deflate` between our server and other people's clients."""

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from broadcast.conf import conf
from tests.rig.doors import PATIENCE, V1, ServerDoor
from tests.rig.publications import quotes
from tests.rig.scrapes import scrape

QUOTES = [one.payload.decode() for one in quotes(300)]
#: More than it takes for a stream to be compressed.
MANY = conf.COMPRESS_LISTENERS + 5


async def open_(stack: AsyncExitStack, door: ServerDoor, path: str, *names: str) -> Any:
    """A client that offers to inflate, as `websockets` does of itself."""
    options: dict[str, Any] = {"subprotocols": list(names) or None, "proxy": None}
    return await stack.enter_async_context(connect(door.url + path, **options))


def deflates(client: ClientConnection) -> bool:
    return bool(client.protocol.extensions)


async def hear(client: ClientConnection, number: int) -> list[Any]:
    async with asyncio.timeout(PATIENCE):
        return [await client.recv() for _ in range(number)]


async def saved(door: ServerDoor) -> float:
    return (await asyncio.to_thread(scrape, door.process))["saved_bytes_total"]


async def test_clients_that_come_at_different_times_hear_everything_in_fewer_bytes(
    our_door: ServerDoor,
) -> None:
    slug = await our_door.stream()
    streamer = await our_door.plain_streamer(slug)
    before = await saved(our_door)
    clients: list[ClientConnection] = []
    async with AsyncExitStack() as stack:
        at = 0
        while at < len(QUOTES):
            if len(clients) < MANY:
                client = await open_(stack, our_door, f"/ws/listener/{slug}/")
                assert deflates(client)
                clients.append(client)
                await our_door.until_listeners(slug, len(clients))
            for quote in QUOTES[at : at + 15]:
                await streamer.send(quote)
            at += 15
            # Everybody is at the live edge when the next one comes.
            for client in clients:
                assert await hear(client, 15) == QUOTES[at - 15 : at]
    size = sum(map(len, QUOTES))
    assert await saved(our_door) - before > size


async def test_who_speaks_v1_and_who_cannot_inflate_hear_the_same(our_door: ServerDoor) -> None:
    slug = await our_door.stream()
    streamer = await our_door.streamer(slug)
    plain = await our_door.listener(slug)
    async with AsyncExitStack() as stack:
        clients = [await open_(stack, our_door, f"/ws/listener/{slug}/", V1) for _ in range(MANY)]
        for client in clients:
            assert json.loads(await client.recv())["event"] == "joined"
        for number, quote in enumerate(QUOTES, 1):
            await streamer.publish(json.loads(quote))
            assert (await plain.told())[0] == number
        for client in clients:
            heard = [json.loads(one) for one in await hear(client, len(QUOTES))]
            assert [one["data"] for one in heard] == [json.loads(quote) for quote in QUOTES]
            assert [one["offset"] for one in heard] == list(range(1, len(QUOTES) + 1))


async def test_what_is_compressed_already_is_not_deflated(
    our_door: ServerDoor,
) -> None:
    slug = await our_door.stream("media")
    before = await saved(our_door)
    async with AsyncExitStack() as stack:
        for _ in range(MANY):
            await open_(stack, our_door, f"/ws/listener/{slug}/")
        await our_door.until_listeners(slug, MANY)
    assert await saved(our_door) == before


async def test_streamers_and_rooms_are_not_asked_to_deflate(our_door: ServerDoor) -> None:
    slug = await our_door.stream()
    async with AsyncExitStack() as stack:
        assert not deflates(await open_(stack, our_door, f"/ws/streamer/{slug}/"))
        assert not deflates(await open_(stack, our_door, "/ws/signaling/", "palava.1.0"))


async def test_a_page_takes_and_says_deflated_messages(our_door: ServerDoor) -> None:
    async with AsyncExitStack() as stack:
        page = await open_(stack, our_door, "/ws/socket/?socket_connection_id=x")
        assert deflates(page)
        for number in range(3):
            # `websockets` deflates what it sends.
            await page.send(json.dumps({"id": number, "action": "ping", "more": "x" * 5000}))
            assert json.loads(await page.recv())["id"] == number


async def test_a_message_that_inflates_to_too_much_ends_the_connection(
    our_door: ServerDoor,
) -> None:
    async with AsyncExitStack() as stack:
        page = await open_(stack, our_door, "/ws/socket/?socket_connection_id=x")
        # 5 KB on the wire.
        await page.send("x" * (5 * conf.MAX_FRAME))
        async with asyncio.timeout(PATIENCE):
            await page.wait_closed()
        assert page.close_code == 1009
