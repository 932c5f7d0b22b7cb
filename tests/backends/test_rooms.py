"""The members of rooms, in every backend."""

import asyncio
import secrets
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from broadcast.backends import Backend
from broadcast.backends.memory import MemoryBackend
from broadcast.backends.redis import RedisBackend
from broadcast.backends.rooms import (
    AFTERLIFE_SECONDS,
    ALREADY_IN,
    FULL,
    HISTORY,
    NOT_IN_ROOM,
    TOO_MANY_ROOMS,
    UNKNOWN_PEER,
    Left,
    Most,
)
from broadcast.exceptions import RoomError, Unavailable
from broadcast.groups import room_stream
from tests.rig.backends import ALL
from tests.rig.clock import Clock
from tests.rig.members import FAREWELL, join, leave


async def said(backend: Backend, room: str = "r") -> list[str]:
    """What was said in the room, from the beginning."""
    _, found = await backend.read(room_stream(room), 0, ALL, ALL)
    return [publication.payload.decode() for publication in found]


async def inside(backend: Backend, room: str = "r") -> list[str]:
    states = await backend.rooms.states([room])
    return [member.id for member in states[room].members] if room in states else []


async def test_who_joins_learns_who_is_in_and_where_it_came_in(
    backend: Backend, clock: Clock
) -> None:
    first = await join(backend, "a", name="Ä b")
    assert first.members == []
    clock.now += 1
    second = await join(backend, "b")
    assert [(one.id, one.status) for one in second.members] == [("a", {"name": "Ä b"})]
    assert second.members[0].since == clock.now - 1
    assert second.appended.epoch == first.appended.epoch
    assert (first.appended.offset, second.appended.offset) == (1, 2)
    assert [one.payload for one in second.appended.publications] == [b"b came"]
    assert await said(backend) == ["a came", "b came"]


async def test_of_many_who_join_at_once_each_is_before_or_after_each_other(
    backend: Backend,
) -> None:
    names = [f"p{number}" for number in range(30)]
    joined = await asyncio.gather(*(join(backend, name) for name in names))
    before = {
        name: {one.id for one in each.members} for name, each in zip(names, joined, strict=True)
    }
    for name in names:
        for other in names:
            if name != other:
                assert (name in before[other]) != (other in before[name])
    offsets = sorted(each.appended.offset for each in joined)
    assert offsets == list(range(1, 31))


async def test_a_peer_cannot_join_twice(backend: Backend) -> None:
    await join(backend, "a")
    with pytest.raises(RoomError, match=ALREADY_IN):
        await join(backend, "a")
    assert await inside(backend) == ["a"]
    assert await said(backend) == ["a came"]


async def test_a_room_has_a_limit(backend: Backend) -> None:
    await join(backend, "a", most=Most(1, None))
    with pytest.raises(RoomError, match=FULL):
        await join(backend, "b", most=Most(1, None))
    assert await said(backend) == ["a came"]
    await leave(backend, "a")
    await join(backend, "b", most=Most(1, None))


async def test_there_is_a_limit_of_rooms(backend: Backend) -> None:
    few = Most(100, 1)
    await join(backend, "a", most=few)
    await join(backend, "b", most=few)
    with pytest.raises(RoomError, match=TOO_MANY_ROOMS):
        await join(backend, "c", "other", few)
    await leave(backend, "a")
    await leave(backend, "b")
    await join(backend, "c", "other", few)


async def test_who_leaves_is_announced_to_whoever_is_left(backend: Backend, clock: Clock) -> None:
    await join(backend, "a")
    await join(backend, "b")
    clock.now += 90
    left = await leave(backend, "a")
    assert left
    assert (left.member.id, left.at - left.member.since, left.peak) == ("a", 90, 0)
    assert [one.payload for one in left.appended.publications] == [b"a left"]
    assert await inside(backend) == ["b"]
    assert await leave(backend, "a") is None


async def test_a_room_ends_with_its_last_member(backend: Backend) -> None:
    for name in "abc":
        await join(backend, name)
    await leave(backend, "a")
    await leave(backend, "b")
    left = await leave(backend, "c")
    assert left
    assert left.peak == 3
    assert left.appended.publications == []
    assert await said(backend) == []
    assert await backend.rooms.states(["r"]) == {}
    assert await backend.rooms.open(10) == []


async def test_the_order_goes_on_in_a_room_that_begins_again(backend: Backend) -> None:
    first = await join(backend, "a")
    await leave(backend, "a")
    second = await join(backend, "a")
    assert second.appended.epoch == first.appended.epoch
    assert second.appended.offset == first.appended.offset + 1
    states = await backend.rooms.states(["r"])
    assert states["r"].peak == 1


