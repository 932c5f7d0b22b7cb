"""What waits for the disk of a recording, by itself: bounded, and whole segments alone."""

import pytest
from pytest_django.fixtures import Settings

from broadcast.ingest.backlog import Backlog, Piece
from broadcast.publications import Kind, Mark, Publication

HEADER, ENTRY, MORE = Mark.HEADER | Mark.RESET, Mark.ENTRY, 0
SIZE = 10


@pytest.fixture
def backlog(settings: Settings) -> Backlog:
    settings.BROADCAST_RECORDING_QUEUE_BYTES = 3 * SIZE
    return Backlog()


def take(backlog: Backlog, *marks: int) -> bool:
    """Take publications of `SIZE` bytes; answers whether none was too many."""
    taken = [backlog.take(Publication(1, Kind.BINARY, bytes(SIZE), one, 0.0)) for one in marks]
    return all(taken)


def parts(pieces: list[Piece]) -> list[str]:
    return [piece.part.name.lower() for piece in pieces]


def test_a_header_comes_by_itself_and_what_follows_together(backlog: Backlog) -> None:
    assert take(backlog, HEADER, ENTRY, MORE, HEADER)
    found = []
    while backlog:
        found.append(parts(backlog.next()))
    assert found == [["header"], ["entry", "more"], ["header"]]


def test_nothing_is_taken_between_a_header_and_its_entry_point(backlog: Backlog) -> None:
    assert take(backlog, MORE, HEADER, MORE, MORE, ENTRY)
    assert parts(backlog.next() + backlog.next()) == ["header", "entry"]
    assert not backlog


def test_bytes_that_are_being_written_still_count(backlog: Backlog) -> None:
    take(backlog, HEADER, ENTRY)
    pieces = backlog.next()
    assert backlog.size == 2 * SIZE
    backlog.done(pieces)
    assert backlog.size == SIZE
    backlog.done(backlog.next())
    assert backlog.size == 0


def test_a_segment_that_is_too_much_is_left_out_as_a_whole(backlog: Backlog) -> None:
    assert take(backlog, HEADER, ENTRY, MORE)
    assert not take(backlog, ENTRY, MORE)
    assert parts(backlog.next() + backlog.next()) == ["header", "entry", "more"]
    assert not backlog and backlog.skips


def test_a_segment_that_the_disk_has_a_part_of_is_cut_off(backlog: Backlog) -> None:
    take(backlog, HEADER, ENTRY)
    backlog.next()
    assert parts(backlog.next()) == ["entry"]
    assert not take(backlog, MORE, MORE)
    assert parts(backlog.next()) == ["cut"]


def test_it_goes_on_at_an_entry_point_when_half_is_free(backlog: Backlog) -> None:
    take(backlog, HEADER, ENTRY)
    header, segment = backlog.next(), backlog.next()
    assert not take(backlog, MORE, MORE)
    cut = backlog.next()
    assert parts(cut) == ["cut"]
    assert take(backlog, MORE, ENTRY, MORE) and not backlog
    backlog.done(header)
    assert take(backlog, MORE, ENTRY)
    assert parts(backlog.next()) == ["entry"]
    backlog.done(segment)


def test_what_is_skipped_is_told_once_a_segment(backlog: Backlog) -> None:
    take(backlog, HEADER, ENTRY, MORE)
    assert not take(backlog, MORE)
    assert take(backlog, MORE, MORE)
