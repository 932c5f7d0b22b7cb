"""What is over leaves nothing: no history, state, key, row, topic or timer."""

import gc
import secrets
import time
import weakref
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.test import override_settings
from django.utils import timezone
from pytest_django.fixtures import Settings

from broadcast import apublish
from broadcast.backends import GRACE_SECONDS, RETRY_SECONDS, HistoryLimits, Run, get_backend, memory
from broadcast.backends.memory import MemoryBackend
from broadcast.backends.redis import HISTORY_KEYS, RedisBackend
from broadcast.backends.rooms import HISTORY
from broadcast.groups import room_stream
from broadcast.hub import housekeeping
from broadcast.hub.relay import get_relay
from broadcast.models import Subscription
from broadcast.pages.subscriptions import PageSocket
from broadcast.publications import Mark, Position
from tests.rig.backends import text
from tests.rig.clock import Clock
from tests.rig.doors import InProcessDoor, eventually
from tests.rig.members import join, leave
from tests.rig.rooms import enter, new_room
from tests.rig.subscribed import ID, KEY, Request, opened, reopened

SHORT = HistoryLimits(1000, 1_000_000, 2)
LATER = SHORT.seconds + GRACE_SECONDS + 1


@pytest.fixture
def memory_backend(clock: Clock) -> MemoryBackend:
    return MemoryBackend(clock)


@pytest.fixture
def redis_backend(redis_url: str, clock: Clock, settings: Settings) -> RedisBackend:
    settings.BROADCAST_REDIS_URLS = [redis_url]
    return RedisBackend(clock, prefix=f"test-{secrets.token_hex(8)}")


async def sweep_all(backend: MemoryBackend) -> None:
    """Rounds until all streams were looked at."""
    await backend.sweep()
    while backend.unswept:
        await backend.sweep()


# -- in memory -------------------------------------------------------------------------------------


async def test_after_their_age_nothing_is_left_of_streams(
    memory_backend: MemoryBackend, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "SWEEP", 100)
    for number in range(250):
        await memory_backend.append(f"s{number}", [text("x", Mark.HEADER)], SHORT)
    known = [weakref.ref(one) for one in memory_backend.histories.values()]
    clock.now += LATER - 2
    await sweep_all(memory_backend)
    assert len(memory_backend.histories) == 250
    assert not any(one.publications for one in memory_backend.histories.values())
    clock.now += 2
    left = []
    for _ in range(3):
        await memory_backend.sweep()
        left.append(len(memory_backend.histories))
    assert left == [150, 50, 0]
    gc.collect()
    assert not any(one() for one in known)


async def test_a_stream_is_kept_while_somebody_is_at_it_and_forgotten_after(
    memory_backend: MemoryBackend, clock: Clock
) -> None:
    await memory_backend.append("heard", [text()], SHORT)
    await memory_backend.append("fed", [text()], SHORT)
    await memory_backend.count_listeners("heard", 2)
    await memory_backend.enter("fed", "one")
    before = await memory_backend.positions(["heard", "fed"])
    clock.now += 10 * LATER
    await sweep_all(memory_backend)
    assert await memory_backend.positions(["heard", "fed"]) == before
    await memory_backend.count_listeners("heard", 0)
    await memory_backend.leave("fed", "one")
    clock.now += LATER - 2
    await sweep_all(memory_backend)
    assert await memory_backend.positions(["heard", "fed"]) == before
    clock.now += 2
    await sweep_all(memory_backend)
    assert memory_backend.histories == {}


async def test_who_hears_a_stream_that_nobody_published_to_keeps_its_epoch(
    memory_backend: MemoryBackend, clock: Clock
) -> None:
    """What others forget meanwhile changes nothing for them."""
    told = (await memory_backend.state("quiet")).epoch
    await memory_backend.count_listeners("quiet", 1)
    await memory_backend.append("other", [text()], SHORT)
    clock.now += LATER
    await sweep_all(memory_backend)
    assert set(memory_backend.histories) == {"quiet"}
    assert (await memory_backend.append("quiet", [text()], SHORT)).epoch == told


@pytest.mark.parametrize("what", ["run", "key"])
async def test_what_may_be_said_again_is_known_for_an_hour(
    memory_backend: MemoryBackend, clock: Clock, what: str
) -> None:
    again: dict[str, Any] = {"run": Run("r", 1)} if what == "run" else {"key": "k"}
    first = await memory_backend.append("s", [text()], SHORT, **again)
    clock.now += RETRY_SECONDS
    await sweep_all(memory_backend)
    repeated = await memory_backend.append("s", [text()], SHORT, **again)
    assert (repeated.epoch, repeated.offset, repeated.publications) == (first.epoch, 1, [])
    clock.now += RETRY_SECONDS + GRACE_SECONDS + 1
    await sweep_all(memory_backend)
    assert memory_backend.histories == {}


