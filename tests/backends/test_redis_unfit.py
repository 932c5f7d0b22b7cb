"""A Redis that cannot be used, or not be trusted: said at the start and in `/healthz`, with why."""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.test import AsyncRequestFactory

from broadcast.backends import get_backend
from broadcast.backends.redis_faults import (
    CLUSTER,
    DATABASE,
    FEW_REPLICAS,
    PASSWORD,
    REPLICA,
    RIGHTS,
    SENTINEL,
    Fault,
)
from broadcast.exceptions import Unavailable
from broadcast.management.server_command import ServerCommand
from broadcast.monitor import faults, health
from broadcast.monitor.faults import DEAF, find_faults
from tests.rig.backends import append, use_redis
from tests.rig.documents import page
from tests.rig.doors import eventually
from tests.rig.processes import PREFIX, RedisProcess, ServerProcess, free_port
from tests.rig.stand_ins import SentinelProcess

SECRET = "open-sesame"


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisProcess]:
    with RedisProcess(tmp_path) as process:
        yield process


async def healthz() -> tuple[str, str, set[str]]:
    """What it says of layer and backend, and the reasons for that."""
    names = health.one_name_each()
    layer, of_layer = await health.ask(names, health._channel_layer)
    backend, of_backend = await health.ask(names, health._backend)
    return layer, backend, of_layer | of_backend


async def assert_unfit(settings: Any, url: str, fault: Fault, more: str = "") -> None:
    """No server starts on it, and none that runs is ready."""
    use_redis(settings, url)
    with pytest.raises(ImproperlyConfigured) as error:
        await find_faults()
    said = str(error.value)
    assert "cannot be used: " in said and fault.words in said and more in said
    assert SECRET not in said
    layer, backend, reasons = await healthz()
    assert "no answer" in (layer, backend)
    assert fault.words in reasons
    assert not [reason for reason in reasons if "127.0.0.1" in reason or SECRET in reason]


async def test_a_cluster_is_none_of_ours(tmp_path: Path, settings: Any) -> None:
    # By default the port of the bus is one that any client may have by then.
    options = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    with RedisProcess(tmp_path, *options) as redis:
        redis.command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        await assert_unfit(settings, redis.url, CLUSTER)


async def test_a_replica_takes_no_writes(
    tmp_path: Path, redis: RedisProcess, settings: Any
) -> None:
    with RedisProcess(tmp_path, "--replicaof", "127.0.0.1", str(redis.port)) as replica:
        await assert_unfit(settings, replica.url, REPLICA)


async def test_a_sentinel_is_no_redis(tmp_path: Path, settings: Any) -> None:
    sentinel = SentinelProcess(tmp_path, free_port())
    sentinel.start([f"port {sentinel.port}"])
    try:
        await assert_unfit(settings, f"redis://127.0.0.1:{sentinel.port}", SENTINEL)
    finally:
        sentinel.kill()


async def test_a_database_that_is_not_there(redis: RedisProcess, settings: Any) -> None:
    await assert_unfit(settings, f"redis://127.0.0.1:{redis.port}/99", DATABASE)


async def test_a_password_that_is_not_the_right_one(redis: RedisProcess, settings: Any) -> None:
    redis.command("ACL", "SETUSER", "app", "on", ">other", "~*", "&*", "+@all")
    url = f"redis://app:{SECRET}@127.0.0.1:{redis.port}/0"
    await assert_unfit(settings, url, PASSWORD)


#: Rules of Redis users, each of which takes away something that is needed.
LACKING = {
    "channels": ("~*", "resetchannels", "+@all"),
    "our channels": ("~*", "&other*", "+@all"),
    "publish": ("~*", "&*", "+@all", "-publish"),
    "keys": ("&*", "+@all"),
    "our keys": ("~other*", "&*", "+@all"),
    "reading keys": ("%W~*", "&*", "+@all"),
    "writing keys": ("%R~*", "&*", "+@all"),
    "scripts": ("~*", "&*", "+@all", "-@scripting"),
    "evalsha": ("~*", "&*", "+@all", "-evalsha"),
    "load": ("~*", "&*", "+@all", "-script"),
    "info": ("~*", "&*", "+@all", "-info"),
    "everything": ("~*", "&*"),
    **{
        command: ("~*", "&*", "+@all", f"-{command}")
        for command in (
            *("append", "del", "exists", "expire", "get", "hdel", "hexists", "hget", "hgetall"),
            *("hincrby", "hlen", "hmget", "hset", "set", "ttl", "xadd", "xdel", "xrange", "xtrim"),
            *("zadd", "zcard", "zcount", "zrem", "zremrangebyrank", "zscore"),
        )
    },
}


