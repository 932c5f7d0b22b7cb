"""Server-Sent Events: what a client of a stream hears, from every kind of server."""

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from broadcast import apublish
from broadcast.api import events as module
from broadcast.backends import get_backend
from broadcast.exceptions import Unavailable
from broadcast.hub import joining
from broadcast.hub.relay import get_relay
from broadcast.models import Stream
from tests.rig.doors import InProcessDoor, ServerDoor
from tests.rig.events import Event, hear, hear_in_process


async def test_everything_that_is_published_is_heard_in_order(server_door: ServerDoor) -> None:
    slug = await server_door.stream()
    async with hear(server_door, slug) as hearing:
        assert hearing.status == 200
        joined = await hearing.event()
        epoch = joined.fields["epoch"]
        assert joined == Event("joined", joined.data, f"{epoch}:0")
        assert joined.fields == {
            **{"stream": slug, "epoch": epoch, "offset": 0, "live": False, "recovered": False},
            "content_type": None,
        }
        streamer = await server_door.streamer(slug)
        assert (await hearing.event()).name == "live"
        for data in ("a\r\nb", {"ä": [1, None]}, b"\x00\xff"):
            await streamer.publish(data)
        assert await hearing.many(3) == [
            Event("message", "a\nb", f"{epoch}:1"),
            Event("message", '{"ä":[1,null]}', f"{epoch}:2"),
            Event("binary", "AP8=", f"{epoch}:3"),
        ]
        for number in range(1000):
            await streamer.publish(number)
        heard = await hearing.many(1000)
        assert [(one.data, one.id) for one in heard] == [
            (str(number), f"{epoch}:{number + 4}") for number in range(1000)
        ]
        await streamer.close()
        assert (await hearing.event()).name == "idle"
        assert 1000 <= hearing.parser.retry <= 3000


async def test_it_cannot_be_kept_by_anybody_between(server_door: ServerDoor) -> None:
    async with hear(server_door, await server_door.stream()) as hearing:
        expected = {
            "content-type": "text/event-stream",
            "cache-control": "no-cache, no-transform",
            "x-accel-buffering": "no",
            "x-content-type-options": "nosniff",
        }
        assert expected.items() <= hearing.headers.items()
        assert "content-encoding" not in hearing.headers


async def test_who_comes_back_hears_what_was_missed_and_nothing_twice(
    server_door: ServerDoor,
) -> None:
    slug = await server_door.stream()
    streamer = await server_door.streamer(slug)
    async with hear(server_door, slug) as hearing:
        newcomer = (await hearing.event()).id
    for number in range(5):
        await streamer.publish(number)
    await streamer.accepted(5)
    # Even who had heard nothing yet.
    async with hear(server_door, slug, Last_Event_ID=newcomer) as hearing:
        assert (await hearing.event()).fields["recovered"] is True
        heard = await hearing.many(5)
        assert [one.data for one in heard] == ["0", "1", "2", "3", "4"]
    # What the browser says is newer than what its page said.
    query = f"?last_event_id={newcomer}"
    async with hear(server_door, slug, query, Last_Event_ID=heard[2].id) as hearing:
        assert (await hearing.event()).id == heard[2].id
        await streamer.publish(5)
        assert await hearing.texts(3) == ["3", "4", "5"]
    async with hear(server_door, slug, f"?last_event_id={heard[3].id}") as hearing:
        await hearing.event()
        assert await hearing.texts(2) == ["4", "5"]


async def test_who_cannot_have_it_all_is_told(server_door: ServerDoor) -> None:
    slug = await server_door.stream("short")  # It keeps 10.
    streamer = await server_door.streamer(slug)
    for number in range(1, 31):
        await streamer.publish(number)
    epoch = (await streamer.accepted(30), streamer.first["epoch"])[1]
    for last in (f"{epoch}:3", f"{epoch}:31", f"{'0' * 16}:30"):
        async with hear(server_door, slug, "?history=2", Last_Event_ID=last) as hearing:
            joined = (await hearing.event()).fields
            assert (joined["recovered"], joined["offset"]) == (False, 28), last
            assert await hearing.texts(2) == ["29", "30"]


