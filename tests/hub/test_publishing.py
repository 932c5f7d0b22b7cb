"""The way in: `publish` and `apublish`, inside a server, in its threads and outside of it."""

import asyncio
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.layers import InMemoryChannelLayer, channel_layers
from django.utils import timezone
from pytest_django.fixtures import Settings

from broadcast import Position, apublish, backends, publish
from broadcast.access.connections import remove
from broadcast.backends import get_backend
from broadcast.exceptions import (
    BadRequest,
    BroadcastError,
    StreamClosed,
    TooLarge,
    Unavailable,
)
from broadcast.hub.appending import append
from broadcast.hub.serving import serve_here
from broadcast.models import Stream, rows
from broadcast.publications import MAX_NAME, Draft, Kind, Mark, Publication
from tests.rig.doors import PATIENCE, InProcessDoor, ServerDoor
from tests.rig.processes import free_port

pytestmark = pytest.mark.django_db

PAYLOADS = ["text ä\u2028", "", b"\x00\xff", b"", {"a": [1, None]}, 1.5, None, [], False]


async def history(stream: str) -> list[Publication]:
    return (await get_backend().read(stream, 0, 10_000, 2**30))[1]


# -- inside a server ------------------------------------------------------------------------


@pytest.mark.parametrize("payload", PAYLOADS)
async def test_on_return_it_is_in_history_at_its_position(payload: Any) -> None:
    await apublish("s", "before")
    position = await apublish("s", payload)
    assert position == Position((await get_backend().state("s")).epoch, 2)
    assert (await history("s"))[1].data == payload


async def test_what_is_published_reaches_everybody_who_listens(in_process: InProcessDoor) -> None:
    slug = await in_process.stream()
    v1, plain = await in_process.listener(slug), await in_process.plain_listener(slug)
    for number, payload in enumerate(("text", b"binary", {"json": 1}), 1):
        position = await apublish(slug, payload)
        assert position.offset == number
        assert await v1.told() == (number, payload)
    assert await plain.receive_many(3) == ["text", b"binary", '{"json":1}']


async def test_header_and_entry_are_marks() -> None:
    await apublish("s", b"both", header=True, entry=True)
    await apublish("s", b"entry", entry=True)
    assert [one.marks for one in await history("s")] == [Mark.HEADER | Mark.ENTRY, Mark.ENTRY]


async def test_an_idempotency_key_makes_a_repeat_harmless(in_process: InProcessDoor) -> None:
    slug = await in_process.stream()
    listener = await in_process.listener(slug)
    first = await apublish(slug, "once", idempotency_key="k")
    assert await apublish(slug, "twice", idempotency_key="k") == first
    await apublish(slug, "after")
    assert await listener.told_many(2) == [(1, "once"), (2, "after")]


async def test_many_at_once_keep_one_order_for_all(in_process: InProcessDoor) -> None:
    slug = await in_process.stream()
    listeners = [await in_process.listener(slug) for _ in range(3)]
    positions = await asyncio.gather(*(apublish(slug, number) for number in range(300)))
    assert sorted(position.offset for position in positions) == list(range(1, 301))
    kept = [(one.offset, one.data) for one in await history(slug)]
    expected = sorted((position.offset, number) for number, position in enumerate(positions))
    assert kept == expected
    for listener in listeners:
        assert await listener.told_many(300) == expected


async def test_one_task_after_another_publishes_in_order(in_process: InProcessDoor) -> None:
    slug = await in_process.stream()
    positions = [await apublish(slug, number) for number in range(50)]
    assert [position.offset for position in positions] == list(range(1, 51))


async def test_a_row_is_as_good_as_its_slug() -> None:
    row = await Stream.objects.acreate(slug="row", title="Row", history_count=2)
    for number in range(4):
        await apublish(row, number)
    assert [one.data for one in await history("row")] == [2, 3]


async def test_the_limits_of_the_row_hold_for_its_slug_too() -> None:
    await Stream.objects.acreate(slug="row", title="Row", history_count=2)
    for number in range(4):
        await apublish("row", number)
    assert [one.data for one in await history("row")] == [2, 3]


async def test_a_large_append_crosses_the_layer_in_parts_and_in_order(
    in_process: InProcessDoor,
) -> None:
    sizes: list[int] = []

    class Measuring(InMemoryChannelLayer):  # type: ignore[misc]
        async def group_send(self, group: str, message: dict[str, Any]) -> None:
            sizes.append(len(message.get("publications", b"")))
            await super().group_send(group, message)

    channel_layers.set("broadcast", Measuring())
    slug = await in_process.stream()
    listener = await in_process.plain_listener(slug)
    payloads = [bytes((number,)) * 300_000 for number in range(10)]
    await append(slug, [Draft(Kind.BINARY, payload) for payload in payloads])
    assert await listener.receive_many(10) == payloads
    assert len(sizes) == 3 and max(sizes) < 1_600_000