async def test_a_user_who_lacks_any_right_is_none(redis: RedisProcess, settings: Any) -> None:
    url = f"redis://app:{SECRET}@127.0.0.1:{redis.port}/0"
    for lacking, rules in LACKING.items():
        redis.command("ACL", "SETUSER", "app", "reset", "on", f">{SECRET}", *rules)
        redis.command("SCRIPT", "FLUSH")
        try:
            await assert_unfit(settings, url, RIGHTS)
        except BaseException as error:
            error.add_note(lacking)
            raise
        await get_backend().aclose()  # type: ignore[attr-defined]


async def test_a_user_who_may_publish_and_not_subscribe_is_noticed(
    redis: RedisProcess, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faults, "REHEARSAL_SECONDS", 0.3)
    redis.command("ACL", "SETUSER", "app", "on", f">{SECRET}", "~*", "&*", "+@all", "-subscribe")
    use_redis(settings, f"redis://app:{SECRET}@127.0.0.1:{redis.port}/0")
    with pytest.raises(Unavailable, match=DEAF.split("?")[0]):
        await find_faults()


async def test_the_rights_that_the_documentation_names_are_enough(
    redis: RedisProcess, settings: Any
) -> None:
    lines = page("how-to/several-servers").splitlines()
    (line,) = [one for one in lines if one.startswith("ACL SETUSER ")]
    redis.command(*line.replace(">password", f">{SECRET}").split())
    use_redis(settings, f"redis://broadcast:{SECRET}@127.0.0.1:{redis.port}/0")
    assert await find_faults() == []
    assert await healthz() == ("ok", "ok", set())
    assert await get_backend().prune() == 0


def test_a_server_does_not_start_there_and_says_why(tmp_path: Path, redis: RedisProcess) -> None:
    redis.command("ACL", "SETUSER", "app", "on", f">{SECRET}", "~*", "+@all")
    server = ServerProcess(
        "broadcast",
        tmp_path,
        REDIS_URL=f"redis://app:{SECRET}@127.0.0.1:{redis.port}/0",
        # Its database has no tables, which would be told instead.
        BROADCAST_PREFIX=PREFIX,
    )
    done = server.manage("serve", "--port", str(server.port))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert f"CommandError: the channel layer cannot be used: {RIGHTS.words}" in done.stderr
    assert SECRET not in done.stderr


def test_a_start_says_why_redis_does_not_answer(settings: Any) -> None:
    port = free_port()
    use_redis(settings, f"redis://app:{SECRET}@127.0.0.1:{port}/0")
    said = io.StringIO()
    ServerCommand(stderr=said).check_backend()
    (line,) = said.getvalue().splitlines()
    assert line.startswith("Redis does not answer: Error 111 connecting to 127.0.0.1:")
    assert line.endswith("; until that changes, nothing can be published or heard.")
    assert SECRET not in line


# -- what a running server notices -----------------------------------------------------------------


@contextmanager
def lacking(redis: RedisProcess, *rules: str) -> Iterator[None]:
    redis.command("ACL", "SETUSER", "default", *rules)
    yield
    redis.command("ACL", "SETUSER", "default", "+@all", "~*", "&*")


