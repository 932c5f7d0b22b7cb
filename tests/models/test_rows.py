"""The rows of streams as sockets and publications see them: few queries, and nothing stale."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from broadcast.exceptions import NoSuchStream, RoomClosed, StreamClosed
from broadcast.models import Room, Stream, rows

pytestmark = pytest.mark.django_db


async def test_a_stream_is_found_by_its_slug() -> None:
    row = await Stream.objects.acreate(slug="s", title="S")
    assert await rows.find_stream("s") == row
    assert await rows.find_stream("none") is None


def find(*slugs: str) -> list[Stream | None]:
    """Look for all of them at once, as sockets do that come at once."""

    async def find_all() -> list[Stream | None]:
        return await asyncio.gather(*(rows.find_stream(slug) for slug in slugs))

    return async_to_sync(find_all)()


def test_a_row_is_read_once_in_a_while(
    django_assert_num_queries: DjangoAssertNumQueries, monkeypatch: pytest.MonkeyPatch
) -> None:
    Stream.objects.create(slug="s", title="S")
    with django_assert_num_queries(2):
        for _ in range(5):
            find("s", "none")
    later = time.monotonic() + rows.SECONDS + 0.1
    monkeypatch.setattr("broadcast.models.rows.time.monotonic", lambda: later)
    with django_assert_num_queries(1):
        find("s")


def test_thousands_who_come_at_once_cost_one_query(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    row = Stream.objects.create(slug="s", title="S")
    with django_assert_num_queries(1):
        assert find(*["s"] * 1000) == [row] * 1000


async def test_what_this_process_changes_is_seen_at_once() -> None:
    assert await rows.find_stream("s") is None
    row = await Stream.objects.acreate(slug="s", title="S")
    assert await rows.find_stream("s") == row
    row.title = "Another"
    await row.asave()
    found = await rows.find_stream("s")
    assert found and found.title == "Another"
    await row.adelete()
    assert await rows.find_stream("s") is None


async def test_a_row_that_is_changed_while_it_is_read_is_not_kept_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row = await Stream.objects.acreate(slug="s", title="S")
    read, go = asyncio.Event(), asyncio.Event()

    def slowly(query: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
        async def run(*arguments: Any) -> Any:
            found = await sync_to_async(query)(*arguments)
            read.set()
            await go.wait()
            return found

        return run

    monkeypatch.setattr("broadcast.models.rows.database_sync_to_async", slowly)
    reading = asyncio.ensure_future(rows.find_stream("s"))
    await read.wait()
    row.title = "Another"
    await row.asave()
    go.set()
    await reading
    found = await rows.find_stream("s")
    assert found and found.title == "Another"


async def test_names_that_are_tried_out_do_not_fill_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    later = time.monotonic() + 3600
    rows._rows.update((str(number), (later, None)) for number in range(10_001))
    await rows.find_stream("one more")
    assert len(rows._rows) < 10


async def test_an_open_stream_is_found() -> None:
    row = await Stream.objects.acreate(slug="s")
    assert await rows.find_open("s") == row


@pytest.mark.parametrize("slug", ["none", "", "page:x", "a\0b", "ä"])
async def test_a_stream_without_a_row_is_none(slug: str) -> None:
    with pytest.raises(NoSuchStream, match=r"^there is no such stream$"):
        await rows.find_open(slug)


@pytest.mark.parametrize(
    ("names_it", "words"), [(False, "the stream was closed"), (True, "the stream 's' was closed")]
)
async def test_a_closed_stream_is_not_open(names_it: bool, words: str) -> None:
    await Stream.objects.acreate(slug="s", closed_at=timezone.now())
    with pytest.raises(StreamClosed, match=f"^{words}$"):
        await rows.find_open("s", names_it=names_it)


async def test_a_room_is_open_unless_a_person_closed_it() -> None:
    row = await Room.objects.acreate(room_id="r")
    assert await rows.find_open_room("r") == row
    assert await rows.find_open_room("without a row") is None
    await sync_to_async(row.close)(timezone.now())
    with pytest.raises(RoomClosed, match=r"^the room was closed$"):
        await rows.find_open_room("r")