async def test_history_is_replayed(server_door: ServerDoor) -> None:
    slug = await server_door.stream()
    streamer = await server_door.streamer(slug)
    for number in range(5):
        await streamer.publish(number)
    await streamer.accepted(5)
    async with hear(server_door, slug, "?history=3") as hearing:
        assert (await hearing.event()).fields["offset"] == 2
        assert await hearing.texts(3) == ["2", "3", "4"]


async def test_a_newcomer_of_a_recording_gets_its_header_and_keeps_its_position(
    server_door: ServerDoor,
) -> None:
    slug = await server_door.stream("media")
    streamer = await server_door.streamer(slug)
    for mark, data in (("header", b"head"), ("", b"1"), ("entry", b"2"), ("", b"3")):
        if mark:
            await streamer.tell("mark", **{"as": mark})
        await streamer.publish(data)
    await streamer.accepted(4)
    async with hear(server_door, slug) as hearing:
        joined, told, header, entry, last = await hearing.many(5)
        assert (joined.fields["offset"], joined.fields["content_type"]) == (2, "video/webm")
        assert (told.name, told.fields) == ("header", {"offset": 1})
        assert [one.data for one in (header, entry, last)] == ["aGVhZA==", "Mg==", "Mw=="]
        ids = [one.id.partition(":")[2] for one in (joined, told, header, entry, last)]
        assert ids == ["2", "2", "2", "3", "4"]


async def test_it_counts_as_a_listener_until_it_is_gone(server_door: ServerDoor) -> None:
    slug = await server_door.stream()
    async with AsyncExitStack() as stack:
        for count in range(1, 4):
            hearing = await stack.enter_async_context(hear(server_door, slug))
            await hearing.event()
            assert await server_door.listeners(slug) == count
        socket = await server_door.listener(slug)
        assert await server_door.listeners(slug) == 4
        await socket.close()
    await server_door.until_listeners(slug, 0)


async def test_head_says_what_there_would_be(server_door: ServerDoor) -> None:
    slug = await server_door.stream()
    raw = server_door.raw()
    request = "HEAD /api/streams/{}/events/ HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with raw:
        for path, status in ((slug, b"200"), ("none", b"404"), (slug, b"200")):
            await raw.send(request.format(path).encode())
            head = await raw.head()
            assert head.split()[1] == status
            expected = b"text/event-stream" if status == b"200" else b"application/json"
            assert expected in head
    assert await server_door.listeners(slug) == 0


# -- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "headers", "status", "reason"),
    [
        ("", {"Last_Event_ID": "nonsense"}, 400, "Last-Event-ID"),
        ("", {"Last_Event_ID": "e:-1"}, 400, "since"),
        ("", {"Last_Event_ID": "e:" + "9" * 21}, 400, "since"),
        ("?last_event_id=e:x", {}, 400, "since"),
        ("?epoch=e", {}, 400, "go together"),
        ("?history=-1", {}, 400, "history"),
        ("?history=1&history=2", {}, 400, "twice"),
        ("?token=%ff", {}, 400, "query"),
        ("", {"Accept": "application/json"}, 406, "text/event-stream"),
    ],
)
async def test_what_makes_no_sense(
    in_process: InProcessDoor, query: str, headers: dict[str, str], status: int, reason: str
) -> None:
    slug = await in_process.stream()
    named = {name.lower(): value for name, value in headers.items()}
    async with hear_in_process(slug, query, **named) as hearing:
        assert hearing.status == status
        assert reason in await hearing.error()
    assert await in_process.listeners(slug) == 0


@pytest.mark.parametrize("accept", ["", "*/*", "text/*", "text/html, text/event-stream;q=0.9"])
async def test_who_accepts_events(in_process: InProcessDoor, accept: str) -> None:
    async with hear_in_process(await in_process.stream(), accept=accept) as hearing:
        assert hearing.status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_other_methods(in_process: InProcessDoor, method: str) -> None:
    async with hear_in_process(await in_process.stream(), method=method) as hearing:
        assert (hearing.status, hearing.headers["allow"]) == (405, "GET, HEAD")
        assert method in await hearing.error()


