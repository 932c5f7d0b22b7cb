"""One Redis server, as an event loop talks to it: calls that wait go together, faults are told."""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from channels_redis.pubsub import RedisPubSubChannelLayer
from django.core.exceptions import ImproperlyConfigured
from redis import Redis

from broadcast import publish
from broadcast.backends import redis_faults, redis_server
from broadcast.backends.redis import PRESENCE_SECONDS, RedisBackend
from broadcast.backends.redis_server import Lane, RedisServer
from broadcast.backends.redis_shards import shard
from broadcast.exceptions import Unavailable
from broadcast.groups import group_name
from tests.rig.clock import Clock
from tests.rig.doors import eventually
from tests.rig.processes import DURABLE, RedisProcess, free_port


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisProcess]:
    """A Redis that a test may do anything to."""
    with RedisProcess(tmp_path) as process:
        yield process


class Connected:
    """A `RedisServer` as a context manager; its commands are counted by what Redis says."""

    def __init__(self, url: str) -> None:
        self.server = RedisServer(url, "test:generation")

    async def __aenter__(self) -> RedisServer:
        return self.server

    async def __aexit__(self, *error: object) -> None:
        await self.server.aclose()


async def leave(server: RedisServer, key: str = "nobody") -> Any:
    """A call of the smallest script."""
    return await server.call("leave", [key], "x")


