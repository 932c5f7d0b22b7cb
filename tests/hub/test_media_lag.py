"""Listeners of media streams that fell behind: on to the newest entry point, never torn."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from broadcast.backends import HistoryLimits, get_backend
from broadcast.exceptions import CloseCode
from broadcast.hub.appending import append
from broadcast.hub.listeners import Listener
from broadcast.hub.relay import get_relay
from broadcast.hub.topics import Topic
from broadcast.publications import Draft, Kind, Mark
from broadcast.wire.frames import V1_MESSAGES, Message
from tests.rig.doors import eventually

HEADER, ENTRY, MORE = Mark.HEADER | Mark.RESET, int(Mark.ENTRY), 0


class Sink:
    """Takes what it is told that it can take."""

    def __init__(self) -> None:
        self.full = False
        self.told: list[Any] = []
        self.code: CloseCode | None = None

    def write(self, messages: list[Message]) -> bool:
        for _, parts in messages:
            payload = b"".join(parts)
            if payload[:1] == b"{":
                said = json.loads(payload)
                if said["event"] not in ("live", "idle"):
                    self.told.append(tuple(said.values()))
            else:
                self.told.append(int.from_bytes(payload[:8]))
        return not self.full

    def close(self, code: CloseCode, reason: str) -> None:
        self.code = code


@pytest.fixture(autouse=True)
def impatience(settings: Settings) -> None:
    settings.BROADCAST_MEDIA_LAG_SECONDS = 0


async def publish(*marks: int) -> None:
    await append("s", [Draft(Kind.BINARY, bytes([3]), mark) for mark in marks])


@asynccontextmanager
async def hearing(keeps_up: bool = True) -> AsyncIterator[tuple[Topic, Listener, Sink]]:
    """A listener at the live edge of `s`, which has a header, an entry point and another piece."""
    await publish(HEADER, ENTRY, MORE)
    sink = Sink()
    async with get_relay().topic("s") as topic:
        listener = Listener(topic, sink, V1_MESSAGES, topic.offset, keeps_up=keeps_up)
        topic.add(listener)
        yield topic, listener, sink
        topic.remove(listener)


async def falls_behind(topic: Topic, listener: Listener, sink: Sink, *marks: int) -> None:
    """It takes one more, is full, and drains when these were published, too."""
    sink.full = True
    await publish(MORE)
    await heard(topic, 4)
    assert sink.told == [4] and listener.full_since
    await publish(*marks)
    await heard(topic, 4 + len(marks))
    sink.full = False
    listener.resume()

    async def is_there() -> bool:
        return listener in topic.edge.by_encoding.get(V1_MESSAGES, ())

    await eventually(is_there)


async def heard(topic: Topic, offset: int) -> None:
    async def is_heard() -> bool:
        return topic.flushed == offset

    await eventually(is_heard)


async def test_it_goes_on_at_the_newest_entry_point(db: None) -> None:
    async with hearing() as (topic, listener, sink):
        await falls_behind(topic, listener, sink, ENTRY, MORE, MORE, ENTRY, MORE)
        assert sink.told == [4, ("skipped", 5, 7), 8, 9]
        await publish(MORE)
        await heard(topic, 10)
        assert sink.told[-1] == 10


async def test_it_gets_the_header_of_a_recording_that_began_meanwhile(db: None) -> None:
    async with hearing() as (topic, listener, sink):
        await falls_behind(topic, listener, sink, MORE, HEADER, ENTRY, MORE, ENTRY)
        assert sink.told == [
            *(4, ("skipped", 5, 5), ("reset",), ("header", 6), 6),
            *(("skipped", 7, 8), 9),
        ]


async def test_right_behind_it_nothing_is_skipped(db: None) -> None:
    async with hearing() as (topic, listener, sink):
        await falls_behind(topic, listener, sink, ENTRY, MORE)
        assert sink.told == [4, 5, 6]


@pytest.mark.parametrize("marks", [(MORE, MORE), (ENTRY, MORE, HEADER, MORE)])
async def test_without_an_entry_point_ahead_it_gets_everything(
    db: None, marks: tuple[int, ...]
) -> None:
    async with hearing() as (topic, listener, sink):
        await falls_behind(topic, listener, sink, *marks)
        numbers = [one for one in sink.told if isinstance(one, int)]
        assert numbers == list(range(4, 5 + len(marks)))


async def test_on_other_streams_it_gets_everything(db: None) -> None:
    async with hearing(keeps_up=False) as (topic, listener, sink):
        await falls_behind(topic, listener, sink, ENTRY, MORE, ENTRY)
        assert sink.told == [4, 5, 6, 7]


async def test_within_the_time_it_gets_everything(db: None, settings: Settings) -> None:
    settings.BROADCAST_MEDIA_LAG_SECONDS = 60
    async with hearing() as (topic, listener, sink):
        await falls_behind(topic, listener, sink, MORE, ENTRY, MORE, ENTRY)
        assert sink.told == [4, 5, 6, 7, 8]


async def test_who_asked_for_what_was_before_is_not_behind(db: None) -> None:
    async with hearing() as (topic, _, _):
        await publish(MORE, ENTRY, MORE)
        await heard(topic, 6)
        sink = Sink()
        resumed = Listener(topic, sink, V1_MESSAGES, 1, keeps_up=True)
        topic.add(resumed)

        async def is_there() -> bool:
            return resumed in topic.edge.by_encoding.get(V1_MESSAGES, ())

        await eventually(is_there)
        assert [one for one in sink.told if isinstance(one, int)] == [2, 3, 4, 5, 6]
        topic.remove(resumed)


async def test_where_history_was_forgotten_it_comes_in_anew(db: None) -> None:
    async with hearing() as (topic, listener, sink):
        sink.full = True
        await publish(MORE)
        await heard(topic, 4)
        await publish(MORE, ENTRY)
        await heard(topic, 6)
        await get_backend().clear("s")
        sink.full = False
        listener.resume()

        async def is_closed() -> bool:
            return sink.code == CloseCode.SLOW

        await eventually(is_closed)


async def lose(topic: Topic, sink: Sink, *marks: int) -> None:
    """The layer brings none of these, and history has no more than the last two."""
    drafts = [Draft(Kind.BINARY, b"\x03", mark) for mark in marks]
    await get_backend().append("s", drafts, HistoryLimits(2, 1000, 3600))
    await publish(MORE)
    last = 4 + len(marks)
    await heard(topic, last)

    async def has_everything() -> bool:
        return all(
            one.cursor == last or one in topic.edge.by_encoding.get(V1_MESSAGES, ())
            for one in topic.listeners
        )

    await eventually(has_everything)


async def test_what_is_lost_for_all_is_skipped_to_the_next_entry_point(db: None) -> None:
    async with hearing() as (topic, _, sink):
        await lose(topic, sink, MORE, MORE, MORE, ENTRY, MORE)
        assert sink.told == [("skipped", 4, 6), 7, 8, 9]


async def test_what_is_lost_with_its_entry_point_ends_with_the_next_one(db: None) -> None:
    async with hearing() as (topic, _, sink):
        await lose(topic, sink, MORE, ENTRY, MORE, MORE)
        await publish(MORE)
        await heard(topic, 9)
        assert not sink.told
        await publish(MORE, ENTRY, MORE)
        await heard(topic, 12)
        assert sink.told == [("skipped", 4, 10), 11, 12]


async def test_a_header_that_is_lost_comes_before_the_next_entry_point(db: None) -> None:
    async with hearing() as (topic, _, sink):
        await lose(topic, sink, MORE, HEADER, ENTRY, MORE, MORE)
        header = [("skipped", 4, 4), ("reset",), ("header", 5), 5]
        assert sink.told == header
        await publish(ENTRY)
        await heard(topic, 10)
        assert sink.told == [*header, ("skipped", 6, 9), 10]


async def test_where_no_entry_points_are_made_what_is_lost_is_skipped_alone(db: None) -> None:
    async with hearing() as (topic, _, sink):
        await lose(topic, sink, MORE, HEADER, MORE, MORE, MORE)
        assert sink.told == [
            ("skipped", 4, 4),
            ("reset",),
            ("header", 5),
            5,
            ("skipped", 6, 6),
            7,
            8,
            9,
        ]


async def test_who_waits_and_loses_something_is_told_of_all_of_it_at_once(db: None) -> None:
    async with hearing() as (topic, _, _):
        sink = Sink()
        waits = Listener(topic, sink, V1_MESSAGES, topic.offset, keeps_up=True, waits=True)
        topic.add(waits)
        await lose(topic, sink, MORE, MORE, MORE, MORE, MORE)
        assert not sink.told
        await publish(ENTRY)
        await heard(topic, 10)
        assert sink.told == [("skipped", 4, 9), 10]
        topic.remove(waits)
