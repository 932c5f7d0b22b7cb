"""The intake of a streamer by itself: frames in, drafts and counts out, without a socket."""

from itertools import pairwise
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from broadcast.backends import MediaRun, Run
from broadcast.exceptions import BadRequest
from broadcast.ingest import intake as module
from broadcast.ingest.intake import Batch, Intake
from broadcast.media import Segmenter, segments
from broadcast.publications import Draft, Kind, Mark
from tests.rig.films import block, cluster, webm

HEADER = int(Mark.HEADER | Mark.RESET)
ENTRY = int(Mark.ENTRY)

#: A header, and three segments that begin with a key frame each.
FILM = webm() + 3 * cluster(block(key=True), block(), block())
MIDDLE = len(FILM) // 2


def binary(payload: bytes, marks: int = 0) -> Draft:
    return Draft(Kind.BINARY, payload, marks)


def feed(intake: Intake, *payloads: bytes) -> None:
    for payload in payloads:
        for _ in intake.take(binary(payload)):
            pass


def batch_of(intake: Intake) -> Batch:
    """The next batch, which the backend takes as a whole."""
    batch = intake.next()
    assert batch
    run = batch.run
    if isinstance(run, MediaRun):
        intake.accept(batch, run.after)
    else:
        intake.accept(batch, run.number - 1 + batch.frames if run else 0)
    return batch


def payload_of(*batches: Batch | None) -> bytes:
    return b"".join(draft.payload for batch in batches if batch for draft in batch.drafts)


def resumed(run: str, *batches: Batch) -> Intake:
    """The intake of the next connection, made of what the backend keeps."""
    held, last = b"", batches[-1].run
    for batch in batches:
        assert isinstance(batch.run, MediaRun)
        held = held + batch.run.held if batch.run.goes_on else batch.run.held
    assert isinstance(last, MediaRun)
    return Intake("another", run, True, last.after, Segmenter.restore(last.state, held))


# -- frames as they come -----------------------------------------------------------------------


def test_frames_that_wait_go_into_one_batch_in_their_order() -> None:
    intake = Intake("s")
    feed(intake, b"a", b"b")
    assert intake.is_busy
    assert intake.next() == Batch([binary(b"a"), binary(b"b")], None, 2)
    assert not intake.is_busy and intake.next() is None


def test_a_connection_without_a_run_counts_its_own_frames() -> None:
    intake = Intake("s")
    for number in range(1, 4):
        feed(intake, b"a")
        batch_of(intake)
        assert intake.accepted == number


def test_frames_of_a_run_are_numbered_without_gaps() -> None:
    intake = Intake("s", "run", accepted=7)
    batches = []
    for size in (1, 3, 2):
        feed(intake, *[b"a"] * size)
        batches.append(batch_of(intake))
    assert [batch.run for batch in batches] == [Run("run", 8), Run("run", 9), Run("run", 12)]
    assert intake.accepted == 13


def test_the_numbers_behind_a_batch_that_was_lost_leave_a_gap() -> None:
    intake = Intake("s", "run")
    feed(intake, b"lost", b"lost")
    assert intake.next()
    feed(intake, b"a")
    after = intake.next()
    assert after and after.run == Run("run", 3)


def test_what_history_counts_of_a_run_is_accepted() -> None:
    """A repeat of frames that are in: history counts more of them than this connection."""
    intake = Intake("s", "run")
    feed(intake, b"a")
    batch = intake.next()
    assert batch
    intake.accept(batch, 5)
    assert intake.accepted == 5


@pytest.mark.parametrize(("count", "size", "full"), [(3, 10, True), (2, 50, True), (2, 49, False)])
def test_the_door_is_told_to_wait(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, count: int, size: int, full: bool
) -> None:
    settings.BROADCAST_STREAMER_QUEUE = 3
    monkeypatch.setattr(module, "MOST_BYTES", 100)
    intake = Intake("s")
    feed(intake, *[b"a" * size] * count)
    assert intake.is_full == full
    intake.next()
    assert not intake.is_full


