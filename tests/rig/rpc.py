"""Clients of MessagePack-RPC that say any bytes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgpack

from tests.rig.doors import PATIENCE
from tests.rig.processes import ServerProcess

#: The answer to a ping with the id 1.
PONG = [1, 1, None, "pong"]


class Client:
    """A connection to the server's port, which says bytes and reads objects."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.unpacker = msgpack.Unpacker(strict_map_key=False)

    async def say(self, data: bytes) -> None:
        async with asyncio.timeout(PATIENCE):
            self.writer.write(data)
            await self.writer.drain()

    async def answer(self) -> Any:
        """The next object. ConnectionError: the server closed."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for answer in self.unpacker:
                    return answer
                data = await self.reader.read(65536)
                if not data:
                    raise ConnectionError("closed")
                self.unpacker.feed(data)

    async def call(self, method: Any, *params: Any) -> Any:
        await self.say(msgpack.packb([0, 1, method, params]))
        return await self.answer()

    async def is_closed(self) -> bool:
        try:
            await self.answer()
        except ConnectionError:
            return True
        return False


@asynccontextmanager
async def connected(process: ServerProcess) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", process.rpc_port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


def raw(value: bytes) -> bytes:
    """As clients write bytes that know the old *raw* type only: it reads as `str`."""
    assert len(value) < 32
    return bytes((0xA0 | len(value),)) + value