async def test_a_browser_comes_back_to_streams_that_are_away_and_a_program_is_told(
    in_process: InProcessDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Away:
        def topic(self, name: str) -> Any:
            raise Unavailable("away")

    slug = await in_process.stream()
    monkeypatch.setattr(joining, "get_relay", Away)
    async with hear_in_process(slug) as hearing:
        assert hearing.status == 200
        events, _ = await hearing.rest()
        assert [(one.name, one.fields) for one in events] == [("error", {"message": "away"})]
        assert hearing.parser.retry
    async with hear_in_process(slug, accept="*/*") as hearing:
        assert (hearing.status, hearing.headers["retry-after"]) == (503, "1")
        assert await hearing.error() == "away"


async def test_a_fault_is_logged_once_and_told_without_its_reason(
    in_process: InProcessDoor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> Any:
        raise RuntimeError("secret")

    slug = await in_process.stream()
    with monkeypatch.context() as patch:
        patch.setattr(joining, "get_relay", fail)
        async with hear_in_process(slug) as hearing:
            assert (hearing.status, await hearing.error()) == (500, "the server failed")
    assert [bool(one.exc_info) for one in caplog.records if one.levelname == "ERROR"] == [True]
    caplog.clear()
    assert await in_process.listeners(slug) == 0


async def test_a_history_that_begins_anew_while_the_answer_begins_is_heard_from_its_beginning(
    in_process: InProcessDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    slug = await in_process.stream()
    for number in range(5):
        await apublish(slug, str(number))
    begin = module.EventStream._begin

    async def begin_slowly(self: module.EventStream) -> None:
        await begin(self)
        await get_backend().clear(slug)
        state = await get_backend().state(slug)
        get_relay().topics[slug].restart(state.epoch, state.offset)

    monkeypatch.setattr(module.EventStream, "_begin", begin_slowly)
    async with hear_in_process(slug) as hearing:
        joined = await hearing.event()
        epoch = (await get_backend().state(slug)).epoch
        assert (joined.fields["epoch"], joined.fields["offset"]) == (epoch, 0)
        await apublish(slug, "the first")
        assert await hearing.event() == Event("message", "the first", f"{epoch}:1")


# -- while it is open ----------------------------------------------------------------------------


async def test_in_silence_a_comment_comes(in_process: InProcessDoor, settings: Any) -> None:
    settings.BROADCAST_KEEP_AWAKE_SECONDS = 0.05
    slug = await in_process.stream()
    async with hear_in_process(slug) as hearing:
        await hearing.event()
        while hearing.parser.comments < 3:
            await hearing.more()
        await apublish(slug, "and goes on")
        assert await hearing.texts(1) == ["and goes on"]


async def test_a_server_that_waits_no_longer_has_its_end_and_no_fault(
    in_process: InProcessDoor,
) -> None:
    slug = await in_process.stream()
    async with hear_in_process(slug) as hearing:
        await hearing.event()
        # As uvicorn and hypercorn do at their end.
        hearing.communicator.future.cancel()
        assert await hearing.rest() == ([], True)
        await hearing.communicator.future
    assert (await get_backend().presence([slug]))[slug].here == 0


async def test_a_new_history_ends_it_and_who_comes_back_is_told(
    in_process: InProcessDoor,
) -> None:
    slug = await in_process.stream()
    await apublish(slug, "old")
    async with hear_in_process(slug, "?history=1") as hearing:
        _, old = await hearing.many(2)
        await get_backend().clear(slug)
        await apublish(slug, "new")
        events, whole = await hearing.rest()
        assert (events, whole) == ([], True)
    async with hear_in_process(slug, "?history=1", last_event_id=old.id) as hearing:
        joined, new = await hearing.many(2)
        assert (joined.fields["recovered"], new.data) == (False, "new")


async def test_without_its_application_it_says_so(client: Any, db: None) -> None:
    await Stream.objects.acreate(slug="s")
    response = await sync_to_async(client.get)("/api/streams/s/events/")
    assert response.status_code == 501
    assert "HTTPApplication" in json.loads(response.content)["error"]


async def test_many_come_and_go_and_leave_nothing(our_door: ServerDoor) -> None:
    slug = await our_door.stream()

    async def visit(number: int) -> None:
        async with hear(our_door, slug, "?history=1") as hearing:
            if number % 2:
                await hearing.event()

    for _ in range(4):
        await asyncio.gather(*(visit(number) for number in range(25)))
    await our_door.until_listeners(slug, 0)