async def test_calls_that_wait_go_together_over_one_connection(
    redis: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    trips: list[int] = []
    send = Lane._send

    async def counting(self: Lane, calls: Any) -> Any:
        trips.append(len(calls))
        return await send(self, calls)

    monkeypatch.setattr(Lane, "_send", counting)
    monkeypatch.setattr(redis_server, "MOST_CALLS", 50)
    async with Connected(redis.url) as server:
        await leave(server)
        trips.clear()
        first = asyncio.ensure_future(leave(server))
        await asyncio.sleep(0)
        await asyncio.gather(first, *(leave(server) for _ in range(120)))
        assert trips[0] == 1 or trips[0] == 50
        assert sum(trips) == 121 and len(trips) <= 4
    assert redis.command("INFO", "stats")["total_connections_received"] <= 4


async def test_a_storm_of_other_commands_waits_for_connections(
    redis: RedisProcess, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.BROADCAST_REDIS_URLS = [redis.url]
    backend = RedisBackend()
    await asyncio.gather(*(backend.enter(f"s{number}", "x") for number in range(500)))
    presences = await asyncio.gather(*(backend.presence(["s0"]) for _ in range(500)))
    assert all(found["s0"].live for found in presences)
    await backend.aclose()
    assert not caplog.records
    assert redis.command("INFO", "stats")["total_connections_received"] < 30


async def test_a_redis_that_forgot_the_scripts_is_told_them_again(redis: RedisProcess) -> None:
    async with Connected(redis.url) as server:
        assert await leave(server) == 0
        redis.command("SCRIPT", "FLUSH")
        assert await asyncio.gather(*(leave(server) for _ in range(3))) == [0, 0, 0]


async def test_who_goes_while_a_call_is_under_way_disturbs_nobody(redis: RedisProcess) -> None:
    async with Connected(redis.url) as server:
        gone, stays = (asyncio.ensure_future(leave(server)) for _ in range(2))
        await asyncio.sleep(0)
        gone.cancel()
        assert await stays == 0


async def test_a_call_that_redis_refuses_fails_alone(redis: RedisProcess) -> None:
    redis.command("SET", "string", "x")
    async with Connected(redis.url) as server:
        answers = await asyncio.gather(
            *(leave(server, key) for key in ("nobody", "string", "nobody")), return_exceptions=True
        )
    assert [answers[0], answers[2]] == [0, 0]
    assert isinstance(answers[1], Unavailable)


async def test_a_redis_that_is_away_is_told_once_and_so_is_its_return(
    redis: RedisProcess, caplog: pytest.LogCaptureFixture
) -> None:
    async with Connected(redis.url) as server:
        await leave(server)
        redis.kill()
        for _ in range(3):
            with pytest.raises(Unavailable):
                await leave(server)
        redis.start()
        assert server.probing
        await server.probing
        assert await leave(server) == 0
    levels = [(record.levelno, record.exc_info) for record in caplog.records]
    assert levels == [(logging.ERROR, None), (logging.WARNING, None)]


async def test_what_was_not_answered_in_time_is_not_said_again(redis: RedisProcess) -> None:
    async with Connected(f"{redis.url}?socket_timeout=0.3") as server:
        await leave(server)
        before = redis.command("INFO", "commandstats")["cmdstat_evalsha"]["calls"]
        with redis.frozen(), pytest.raises(Unavailable):
            await leave(server)
        assert server.probing
        await server.probing
        assert await leave(server) == 0
        calls = redis.command("INFO", "commandstats")["cmdstat_evalsha"]["calls"] - before
    # The one that timed out was carried out in the end, or it was not.
    assert calls in (1, 2)


@pytest.mark.parametrize("url", ["http://127.0.0.1", "127.0.0.1:6379", "nonsense", ""])
async def test_a_url_that_is_none_is_said_so(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="Redis URL"):
        RedisServer(url, "g")


async def test_a_password_in_a_url_is_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    async with Connected(f"redis://user:secret-word@127.0.0.1:{free_port()}/0") as server:
        with pytest.raises(Unavailable) as error:
            await server.check()
    with pytest.raises(ImproperlyConfigured) as wrong:
        RedisServer("htp://user:secret-word@127.0.0.1", "g")
    assert "secret-word" not in caplog.text + str(error.value) + str(wrong.value)


@pytest.mark.parametrize("given", ["", ":wrong@"])
async def test_a_redis_that_asks_for_another_password_will_never_do(
    tmp_path: Path, given: str
) -> None:
    with RedisProcess(tmp_path, password="right") as redis:
        async with Connected(f"redis://{given}127.0.0.1:{redis.port}/0") as server:
            with pytest.raises(ImproperlyConfigured, match="cannot be used"):
                await server.check()
        async with Connected(f"redis://:right@127.0.0.1:{redis.port}/0") as server:
            await server.check()


async def test_a_redis_that_is_too_old_will_never_do(
    redis: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_faults, "OLDEST", (99, 0))
    async with Connected(redis.url) as server:
        with pytest.raises(ImproperlyConfigured, match=r"and 99\.0 is the least"):
            await server.check()


# -- restarts ------------------------------------------------------------------------------------


async def generation(redis: RedisProcess) -> str | None:
    """Which of the histories' lives it is, after a new connection: lossy restarts begin one."""
    async with Connected(redis.url) as server:
        await server.check()
    with Redis(port=redis.port, decode_responses=True) as client:
        count: str | None = client.hget("test:generation", "count")  # type: ignore[assignment]
        return count


async def test_a_restart_that_may_have_lost_something_is_noticed_once(tmp_path: Path) -> None:
    with RedisProcess(tmp_path, "--appendonly", "no") as redis:
        before = await generation(redis)
        assert before and await generation(redis) == before
        redis.command("SAVE")
        redis.kill()
        redis.start()
        after = await generation(redis)
        assert after and after != before
        assert await generation(redis) == after


async def test_a_restart_with_an_append_only_file_lost_nothing(tmp_path: Path) -> None:
    with RedisProcess(tmp_path, "--appendonly", "yes", "--appendfsync", "always") as redis:
        before = await generation(redis)
        redis.kill()
        redis.start()
        assert await generation(redis) == before


async def test_a_replica_that_is_promoted_may_have_lost_something_whatever_its_file_keeps(
    tmp_path: Path,
) -> None:
    with RedisProcess(tmp_path, *DURABLE) as master:
        before = await generation(master)
        follows = ("--replicaof", "127.0.0.1", str(master.port), "--repl-diskless-sync-delay", "0")
        with RedisProcess(tmp_path, *DURABLE, *follows) as replica:

            async def has_all() -> bool:
                if not replica.command("EXISTS", "test:generation"):
                    return False
                # In its file, too: after the first synchronization, so asked after it, that is
                # written as a whole.
                info = replica.command("INFO", "persistence")
                return not (info["aof_rewrite_in_progress"] or info["aof_rewrite_scheduled"])

            await eventually(has_all)
            replica.command("REPLICAOF", "NO", "ONE")
            after = await generation(replica)
            assert after and after != before
            assert await generation(replica) == after
        # What restarts is no replica any more.
        replica.options = [one for one in replica.options if one not in follows[:3]]
        with replica:
            assert await generation(replica) == after


async def test_what_redis_says_while_it_loads_its_file_counts_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RedisProcess(tmp_path, "--appendonly", "yes", "--appendfsync", "always") as redis:
        before = await generation(redis)
        redis.kill()
        redis.start()
        ask, said = RedisServer._ask, [b"loading:0", b"aof_enabled:1"]

        async def ask_while_it_loads(server: RedisServer, *command: Any) -> Any:
            answer = await ask(server, *command)
            if "INFO" in command and said:
                assert all(part in answer for part in said)
                answer = answer.replace(said.pop(), b"aof_enabled:0")
                answer = answer.replace(said.pop(), b"loading:1")
            return answer

        monkeypatch.setattr(RedisServer, "_ask", ask_while_it_loads)
        with pytest.raises(Unavailable):
            await generation(redis)
        assert await generation(redis) == before


# -- several servers -----------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_history_and_group_of_a_stream_are_on_the_same_server(count: int) -> None:
    hosts = [f"redis://127.0.0.1:{port}" for port in range(count)]
    layer = RedisPubSubChannelLayer(hosts=hosts)
    used = set()

    async def shards_of_the_layer() -> list[Any]:
        loop_layer = layer._get_layer()
        return [
            loop_layer._shards.index(
                loop_layer._get_shard(loop_layer._get_group_channel_name(group_name(name)))
            )
            for name in names
        ]

    names = [f"stream-{number}" for number in range(200)] + ["{", "*", "\n", "ä" * 300]
    shards = asyncio.run(shards_of_the_layer())
    for name, expected in zip(names, shards, strict=True):
        assert shard(group_name(name), count) == expected
        used.add(expected)
    assert used == set(range(count))


async def test_a_server_that_is_away_takes_nothing_from_the_streams_of_another(
    redis: RedisProcess, settings: Any
) -> None:
    settings.BROADCAST_REDIS_URLS = [redis.url, f"redis://127.0.0.1:{free_port()}/0"]
    backend = RedisBackend()
    names = [f"s{number}" for number in range(20)]
    there = [name for name in names if backend.server(name) is backend.servers()[0]]
    assert 0 < len(there) < len(names)
    for name in names:
        await backend.count_listeners(name, 2)
    await backend.renew()
    assert sorted(await backend.positions(names)) == sorted(there)
    presences = await backend.presence(names)
    assert sorted(presences) == sorted(there)
    assert {one.listeners for one in presences.values()} == {2}
    await backend.aclose()


async def test_what_killed_processes_said_is_removed(redis: RedisProcess, settings: Any) -> None:
    settings.BROADCAST_REDIS_URLS = [redis.url]
    clock = Clock()
    here, killed = RedisBackend(clock), RedisBackend(clock)
    for backend, listeners in ((here, 1), (killed, 2)):
        await backend.count_listeners("s", listeners)
        await backend.renew()
    for fields, passes in ((2, PRESENCE_SECONDS + 1), (2, PRESENCE_SECONDS + 1), (1, 0)):
        assert len(redis.command("HKEYS", "broadcast:tests:{s}:presence")) == fields
        clock.now += passes
        await here.renew()
        counted = (await here.presence(["s"]))["s"].listeners
        assert counted == 1
    for backend in (here, killed):
        await backend.aclose()


def test_publishing_in_sync_code_leaves_no_connection_behind(
    redis: RedisProcess, settings: Any, db: None
) -> None:
    settings.BROADCAST_BACKEND = "broadcast.backends.redis.RedisBackend"
    settings.BROADCAST_REDIS_URLS = [redis.url]
    for number in range(1, 6):
        assert publish("s", "x").offset == number
    assert redis.command("INFO", "clients")["connected_clients"] == 1