# -- what is refused ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["", "x" * (MAX_NAME + 1), None, 1, b"s", ["s"], "\ud800", "a\udcffb"]
)
async def test_a_name_that_is_none_is_a_bad_request(name: Any) -> None:
    with pytest.raises(BadRequest):
        await apublish(name, "x")


@pytest.mark.parametrize("name", ["a b", "ä/!?", "日本", "x" * MAX_NAME, "🎥", "a\nb"])
async def test_a_name_without_a_row_may_be_any_other(name: str) -> None:
    assert (await apublish(name, "x")).offset == 1
    assert len(await history(name)) == 1


async def test_a_payload_of_the_very_limit_is_taken_and_one_byte_more_is_not(
    settings: Settings,
) -> None:
    settings.BROADCAST_MAX_FRAME = 100
    await apublish("s", "ä" * 50)
    await apublish("s", b"x" * 100)
    await apublish("s", ["x" * 96])
    for payload in ("ä" * 50 + "x", b"x" * 101, ["x" * 97]):
        with pytest.raises(TooLarge) as caught:
            await apublish("s", payload)
        assert "101" in str(caught.value) and "100" in str(caught.value)
    assert len(await history("s")) == 3


async def test_a_media_stream_takes_larger_frames(settings: Settings) -> None:
    settings.BROADCAST_MAX_FRAME, settings.BROADCAST_MAX_MEDIA_FRAME = 10, 100
    await Stream.objects.acreate(slug="media", title="Media", kind=Stream.Kind.MEDIA)
    assert (await apublish("media", b"x" * 100)).offset == 1
    with pytest.raises(TooLarge):
        await apublish("media", b"x" * 101)


async def test_nothing_is_published_on_a_closed_stream() -> None:
    row = await Stream.objects.acreate(slug="closed", title="Closed", closed_at=timezone.now())
    for stream in (row, "closed"):
        with pytest.raises(StreamClosed):
            await apublish(stream, "x")
    assert await history("closed") == []


async def test_what_is_no_publication_changes_nothing() -> None:
    with pytest.raises(BadRequest):
        await apublish("s", {1, 2})
    assert await history("s") == []


# -- sync code ------------------------------------------------------------------------------


def test_sync_code_without_a_loop_publishes() -> None:
    assert publish("s", "x").offset == 1
    assert publish("s", b"y", header=True).offset == 2


async def test_a_sync_view_inside_the_server_publishes(in_process: InProcessDoor) -> None:
    slug = await in_process.stream()
    listener = await in_process.listener(slug)
    # As Django's handler calls a view that is not a coroutine.
    position = await sync_to_async(publish)(slug, "from a view")
    assert position.offset == 1
    assert await listener.told() == (1, "from a view")


async def test_a_thread_of_the_server_publishes_at_once(
    settings: Settings, in_process: InProcessDoor
) -> None:
    settings.BROADCAST_WATCH_SECONDS = 60
    slug = await in_process.stream()
    listener = await in_process.listener(slug)
    outcomes: list[Any] = []

    def work() -> None:
        try:
            outcomes.append(publish("other", "x").offset)
            outcomes.append(publish(slug, "from a thread").offset)
        except Exception as error:
            outcomes.append(error)

    started = time.monotonic()
    # The names have no rows to be looked up: a thread would not see the test's transaction.
    for name in ("other", slug):
        rows._rows[name] = (started + 3600, None)
    thread = threading.Thread(target=work)
    thread.start()
    async with asyncio.timeout(2 * PATIENCE):
        assert await listener._receive()
    await asyncio.to_thread(thread.join)
    assert outcomes == [1, 1]
    # Long before the timeout above would wake a loop that was not told of it.
    assert time.monotonic() - started < PATIENCE


async def test_threads_of_the_server_share_no_offset() -> None:
    serve_here()
    rows._rows["s"] = (time.monotonic() + 3600, None)
    ready = threading.Barrier(8)

    def work() -> list[int]:
        ready.wait()
        return [publish("s", "x").offset for _ in range(100)]

    loop = asyncio.get_running_loop()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as threads:
            works = [loop.run_in_executor(threads, work) for _ in range(8)]
            outcomes = await asyncio.gather(*works)
    finally:
        sys.setswitchinterval(interval)
    assert sorted(offset for one in outcomes for offset in one) == list(range(1, 801))
    assert [one.offset for one in await history("s")] == list(range(1, 801))


# -- outside a server -----------------------------------------------------------------------


