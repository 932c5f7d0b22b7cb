"""A Redis with a stand-in: its master goes in full flow, and no server has to be restarted."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from redis.exceptions import TimeoutError as RedisTimeoutError

from broadcast.backends.redis import RedisBackend
from broadcast.exceptions import Unavailable
from broadcast.hub.layer import get_layer
from broadcast.monitor.faults import find_faults
from tests.rig.backends import append, use_redis
from tests.rig.clients import assert_honest, flowing
from tests.rig.doors import ServerDoor, eventually
from tests.rig.health import READY, of
from tests.rig.processes import DURABLE, Installation, RedisProcess
from tests.rig.scrapes import get
from tests.rig.stand_ins import MASTER, PASSWORD, SENTINEL_PASSWORD, GuardedRedis


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[GuardedRedis]:
    """With append-only files: after a mere restart nothing would be lost."""
    with GuardedRedis(tmp_path, *DURABLE) as guarded:
        deadline = time.monotonic() + 30
        while not guarded.follows():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield guarded


@pytest.fixture
def running(tmp_path: Path, guarded: GuardedRedis) -> Iterator[Installation]:
    with Installation(tmp_path, redis=0, REDIS_URL=guarded.url) as installation:
        yield installation


def are_subscribed(process: RedisProcess) -> bool:
    return bool(process.command("PUBSUB", "CHANNELS", "*group*"))


async def test_a_master_that_dies_in_full_flow_takes_with_it_only_what_its_replica_lacked(
    installation: Installation, doors: list[ServerDoor], slug: str, guarded: GuardedRedis
) -> None:
    async with flowing(doors, slug) as flow:
        await flow.goes_on()
        await asyncio.to_thread(guarded.part)
        await flow.goes_on()
        guarded.master.kill()
        await flow.stands_still()
        guarded.sentinels[0].kill()
        await flow.goes_on()
        assert are_subscribed(guarded.replica)
    assert_honest(flow, histories=2)
    old = next(iter(flow.listeners[0].heard))
    stale = await doors[1].listener(slug, f"?epoch={old}&since=1")
    assert stale.first["recovered"] is False
    for server in installation.servers:
        assert of(get(server, "/healthz")) == (200, READY)
        text = server.new_log()
        assert f"Redis at master '{MASTER}' of 127.0.0.1:" in text
        assert PASSWORD not in text and SENTINEL_PASSWORD not in text
    for door in doors:
        await door.aclose()


# -- without servers ----------------------------------------------------------------------------


@asynccontextmanager
async def backend_on(settings: Any, url: str) -> AsyncIterator[RedisBackend]:
    """A backend and a layer that both work there."""
    use_redis(settings, url)
    assert await find_faults() == []
    backend = RedisBackend()
    yield backend
    await backend.aclose()


async def until_it_appends(backend: RedisBackend, *, epoch: str) -> None:
    """Until it does in another epoch."""

    async def appends() -> bool:
        await backend.renew()
        try:
            return (await append(backend, "after")).epoch != epoch
        except Unavailable:
            return False

    await eventually(appends)


async def test_a_master_that_is_replaced_though_it_lives_is_left(
    settings: Any, guarded: GuardedRedis
) -> None:
    async with backend_on(settings, guarded.url) as backend:
        epoch = (await append(backend, "before")).epoch
        guarded.take_over()
        await until_it_appends(backend, epoch=epoch)
        assert str(guarded.replica.command("ROLE")[0]) == "master"


async def test_a_master_that_freezes_is_left_by_whoever_only_listens(
    settings: Any, guarded: GuardedRedis
) -> None:
    url = f"{guarded.url}&health_check_interval=1&socket_timeout=0.5"
    async with backend_on(settings, url) as backend:
        layer = get_layer()
        channel = await layer.new_channel()
        await layer.group_add("group", channel)
        epoch = (await append(backend, "before")).epoch
        with guarded.master.frozen():
            await until_it_appends(backend, epoch=epoch)
            await eventually(lambda: asyncio.sleep(0, are_subscribed(guarded.replica)))
            with suppress(RedisTimeoutError):
                # It finds out with the first message that nobody takes.
                await layer.group_send("group", {"type": "lost"})
            await layer.group_send("group", {"type": "hello"})
            assert await layer.receive(channel) == {"type": "hello"}


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        (f"/{MASTER}/", "/nobody/", "no sentinel knows a master 'nobody'"),
        (SENTINEL_PASSWORD, "wrong", "a sentinel refused: invalid username-password pair"),
        (f"?sentinel_password={SENTINEL_PASSWORD}", "", "a sentinel refused: Authentication"),
        (PASSWORD, "wrong", "invalid username-password pair"),
        ("/0?", "/99?", "Redis has no database of this number: DB index is out of range"),
    ],
)
async def test_what_sentinels_or_the_master_refuse_for_good_is_said(
    settings: Any, guarded: GuardedRedis, right: str, wrong: str, said: str
) -> None:
    use_redis(settings, guarded.url.replace(right, wrong))
    with pytest.raises(ImproperlyConfigured) as error:
        await find_faults()
    assert "cannot be used: " in str(error.value) and said in str(error.value)
    assert PASSWORD not in str(error.value) and SENTINEL_PASSWORD not in str(error.value)


async def test_sentinels_that_are_away_may_come_back(settings: Any, guarded: GuardedRedis) -> None:
    use_redis(settings, guarded.url)
    for sentinel in guarded.sentinels:
        sentinel.kill()
    with pytest.raises(Unavailable, match="Redis does not answer"):
        await find_faults()