async def test_a_relay_needs_both_in_the_room(backend: Backend) -> None:
    await join(backend, "a")
    await join(backend, "b", "other")
    for target in ("b", "nobody", "\ud800", ""):
        with pytest.raises(RoomError, match=UNKNOWN_PEER):
            await backend.rooms.relay("r", "a", target or "x", b"hello")
    with pytest.raises(RoomError, match=NOT_IN_ROOM):
        await backend.rooms.relay("r", "c", "a", b"hello")
    assert await backend.rooms.relay("r", "a", "a", b"") is None
    appended = await backend.rooms.relay("r", "a", "a", b"hello")
    assert appended
    assert [one.payload for one in appended.publications] == [b"hello"]
    assert await said(backend) == ["a came", "hello"]


async def test_a_status_is_shown_to_who_comes_later(backend: Backend) -> None:
    await join(backend, "a", name="old")
    await backend.rooms.update("r", "a", {"name": "new"}, b"renamed")
    joined = await join(backend, "b")
    assert joined.members[0].status == {"name": "new"}
    with pytest.raises(RoomError, match=NOT_IN_ROOM):
        await backend.rooms.update("r", "c", {}, b"renamed")
    assert await said(backend) == ["a came", "renamed", "b came"]


async def test_the_server_speaks_to_rooms_that_are_there(backend: Backend) -> None:
    assert await backend.rooms.say("r", b"hello") is None
    await join(backend, "a")
    assert await backend.rooms.say("r", b"hello")
    assert await said(backend) == ["a came", "hello"]


async def test_states_say_who_is_in(backend: Backend, clock: Clock) -> None:
    await join(backend, "a", name="A")
    clock.now += 5
    await join(backend, "b")
    await leave(backend, "b")
    await join(backend, "c", "other")
    states = await backend.rooms.states(["r", "other", "none"])
    assert set(states) == {"r", "other"}
    assert states["r"].peak == 2
    assert states["r"].since == clock.now - 5
    assert [(one.id, one.status) for one in states["r"].members] == [("a", {"name": "A"})]
    assert sorted(await backend.rooms.open(10)) == ["other", "r"]
    assert len(await backend.rooms.open(1)) == 1


async def test_what_ended_is_forgotten(backend: Backend, clock: Clock) -> None:
    await join(backend, "a")
    await leave(backend, "a")
    clock.now += AFTERLIFE_SECONDS + 1
    renewed = await backend.rooms.renew(FAREWELL)
    assert (renewed.left, renewed.forgotten) == ([], [])
    if isinstance(backend, RedisBackend):
        await assert_keys_expire(backend)
    else:
        assert backend.histories == {}  # type: ignore[attr-defined]


async def test_what_is_old_goes_from_a_quiet_room(clock: Clock) -> None:
    memory = MemoryBackend(clock)
    await join(memory, "a")
    clock.now += HISTORY.seconds + 1
    # A look through the backend would drop it, too.
    history = memory.histories[room_stream("r")]
    assert history.size
    await memory.rooms.renew(FAREWELL)
    assert (list(history.publications), history.size) == ([], 0)
    assert (await join(memory, "b")).appended.offset == 2


async def assert_keys_expire(backend: RedisBackend) -> None:
    client = backend.servers()[0].client
    keys = [key async for key in client.scan_iter(match=f"{backend.prefix}:*")]
    lives = {key: await client.ttl(key) for key in keys if b"generation" not in key}
    assert all(0 < life <= AFTERLIFE_SECONDS for life in lives.values()), lives


# -- several processes on Redis ----------------------------------------------------------------


@pytest.fixture
def ours(redis_url: str, clock: Clock, settings: Settings) -> RedisBackend:
    settings.BROADCAST_REDIS_URLS = [redis_url]
    settings.BROADCAST_PEER_SECONDS = 30.0
    return RedisBackend(clock, prefix=f"test-{secrets.token_hex(8)}")


@pytest.fixture
def theirs(ours: RedisBackend, clock: Clock) -> RedisBackend:
    return RedisBackend(clock, prefix=ours.prefix)


