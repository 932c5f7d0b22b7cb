"""A Redis that evicts forgets any one key and keeps the others: what is left is never mistaken.

The rule, for every subset of the keys of a stream or a room, and whatever is asked first: nothing
was missing and all goes on, or a new epoch begins in which everything works.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, combinations
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pytest_django.fixtures import Settings
from redis import Redis

from broadcast.backends import Appended, HistoryLimits, MediaRun, Run, StreamState
from broadcast.backends.redis import HISTORY_KEYS, RedisBackend
from broadcast.backends.rooms import Most, Renewed
from broadcast.exceptions import RoomError, RunGap
from broadcast.groups import room_stream
from broadcast.hub.starts import Wish, find_start
from broadcast.publications import Mark
from tests.rig.backends import ALL, WIDE, text
from tests.rig.clock import Clock
from tests.rig.processes import RedisProcess

RUN, RECORDING, KEY = "run", "recording", "key"
FAREWELL = b"{} left"
MOST = Most(10, None)
#: Those of a room's own, beside those of its history.
ROOM_KEYS = ("meta", "stream", "members", "processes", "room")


@pytest.fixture
def redis(redis_url: str, settings: Settings) -> Iterator[Redis]:
    settings.BROADCAST_REDIS_URLS = [redis_url]
    with Redis.from_url(redis_url) as client:
        yield client


def new_backend(prefix: str = "") -> RedisBackend:
    return RedisBackend(Clock(), prefix or f"test-{secrets.token_hex(8)}")


def subsets(names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    return chain.from_iterable(combinations(names, size) for size in range(len(names) + 1))


# -- streams ------------------------------------------------------------------------------------

ACCEPTED = 2
FRAMES = 3

#: What may be asked first, of a stream that `publish_all` made.
FIRST: dict[str, Callable[[RedisBackend, str], Awaitable[Any]]] = {
    "publish": lambda backend, name: backend.append(name, [text("new")], WIDE),
    "go on with the run": lambda backend, name: backend.append(
        name, [text("new")], WIDE, Run(RUN, ACCEPTED + 1)
    ),
    "repeat the run": lambda backend, name: backend.append(
        name, [text("run 1")], WIDE, Run(RUN, 1)
    ),
    "repeat the key": lambda backend, name: backend.append(name, [text("key")], WIDE, key=KEY),
    "go on with the recording": lambda backend, name: backend.append(
        name, [text("new")], WIDE, MediaRun(RECORDING, FRAMES, FRAMES + 1, b"s")
    ),
    "read": lambda backend, name: backend.read(name, 0, ALL, ALL),
    "look": lambda backend, name: backend.state(name),
    "come back with the run": lambda backend, name: backend.accepted(name, RUN),
    "come back with the recording": lambda backend, name: backend.recording(name, RECORDING),
    "compare": lambda backend, name: backend.positions([name]),
}


async def publish_all(backend: RedisBackend, name: str) -> StreamState:
    """Have every key of a stream written. Answers where it stands."""
    await backend.append(name, [text("head", Mark.HEADER), text("one", Mark.ENTRY)], WIDE)
    await backend.append(name, [text("run 1"), text("run 2")], WIDE, Run(RUN, 1))
    await backend.append(name, [text("key")], WIDE, key=KEY)
    recording = MediaRun(RECORDING, 0, FRAMES, b"state", b"held")
    await backend.append(name, [text("film")], WIDE, recording)
    await backend.enter(name, "streamer")
    return await backend.state(name)


async def assert_goes_on(backend: RedisBackend, name: str, first: str) -> None:
    """Whatever was asked before, all of this works, and fits together."""
    state = await backend.state(name)
    assert (await backend.positions([name]))[name] == (state.epoch, state.offset)
    run = await backend.accepted(name, RUN)
    frames, _, _ = await backend.recording(name, RECORDING)
    steps = (
        await backend.append(name, [text("next")], WIDE),
        await backend.append(name, [text("of run")], WIDE, Run(RUN, run + 1)),
        await backend.append(name, [text("of film")], WIDE, MediaRun(RECORDING, frames, 9, b"")),
        await backend.append(name, [text("of key")], WIDE, key="another"),
    )
    expected = [(state.epoch, state.offset + step) for step in range(1, 5)]
    assert [(one.epoch, one.offset) for one in steps] == expected, first
    epoch, found = await backend.read(name, 0, ALL, ALL)
    offsets = [one.offset for one in found]
    assert (epoch, offsets) == (state.epoch, list(range(state.first, state.offset + 5))), first


async def lose(
    backend: RedisBackend, redis: Redis, name: str, lost: Sequence[str], first: str
) -> None:
    before = await publish_all(backend, name)
    if lost:
        redis.delete(*backend.keys(name, *lost))
    with suppress(RunGap):
        answer = await FIRST[first](backend, name)
        if isinstance(answer, Appended):
            state = await backend.state(name)
            assert answer.epoch == state.epoch and 1 <= answer.offset <= state.offset
    state = await backend.state(name)
    resumed = find_start(Wish(0, before.epoch, before.offset), state)
    if set(lost) <= {"presence"}:
        assert state.epoch == before.epoch and state.offset - before.offset in (0, 1)
        assert resumed.recovered and state.header == before.header
        assert await backend.accepted(name, RUN) in (ACCEPTED, ACCEPTED + 1)
    else:
        assert state.epoch != before.epoch and not resumed.recovered, (lost, first)
        assert state.header is None and state.offset <= 1
    await assert_goes_on(backend, name, first)


@pytest.mark.parametrize("first", FIRST)
async def test_a_stream_that_misses_any_of_its_keys_begins_a_new_epoch(
    redis: Redis, first: str
) -> None:
    backend = new_backend()
    # Who is there is told apart from history: every other time that is lost, too.
    work = (
        lose(backend, redis, f"s{at}", (*lost, *("presence",) * (at % 2)), first)
        for at, lost in enumerate(chain(subsets(HISTORY_KEYS), [()]))
    )
    await asyncio.gather(*work)
    await backend.aclose()


async def test_a_history_without_its_beginnings_is_begun_again(redis: Redis) -> None:
    """As a look at a stream left it that had lost what says where it stands."""
    backend = new_backend()
    await publish_all(backend, "s")
    meta, *_ = backend.keys("s", "meta")
    redis.delete(meta)
    redis.hset(meta, mapping={"epoch": "looked", "generation": "0"})
    appended = await backend.append("s", [text("new")], WIDE)
    assert (appended.offset, appended.epoch != "looked") == (1, True)
    await backend.aclose()


async def test_what_lost_its_generation_begins_a_new_epoch_once(redis: Redis) -> None:
    backend = new_backend()
    before = await publish_all(backend, "s")
    redis.delete(backend.servers()[0].generation)
    after = await backend.state("s")
    assert after.epoch != before.epoch
    assert (after.offset, after.header) == (before.offset, before.header)
    assert (await backend.append("s", [text("new")], WIDE)).epoch == after.epoch
    await backend.aclose()


async def test_a_restart_is_noticed_where_the_generation_was_evicted_before(
    tmp_path: Path, settings: Settings
) -> None:
    with RedisProcess(tmp_path, "--appendonly", "no") as process:
        settings.BROADCAST_REDIS_URLS = [process.url]
        backend = new_backend()
        before = await publish_all(backend, "s")
        process.command("DEL", backend.servers()[0].generation)
        process.command("SAVE")
        with process.away():
            await backend.aclose()
        assert (await backend.state("s")).epoch != before.epoch
        await backend.aclose()


# -- rooms --------------------------------------------------------------------------------------


async def join(backend: RedisBackend, room: str, peer: str) -> tuple[str, int, list[str]]:
    joined = await backend.rooms.join(room, peer, {}, f"{peer} came".encode(), MOST)
    return joined.appended.epoch, joined.appended.offset, [one.id for one in joined.members]


#: What may be asked first, of a room with the members `a` and `b`; "c" comes from elsewhere.
FIRST_IN_ROOM: dict[str, Callable[[RedisBackend, str], Awaitable[Any]]] = {
    "join": lambda backend, room: join(backend, room, "c"),
    "leave": lambda backend, room: backend.rooms.leave(room, "b", FAREWELL),
    "relay": lambda backend, room: backend.rooms.relay(room, "a", "b", b"hello"),
    "update": lambda backend, room: backend.rooms.update(room, "a", {"name": "A"}, b"renamed"),
    "say": lambda backend, room: backend.rooms.say(room, b"hello"),
    "renew": lambda backend, room: backend.rooms.renew(FAREWELL),
    "read": lambda backend, room: backend.read(room_stream(room), 0, ALL, ALL),
    "list": lambda backend, room: backend.rooms.states([room]),
}


class Meeting(NamedTuple):
    """A room, the processes of its first members and of who comes later, what was lost of it."""

    room: str
    here: RedisBackend
    there: RedisBackend
    lost: tuple[str, ...]
    epoch: str

    async def ask(self, first: str) -> Any:
        """Whoever is not in any more is told so; nothing else goes wrong."""
        try:
            backend = self.there if first == "join" else self.here
            return await FIRST_IN_ROOM[first](backend, self.room)
        except RoomError:
            assert self.lost

    async def assert_goes_on(self, first: str) -> None:
        newcomer = "d"
        epoch, offset, members = await join(self.there, self.room, newcomer)
        assert (epoch != self.epoch) == bool(self.lost), (self.lost, first)
        kept = {"leave": ["a"], "join": ["a", "b", "c"]}.get(first, ["a", "b"])
        assert members == ([one for one in kept if one == "c"] if self.lost else kept)
        said = await self.there.rooms.say(self.room, b"hello")
        assert said and (said.epoch, said.offset) == (epoch, offset + 1)
        state = (await self.there.rooms.states([self.room]))[self.room]
        assert [one.id for one in state.members] == [*members, newcomer]


async def meet(here: RedisBackend, there: RedisBackend, lost: tuple[str, ...], redis: Redis) -> Any:
    room = secrets.token_hex(4)
    await join(here, room, "a")
    here.clock.now += 1  # type: ignore[attr-defined]
    epoch, _, members = await join(here, room, "b")
    assert members == ["a"]
    if lost:
        redis.delete(*here.keys(room_stream(room), *lost))
    return Meeting(room, here, there, lost, epoch)


@pytest.mark.parametrize("first", FIRST_IN_ROOM)
async def test_a_room_that_misses_any_of_its_keys_begins_again(redis: Redis, first: str) -> None:
    here = new_backend()
    there = RedisBackend(here.clock, here.prefix)
    meetings = [await meet(here, there, lost, redis) for lost in subsets(ROOM_KEYS)]
    answers = [await meeting.ask(first) for meeting in meetings]
    for meeting in meetings:
        await meeting.assert_goes_on(first)
    # Who is forgotten is told so, and nobody else is.
    here.rooms.due = 0
    answers.append(await here.rooms.renew(FAREWELL))
    renewed = [answer for answer in answers if isinstance(answer, Renewed)]
    forgotten = {room for answer in renewed for room, _ in answer.forgotten}
    assert forgotten == {one.room for one in meetings if one.lost}
    assert not any(answer.left for answer in renewed)
    for backend in (here, there):
        await backend.aclose()


async def test_the_list_of_rooms_is_made_again_when_it_is_lost(redis: Redis) -> None:
    backend = new_backend()
    await join(backend, "r", "a")
    redis.delete(f"{backend.prefix}:rooms")
    backend.rooms.due = 0
    await backend.rooms.renew(FAREWELL)
    assert await backend.rooms.open(10) == ["r"]
    assert (await join(backend, "r", "b"))[2] == ["a"]
    await backend.aclose()


# -- a Redis that evicts --------------------------------------------------------------------------

STREAMS = 400
#: Bytes that a Redis has for their histories: about half of what they need.
MEMORY = 3 * 1024 * 1024


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-lru"])
async def test_streams_on_a_redis_that_evicts_can_be_published_to_and_tell_the_truth(
    tmp_path: Path, settings: Settings, policy: str
) -> None:
    with RedisProcess(tmp_path, "--maxmemory-policy", policy) as process:
        settings.BROADCAST_REDIS_URLS = [process.url]
        used = process.command("INFO", "memory")["used_memory"]
        backend = new_backend()
        #: What was published, by offset: of each epoch, and of the newest one of each stream.
        told: dict[tuple[str, str], dict[int, bytes]] = {}
        newest: dict[str, dict[int, bytes]] = {}

        async def publish(name: str, number: int) -> None:
            payload = f"{name} {number} ".encode() * 200
            appended = await backend.append(
                name, [text(payload.decode())], HistoryLimits(20, ALL, 3600), key=str(number)
            )
            if (name, appended.epoch) not in told:
                # Where only the generation was evicted, it goes on with the history there is.
                goes_on = appended.offset > 1
                told[name, appended.epoch] = dict(newest[name]) if goes_on else {}
            newest[name] = told[name, appended.epoch]
            assert appended.offset == len(newest[name]) + 1
            newest[name][appended.offset] = payload

        names = [f"s{number}" for number in range(STREAMS)]
        await asyncio.gather(*(publish(name, 0) for name in names))
        process.command("CONFIG", "SET", "maxmemory", used + MEMORY)
        for number in range(1, 4):
            await asyncio.gather(*(publish(name, number) for name in names))
        assert process.command("INFO", "stats")["evicted_keys"] > STREAMS / 3
        assert len(told) > STREAMS
        for name in names:
            epoch, found = await backend.read(name, 0, ALL, ALL)
            heard = {one.offset: one.payload for one in found}
            assert heard.items() <= told.get((name, epoch), newest[name]).items()
        await backend.aclose()
