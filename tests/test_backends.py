"""What every backend promises (`backends.Backend`), one promise after another.

`backend` is parametrised: an engine is added with one line in `BACKENDS`.
"""

import asyncio
import secrets
from collections.abc import Callable
from typing import Any

import pytest

from broadcast.backends import Appended, Backend, Limits, Presence, Run, StreamState
from broadcast.backends.memory import KNOWN_KEYS, KNOWN_RUNS, MemoryBackend
from broadcast.backends.redis import RedisBackend
from broadcast.exceptions import RunGap
from broadcast.publications import Draft, Kind, Mark, Publication

WIDE = Limits(1000, 1_000_000, 3600)
ALL = 1_000_000


class Clock:
    """Seconds since 1970, which pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def redis_backend(clock: Clock) -> RedisBackend:
    """Keys of its own, so that it is empty."""
    return RedisBackend(clock, prefix=f"test-{secrets.token_hex(8)}")


BACKENDS: dict[str, Callable[[Clock], Backend]] = {
    "memory": MemoryBackend,
    "redis": redis_backend,
}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=list(BACKENDS))
def backend(request: Any, clock: Clock, settings: Any) -> Backend:
    """An empty backend that lives by `clock`."""
    if request.param == "redis":
        settings.BROADCAST_REDIS_URLS = [request.getfixturevalue("redis_url")]
    return BACKENDS[request.param](clock)


def text(payload: str = "x", marks: int = 0) -> Draft:
    return Draft.of(payload, marks)


async def append(backend: Backend, *payloads: str, limits: Limits = WIDE) -> Appended:
    return await backend.append("s", [text(payload) for payload in payloads], limits)


async def kept(backend: Backend, since: int = 0) -> list[str]:
    """The texts in history after `since`."""
    _, found = await backend.read("s", since, ALL, ALL)
    return [publication.payload.decode() for publication in found]


# -- appending ------------------------------------------------------------------------------


async def test_offsets_count_from_1_without_gaps(backend: Backend) -> None:
    first = await append(backend, "a", "b")
    second = await append(backend, "c")
    assert [one.offset for one in first.publications + second.publications] == [1, 2, 3]
    assert (first.offset, second.offset) == (2, 3)
    assert first.epoch == second.epoch


async def test_an_append_answers_what_is_in_history_then(backend: Backend, clock: Clock) -> None:
    drafts = [text("a"), Draft.of(b"\xff", Mark.ENTRY), Draft.of({"b": 1})]
    appended = await backend.append("s", drafts, WIDE)
    assert appended.publications == [
        Publication(1, Kind.TEXT, b"a", 0, clock.now),
        Publication(2, Kind.BINARY, b"\xff", Mark.ENTRY, clock.now),
        Publication(3, Kind.JSON, b'{"b":1}', 0, clock.now),
    ]
    assert await backend.read("s", 0, ALL, ALL) == (appended.epoch, appended.publications)
    assert appended.accepted == 0


async def test_streams_do_not_know_of_each_other(backend: Backend) -> None:
    await backend.append("one", [text("a"), text("b")], WIDE, Run("r", 1), "")
    other = await backend.append("other", [text("c")], WIDE, Run("r", 1))
    assert (other.offset, other.accepted) == (1, 1)
    assert (await backend.state("one")).epoch != other.epoch


async def test_concurrent_appends_share_no_offset(backend: Backend) -> None:
    outcomes = await asyncio.gather(*(append(backend, str(n), str(n)) for n in range(50)))
    assert sorted(outcome.offset for outcome in outcomes) == list(range(2, 101, 2))
    texts = await kept(backend)
    # Each append is one step: its two publications stand side by side.
    assert texts[::2] == texts[1::2]


# -- limits ---------------------------------------------------------------------------------


async def test_history_is_trimmed_by_count(backend: Backend) -> None:
    await append(backend, *"abcdef", limits=Limits(3, ALL, 60))
    assert await kept(backend) == ["d", "e", "f"]
    assert (await backend.state("s")).first == 4


async def test_history_is_trimmed_by_bytes(backend: Backend) -> None:
    await append(backend, "aa", "bb", "cc", limits=Limits(9, 4, 60))
    assert await kept(backend) == ["bb", "cc"]
    await append(backend, "ddd", limits=Limits(9, 4, 60))
    assert await kept(backend) == ["ddd"]


async def test_history_is_trimmed_by_age_without_an_append(backend: Backend, clock: Clock) -> None:
    limits = Limits(9, ALL, 60)
    await append(backend, "a", limits=limits)
    clock.now += 30
    await append(backend, "b", limits=limits)
    clock.now += 30
    assert await kept(backend) == ["a", "b"]
    clock.now += 1
    assert await kept(backend) == ["b"]
    clock.now += 30
    state = await backend.state("s")
    assert (state.offset, state.first) == (2, 3)
    assert await kept(backend) == []


async def test_offsets_go_on_where_all_history_is_gone(backend: Backend, clock: Clock) -> None:
    before = await append(backend, "a", limits=Limits(9, ALL, 60))
    clock.now += 61
    after = await append(backend, "b")
    assert (after.epoch, after.offset) == (before.epoch, 2)
    assert await kept(backend) == ["b"]


async def test_a_publication_larger_than_the_bytes_is_published_but_not_kept(
    backend: Backend,
) -> None:
    await append(backend, "a", limits=Limits(9, 4, 60))
    appended = await append(backend, "too large", limits=Limits(9, 4, 60))
    assert [one.payload for one in appended.publications] == [b"too large"]
    assert await kept(backend) == []
    state = await backend.state("s")
    assert (state.offset, state.first) == (2, 3)


async def test_a_stream_may_keep_no_history_at_all(backend: Backend) -> None:
    appended = await append(backend, "a", "b", limits=Limits(0, 0, 0))
    assert [one.offset for one in appended.publications] == [1, 2]
    assert await kept(backend) == []


async def test_narrower_limits_hold_from_the_next_append_on(backend: Backend) -> None:
    await append(backend, *"abcde")
    await append(backend, "f", limits=Limits(2, ALL, 60))
    assert await kept(backend) == ["e", "f"]


async def test_prune_drops_what_is_too_old_and_counts_it(backend: Backend, clock: Clock) -> None:
    await backend.append("s", [text(), text()], Limits(9, ALL, 60))
    await backend.append("t", [text()], Limits(9, ALL, 600))
    assert await backend.prune() == 0
    clock.now += 61
    assert await backend.prune() == 2
    assert await backend.prune() == 0
    assert len((await backend.read("t", 0, ALL, ALL))[1]) == 1


# -- reading --------------------------------------------------------------------------------


async def test_read_begins_after_since(backend: Backend) -> None:
    await append(backend, *"abc")
    assert await kept(backend, since=0) == ["a", "b", "c"]
    assert await kept(backend, since=2) == ["c"]
    assert await kept(backend, since=3) == []
    assert await kept(backend, since=10**18) == []


async def test_read_begins_at_the_oldest_where_since_is_gone(backend: Backend) -> None:
    await append(backend, *"abcdef", limits=Limits(3, ALL, 60))
    assert await kept(backend, since=1) == ["d", "e", "f"]
    assert await kept(backend, since=4) == ["e", "f"]


async def test_read_answers_no_more_than_count(backend: Backend) -> None:
    await append(backend, *"abcd")
    _, found = await backend.read("s", 1, 2, ALL)
    assert [one.offset for one in found] == [2, 3]


@pytest.mark.parametrize(("size", "count"), [(0, 1), (1, 1), (3, 1), (4, 2), (5, 2), (6, 3)])
async def test_read_is_cut_at_size_but_never_before_the_first(
    backend: Backend, size: int, count: int
) -> None:
    await append(backend, "aa", "bb", "cc")
    _, found = await backend.read("s", 0, ALL, size)
    assert len(found) == count


async def test_a_stream_nobody_published_to_stands_at_0(backend: Backend) -> None:
    state = await backend.state("s")
    assert state == StreamState(state.epoch, 0, 1, None, 0)
    assert state.epoch
    assert await backend.read("s", 0, ALL, ALL) == (state.epoch, [])
    assert await backend.positions(["s"]) == {"s": (state.epoch, 0)}
    # The first publication belongs to the epoch that was told before.
    assert (await append(backend, "a")).epoch == state.epoch


async def test_positions_are_those_of_the_streams_asked_for(backend: Backend) -> None:
    epoch = (await append(backend, "a", "b")).epoch
    positions = await backend.positions(iter(["s", "t"]))
    assert positions["s"] == (epoch, 2)
    assert positions["t"][1] == 0 and positions["t"][0] != epoch


# -- exactly once ---------------------------------------------------------------------------


async def in_run(backend: Backend, number: int, payloads: str, run: str = "r") -> Appended:
    return await backend.append("s", [text(one) for one in payloads], WIDE, Run(run, number))


async def test_a_run_counts_its_publications(backend: Backend) -> None:
    assert await backend.accepted("s", "r") == 0
    assert (await in_run(backend, 1, "ab")).accepted == 2
    assert (await in_run(backend, 3, "c")).accepted == 3
    assert await backend.accepted("s", "r") == 3


async def test_publications_of_other_runs_and_of_none_do_not_count(backend: Backend) -> None:
    await in_run(backend, 1, "ab")
    await append(backend, "x")
    assert (await in_run(backend, 1, "cde", run="other")).accepted == 3
    assert (await in_run(backend, 3, "f")).accepted == 3


async def test_what_is_sent_again_is_left_out(backend: Backend) -> None:
    first = await in_run(backend, 1, "ab")
    again = await in_run(backend, 1, "ab")
    assert again == Appended(first.epoch, 2, [], 2)
    assert await kept(backend) == ["a", "b"]


async def test_of_a_partial_repeat_only_the_new_ones_are_appended(backend: Backend) -> None:
    await in_run(backend, 1, "abc")
    appended = await in_run(backend, 2, "bcde")
    assert [one.payload for one in appended.publications] == [b"d", b"e"]
    assert appended.accepted == 5
    assert await kept(backend) == list("abcde")


async def test_a_repeat_of_old_ones_forgets_none(backend: Backend) -> None:
    await in_run(backend, 1, "abcd")
    assert (await in_run(backend, 1, "ab")).accepted == 4
    assert await backend.accepted("s", "r") == 4


async def test_a_gap_in_a_run_appends_nothing(backend: Backend) -> None:
    await in_run(backend, 1, "ab")
    with pytest.raises(RunGap):
        await in_run(backend, 4, "d")
    with pytest.raises(RunGap):
        await in_run(backend, 2, "b", run="unknown")
    assert await kept(backend) == ["a", "b"]
    assert [await backend.accepted("s", run) for run in ("r", "unknown")] == [2, 0]


async def test_a_run_is_known_when_its_publications_are_gone(
    backend: Backend, clock: Clock
) -> None:
    limits = Limits(9, ALL, 60)
    await backend.append("s", [text("a")], limits, Run("r", 1))
    clock.now += 61
    again = await backend.append("s", [text("a"), text("b")], limits, Run("r", 1))
    assert [one.payload for one in again.publications] == [b"b"]


async def test_a_run_in_use_outlives_many_others(backend: Backend) -> None:
    await in_run(backend, 1, "a")
    for number in range(KNOWN_RUNS - 1):
        await in_run(backend, 1, "x", run=f"other-{number}")
    await in_run(backend, 2, "b")
    for number in range(KNOWN_RUNS - 1):
        await in_run(backend, 1, "x", run=f"another-{number}")
    assert await backend.accepted("s", "r") == 2


async def test_an_idempotency_key_publishes_once(backend: Backend) -> None:
    first = await backend.append("s", [text("a")], WIDE, key="k")
    await append(backend, "b")
    again = await backend.append("s", [text("other")], WIDE, key="k")
    assert again == Appended(first.epoch, 1, [], 0)
    assert await kept(backend) == ["a", "b"]


async def test_keys_belong_to_their_stream(backend: Backend) -> None:
    await backend.append("s", [text("a")], WIDE, key="k")
    other = await backend.append("t", [text("a")], WIDE, key="k")
    assert len(other.publications) == 1


async def test_of_very_many_keys_the_newest_are_known() -> None:
    backend = MemoryBackend(Clock())
    for number in range(KNOWN_KEYS + 1):
        await backend.append("s", [text()], WIDE, key=str(number))
    known = [await backend.append("s", [text()], WIDE, key=key) for key in ("1", "0")]
    assert [bool(appended.publications) for appended in known] == [False, True]


# -- header, entry points, reset ------------------------------------------------------------


async def test_the_newest_header_and_entry_point_are_kept_in_mind(backend: Backend) -> None:
    await backend.append("s", [text("h", Mark.HEADER), text("a"), text("e", Mark.ENTRY)], WIDE)
    state = await backend.state("s")
    assert state.header and (state.header.offset, state.header.payload) == (1, b"h")
    assert state.entry == 3
    await backend.append("s", [text("H", Mark.HEADER), text("E", Mark.ENTRY)], WIDE)
    state = await backend.state("s")
    assert state.header and state.header.payload == b"H"
    assert state.entry == 5


async def test_a_header_outlives_history_but_an_entry_point_does_not(
    backend: Backend, clock: Clock
) -> None:
    drafts = [text("h", Mark.HEADER), text("e", Mark.ENTRY)]
    await backend.append("s", drafts, Limits(9, ALL, 60))
    clock.now += 61
    state = await backend.state("s")
    assert state.header and state.header.payload == b"h"
    assert (state.entry, state.first) == (0, 3)


async def test_a_reset_forgets_header_and_entry_point(backend: Backend) -> None:
    await backend.append("s", [text("h", Mark.HEADER), text("e", Mark.ENTRY)], WIDE)
    await backend.append("s", [text("new", Mark.RESET)], WIDE)
    state = await backend.state("s")
    assert (state.header, state.entry, state.first) == (None, 0, 1)


async def test_the_publication_of_a_reset_may_be_the_new_header(backend: Backend) -> None:
    await backend.append("s", [text("h", Mark.HEADER), text("e", Mark.ENTRY)], WIDE)
    await backend.append("s", [text("H", Mark.RESET | Mark.HEADER)], WIDE)
    state = await backend.state("s")
    assert state.header and (state.header.payload, state.entry) == (b"H", 0)


async def test_clear_forgets_everything_and_begins_a_new_epoch(backend: Backend) -> None:
    before = await backend.append("s", [text("h", Mark.HEADER)], WIDE, Run("r", 1))
    await backend.append("s", [text("k")], WIDE, key="k")
    await append(backend, "a")
    await backend.clear("s")
    state = await backend.state("s")
    assert state.epoch != before.epoch
    assert state == StreamState(state.epoch, 0, 1, None, 0)
    assert await backend.accepted("s", "r") == 0
    again = await backend.append("s", [text("k")], WIDE, key="k")
    assert (again.epoch, again.offset, len(again.publications)) == (state.epoch, 1, 1)


# -- presence -------------------------------------------------------------------------------


async def test_nobody_is_at_a_stream_nobody_came_to(backend: Backend) -> None:
    assert await backend.presence(iter(["s"])) == {"s": Presence("", 0)}
    assert not Presence("", 3).live


async def test_a_newcomer_replaces_the_streamer(backend: Backend) -> None:
    await backend.enter("s", "one")
    await backend.enter("s", "two")
    assert (await backend.presence(["s"]))["s"] == Presence("two", 0)
    assert not await backend.leave("s", "one")
    assert (await backend.presence(["s"]))["s"].live
    assert await backend.leave("s", "two")
    assert not await backend.leave("s", "two")
    assert not (await backend.presence(["s"]))["s"].live


async def test_listeners_are_counted_as_they_were_said_last(backend: Backend) -> None:
    for listeners in (3, 2, 0):
        await backend.count_listeners("s", listeners)
        assert (await backend.presence(["s", "t"])) == {
            "s": Presence("", listeners),
            "t": Presence("", 0),
        }


async def test_presence_outlives_the_history(backend: Backend) -> None:
    await backend.enter("s", "one")
    await backend.count_listeners("s", 2)
    await backend.clear("s")
    assert (await backend.presence(["s"]))["s"] == Presence("one", 2)
