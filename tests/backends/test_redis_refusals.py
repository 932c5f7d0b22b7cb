"""A Redis that cannot be used, or takes no more: what is said of it, and that nothing breaks."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.rig.clients import CountedStreamer, ResumingListener
from tests.rig.doors import ServerDoor
from tests.rig.outages import publish
from tests.rig.processes import Installation, RedisProcess, ServerProcess
from tests.rig.rpc import connected

PASSWORD = "open-sesame"
WRONG_PASSWORD = "open-barley"

#: Bytes that a Redis takes before it is full.
ROOM = 2 * 1024 * 1024


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with Installation(tmp_path_factory.mktemp("refusals")) as installation:
        yield installation
        for server in installation.servers:
            server.assert_clean_log()


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[RedisProcess]:
    """A Redis that asks for a password."""
    with RedisProcess(tmp_path, password=PASSWORD) as redis:
        yield redis


@pytest.fixture
def closed_port() -> Iterator[int]:
    """Nobody answers there, and nobody else will."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@contextmanager
def old_redis(version: str) -> Iterator[str]:
    """The URL of something that answers as a Redis of this version does."""
    info = f"# Server\r\nredis_version:{version}\r\nrun_id:{'0' * 40}\r\n"
    answers = {
        b"INFO": f"${len(info)}\r\n{info}\r\n".encode(),
        b"SELECT": b"+OK\r\n",
        b"PING": b"+PONG\r\n",
    }

    def answer(connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            while head := lines.readline():
                words = []
                for _ in range(int(head[1:])):
                    words.append(lines.read(int(lines.readline()[1:]) + 2)[:-2])
                connection.sendall(answers.get(words[0].upper(), b"-ERR unknown command\r\n"))

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=[connection], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, daemon=True).start()
        yield f"redis://127.0.0.1:{listening.getsockname()[1]}/0"
        listening.shutdown(socket.SHUT_RDWR)


def assert_refused(done: CompletedProcess[str]) -> None:
    """The command failed, and said why in one line."""
    assert done.returncode == 1, done
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    assert PASSWORD not in done.stderr
    assert WRONG_PASSWORD not in done.stderr


def serve(server: ServerProcess) -> CompletedProcess[str]:
    return server.manage("serve", "--port", str(server.port), timeout=20)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:6379/",
        "nonsense",
        "redis://127.0.0.1:port/",
        f"redis://:{PASSWORD}@[::1/",
    ],
)
def test_an_address_that_is_none_is_refused(installation: Installation, url: str) -> None:
    server = installation.new_server(REDIS_URL=url)
    assert_refused(server.manage("publish", "demo", "text"))
    assert_refused(serve(server))


def test_nobody_there_is_told(installation: Installation, closed_port: int) -> None:
    for host in (f"127.0.0.1:{closed_port}", "no-such-host.invalid"):
        done = installation.new_server(REDIS_URL=f"redis://:{PASSWORD}@{host}/0").manage(
            "publish", "demo", "text"
        )
        assert_refused(done)
        assert host in done.stderr


@pytest.mark.parametrize("user", ["", f":{WRONG_PASSWORD}@", f"somebody:{WRONG_PASSWORD}@"])
def test_a_redis_that_asks_for_another_password_is_refused(
    installation: Installation, locked: RedisProcess, user: str
) -> None:
    server = installation.new_server(REDIS_URL=f"redis://{user}{locked.address}")
    assert_refused(server.manage("publish", "demo", "text"))
    refused = serve(server)
    assert_refused(refused)
    assert f"127.0.0.1:{locked.port}" in refused.stderr


@pytest.fixture
def unlocking(installation: Installation, locked: RedisProcess) -> Iterator[ServerProcess]:
    """A server that knows the password."""
    url = f"redis://:{PASSWORD}@{locked.address}"
    with installation.another_server(REDIS_URL=url) as server:
        server.start()
        yield server


async def test_a_redis_whose_password_is_given_is_used(
    unlocking: ServerProcess, locked: RedisProcess
) -> None:
    door = ServerDoor(unlocking)
    listener = await door.listener("demo")
    assert await publish(door, "demo", "text") is None
    assert await listener.told() == (1, "text")
    with locked.away():
        error = await publish(door, "demo", "lost, and told so") or ""
    await door.aclose()
    log = unlocking.new_log()
    assert f"Redis at 127.0.0.1:{locked.port}" in log
    assert PASSWORD not in error + log


