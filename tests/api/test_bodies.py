"""Bodies of requests at real servers: of any length, too long, never ending."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.rig.doors import ServerDoor
from tests.rig.events import ServerHearing

MIB = 1024 * 1024
CHUNKED = {"Transfer-Encoding": "chunked"}
END = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def head(slug: str, headers: dict[str, str], query: str = "") -> bytes:
    lines = [
        f"POST /api/streams/{slug}/publications/{query} HTTP/1.1",
        "Host: localhost",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


@asynccontextmanager
async def post(
    door: ServerDoor, slug: str, body: bytes, headers: dict[str, str], query: str = ""
) -> AsyncIterator[ServerHearing]:
    """Send a body as it is, and read the beginning of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", door.process.port)
    hearing = ServerHearing(reader, writer)
    try:
        await hearing.begin(head(slug, headers, query) + body)
        yield hearing
    finally:
        await hearing.leave()


async def test_a_body_of_unknown_length_is_published(server_door: ServerDoor) -> None:
    slug = await server_door.stream("media")
    listener = await server_door.listener(slug)
    part = b"x" * (MIB // 4)
    async with post(server_door, slug, chunk(part) * 16 + END, CHUNKED) as answer:
        assert answer.status == 201
        assert await listener.told() == (1, part * 16)


async def test_who_sends_too_much_is_told_before_the_end(server_door: ServerDoor) -> None:
    slug = await server_door.stream("media")
    body = chunk(b"x" * MIB) * 4 + chunk(b"x")  # The last chunk never comes.
    async with post(server_door, slug, body, CHUNKED) as answer:
        assert (answer.status, answer.headers["connection"]) == (413, "close")
        assert "4194304 bytes" in await answer.error()
    async with post(server_door, slug, b"", {"Content-Length": "9999999999"}) as answer:
        assert answer.status == 413
        assert "4194304 bytes" in await answer.error()
    assert (await server_door.describe(slug))["position"]["offset"] == 0


async def test_who_waits_to_be_told_to_go_on_is_refused_at_once(our_door: ServerDoor) -> None:
    slug = await our_door.stream("media")
    headers = {"Content-Length": str(5 * MIB), "Expect": "100-continue"}
    async with post(our_door, slug, b"", headers) as answer:
        assert answer.status == 413
        await answer.error()
        # And what comes behind the answer is its end.
        answer.writer.write(b"x" * 5 * MIB)
        assert await answer.reader.read() == b""


async def test_what_is_refused_is_not_kept(our_door: ServerDoor) -> None:
    slug = await our_door.stream("media")

    async def visit() -> None:
        async with post(our_door, slug, chunk(b"x" * MIB) * 12 + END, CHUNKED) as answer:
            assert answer.status == 413

    await visit()
    before = our_door.process.memory
    await asyncio.gather(*(visit() for _ in range(5)))
    assert our_door.process.memory - before < 16 * MIB
    listener = await our_door.listener(slug)
    async with post(our_door, slug, chunk(b"and goes on") + END, CHUNKED) as answer:
        assert (answer.status, await listener.told()) == (201, (1, b"and goes on"))


async def test_the_log_says_nothing_of_what_was_sent(our_door: ServerDoor) -> None:
    slug = await our_door.stream("owned")
    our_door.process.new_log()
    body = json.dumps({"of": "mine"}).encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    async with post(our_door, slug, body, headers, "?token=secret.token") as answer:
        assert (answer.status, answer.headers["www-authenticate"][:6]) == (401, "Bearer")
    log = our_door.process.new_log()
    assert "Unauthorized" in log
    assert "secret" not in log and "mine" not in log


async def test_who_goes_in_the_middle_or_talks_nonsense_disturbs_nobody(
    server_door: ServerDoor,
) -> None:
    slug = await server_door.stream()
    for body in (b"", chunk(b"x" * MIB), b"nonsense\r\n", b"-1\r\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", server_door.process.port)
        writer.write(head(slug, CHUNKED) + body)
        await writer.drain()
        hearing = ServerHearing(reader, writer)
        await hearing.leave()
    async with post(server_door, slug, chunk(b"x") + END, CHUNKED) as answer:
        assert answer.status == 201
    assert (await server_door.describe(slug))["position"]["offset"] == 1
