"""Who may come in over MessagePack-RPC: the secret, and where it listens."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import msgpack
import pytest
from pytest_django.fixtures import Settings

from broadcast.backends import remote
from broadcast.rpc import server as rpc_server
from tests.rig.doors import PATIENCE
from tests.rig.processes import PREFIX, free_port
from tests.rig.rpc import PONG
from tests.rig.rpc_server import GatedBackend, gated_backend, notification, request, served


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> GatedBackend:
    return gated_backend(monkeypatch, settings)


# -- the secret -----------------------------------------------------------------------------

WRONG_FIRST_CALLS = [
    pytest.param(request(1, "ping"), id="another-call"),
    pytest.param(request(1, "authenticate", "wrong"), id="wrong"),
    pytest.param(request(1, "authenticate", ""), id="empty"),
    pytest.param(request(1, "authenticate", None), id="nil"),
    pytest.param(request(1, "authenticate"), id="none"),
    pytest.param(request(1, "authenticate", "sécret", 1), id="too-many"),
]


@pytest.fixture
def secret(settings: Settings) -> str:
    settings.BROADCAST_RPC_SECRET = "sécret"
    return "sécret"


@pytest.mark.parametrize("first", WRONG_FIRST_CALLS)
async def test_without_the_secret_nothing_is_carried_out(
    backend: GatedBackend, secret: str, caplog: pytest.LogCaptureFixture, first: bytes
) -> None:
    async with served() as server:
        client = await server.client()
        await client.say(first + request(2, "publish", "s", "x") + notification("push_data", "x"))
        kind, msgid, error, result = await client.answer()
        assert (kind, msgid, result) == (1, 1, None) and error
        assert await client.is_closed()
    assert backend.histories == {}
    assert not any(word in caplog.text for word in (secret, "wrong'"))


@pytest.mark.parametrize("spelled", ["sécret", "sécret".encode()])
async def test_with_the_secret_all_is_as_it_is_without_one(
    backend: GatedBackend, secret: str, spelled: str | bytes
) -> None:
    async with served() as server:
        client, silent = await server.client(), await server.client()
        await client.say(
            request(1, "authenticate", spelled) + request(2, "publish", "s", "x" * 9999)
        )
        await silent.say(notification("authenticate", spelled))
        assert await client.answer() == [1, 1, None, None]
        assert (await client.answer())[1:3] == [2, None]
        assert await silent.call("ping") == PONG


async def test_which_installation_it_is_may_be_asked_before_the_secret_is_told(
    backend: GatedBackend, secret: str
) -> None:
    async with served() as server:
        client = await server.client()
        assert await client.call("installation") == [1, 1, None, PREFIX]
        assert (await client.call("authenticate", secret))[2] is None
        assert (await client.call("installation"))[3] == PREFIX
        curious = await server.client()
        assert (await curious.call("installation"))[3] == PREFIX
        assert (await curious.call("publish", "s", "x"))[2]
        assert await curious.is_closed()
    assert backend.histories == {}


async def test_who_does_not_say_the_secret_does_not_keep_the_place(
    backend: GatedBackend, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rpc_server, "UNLOCK_SECONDS", 0.05)
    async with served() as server:
        client, silent = await server.client(), await server.client()
        assert (await client.call("authenticate", secret))[2] is None
        assert await silent.is_closed()
        assert await client.call("ping") == PONG


async def test_what_is_said_before_the_secret_is_short(backend: GatedBackend, secret: str) -> None:
    async with served() as server:
        client = await server.client()
        with suppress(ConnectionError):
            await client.say(request(1, "authenticate", "x" * 50_000))
            assert "4096 bytes" in (await client.answer())[2]
        assert await client.is_closed()


# -- the address ----------------------------------------------------------------------------


async def test_open_to_other_machines_it_says_so_in_one_line(
    backend: GatedBackend,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with served():
        assert not caplog.records
    monkeypatch.setattr(rpc_server, "is_loopback", lambda host: False)
    async with served():
        [record] = caplog.records
        assert "open to other machines" in record.getMessage()


async def test_one_listens_and_another_when_it_ends(
    backend: GatedBackend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rpc_server, "RETRY_SECONDS", 0.01)
    async with served() as first:
        waits = asyncio.Event()
        taken: asyncio.Future[bool] = asyncio.Future()
        second = asyncio.ensure_future(
            rpc_server.serve("127.0.0.1", first.port, waits.set, taken.set_result)
        )
        client = await first.client()
        for _ in range(20):
            assert await client.call("ping") == PONG
        async with asyncio.timeout(PATIENCE):
            assert await taken
        assert not waits.is_set()
        client.writer.close()
        first.task.cancel()
        async with asyncio.timeout(PATIENCE):
            await waits.wait()
        assert await (await first.client()).call("ping") == PONG
        second.cancel()
        with suppress(asyncio.CancelledError):
            await second
    assert [record.getMessage() for record in caplog.records if "yet" in record.getMessage()] == [
        "No MessagePack-RPC here yet: another process listens"
    ]


#: What begins something that is never whole, and goes on so.
DRIP = b"\x94"


@asynccontextmanager
async def stranger_at(port: int, answer: bytes) -> AsyncIterator[None]:
    """A program that has the port, and answers so whatever is asked; nothing: it is silent."""
    writers = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await reader.read(65536)
        writer.write(answer)
        while answer is DRIP and not writer.is_closing():
            await asyncio.sleep(0.02)
            writer.write(answer)

    server = await asyncio.start_server(talk, "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()
        # A connection that was accepted is talked to some turns later.
        for _ in range(10):
            await asyncio.sleep(0)
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0.05)


STRANGERS = {
    "of another installation": (
        msgpack.packb([1, 1, None, "other"]),
        "another installation ('other')",
    ),
    "of an earlier version": (
        msgpack.packb([1, 1, "method `installation' is not accepted", None]),
        "a program that names no installation",
    ),
    "of another protocol": (
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        "a program that names no installation",
    ),
    "silent": (b"", "a program that names no installation"),
    "never done": (DRIP, "a program that names no installation"),
}


@pytest.mark.parametrize("stranger", STRANGERS)
async def test_where_a_stranger_has_the_port_it_says_so_once_and_takes_it_later(
    backend: GatedBackend,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    stranger: str,
) -> None:
    monkeypatch.setattr(rpc_server, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(remote, "OWNER_SECONDS", 0.1)
    answer, said = STRANGERS[stranger]
    port = free_port()
    taken: asyncio.Future[bool] = asyncio.Future()
    listens = asyncio.Event()
    async with asyncio.timeout(PATIENCE):
        async with stranger_at(port, answer):
            serving = asyncio.ensure_future(
                rpc_server.serve("127.0.0.1", port, listens.set, taken.set_result)
            )
            assert not await taken
            [record] = caplog.records
            assert said in record.getMessage() and "BROADCAST_RPC_PORT" in record.getMessage()
            assert record.levelname == "ERROR" and not listens.is_set()
        await listens.wait()
    serving.cancel()
    with suppress(asyncio.CancelledError):
        await serving


async def test_an_address_that_cannot_be_had_is_an_error(backend: GatedBackend) -> None:
    with pytest.raises(OSError):
        await rpc_server.serve("192.0.2.1", 1)


async def test_a_server_goes_on_without_an_address_that_cannot_be_had(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.BROADCAST_RPC_HOST = "192.0.2.1"
    settled: list[bool] = []
    await rpc_server.serve_beside(settled.append)
    assert settled == [False]
    [record] = caplog.records
    assert record.getMessage().startswith("No MessagePack-RPC here: ")
