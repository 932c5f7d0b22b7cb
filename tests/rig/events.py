"""Clients of event streams: over TCP to a server, or in the test's own loop.

The lines of a stream are taken as the HTML Standard says (section 9.2.6).
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple

from asgiref.testing import ApplicationCommunicator

from broadcast.http import HTTPApplication
from tests.rig.doors import PATIENCE, ServerDoor


class Event(NamedTuple):
    name: str
    data: str
    id: str

    @property
    def fields(self) -> Any:
        return json.loads(self.data)


class Parser:
    """Bytes of a stream in, events out."""

    def __init__(self) -> None:
        self.text = b""
        self.last_id = ""
        self.retry = 0
        self.comments = 0
        self.name = ""
        self.data: list[str] = []

    def feed(self, data: bytes) -> list[Event]:
        *lines, self.text = re.split(rb"\r\n|\n|\r(?!\Z)", self.text + data)
        return [event for line in lines if (event := self._line(line.decode()))]

    def _line(self, line: str) -> Event | None:
        if not line:
            data, name = self.data, self.name
            self.data, self.name = [], ""
            return Event(name or "message", "\n".join(data), self.last_id) if data else None
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not field:
            self.comments += 1
        elif field == "data":
            self.data.append(value)
        elif field == "event":
            self.name = value
        elif field == "id":
            self.last_id = value
        elif field == "retry":
            self.retry = int(value)
        return None


class Ended(Exception):
    """The response is over. `whole`: it was finished, not cut."""

    def __init__(self, whole: bool) -> None:
        super().__init__(f"{whole=}")
        self.whole = whole


class Hearing:
    """An answer that is being read."""

    status = 0
    headers: dict[str, str]

    def __init__(self) -> None:
        self.parser = Parser()
        self.events: list[Event] = []
        self.body = b""

    async def _read(self) -> bytes:
        """More of the body. Ended."""
        raise NotImplementedError

    async def more(self) -> None:
        async with asyncio.timeout(PATIENCE):
            data = await self._read()
        if self.status == 200:
            self.events += self.parser.feed(data)
        else:
            self.body += data

    async def event(self) -> Event:
        while not self.events:
            await self.more()
        return self.events.pop(0)

    async def many(self, count: int) -> list[Event]:
        return [await self.event() for _ in range(count)]

    async def texts(self, count: int) -> list[str]:
        return [event.data for event in await self.many(count)]

    async def until(self, name: str) -> Event:
        while (event := await self.event()).name != name:
            pass
        return event

    async def rest(self) -> tuple[list[Event], bool]:
        """All that still comes, and whether it was finished then."""
        while True:
            try:
                await self.more()
            except Ended as ended:
                return self.events, ended.whole

    async def error(self) -> str:
        """What is wrong with the request."""
        await self.rest()
        assert self.headers["content-type"] == "application/json"
        return str(json.loads(self.body)["error"])


class ServerHearing(Hearing):
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__()
        self.reader, self.writer = reader, writer

    async def begin(self, head: bytes) -> None:
        self.writer.write(head)
        async with asyncio.timeout(PATIENCE):
            said = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin1")
        status, *lines = said.strip().split("\r\n")
        self.status = int(status.split()[1])
        self.headers = {
            name.lower(): value for name, value in (line.split(": ", 1) for line in lines)
        }

    async def _read(self) -> bytes:
        try:
            if self.headers.get("transfer-encoding") != "chunked":
                length = int(self.headers["content-length"])
                if len(self.body) == length:
                    raise Ended(whole=True)
                return await self.reader.readexactly(length)
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            data = (await self.reader.readexactly(size + 2))[:-2]
        except (asyncio.IncompleteReadError, ConnectionError):
            raise Ended(whole=False) from None
        if not data:
            raise Ended(whole=True)
        return data

    async def leave(self) -> None:
        self.writer.transport.abort()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


@asynccontextmanager
async def hear(
    door: ServerDoor, slug: str, query: str = "", limit: int = 2**16, **headers: str
) -> AsyncIterator[ServerHearing]:
    """Hear a stream for the length of the block. `limit`: bytes that are read ahead, about."""
    reader, writer = await asyncio.open_connection("127.0.0.1", door.process.port, limit=limit)
    hearing = ServerHearing(reader, writer)
    lines = [
        f"GET /api/streams/{slug}/events/{query} HTTP/1.1",
        f"Host: 127.0.0.1:{door.process.port}",
        "Accept: text/event-stream",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]
    try:
        await hearing.begin("\r\n".join([*lines, "", ""]).encode("latin1"))
        yield hearing
    finally:
        await hearing.leave()


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("Django was asked")


class InProcessHearing(Hearing):
    def __init__(self, scope: dict[str, Any]) -> None:
        super().__init__()
        self.communicator = ApplicationCommunicator(HTTPApplication(nothing), scope)
        self.over = False

    async def begin(self) -> None:
        await self.communicator.send_input({"type": "http.request", "body": b""})
        start = await self.communicator.receive_output(PATIENCE)
        self.status = start["status"]
        self.headers = {name.decode(): value.decode() for name, value in start["headers"]}

    async def _read(self) -> bytes:
        if self.over:
            raise Ended(whole=True)
        message = await self.communicator.receive_output(PATIENCE)
        self.over = not message.get("more_body")
        return bytes(message.get("body", b""))

    async def leave(self) -> None:
        await self.communicator.send_input({"type": "http.disconnect"})
        await self.communicator.wait(PATIENCE)


@asynccontextmanager
async def hear_in_process(
    slug: str, query: str = "", method: str = "GET", **headers: str
) -> AsyncIterator[InProcessHearing]:
    given = {"host": "localhost", "accept": "text/event-stream", **headers}
    hearing = InProcessHearing(
        {
            "type": "http",
            "method": method,
            "path": f"/api/streams/{slug}/events/",
            "query_string": query.lstrip("?").encode("ascii"),
            "headers": [
                (name.replace("_", "-").encode(), value.encode("latin1"))
                for name, value in given.items()
                if value
            ],
        }
    )
    await hearing.begin()
    try:
        yield hearing
    finally:
        await hearing.leave()