@pytest.fixture
def outside(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, our_door: ServerDoor
) -> ServerDoor:
    """This process is no server; there is one."""
    monkeypatch.setattr(backends, "_serving", False)
    settings.BROADCAST_RPC_PORT = our_door.process.rpc_port
    return our_door


async def test_outside_a_server_it_goes_through_the_running_one(outside: ServerDoor) -> None:
    slug = await outside.stream()
    listener = await outside.listener(slug)
    published = [payload for payload in PAYLOADS if payload != ""]
    for offset, payload in enumerate(published, 1):
        assert await apublish(slug, payload) == Position(listener.first["epoch"], offset)
        assert await listener.told() == (offset, payload)


async def test_outside_a_server_where_streams_stand_is_asked_of_the_running_one(
    outside: ServerDoor,
) -> None:
    slug, silent = await outside.stream(), "nobody publishes here"
    listener, streamer = await outside.listener(slug), await outside.streamer(slug)
    await streamer.publish("x")
    assert await listener.told() == (1, "x")
    found = await get_backend().positions([slug, silent])
    assert found[slug] == (listener.first["epoch"], 1)
    assert found[silent] == (await get_backend().positions([silent]))[silent]
    presences = await get_backend().presence([slug, silent])
    assert (presences[slug].listeners, presences[slug].live) == (1, True)
    assert (presences[silent].listeners, presences[silent].live) == (0, False)
    many = [f"many-{number}" for number in range(1001)]
    assert list(await get_backend().positions(many)) == many


async def test_outside_a_server_nothing_is_answered_out_of_an_empty_memory(
    outside: ServerDoor,
) -> None:
    slug = await outside.stream()
    await apublish(slug, "x")
    for question in (
        get_backend().read(slug, 0, 10, 1000),
        get_backend().state(slug),
        get_backend().clear(slug),
        get_backend().rooms.states([slug]),
        remove(slug, "a connection"),
    ):
        with pytest.raises(Unavailable, match="running server"):
            await question


async def test_marks_and_keys_arrive_from_outside(outside: ServerDoor) -> None:
    slug = await outside.stream()
    first = await apublish(slug, b"h", header=True, entry=True, idempotency_key="k")
    assert await apublish(slug, b"h", header=True, idempotency_key="k") == first
    await apublish(slug, b"x")
    listener = await outside.listener(slug)
    assert await listener.told() == ("header", {"offset": 1})
    assert await listener.told_many(2) == [(1, b"h"), (2, b"x")]


def test_sync_code_outside_a_server_publishes(outside: ServerDoor) -> None:
    slug = outside.process.unused_stream()
    assert [publish(slug, number).offset for number in range(3)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("pool", "payload", "error"),
    [
        ("free", b"x" * (2**20 + 1), TooLarge),
        ("closed", "x", StreamClosed),
        ("free", {1}, BadRequest),
    ],
)
async def test_errors_are_the_same_outside_a_server(
    outside: ServerDoor, pool: str, payload: Any, error: type[BroadcastError]
) -> None:
    slug = await outside.stream(pool)
    with pytest.raises(error) as caught:
        await apublish(slug, payload)
    assert str(caught.value)


async def test_without_a_server_it_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    monkeypatch.setattr(backends, "_serving", False)
    settings.BROADCAST_RPC_PORT = free_port()
    for question in (apublish("s", "x"), get_backend().positions(["s"])):
        with pytest.raises(Unavailable) as caught:
            await question
        assert "manage.py start" in str(caught.value)
    # A page of streams can be shown without.
    assert await get_backend().presence(["s"]) == {}
    assert str(settings.BROADCAST_RPC_PORT) in str(caught.value)


@pytest.fixture
def stranger(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """Another program at the port of ours, which answers with what is in the list."""
    monkeypatch.setattr(backends, "_serving", False)
    answer: list[bytes] = []

    def serve() -> None:
        connection, _ = server.accept()
        with closing(connection):
            connection.recv(65536)
            connection.sendall(answer[0])

    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        settings.BROADCAST_RPC_PORT = server.getsockname()[1]
        thread = threading.Thread(target=serve)
        thread.start()
        yield answer
        thread.join(PATIENCE)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", id="http"),
        pytest.param(b"\x94\x01\x01\xc0", id="half-an-answer"),
        pytest.param(b"\xc1", id="garbage"),
        pytest.param(b"\x94\x01\x01\xc0\x01", id="no-position"),
        pytest.param(b"\x91\x01", id="short-array"),
    ],
)
async def test_what_another_program_answers_is_told_as_unavailable(
    stranger: list[bytes], answer: bytes
) -> None:
    stranger.append(answer)
    with pytest.raises(Unavailable):
        await apublish("s", "x")
