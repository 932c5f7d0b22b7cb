"""Exactly once: the runs and idempotency keys that every backend (`backends.Backend`) knows."""

import pytest

from broadcast.backends import Appended, Backend, HistoryLimits, MediaRun, Run
from broadcast.backends.histories import KNOWN_KEYS, KNOWN_RUNS
from broadcast.exceptions import RunGap
from broadcast.publications import Mark
from tests.rig.backends import ALL, WIDE, append, kept, text
from tests.rig.clock import Clock


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
    limits = HistoryLimits(9, ALL, 60)
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


@pytest.mark.parametrize("key", ["{k}:*", "a\nb\0", "\udcff", "k" * 10_000])
async def test_a_key_is_any_string(backend: Backend, key: str) -> None:
    first = await backend.append("s", [text("a")], WIDE, key=key)
    assert await backend.append("s", [text("b")], WIDE, key=key) == first._replace(publications=[])
    assert (await backend.append("s", [text("c")], WIDE, key=key[:-1] + "?")).offset == 2


async def test_of_very_many_keys_the_newest_are_known(backend: Backend) -> None:
    for number in range(KNOWN_KEYS + 1):
        await backend.append("s", [text()], WIDE, key=str(number))
    known = [await backend.append("s", [text()], WIDE, key=key) for key in ("1", "0")]
    assert [bool(appended.publications) for appended in known] == [False, True]


NO_RECORDING = (0, b"", b"")

# -- recordings ----------------------------------------------------------------------------------


async def recorded(
    backend: Backend, before: int, after: int, payloads: str = "", id: str = "r"
) -> Appended:
    recording = MediaRun(id, before, after, b"state %d \0\xff" % after)
    return await backend.append("s", [text(one) for one in payloads], WIDE, recording)


async def test_a_recording_counts_frames_and_keeps_its_state(backend: Backend) -> None:
    assert await backend.recording("s", "r") == NO_RECORDING
    assert (await recorded(backend, 0, 3, "ab")).accepted == 3
    # Frames that made no publication count, too.
    appended = await recorded(backend, 3, 4)
    assert (appended.accepted, appended.offset, appended.publications) == (4, 2, [])
    assert await backend.recording("s", "r") == (4, b"state 4 \0\xff", b"")
    assert await backend.recording("s", "other") == NO_RECORDING
    assert await kept(backend) == ["a", "b"]


@pytest.mark.parametrize("before", [0, 1, 3, 5])
async def test_nothing_is_appended_to_a_recording_that_went_on_elsewhere(
    backend: Backend, before: int
) -> None:
    await recorded(backend, 0, 2, "ab")
    await recorded(backend, 2, 4, "cd")
    with pytest.raises(RunGap):
        await recorded(backend, before, before + 1, "x")
    assert await backend.recording("s", "r") == (4, b"state 4 \0\xff", b"")
    assert await kept(backend) == list("abcd")


async def test_the_newest_recording_alone_is_kept(backend: Backend) -> None:
    await recorded(backend, 0, 2, "a")
    await recorded(backend, 0, 1, "b", id="other")
    assert await backend.recording("s", "r") == NO_RECORDING
    with pytest.raises(RunGap):
        await recorded(backend, 2, 3, "c")
    assert await kept(backend) == ["a", "b"]


@pytest.mark.parametrize(
    ("marks", "frames"), [(0, 2), (Mark.ENTRY, 2), (Mark.HEADER, 0), (Mark.RESET, 0)]
)
async def test_a_header_of_others_ends_a_recording(
    backend: Backend, marks: int, frames: int
) -> None:
    await recorded(backend, 0, 2, "a")
    await backend.append("s", [text("b", marks)], WIDE)
    assert (await backend.recording("s", "r"))[0] == frames


async def test_its_own_header_does_not_end_a_recording(backend: Backend) -> None:
    await recorded(backend, 0, 1)
    drafts = [text("header", Mark.HEADER | Mark.RESET), text("entry", Mark.ENTRY)]
    await backend.append("s", drafts, WIDE, MediaRun("r", 1, 2, b"state"))
    assert await backend.recording("s", "r") == (2, b"state", b"")


async def test_a_recording_is_forgotten_with_the_history(backend: Backend) -> None:
    await recorded(backend, 0, 2, "a")
    await backend.clear("s")
    assert await backend.recording("s", "r") == NO_RECORDING


async def hold(backend: Backend, before: int, held: bytes, goes_on: bool, id: str = "r") -> None:
    drafts = [] if goes_on else [text()]
    recording = MediaRun(id, before, before + 1, b"state", held, goes_on)
    await backend.append("s", drafts, WIDE, recording)


async def test_what_a_recording_holds_back_comes_in_parts(backend: Backend) -> None:
    await hold(backend, 0, b"\0\xff", goes_on=False)
    await hold(backend, 1, b"one", goes_on=True)
    await hold(backend, 2, b"", goes_on=True)
    await hold(backend, 3, b"two", goes_on=True)
    assert await backend.recording("s", "r") == (4, b"state", b"\0\xffonetwo")
    await hold(backend, 4, b"other", goes_on=False)
    assert await backend.recording("s", "r") == (5, b"state", b"other")
    await hold(backend, 5, b"", goes_on=False)
    assert await backend.recording("s", "r") == (6, b"state", b"")


async def test_what_is_held_back_belongs_to_its_recording(backend: Backend) -> None:
    await hold(backend, 0, b"held", goes_on=False)
    with pytest.raises(RunGap):
        await hold(backend, 0, b"x", goes_on=True)
    assert await backend.recording("s", "r") == (1, b"state", b"held")
    await hold(backend, 0, b"another's", goes_on=False, id="other")
    assert await backend.recording("s", "other") == (1, b"state", b"another's")
    assert await backend.recording("s", "r") == NO_RECORDING
    await backend.append("s", [text("header", Mark.HEADER)], WIDE)
    await hold(backend, 0, b"new", goes_on=True, id="other")
    assert await backend.recording("s", "other") == (1, b"state", b"new")
    await backend.clear("s")
    await hold(backend, 0, b"newest", goes_on=True, id="other")
    assert await backend.recording("s", "other") == (1, b"state", b"newest")


async def test_its_own_header_does_not_take_what_a_recording_holds_back(backend: Backend) -> None:
    await hold(backend, 0, b"held", goes_on=False)
    drafts = [text("header", Mark.HEADER | Mark.RESET)]
    await backend.append("s", drafts, WIDE, MediaRun("r", 1, 2, b"state", b" back", True))
    assert await backend.recording("s", "r") == (2, b"state", b"held back")