async def test_a_life_after_a_forgotten_one_has_another_epoch_however_many_were_forgotten(
    memory_backend: MemoryBackend, clock: Clock
) -> None:
    epochs = set()
    for _ in range(3):
        for number in range(200):
            appended = await memory_backend.append(f"s{number}", [text()], SHORT)
            assert appended.offset == 1
            epochs.add(appended.epoch)
        clock.now += LATER
        await sweep_all(memory_backend)
    assert len(epochs) == 3 * 200


async def test_a_room_that_ended_comes_back_with_another_epoch(
    memory_backend: MemoryBackend, clock: Clock
) -> None:
    epochs = set()
    for _ in range(3):
        epochs.add((await join(memory_backend, "a")).appended.epoch)
        await leave(memory_backend, "a")
        clock.now += 100
        await memory_backend.rooms.renew(b"")
        assert memory_backend.histories == {}
    assert len(epochs) == 3


# -- on Redis --------------------------------------------------------------------------------------


async def lives(backend: RedisBackend) -> dict[str, int]:
    """Seconds for which each key of its lives, by what follows the prefix; -1: for ever."""
    client = backend.servers()[0].client
    keys = [key async for key in client.scan_iter(match=f"{backend.prefix}:*")]
    return {key.decode().partition(":")[2]: await client.ttl(key) for key in keys}


async def test_every_key_has_an_expiry_whatever_was_done(redis_backend: RedisBackend) -> None:
    started = time.monotonic()
    await redis_backend.state("asked")
    await redis_backend.read("read", 0, 1, 1)
    await redis_backend.positions(["page:a", "b"])
    await redis_backend.append("short", [text("x", Mark.HEADER)], SHORT)
    await redis_backend.append("run", [text()], SHORT, Run("r", 1))
    await redis_backend.append("key", [text()], SHORT, key="k")
    await redis_backend.append("long", [text()], HistoryLimits(10, 1000, 10 * RETRY_SECONDS))
    await redis_backend.enter("fed", "one")
    await redis_backend.count_listeners("heard", 1)
    await redis_backend.renew()
    await redis_backend.enter("just come", "two")
    await join(redis_backend, "a")
    await leave(redis_backend, "a")
    await join(redis_backend, "b", "other")
    found = await lives(redis_backend)
    # The count of lossy restarts of Redis is one key of the installation.
    assert found.pop("generation") == -1
    assert [key for key, seconds in found.items() if seconds < 0] == []
    took = time.monotonic() - started
    most = {"{short}": LATER, "{asked}": GRACE_SECONDS, "{page%3Aa}": GRACE_SECONDS}
    for start, seconds in most.items():
        for life in (life for key, life in found.items() if start in key):
            assert seconds - took - 2 < life <= seconds
    assert found["{run}:meta"] > RETRY_SECONDS - 2
    assert found["{key}:keys"] > RETRY_SECONDS - 2
    assert found["{long}:stream"] > 10 * RETRY_SECONDS
    await redis_backend.aclose()


async def test_what_somebody_is_at_is_prolonged_and_loses_what_is_too_old(
    redis_backend: RedisBackend, clock: Clock
) -> None:
    await redis_backend.append("s", [text()], SHORT)
    client = redis_backend.servers()[0].client
    keys = redis_backend.keys("s", *HISTORY_KEYS)
    await client.expire(keys[0], 5)
    await client.expire(keys[1], 5)
    await redis_backend.count_listeners("s", 1)
    clock.now += LATER
    await redis_backend.renew()
    assert await client.ttl(keys[0]) > GRACE_SECONDS - 2
    assert await client.xlen(keys[1]) == 0
    await redis_backend.aclose()


async def test_what_an_older_version_left_for_ever_has_an_end_when_it_is_pruned(
    redis_backend: RedisBackend,
) -> None:
    (meta,) = redis_backend.keys("page:old", "meta")
    client = redis_backend.servers()[0].client
    await client.hset(meta, mapping={"epoch": "e", "generation": "0"})
    await redis_backend.prune()
    assert 0 < await client.ttl(meta) <= GRACE_SECONDS
    await redis_backend.aclose()


async def test_who_prunes_often_puts_off_no_end(redis_backend: RedisBackend) -> None:
    await redis_backend.append("s", [text()], SHORT)
    client = redis_backend.servers()[0].client
    for key in redis_backend.keys("s", "meta", "stream"):
        await client.expire(key, 50)
    await redis_backend.prune()
    for key in redis_backend.keys("s", "meta", "stream"):
        assert 0 < await client.ttl(key) <= 50
    await redis_backend.aclose()


# -- rooms -----------------------------------------------------------------------------------------


async def test_all_rooms_together_remember_so_many_bytes(
    backend: Any, settings: Settings, clock: Clock
) -> None:
    settings.BROADCAST_ROOMS_BYTES = 40_000
    for number in range(4):
        await join(backend, "a", f"r{number}")
    for _ in range(30):
        for number in range(4):
            await backend.rooms.say(f"r{number}", b"x" * 1000)
    sizes = []
    for number in range(4):
        _, found = await backend.read(room_stream(f"r{number}"), 0, 1000, 10**9)
        sizes.append(sum(len(one.payload) for one in found))
        assert found[-1].offset == 31
    assert sizes == [10_000] * 4
    assert HISTORY.bytes > 40_000
    if isinstance(backend, RedisBackend):
        await backend.aclose()