async def renew_for(clock: Clock, seconds: int, *backends: RedisBackend) -> list[list[Left]]:
    """Let so much time pass, in which these processes live."""
    left: list[list[Left]] = [[] for _ in backends]
    for _ in range(seconds // 5):
        clock.now += 5
        for index, backend in enumerate(backends):
            left[index] += (await backend.rooms.renew(FAREWELL)).left
    return left


async def test_members_of_a_process_that_died_leave(
    ours: RedisBackend, theirs: RedisBackend, clock: Clock
) -> None:
    await join(ours, "a")
    await join(theirs, "b")
    await join(theirs, "c")
    assert await renew_for(clock, 60, ours, theirs) == [[], []]
    assert await renew_for(clock, 25, ours) == [[]]
    assert len(await inside(ours)) == 3
    (left,) = await renew_for(clock, 20, ours)
    assert sorted(one.member.id for one in left) == ["b", "c"]
    assert await inside(ours) == ["a"]
    assert (await said(ours))[-2:] in (["b left", "c left"], ["c left", "b left"])


async def test_a_room_of_dead_processes_alone_ends(
    ours: RedisBackend, theirs: RedisBackend, clock: Clock
) -> None:
    await join(theirs, "b")
    (left,) = await renew_for(clock, 60, ours)
    assert [(one.member.id, one.peak) for one in left] == [("b", 1)]
    assert await ours.rooms.open(10) == []


async def test_who_was_away_buries_nobody_until_all_could_say_that_they_live(
    ours: RedisBackend, theirs: RedisBackend, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await join(ours, "a")
    await join(theirs, "b")
    await renew_for(clock, 60, ours, theirs)

    async def fail(*args: Any) -> None:
        raise Unavailable("Redis does not answer")

    with monkeypatch.context() as patch:
        for backend in (ours, theirs):
            patch.setattr(backend.servers()[0], "call", fail)
            patch.setattr(backend.rooms, "_deserted", fail)
        await renew_for(clock, 120, ours, theirs)
    assert await renew_for(clock, 25, ours) == [[]]
    assert await renew_for(clock, 60, ours, theirs) == [[], []]
    assert await inside(ours) == ["a", "b"]


async def test_a_leave_that_was_lost_is_made_good(
    ours: RedisBackend, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await join(ours, "a")
    await join(ours, "b")

    async def fail(*args: Any) -> None:
        raise Unavailable("Redis does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(ours.servers()[0], "call", fail)
        for name in "ab":
            with pytest.raises(Unavailable):
                await leave(ours, name)
        with pytest.raises(Unavailable):
            await join(ours, "c")
    left = (await ours.rooms.renew(FAREWELL)).left
    assert sorted(one.member.id for one in left) == ["a", "b"]
    assert [one.peak for one in left] == [0, 2]
    assert await inside(ours) == []


async def test_a_join_that_was_carried_out_and_lost_is_undone(
    ours: RedisBackend, theirs: RedisBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    await join(theirs, "b")
    call = ours.server(room_stream("r")).call

    async def lose(*args: Any) -> None:
        await call(*args)
        raise Unavailable("Redis does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(ours.servers()[0], "call", lose)
        with pytest.raises(Unavailable):
            await join(ours, "a")
    with pytest.raises(RoomError, match=ALREADY_IN):
        await join(ours, "a")
    left = (await ours.rooms.renew(FAREWELL)).left
    assert [one.member.id for one in left] == ["a"]
    assert await said(ours) == ["b came", "a came", "a left"]
    assert (await join(ours, "a")).members[0].id == "b"


async def test_a_process_learns_whom_redis_forgot(
    ours: RedisBackend, theirs: RedisBackend, clock: Clock
) -> None:
    await join(ours, "a")
    await join(theirs, "b")
    await renew_for(clock, 60, theirs)
    renewed = await ours.rooms.renew(FAREWELL)
    assert renewed.forgotten == [("r", "a")]
    assert await inside(ours) == ["b"]


async def test_a_look_at_a_room_that_is_not_there_leaves_nothing_for_ever(
    ours: RedisBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*args: Any) -> None:
        raise Unavailable("Redis does not answer")

    assert await leave(ours, "a", "left") is None
    with pytest.raises(RoomError, match=NOT_IN_ROOM):
        await ours.rooms.relay("said", "a", "b", b"hello")
    with monkeypatch.context() as patch, pytest.raises(Unavailable):
        patch.setattr(ours.servers()[0], "call", fail)
        await join(ours, "a", "renewed")
    await ours.rooms.renew(FAREWELL)
    await assert_keys_expire(ours)


async def test_rooms_are_spread_over_several_redis_servers(
    redis_url: str, clock: Clock, settings: Settings
) -> None:
    settings.BROADCAST_REDIS_URLS = [redis_url, redis_url.replace("/0", "/1")]
    prefix = f"test-{secrets.token_hex(8)}"
    ours, theirs = RedisBackend(clock, prefix), RedisBackend(clock, prefix)
    rooms = [f"room {number}" for number in range(20)]
    for room in rooms:
        await join(ours, "a", room, Most(9, 40))
        await join(theirs, "b", room, Most(9, 40))
    assert len({ours.place(room_stream(room)) for room in rooms}) == 2
    assert sorted(await ours.rooms.open(99)) == sorted(rooms)
    states = await ours.rooms.states(rooms)
    assert {len(states[room].members) for room in rooms} == {2}
    (left,) = await renew_for(clock, 60, ours)
    assert sorted(one.room for one in left) == sorted(rooms)
    for backend in (ours, theirs):
        await backend.aclose()
