"""What every backend promises (`backends.Backend`) of history, one promise after another."""

import asyncio

import pytest

from broadcast.backends import Backend, HistoryLimits, Run, StreamState
from broadcast.publications import Draft, Kind, Mark, Publication
from tests.rig.backends import ALL, WIDE, append, kept, text
from tests.rig.clock import Clock

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


@pytest.mark.parametrize("name", ["{s}", "}", "*", "s:meta", "a\nb\0", "ü", "\udcff", "s" * 10_000])
async def test_a_name_is_any_string(backend: Backend, name: str) -> None:
    appended = await backend.append(name, [text("a")], WIDE, Run("r", 1))
    await append(backend, "b")
    assert await backend.read(name, 0, ALL, ALL) == (appended.epoch, appended.publications)
    assert await backend.positions([name]) == {name: (appended.epoch, 1)}
    await backend.enter(name, "one")
    assert (await backend.presence([name]))[name].live
    assert await backend.accepted(name, "r") == 1
    await backend.clear(name)
    assert (await backend.state(name)).offset == 0
    assert await kept(backend) == ["b"]


async def test_concurrent_appends_share_no_offset(backend: Backend) -> None:
    outcomes = await asyncio.gather(*(append(backend, str(n), str(n)) for n in range(50)))
    assert sorted(outcome.offset for outcome in outcomes) == list(range(2, 101, 2))
    texts = await kept(backend)
    # Each append is one step: its two publications stand side by side.
    assert texts[::2] == texts[1::2]


# -- limits ---------------------------------------------------------------------------------


async def test_history_is_trimmed_by_count(backend: Backend) -> None:
    await append(backend, *"abcdef", limits=HistoryLimits(3, ALL, 60))
    assert await kept(backend) == ["d", "e", "f"]
    assert (await backend.state("s")).first == 4


async def test_history_is_trimmed_by_bytes(backend: Backend) -> None:
    await append(backend, "aa", "bb", "cc", limits=HistoryLimits(9, 4, 60))
    assert await kept(backend) == ["bb", "cc"]
    await append(backend, "ddd", limits=HistoryLimits(9, 4, 60))
    assert await kept(backend) == ["ddd"]


async def test_history_is_trimmed_by_age_without_an_append(backend: Backend, clock: Clock) -> None:
    limits = HistoryLimits(9, ALL, 60)
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
    before = await append(backend, "a", limits=HistoryLimits(9, ALL, 60))
    clock.now += 61
    after = await append(backend, "b")
    assert (after.epoch, after.offset) == (before.epoch, 2)
    assert await kept(backend) == ["b"]


async def test_a_publication_larger_than_the_bytes_is_published_but_not_kept(
    backend: Backend,
) -> None:
    await append(backend, "a", limits=HistoryLimits(9, 4, 60))
    appended = await append(backend, "too large", limits=HistoryLimits(9, 4, 60))
    assert [one.payload for one in appended.publications] == [b"too large"]
    assert await kept(backend) == []
    state = await backend.state("s")
    assert (state.offset, state.first) == (2, 3)


async def test_a_stream_may_keep_no_history_at_all(backend: Backend) -> None:
    appended = await append(backend, "a", "b", limits=HistoryLimits(0, 0, 0))
    assert [one.offset for one in appended.publications] == [1, 2]
    assert await kept(backend) == []


async def test_narrower_limits_hold_from_the_next_append_on(backend: Backend) -> None:
    await append(backend, *"abcde")
    await append(backend, "f", limits=HistoryLimits(2, ALL, 60))
    assert await kept(backend) == ["e", "f"]


async def test_prune_drops_what_is_too_old_and_counts_it(backend: Backend, clock: Clock) -> None:
    await backend.append("s", [text(), text()], HistoryLimits(9, ALL, 60))
    await backend.append("t", [text()], HistoryLimits(9, ALL, 600))
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
    await append(backend, *"abcdef", limits=HistoryLimits(3, ALL, 60))
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
    await backend.append("s", drafts, HistoryLimits(9, ALL, 60))
    clock.now += 61
    state = await backend.state("s")
    assert state.header and state.header.payload == b"h"
    # That there was one is known: another one will come.
    assert (state.entry, state.open_entry, state.has_entries, state.first) == (2, 0, True, 3)


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


async def test_a_restart_begins_a_new_epoch_and_keeps_the_rest(backend: Backend) -> None:
    drafts = [text("h", Mark.HEADER), text("e", Mark.ENTRY)]
    before = await backend.append("s", drafts, WIDE, Run("r", 1))
    state = await backend.state("s")
    await backend.restart("s", before.epoch)
    after = await backend.state("s")
    assert after.epoch != before.epoch
    assert after == state._replace(epoch=after.epoch)
    assert await backend.positions(["s"]) == {"s": (after.epoch, 2)}
    assert await kept(backend) == ["h", "e"]
    assert await backend.accepted("s", "r") == 2


async def test_an_epoch_ends_once_whoever_says_so(backend: Backend) -> None:
    before = (await append(backend, "a")).epoch
    await backend.restart("s", before)
    after = (await backend.state("s")).epoch
    await backend.restart("s", before)
    assert (await append(backend, "b")).epoch == after


# -- a history that lost its end ------------------------------------------------------------


async def test_a_restart_begins_a_new_epoch_with_the_same_history(backend: Backend) -> None:
    epoch = (await append(backend, "one", "two")).epoch
    await backend.restart("s", epoch)
    state = await backend.state("s")
    assert state.epoch != epoch
    assert (state.offset, state.first) == (2, 1)
    assert await kept(backend) == ["one", "two"]
    assert (await append(backend, "three")).offset == 3


async def test_an_epoch_that_ended_already_is_not_ended_again(backend: Backend) -> None:
    epoch = (await append(backend, "one")).epoch
    await backend.restart("s", epoch)
    newer = (await backend.state("s")).epoch
    await backend.restart("s", epoch)
    assert (await backend.state("s")).epoch == newer
