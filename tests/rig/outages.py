"""What clients are told while Redis is away."""

import asyncio
from http.client import HTTPResponse
from typing import NamedTuple
from urllib.error import HTTPError
from urllib.request import urlopen

from tests.rig.doors import ServerDoor, Socket
from tests.rig.rpc import connected

#: Seconds within which a caller is told that Redis does not answer.
ANSWER_SECONDS = 8.0


class Page(NamedTuple):
    status: int
    content_type: str


async def get(door: ServerDoor, path: str) -> Page:
    def ask() -> Page:
        response: HTTPResponse | HTTPError
        try:
            response = urlopen(door.process.url + path, timeout=ANSWER_SECONDS)
        except HTTPError as error:
            response = error
        with response:
            return Page(response.status or 0, response.headers["Content-Type"])

    return await asyncio.to_thread(ask)


async def assert_unavailable(socket: Socket) -> None:
    """It is told that something went wrong, and may come back."""
    assert (await socket.until("error"))["message"]
    assert await socket.closed() == 4200


async def publish(door: ServerDoor, slug: str, data: str | int) -> str | None:
    """What the RPC server answers: the error."""
    async with connected(door.process) as client:
        error: str | None = (await client.call("publish", slug, data))[2]
    return error