@pytest.mark.parametrize("rules", [["-xadd"], ["resetkeys", "~other"], ["-hset"]])
async def test_a_right_that_is_taken_away_is_noticed_with_the_first_publication(
    redis: RedisProcess, settings: Any, rules: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    use_redis(settings, redis.url)
    backend = get_backend()
    assert await healthz() == ("ok", "ok", set())
    with lacking(redis, *rules):
        for _ in range(20):
            with pytest.raises(Unavailable, match=RIGHTS.words):
                await append(backend, "x")
        assert await healthz() == ("ok", "no answer", {RIGHTS.words})
    assert await healthz() == ("ok", "ok", set())
    await append(backend, "x")
    # Once, however many there were.
    assert len(caplog.records) == 1


async def test_a_layer_that_takes_nothing_any_more_is_noticed(
    redis: RedisProcess, settings: Any
) -> None:
    use_redis(settings, redis.url)
    assert await healthz() == ("ok", "ok", set())
    with lacking(redis, "resetchannels"):
        assert await healthz() == ("no answer", "ok", {RIGHTS.words})
    assert await healthz() == ("ok", "ok", set())


async def test_a_master_that_becomes_a_replica_is_away_until_it_is_one_again(
    redis: RedisProcess, tmp_path: Path, settings: Any
) -> None:
    use_redis(settings, redis.url)
    backend = get_backend()
    before = await append(backend, "before")
    with RedisProcess(tmp_path) as other:
        redis.command("REPLICAOF", "127.0.0.1", str(other.port))
        with pytest.raises(Unavailable, match=REPLICA.words.split(":")[0]):
            await append(backend, "lost")
        _, state, reasons = await healthz()
        assert (state, reasons) == ("no answer", {REPLICA.words})
        redis.command("REPLICAOF", "NO", "ONE")

        async def appends() -> bool:
            try:
                return (await append(backend, "after")).epoch != before.epoch
            except Unavailable:
                return False

        await eventually(appends)
    assert await healthz() == ("ok", "ok", set())


@pytest.mark.parametrize(
    ("option", "values", "fault"), [("min-replicas-to-write", ("1", "0"), FEW_REPLICAS)]
)
async def test_a_redis_that_takes_no_writes_for_a_while_says_why(
    redis: RedisProcess, settings: Any, option: str, values: tuple[str, str], fault: Fault
) -> None:
    use_redis(settings, redis.url)
    assert await healthz() == ("ok", "ok", set())
    redis.command("CONFIG", "SET", option, values[0])
    with pytest.raises(Unavailable, match=fault.words):
        await append(get_backend(), "x")
    assert await healthz() == ("ok", "no answer", {fault.words})
    with pytest.raises(Unavailable, match=fault.words):
        await find_faults()
    redis.command("CONFIG", "SET", option, values[1])
    assert await healthz() == ("ok", "ok", set())
    assert await find_faults() == []


async def test_the_reasons_are_in_the_answer_and_once_in_the_log(
    redis: RedisProcess,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(health, "_ask_database", lambda: None)
    use_redis(settings, redis.url)
    request = AsyncRequestFactory().get("/healthz")
    with lacking(redis, "resetchannels"):
        for _ in range(3):
            response = await health.healthz(request)
    body = json.loads(response.content)
    assert response.status_code == 503 and not body["ready"]
    assert (body["channel_layer"], body["backend"]) == ("no answer", "ok")
    assert body["reasons"] == [RIGHTS.words]
    (record,) = [one for one in caplog.records if one.name == "broadcast.monitor.health"]
    assert record.getMessage().endswith(f"channel_layer ({RIGHTS.words})")
    assert "reasons" not in json.loads((await health.healthz(request)).content)


# -- a Redis that evicts ---------------------------------------------------------------------------


async def test_a_redis_that_evicts_is_named_everywhere(redis: RedisProcess, settings: Any) -> None:
    use_redis(settings, redis.url)
    redis.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    (said,) = await find_faults()
    assert f"Redis at 127.0.0.1:{redis.port}: maxmemory-policy is allkeys-lru" in said
    layer, backend, reasons = await healthz()
    assert (layer, backend) == ("ok", "ok")
    (reason,) = reasons
    assert reason.startswith("maxmemory-policy is allkeys-lru: ") and "127.0.0.1" not in reason
    redis.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
    assert await healthz() == ("ok", "ok", set())
    assert await find_faults() == []


def test_check_deploy_asks_redis(redis: RedisProcess, settings: Any) -> None:
    use_redis(settings, redis.url)
    redis.command("CONFIG", "SET", "maxmemory-policy", "volatile-lru")
    assert told(deploy=False) == {}
    ((name, text),) = told(deploy=True).items()
    assert name == "broadcast.W010" and "maxmemory-policy is volatile-lru" in text
    use_redis(settings, f"redis://127.0.0.1:{redis.port}/99")
    ((name, text),) = told(deploy=True).items()
    assert name == "broadcast.E006" and DATABASE.words in text


def told(deploy: bool) -> dict[str, str]:
    found = run_checks(tags=["broadcast"], include_deployment_checks=deploy)
    return {message.id: message.msg for message in found}