# -- sockets ---------------------------------------------------------------------------------------


async def test_sockets_that_went_leave_neither_topic_nor_timer(in_process: InProcessDoor) -> None:
    relay = get_relay()
    slug = await in_process.stream()
    for number in range(5):
        listener = await in_process.connect(f"/ws/listener/{slug}/")
        await listener.close()
        page = await opened(in_process, f"c{number}", id=f"{number}" * 64)
        await page.socket.close()
        member, _ = await enter(in_process, new_room())
        await member.close()

    async def is_empty() -> bool:
        return not relay.topics and not relay._leaving and not relay._locks

    await eventually(is_empty)


# -- rows ------------------------------------------------------------------------------------------


def visits(number: int, ended: bool) -> None:
    """What so many anonymous page views leave in the database."""
    now = timezone.now() - timedelta(days=30 if ended else 0)
    for index in range(number):
        digest = f"{index:064x}" if ended else f"{index + 1000:064x}"
        Subscription.objects.subscribe(digest, {"a": Position("e", 1), "": Position("f", 0)}, now)
        Session.objects.create(
            session_key=digest[-32:], session_data="", expire_date=now + timedelta(days=14)
        )


@pytest.mark.parametrize("way", ["server", "prune"])
async def test_what_page_views_left_goes_with_its_age(
    db: None, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(housekeeping, "ROWS", 4)
    await sync_to_async(visits)(5, True)
    await sync_to_async(visits)(3, False)
    if way == "prune":
        await sync_to_async(call_command)("prune")
    else:
        rounds = 1
        while await housekeeping.drop_expired():
            rounds += 1
        assert rounds == 3
    assert (await Subscription.objects.acount(), await Session.objects.acount()) == (6, 3)


async def test_a_page_whose_other_rows_hold_is_not_forgotten(db: None) -> None:
    rows = Subscription.objects
    now = timezone.now()
    await sync_to_async(rows.subscribe)(KEY, {"a": Position("e", 1)}, now - timedelta(days=1))
    await sync_to_async(rows.subscribe)(KEY, {"b": Position("e", 1)}, now)
    # The second one dropped the first: it is put back as another program would.
    await rows.filter(channel="b").aupdate(expires_at=now - timedelta(1))
    await sync_to_async(rows.bulk_create)(
        [
            Subscription(
                digest=KEY,
                channel="c",
                epoch="",
                offset=0,
                created_at=now,
                expires_at=now + timedelta(1),
            )
        ]
    )
    gone, is_full = await sync_to_async(rows.prune_some)(now, 10)
    assert (gone, is_full) == (set(), False)
    assert [row.channel async for row in rows.all()] == ["c"]


async def test_a_server_keeps_house_without_any_page(
    in_process: InProcessDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "SECONDS", 0.01)
    monkeypatch.setattr(housekeeping, "ROWS_SECONDS", 0.0)
    await sync_to_async(visits)(5, True)
    slug = await in_process.stream()
    await in_process.connect(f"/ws/listener/{slug}/")
    backend = get_backend()
    assert isinstance(backend, MemoryBackend)
    with override_settings(BROADCAST_HISTORY_AGE=2):
        await apublish("somewhere", 1)
    backend.histories["somewhere"].time -= LATER

    async def is_clean() -> bool:
        left = await Subscription.objects.acount() + await Session.objects.acount()
        return left == 0 and set(backend.histories) == {slug}

    await eventually(is_clean)


# -- pages that come back --------------------------------------------------------------------------


async def test_a_page_that_comes_back_to_a_forgotten_channel_hears_what_is_new_and_nothing_else(
    in_process: InProcessDoor,
) -> None:
    page = await opened(in_process, "a")
    await apublish("a", "heard")
    assert (await page.receive())["payload"] == "heard"
    await page.socket.close()
    await eventually(lambda: is_away())
    await get_backend().forget("a")
    await apublish("a", "missed 1")
    await apublish("a", "missed 2")
    page = await reopened(in_process, page.session)
    await apublish("a", "live")
    assert [(await page.receive())["payload"] for _ in range(3)] == ["missed 1", "missed 2", "live"]


async def is_away() -> bool:
    return await Subscription.objects.filter(channel="a", closed_at__isnull=False).aexists()


async def test_a_page_that_was_rendered_before_others_were_forgotten_misses_nothing(
    in_process: InProcessDoor,
) -> None:
    socket = PageSocket(request := Request(), ID)
    await socket.asubscribe("a")
    await request.session.asave()
    await apublish("other", 1)
    await get_backend().forget("other")
    await apublish("a", "pushed")
    page = await reopened(in_process, request.session)
    assert (await page.receive())["payload"] == "pushed"
