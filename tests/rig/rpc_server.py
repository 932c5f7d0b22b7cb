"""A MessagePack-RPC server in the test's own loop, whose backend waits when it is told to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgpack
import pytest
from pytest_django.fixtures import Settings

from broadcast import backends
from broadcast.backends import Appended
from broadcast.backends.memory import MemoryBackend
from broadcast.models import Stream, rows
from broadcast.rpc import server as rpc_server
from tests.rig.doors import PATIENCE
from tests.rig.processes import free_port
from tests.rig.rpc import Client


class GatedBackend(MemoryBackend):
    """Appends to a stream whose gate is shut when it is opened again."""

    def __init__(self) -> None:
        super().__init__()
        self.gates: dict[str, asyncio.Event] = {}

    def shut(self, stream: str) -> asyncio.Event:
        self.gates[stream] = asyncio.Event()
        return self.gates[stream]

    async def append(self, stream: str, *arguments: Any) -> Appended:
        if stream in self.gates:
            await self.gates[stream].wait()
        return await super().append(stream, *arguments)

    def published(self, stream: str) -> list[Any]:
        return [one.data for one in self.history(stream).publications]


def gated_backend(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> GatedBackend:
    """The backend of a test whose streams have no rows."""

    async def no_row(slug: str) -> Stream | None:
        return None

    settings.BROADCAST_HISTORY_COUNT = 1_000_000
    settings.BROADCAST_HISTORY_BYTES = 1 << 30
    monkeypatch.setattr(rows, "_read", no_row)
    made = GatedBackend()
    monkeypatch.setattr(backends, "_backend", made)
    return made


class Served:
    """A server in this loop, and connections to it."""

    def __init__(self) -> None:
        self.port = free_port()
        self.listens = asyncio.Event()
        self.writers: list[asyncio.StreamWriter] = []
        self.task = asyncio.ensure_future(
            rpc_server.serve("127.0.0.1", self.port, self.listens.set)
        )

    async def client(self) -> Client:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writers.append(writer)
        return Client(reader, writer)


@asynccontextmanager
async def served() -> AsyncIterator[Served]:
    server = Served()
    async with asyncio.timeout(PATIENCE):
        await server.listens.wait()
    try:
        yield server
    finally:
        for writer in server.writers:
            writer.close()
        server.task.cancel()
        with suppress(asyncio.CancelledError):
            await server.task
        for writer in server.writers:
            # One that has something left to say would wait for somebody to read it.
            writer.transport.abort()
        await asyncio.sleep(0)


def request(msgid: int, method: str, *params: Any) -> bytes:
    packed: bytes = msgpack.packb([0, msgid, method, params])
    return packed


def notification(method: str, *params: Any) -> bytes:
    packed: bytes = msgpack.packb([2, method, params])
    return packed
