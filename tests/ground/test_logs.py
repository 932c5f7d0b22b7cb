"""What a server never writes down: payloads, tokens, passwords and session keys."""

import asyncio
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.rig.doors import V1, Closed, Refused, ServerDoor
from tests.rig.processes import PATIENCE, ServerProcess, prepared_database
from tests.rig.rpc import connected

#: All that is said in this module and must not be found again has this in it.
SECRET = "s3cr3t"

#: Everything is logged that anything logs.
LOUD = """
from project.settings import *
LOGGING["root"]["level"] = LOGGING["loggers"]["broadcast"]["level"] = "DEBUG"
"""

#: Headers that a client proves with who it is.
PROOFS = {
    "Cookie": f"sessionid={SECRET}sessionid0123456789abcdef; csrftoken={SECRET}csrf",
    "Authorization": f"Bearer {SECRET}-bearer",
}


@pytest.fixture(params=["broadcast", "runserver", "uvicorn"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServerProcess]:
    (tmp_path / "loud_settings.py").write_text(LOUD)
    environment = {"DJANGO_SETTINGS_MODULE": "loud_settings", "PYTHONPATH": str(tmp_path)}
    (tmp_path / "db.sqlite3").write_bytes(prepared_database())
    process = ServerProcess(request.param, tmp_path, **environment)
    process.start()
    yield process
    process.kill()


def ask(server: ServerProcess, path: str, data: bytes | None = None) -> None:
    """Whatever the answer is."""
    headers = {**PROOFS, "Content-Type": "application/json", "Idempotency-Key": f"{SECRET}-key"}
    request = Request(f"{server.url}{path}?token={SECRET}-token", data, headers)
    with suppress(HTTPError):
        urlopen(request, timeout=PATIENCE).close()


async def say_all(door: ServerDoor) -> None:
    """Say secrets wherever something can be said, rightly and wrongly."""
    for path in ("/", "/streams/demo/", "/streams/private-1/", "/nowhere/", "/static/nothing"):
        await asyncio.to_thread(ask, door.process, path)
    body = json.dumps({"payload": SECRET}).encode()
    for path in ("/api/streams/demo/publications/", "/admin/login/", "/api/nowhere/"):
        await asyncio.to_thread(ask, door.process, path, body)
    for path in ("listener/demo", "streamer/demo", "listener/private-1", "streamer/nothing", "x"):
        for query in (f"?token={SECRET}-token", f"?history={SECRET}", f"?run={SECRET}"):
            with suppress(Refused):
                await door.connect(f"/ws/{path}/{query}", V1, f"token.{SECRET}", headers=PROOFS)
    for run in ("", "?run=11111111-1111-1111-1111-111111111111"):
        streamer = await door.streamer("demo", run)
        await streamer.publish(SECRET)
        await streamer.publish(SECRET.encode())
        await streamer.publish({"payload": SECRET})
        await streamer.accepted(3)
        await streamer.tell(SECRET)
        await streamer.send(f'{{"event": "publication", "data": {SECRET}}}')
        with suppress(Closed):
            await streamer.until("error")
            await streamer.send(SECRET * 1_000_000)
            await streamer.closed()
    listener = await door.listener("demo")
    await listener.send(SECRET)
    await listener.closed()


async def call_all(server: ServerProcess) -> None:
    """The same over MessagePack-RPC."""
    async with connected(server) as client:
        await client.call("publish", "demo", SECRET)
        await client.call("publish", "demo", {"payload": SECRET}, {"idempotency_key": SECRET})
        await client.call("publish", "demo", SECRET, {SECRET: SECRET})
        await client.call("publish", SECRET, SECRET, SECRET)
        await client.call(SECRET, SECRET)
        await client.call("publish", {SECRET: SECRET}, SECRET)


@pytest.fixture
def door(server: ServerProcess) -> ServerDoor:
    return ServerDoor(server)


async def test_no_payload_token_or_session_key_is_in_a_log(
    door: ServerDoor, server: ServerProcess
) -> None:
    await say_all(door)
    if server.kind != "uvicorn":
        await call_all(server)
    await door.aclose()
    server.stop()
    log = server.log.read_text()
    # It was loud, and knows what happened.
    assert "Closing /ws/streamer/nothing/ from 127.0.0.1:" in log
    assert re.search(r"DEBUG \w+", log)
    assert "django.request: Not Found: /nowhere/" in log
    assert ("HTTP GET /streams/demo/ 200" in log) == (server.kind == "runserver")
    assert log.count("a slower path") == (server.kind == "uvicorn")
    found = [line for line in log.splitlines() if SECRET in line]
    assert found == []
    assert "Traceback" not in log, log