def test_a_redis_that_is_too_old_is_refused(installation: Installation) -> None:
    with old_redis("5.0.14") as url:
        server = installation.new_server(REDIS_URL=url)
        for refused in (server.manage("publish", "demo", "text"), serve(server)):
            assert_refused(refused)
            assert "5.0.14" in refused.stderr


# -- full memory ----------------------------------------------------------------------------


@pytest.fixture
def full(installation: Installation) -> Iterator[RedisProcess]:
    """A Redis that will soon be full, and has room again afterwards."""
    redis = installation.redis[0]
    redis.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
    used = redis.command("INFO", "memory")["used_memory"]
    redis.command("CONFIG", "SET", "maxmemory", used + ROOM)
    yield redis
    redis.command("CONFIG", "SET", "maxmemory", 0)


async def test_who_publishes_is_told_when_redis_is_full_and_goes_on_when_it_is_not(
    installation: Installation, here: ServerDoor, there: ServerDoor, full: RedisProcess
) -> None:
    slug = installation.unused_stream("long")
    async with (
        ResumingListener([there], slug) as listener,
        CountedStreamer([here], slug) as streamer,
    ):
        for number in range(100):
            streamer.publish(bytes([number]) * 100_000)
        # Told, and told again when it comes back.
        await streamer.until(lambda: len(streamer.errors) >= 3)
        assert 0 < streamer.accepted < 100
        assert set(streamer.errors) == {"Redis is full"}
        assert await publish(there, slug, "x" * 1_000_000) == "Unavailable: Redis is full"
        full.command("CONFIG", "SET", "maxmemory", 0)
        await listener.until(lambda: listener.everything[-1:] == streamer.published[-1:])
    assert listener.everything == streamer.published
    assert listener.codes == []
    assert set(streamer.codes) == {4200}


async def test_a_full_redis_fills_no_log(
    installation: Installation, here: ServerDoor, full: RedisProcess
) -> None:
    installation.servers[0].assert_clean_log()
    slug = installation.unused_stream("long")
    await here.listener(slug)
    await here.streamer(installation.unused_stream())
    async with connected(here.process) as client:
        while (await client.call("publish", slug, b"x" * 100_000))[2] is None:
            pass
        for _ in range(50):
            _, _, error, _ = await client.call("publish", slug, b"x" * 1_000_000)
            assert error == "Unavailable: Redis is full"
            await asyncio.sleep(0.02)
    said = [one for one in installation.servers[0].new_records() if one.level != "INFO"]
    assert len(said) <= 4, said


# -- names ----------------------------------------------------------------------------------

HOSTILE = {
    "brace": "{",
    "braces": "}{}",
    "star": "*",
    "question": "h?llo[a-z]",
    "newline": "a\nb\r\nDEL x\r\n",
    "NUL": "a\0b",
    "spaces": "  ",
    "emoji": "🎉" * 200,
    "colon": "demo}:meta",
    "percent": "%7B",
    "slash": "../../etc",
    "lua": "'..redis.call('FLUSHALL')..'",
}


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_stream_of_any_name_is_one_like_all_others(
    installation: Installation, here: ServerDoor, there: ServerDoor, name: str
) -> None:
    slug = installation.unused_stream()
    assert await publish(here, slug, "mine") is None
    async with connected(here.process) as one, connected(there.process) as other:
        _, _, error, first = await one.call("publish", name, "first")
        assert error is None
        assert first["offset"] == 1
        _, _, error, second = await other.call("publish", name, "second")
        assert second == {"epoch": first["epoch"], "offset": 2}
    assert (await here.describe(slug))["position"]["offset"] == 1


@pytest.mark.parametrize("name", ["", "x" * 201, "x" * 10_000, "🎉" * 201])
async def test_a_name_that_is_none_is_refused(here: ServerDoor, name: str) -> None:
    error = await publish(here, name, "text")
    assert error == "BadRequest: the name of a stream has 1 to 200 characters"
