"""`capture`: what was published, as a test of a project sees it."""

import asyncio
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from threading import Thread
from typing import Any
from unittest.mock import ANY

import pytest
from asgiref.sync import sync_to_async
from django.contrib.sessions.backends.db import SessionStore
from django.core.management import call_command
from django.test import RequestFactory

from broadcast import apublish, publish
from broadcast.backends import get_backend
from broadcast.exceptions import BadRequest
from broadcast.models import Stream
from broadcast.pages.subscriptions import PageSocket
from broadcast.testing import Captured, capture
from tests.rig.doors import InProcessDoor
from tests.rig.rooms import meet


@pytest.fixture
def published() -> Iterator[list[Captured]]:
    with capture() as captured:
        yield captured


def test_publications_are_pairs_of_stream_and_payload_in_their_order(
    db: None, published: list[Captured]
) -> None:
    publish("orders", {"item": "tea"})
    publish("log", "a line")
    publish("orders", b"\0\1")
    assert published == [("orders", {"item": "tea"}), ("log", "a line"), ("orders", b"\0\1")]
    assert published != [("orders", {"item": "tea"})]
    assert [one.kind for one in published] == ["json", "text", "binary"]
    assert ("log", "a line") in published and ("log", "another line") not in published


def test_each_has_the_position_that_its_publisher_was_told(
    db: None, published: list[Captured]
) -> None:
    told = [publish("orders", number) for number in range(3)]
    assert [one.position for one in published] == told
    stream, payload = published[2]
    assert (stream, payload) == (published[2].stream, published[2].payload) == ("orders", 2)


@pytest.mark.parametrize(
    "given",
    [
        {"total": Decimal("1.50"), "day": date(2030, 1, 2), "sizes": (1, 2)},
        date(2030, 1, 2),
        bytearray(b"abc"),
        {1: None},
    ],
)
def test_a_payload_is_equal_to_what_was_given(
    db: None, published: list[Captured], given: Any
) -> None:
    publish("orders", given)
    assert published == [("orders", given)]
    assert published != [("orders", "something else")]


def test_parts_that_do_not_matter_can_be_left_open(db: None, published: list[Captured]) -> None:
    publish("orders", {"item": "tea", "number": 7})
    assert published == [("orders", {"item": "tea", "number": ANY})]
    assert published == [(ANY, ANY)]


def test_what_is_refused_or_repeated_was_not_published(db: None, published: list[Captured]) -> None:
    with pytest.raises(BadRequest):
        publish("orders", float("nan"))
    for _ in range(2):
        publish("orders", 1, idempotency_key="once")
    assert published == [("orders", 1)]


def test_blocks_within_each_other_hear_for_as_long_as_they_last(db: None) -> None:
    with capture() as outer:
        publish("orders", 1)
        with capture() as inner:
            publish("orders", 2)
        publish("orders", 3)
    publish("orders", 4)
    assert inner == [("orders", 2)]
    assert outer == [("orders", 1), ("orders", 2), ("orders", 3)]


def test_a_block_that_fails_hears_no_more(db: None) -> None:
    with pytest.raises(KeyError), capture() as captured:
        raise KeyError
    publish("orders", 1)
    assert captured == []


async def test_coroutines_and_threads_are_heard(db: None, published: list[Captured]) -> None:
    await apublish("orders", 1)
    await sync_to_async(publish)("orders", 2)
    await asyncio.gather(apublish("a", 3), apublish("b", 3))
    assert published[:2] == [("orders", 1), ("orders", 2)]
    assert sorted(published[2:]) == [("a", 3), ("b", 3)]


def test_a_thread_of_its_own_is_heard(transactional_db: None, published: list[Captured]) -> None:
    # Without a row to look for: the thread has no test's database.
    thread = Thread(target=publish, args=("page:thread", "x"))
    thread.start()
    thread.join(10)
    assert published == [("page:thread", "x")]


async def test_pushes_of_pages_are_heard(
    in_process: InProcessDoor, published: list[Captured]
) -> None:
    request: Any = RequestFactory().get("/")
    request.session = SessionStore()
    socket = PageSocket(request)
    await socket.asubscribe("news")
    await socket.apush({"foo": "bar"}, "news", "sport")
    digest = await socket.adigest()
    await socket.apush_to(digest, "for you", "news")
    assert sorted(published[:2]) == [("news", {"foo": "bar"}), ("sport", {"foo": "bar"})]
    assert published[2:] == [(f"page:{digest}", {"payload": "for you", "channel": "news"})]


async def test_streamers_are_heard(in_process: InProcessDoor, published: list[Captured]) -> None:
    await Stream.objects.acreate(slug="news", publishing="anyone")
    streamer = await in_process.streamer("news")
    await streamer.tell("publication", data={"a": 1})
    await streamer.send(b"\0")
    while len(published) < 2:
        await streamer.receive()
    assert published == [("news", {"a": 1}), ("news", b"\0")]


async def test_rooms_are_no_streams(in_process: InProcessDoor, published: list[Captured]) -> None:
    await meet(in_process)
    assert published == []


def test_the_command_is_heard(db: None, published: list[Captured]) -> None:
    call_command("publish", "news", "a line", verbosity=0)
    assert published == [("news", "a line")]


def test_the_http_api_is_heard(client: Any, db: None, published: list[Captured]) -> None:
    Stream.objects.create(slug="news", publishing="anyone")
    answer = client.post(
        "/api/streams/news/publications/", {"a": 1}, content_type="application/json"
    )
    assert answer.status_code == 201
    assert published == [("news", {"a": 1})]
    assert published[0].position._asdict() == answer.json()


async def test_the_engine_has_what_was_heard(db: None, published: list[Captured]) -> None:
    await apublish("orders", "x")
    _, found = await get_backend().read("orders", 0, 10, 1000)
    assert [one.offset for one in found] == [published[0].position.offset]