# -- broadcast.v1 ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "draft"),
    [
        ("text", Draft(Kind.TEXT, b"text")),
        ({"a": 1}, Draft(Kind.JSON, b'{"a":1}')),
        (None, Draft(Kind.JSON, b"null")),
    ],
)
def test_a_publication_is_taken_as_its_data(data: Any, draft: Draft) -> None:
    intake = Intake("s")
    heard = intake.hear({"event": "publication", "data": data})
    assert heard == draft and not intake.is_busy
    assert list(intake.take(heard)) == []
    assert intake.next() == Batch([draft], None, 1)


@pytest.mark.parametrize(
    ("events", "marks"),
    [
        ([], 0),
        ([{"event": "mark", "as": "header"}], Mark.HEADER),
        ([{"event": "mark", "as": "entry"}], Mark.ENTRY),
        ([{"event": "mark", "as": one} for one in ("header", "entry")], Mark.HEADER | Mark.ENTRY),
        ([{"event": "reset"}], Mark.RESET),
        ([{"event": "reset"}, {"event": "mark", "as": "header"}], HEADER),
        ([{"event": "mark", "as": "entry"}, {"event": "reset"}], Mark.RESET),
    ],
)
def test_a_mark_is_for_the_next_frame_alone(events: list[Any], marks: int) -> None:
    intake = Intake("s")
    for one in events:
        assert intake.hear(one) is None
    feed(intake, b"a", b"b")
    assert batch_of(intake).drafts == [binary(b"a", marks), binary(b"b")]


@pytest.mark.parametrize(
    "said",
    [None, 1, "reset", [], {}, {"event": "publication"}, {"event": "mark", "as": "reset"}]
    + [{"event": "mark"}, {"event": "mark", "as": ["header"]}, {"event": ["mark"], "as": "entry"}],
)
def test_what_makes_no_sense_changes_nothing(said: Any) -> None:
    intake = Intake("s", "run", is_media=True)
    with pytest.raises(BadRequest, match="a text frame is JSON"):
        intake.hear(said)
    assert intake.undecided and not intake.marks and intake.next() is None


# -- media -------------------------------------------------------------------------------------


def test_bytes_of_a_recording_are_cut_and_marked() -> None:
    intake = Intake("s", is_media=True)
    feed(intake, FILM[:MIDDLE], FILM[MIDDLE:])
    intake.end()
    batch = batch_of(intake)
    assert [draft.marks for draft in batch.drafts if draft.marks] == [HEADER, ENTRY, ENTRY, ENTRY]
    assert payload_of(batch) == FILM
    assert intake.accepted == 2


def test_a_recording_without_a_run_is_one_that_no_connection_goes_on_with() -> None:
    intake = Intake("s", is_media=True)
    feed(intake, FILM[:MIDDLE])
    assert batch_of(intake).run == MediaRun("s", 0, 1, b"")
    feed(intake, FILM[MIDDLE:])
    assert batch_of(intake).run == MediaRun("s", 1, 2, b"")


def test_a_client_that_marks_before_its_first_frame_is_not_cut() -> None:
    intake = Intake("s", is_media=True)
    intake.mark(Mark.HEADER)
    feed(intake, FILM, b"more")
    assert batch_of(intake).drafts == [binary(FILM, Mark.HEADER), binary(b"more")]


def test_a_client_whose_frames_are_cut_marks_none() -> None:
    intake = Intake("s", is_media=True)
    feed(intake, FILM)
    with pytest.raises(BadRequest, match="mark before the first, or never"):
        intake.mark(Mark.ENTRY)


def test_text_on_a_media_stream_is_no_part_of_the_recording() -> None:
    intake = Intake("s", is_media=True)
    text = Draft(Kind.TEXT, b"a word")
    feed(intake, FILM[:MIDDLE])
    before = batch_of(intake)
    assert list(intake.take(text)) == []
    assert batch_of(intake).drafts == [text]
    feed(intake, FILM[MIDDLE:])
    intake.end()
    assert payload_of(before, batch_of(intake)) == FILM


