"""Where newcomers of a media stream begin: at an entry point, and where none is left, at the next.

Streams of the pool `clip` keep four publications.
"""

from typing import Any

import pytest

from broadcast.backends import StreamState
from broadcast.hub.starts import Start, Wish, find_start
from broadcast.publications import Kind, Mark, Publication
from tests.rig.doors import Door, InProcessDoor, Socket
from tests.rig.events import hear_in_process
from tests.rig.films import block, cluster, webm

HEADER = webm()
KEY = cluster(block(key=True))


def more(number: int) -> bytes:
    return block(content=b"more %d" % number)


async def broadcast(door: Door, slug: str, *frames: bytes | str) -> Socket:
    """A streamer that has sent these frames, and all are in."""
    streamer = await door.streamer(slug)
    await send(streamer, *frames)
    await streamer.accepted(len(frames))
    return streamer


async def send(streamer: Socket, *frames: bytes | str) -> None:
    for frame in frames:
        await streamer.publish(frame)


LONG_SEGMENT = [HEADER + KEY, *map(more, range(8))]


async def test_a_newcomer_of_a_long_segment_waits_for_the_next_one(door: Door) -> None:
    slug = await door.stream("clip")
    streamer = await broadcast(door, slug, *LONG_SEGMENT)
    plain, told = await door.plain_listener(slug), await door.listener(slug)
    assert told.first["offset"] == 10
    await send(streamer, more(8), "some text", more(9), KEY, more(10))
    assert await plain.receive_many(3) == [HEADER, KEY, more(10)]
    assert await told.told_many(6) == [
        *[("reset", {}), ("header", {"offset": 1}), (1, HEADER)],
        *[("skipped", {"from": 11, "to": 13}), (14, KEY), (15, more(10))],
    ]


async def test_a_newcomer_who_waits_begins_with_a_new_recording(in_process: Door) -> None:
    slug = await in_process.stream("clip")
    streamer = await broadcast(in_process, slug, *LONG_SEGMENT)
    plain = await in_process.plain_listener(slug)
    await send(streamer, more(8))
    await broadcast(in_process, slug, HEADER + cluster(block()), more(9))
    assert await plain.receive_many(4) == [HEADER, HEADER, cluster(block()), more(9)]


async def test_a_newcomer_who_waits_is_told_who_comes_and_goes(in_process: Door) -> None:
    slug = await in_process.stream("clip")
    streamer = await broadcast(in_process, slug, *LONG_SEGMENT)
    told = await in_process.listener(slug)
    assert told.first["live"]
    await streamer.close()
    await told.until("idle")
    await broadcast(in_process, slug, HEADER + KEY)
    await told.until("live")
    assert await told.told_many(4) == [
        *[("reset", {}), ("header", {"offset": 11})],
        *[(11, HEADER), (12, KEY)],
    ]


@pytest.mark.parametrize("asked", [1, 2, 3, 4, 9])
async def test_history_begins_at_an_entry_point(door: Door, asked: int) -> None:
    slug = await door.stream("clip")
    streamer = await broadcast(door, slug, *LONG_SEGMENT, KEY, more(8), more(9))
    plain = await door.plain_listener(slug, f"?history={asked}")
    told = await door.listener(slug, f"?history={asked}")
    await send(streamer, more(10))
    assert await plain.receive_many(5) == [HEADER, KEY, more(8), more(9), more(10)]
    assert await told.told_many(3) == [("reset", {}), ("header", {"offset": 1}), (1, HEADER)]
    # The four that are kept begin with the end of the long segment.
    skipped = [("skipped", {"from": 10, "to": 10})] if asked > 3 else []
    assert told.first["offset"] == (9 if skipped else 10)
    expected: list[Any] = [*skipped, (11, KEY), (12, more(8)), (13, more(9)), (14, more(10))]
    assert await told.told_many(len(expected)) == expected


async def test_history_without_an_entry_point_waits_for_the_next_one(in_process: Door) -> None:
    slug = await in_process.stream("clip")
    streamer = await broadcast(in_process, slug, *LONG_SEGMENT)
    told = await in_process.listener(slug, "?history=2")
    assert told.first["offset"] == 8
    await send(streamer, more(8), KEY)
    assert (await told.told_many(5))[3:] == [("skipped", {"from": 9, "to": 11}), (12, KEY)]


async def test_who_comes_back_gets_what_was_missed_and_goes_on(door: Door) -> None:
    slug = await door.stream("clip")
    streamer = await broadcast(door, slug, *LONG_SEGMENT)
    epoch = streamer.first["epoch"]
    plain = await door.plain_listener(slug, f"?epoch={epoch}&since=8")
    too_late = await door.plain_listener(slug, f"?epoch={epoch}&since=5")
    await send(streamer, more(8), KEY)
    assert await plain.receive_many(4) == [more(6), more(7), more(8), KEY]
    assert await too_late.receive_many(2) == [HEADER, KEY]


@pytest.mark.parametrize("marks", [["header"], []])
async def test_where_no_entry_points_are_made_a_newcomer_is_live(
    door: Door, marks: list[str]
) -> None:
    slug = await door.stream("clip")
    streamer = await door.streamer(slug)
    # To mark it is to say that all of it is as it is.
    await streamer.tell("mark", **{"as": "header"})
    if not marks:
        await streamer.tell("reset")
    await send(streamer, *[b"%d" % number for number in range(9)])
    await streamer.accepted(9)
    plain = await door.plain_listener(slug)
    await streamer.publish(b"new")
    assert await plain.receive_many(1 + len(marks)) == [*[b"0" for _ in marks], b"new"]


async def test_events_wait_too(in_process: InProcessDoor) -> None:
    slug = await in_process.stream("clip")
    streamer = await broadcast(in_process, slug, *LONG_SEGMENT)
    async with hear_in_process(slug) as hearing:
        await hearing.until("binary")
        await send(streamer, more(8), KEY)
        assert (await hearing.until("skipped")).fields == {"from": 11, "to": 11}
        assert (await hearing.until("binary")).id.endswith(":12")


# -- find_start ----------------------------------------------------------------------------------


def header(offset: int) -> Publication:
    return Publication(offset, Kind.BINARY, b"h", Mark.HEADER, 0.0)


NOT_BACK = ("", 0)


@pytest.mark.parametrize(
    ("history", "first", "header_at", "entry", "cursor", "waits"),
    [
        # The newest entry point is there, is gone, is from before the header, never was.
        (0, 5, 1, 8, 7, True),
        (0, 9, 1, 8, 20, True),
        (0, 5, 10, 8, 20, False),
        (0, 5, 1, 0, 20, False),
        (0, 9, 0, 8, 20, True),
        # More than others get, and never less.
        (18, 5, 1, 8, 4, True),
        (3, 5, 1, 8, 7, True),
        (3, 9, 1, 8, 17, True),
        (3, 9, 1, 0, 17, False),
        (18, 5, 6, 8, 5, True),
    ],
)
def test_a_newcomer_of_a_media_stream_begins_at_an_entry_point(
    history: int, first: int, header_at: int, entry: int, cursor: int, waits: bool
) -> None:
    head = header(header_at) if header_at else None
    state = StreamState("e", 20, first, head, entry)
    start = find_start(Wish(history, *NOT_BACK), state, is_media=True)
    opening = head if cursor >= header_at else None
    assert start == Start(cursor, opening, False, waits)
    assert not find_start(Wish(history, *NOT_BACK), state).waits
    assert not find_start(Wish(history, "e", 20), state, is_media=True).waits
