"""`manage.py rpcserver`, and MessagePack-RPC with a secret, as real processes."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgpack
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from pytest_django.fixtures import Settings

from broadcast.backends import remote
from broadcast.exceptions import Forbidden, Unavailable
from tests.rig.doors import ServerDoor, door_of, eventually
from tests.rig.processes import Installation, ServerProcess, free_port, wait_until_it_answers
from tests.rig.rpc import PONG, connected


class RpcServerProcess(ServerProcess):
    """`rpcserver` alone, beside `server`."""

    def __init__(self, directory: Path, server: ServerProcess, rpc_port: int = 0) -> None:
        directory.mkdir()
        super().__init__("broadcast", directory)
        self.environment = dict(server.environment)
        self.rpc_port = self.port = rpc_port or free_port()
        self.arguments = ["rpcserver"]

    def started(self) -> bool:
        return "MessagePack-RPC is at" in self.log.read_text()


@contextmanager
def running(process: RpcServerProcess) -> Iterator[RpcServerProcess]:
    process.start()
    try:
        yield process
    finally:
        process.kill()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server on Redis."""
    with Installation(tmp_path_factory.mktemp("installation"), servers=1) as installation:
        yield installation.servers[0]


@pytest.fixture
def door(server: ServerProcess) -> Iterator[ServerDoor]:
    yield from door_of(server)


async def test_beside_a_server_it_publishes_and_ends_cleanly(
    door: ServerDoor, tmp_path: Path
) -> None:
    slug = await door.stream()
    listener = await door.listener(slug)
    with running(RpcServerProcess(tmp_path / "1", door.process)) as process:
        async with connected(process) as client:
            assert (await client.call("publish", slug, "alone"))[3]["offset"] == 1
            assert await listener.told() == (1, "alone")
            _, _, _, streams = await client.call("streams")
            [found] = [stream for stream in streams if stream["slug"] == slug]
            assert (found["listeners"], found["offset"]) == (1, 1)
            _, _, _, stats = await client.call("stats")
            assert (stats["connections"], stats["listeners"]) == (1, 0)
            assert process.process
            process.process.send_signal(signal.SIGTERM)
            assert await client.is_closed()
        assert await asyncio.to_thread(process.process.wait, 10) == 0
        said = process.new_log()
    assert said == f"MessagePack-RPC is at 127.0.0.1:{process.port}. Stop with Control-C.\n"


async def test_a_second_signal_ends_it_while_answers_are_not_taken(
    door: ServerDoor, tmp_path: Path
) -> None:
    slug = await door.stream()
    patient = RpcServerProcess(tmp_path / "1", door.process)
    patient.environment["BROADCAST_DRAIN_SECONDS"] = "60"
    with running(patient) as process:
        async with connected(process) as client:
            await client.call("publish", slug, "x" * 100_000)
            client.reader._transport.pause_reading()  # type: ignore[attr-defined]
            calls = (msgpack.packb([0, number, "history", [slug]]) for number in range(500))
            client.writer.write(b"".join(calls))
            async with connected(process) as other:
                assert await other.call("ping") == PONG
                assert process.process
                process.process.send_signal(signal.SIGTERM)
                assert await other.is_closed()
            process.process.send_signal(signal.SIGINT)
            assert await asyncio.to_thread(process.process.wait, 10) == 0
        process.assert_clean_log()


async def test_another_takes_over_when_one_is_killed(door: ServerDoor, tmp_path: Path) -> None:
    with running(RpcServerProcess(tmp_path / "1", door.process)) as first:
        second = RpcServerProcess(tmp_path / "2", door.process, first.rpc_port)
        with running(second):

            async def waits() -> bool:
                return "another process listens" in second.log.read_text()

            await eventually(waits)
            assert not second.started()
            async with connected(first) as client:
                assert await client.call("ping") == PONG
                first.kill()
                assert await client.is_closed()
            assert second.process
            await asyncio.to_thread(wait_until_it_answers, second.rpc_port, second.process)
            async with connected(second) as client:
                assert (await client.call("stats"))[3]["pid"] == second.process.pid


def test_without_a_shared_backend_it_is_refused_with_the_reason() -> None:
    with pytest.raises(CommandError, match="memory of one process: set BROADCAST_REDIS_URL"):
        call_command("rpcserver")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--host", "192.0.2.1"], "is open to other machines, and has no secret"),
        (["--host", "127.0.0.1", "--port", "1000000"], "cannot listen at 127.0.0.1:1000000"),
        (["--host", "no.such.host.invalid"], "no secret"),
    ],
)
def test_what_it_cannot_do_is_one_clear_line(
    server: ServerProcess, options: list[str], said: str
) -> None:
    done = server.manage("rpcserver", *options)
    assert done.returncode == 1
    assert said in done.stderr and len(done.stderr.splitlines()) == 1


# -- a secret -------------------------------------------------------------------------------

SECRET = "a sécret of the tests"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server in whose settings there is a secret."""
    directory = tmp_path_factory.mktemp("guarded")
    with ServerProcess("broadcast", directory, BROADCAST_RPC_SECRET=SECRET) as process:
        yield process
        assert SECRET not in process.log.read_text()
        process.assert_clean_log()


async def test_publishing_from_outside_says_the_secret_of_the_settings(
    guarded: ServerProcess,
) -> None:
    slug = guarded.unused_stream()
    done = guarded.manage("publish", slug, "-", input="one\ntwo\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(":2\n")
    guarded.environment["BROADCAST_RPC_SECRET"] = "another"
    try:
        done = guarded.manage("publish", slug, "three")
    finally:
        guarded.environment["BROADCAST_RPC_SECRET"] = SECRET
    assert done.returncode == 1
    assert "that is not the secret" in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_client_without_the_secret_is_told_so(guarded: ServerProcess, settings: Settings) -> None:
    settings.BROADCAST_RPC_PORT = guarded.rpc_port
    with remote.connected() as client:
        with pytest.raises(Forbidden):
            client.call("ping")
        with pytest.raises(Unavailable):
            client.call("ping")