def test_a_reset_drops_held_back_bytes_and_begins_a_header() -> None:
    intake = Intake("s", "run", is_media=True)
    feed(intake, FILM[:MIDDLE])
    first = payload_of(batch_of(intake))
    assert len(first) < MIDDLE
    intake.reset()
    intake.is_done = True
    feed(intake, FILM)
    intake.end()
    batch = batch_of(intake)
    assert payload_of(batch) == FILM
    assert batch.drafts[0].marks == HEADER


def test_bytes_that_are_no_media_are_refused_and_nothing_held_back_follows() -> None:
    intake = Intake("s", is_media=True)
    feed(intake, FILM[:MIDDLE])
    published = batch_of(intake)
    with pytest.raises(BadRequest):
        feed(intake, FILM[MIDDLE:] + b"\0" * 1000)
    intake.end()
    assert not intake.cutting and intake.next() is None
    assert FILM.startswith(payload_of(published))


def test_nothing_of_a_frame_counts_before_all_of_it_is_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(segments, "TURN", 1)
    intake = Intake("s", "run", is_media=True)
    cutting = iter(intake.take(binary(FILM)))
    next(cutting)
    assert intake.cutting and intake.is_busy and intake.next() is None
    for _ in cutting:
        assert intake.next() is None
    assert batch_of(intake).frames == 1 and not intake.cutting


def test_a_frame_that_is_being_cut_when_the_end_comes_is_still_published(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(segments, "TURN", 1)
    intake = Intake("s", is_media=True)
    cutting = iter(intake.take(binary(FILM)))
    next(cutting)
    intake.end()
    assert intake.next() is None
    assert list(cutting)
    assert payload_of(batch_of(intake)) == FILM


# -- a recording over several connections ------------------------------------------------------


@pytest.mark.parametrize("split", range(1, len(FILM)))
def test_the_next_connection_goes_on_at_any_byte(split: int) -> None:
    intake = Intake("s", "run", is_media=True)
    feed(intake, FILM[:split])
    intake.end()
    first = batch_of(intake)
    assert first.run and first.frames == intake.accepted == 1
    intake = resumed("run", first)
    assert intake.accepted == 1 and intake.number == 2
    feed(intake, FILM[split:])
    intake.is_done = True
    intake.end()
    last = batch_of(intake)
    assert payload_of(first, last) == FILM
    # It is over: 0 frames are in, so that nothing can follow.
    assert isinstance(last.run, MediaRun) and (last.run.before, last.run.after) == (1, 0)


def test_frames_that_make_no_publication_are_counted_too() -> None:
    intake = Intake("s", "run", is_media=True)
    batches = []
    for at in range(0, len(FILM), 3):
        feed(intake, FILM[at : at + 3])
        batches.append(batch_of(intake))
    assert any(not batch.drafts for batch in batches)
    runs = [batch.run for batch in batches if isinstance(batch.run, MediaRun)]
    assert all(former.after == later.before for former, later in pairwise(runs))
    assert runs[-1].after == len(batches)
    assert resumed("run", *batches).accepted == len(batches)


def test_without_a_run_a_frame_that_makes_no_publication_waits_for_one() -> None:
    intake = Intake("s", is_media=True)
    feed(intake, FILM[:3])
    assert intake.next() is None
    feed(intake, FILM[3:])
    assert batch_of(intake).frames == 2


def test_a_client_that_goes_on_with_its_run_keeps_the_bytes_held_back() -> None:
    intake = Intake("s", "run", is_media=True)
    feed(intake, FILM[:-1])
    intake.end()
    batch = batch_of(intake)
    assert len(payload_of(batch)) < len(FILM) - 1
    assert isinstance(batch.run, MediaRun) and batch.run.after == 1
    assert payload_of(batch) + batch.run.held == FILM[:-1]
