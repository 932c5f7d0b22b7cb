"""Clients that the server has given up on, and that stay silent and keep their connection open.

They leave at that moment: the other members of a room, the count of listeners, the streamer's
place, the pages and the limits do not wait for them.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from channels.testing import WebsocketCommunicator
from pytest_django.fixtures import Settings

from broadcast.access import limits
from broadcast.access.guard import get_guard
from broadcast.api import events
from broadcast.backends import get_backend
from broadcast.exceptions import Removed
from broadcast.hub.relay import all_topics
from broadcast.pages import handlers
from broadcast.pages.actions import Actions
from broadcast.routing import websocket_application
from tests.rig.doors import PATIENCE, Door, InProcessDoor, ServerDoor, eventually
from tests.rig.processes import ServerProcess
from tests.rig.raw import BINARY, CLOSE, CONTINUATION, TEXT, RawSocket, frame
from tests.rig.rooms import PATH, enter, new_room
from tests.rig.scrapes import scrape

MIB = 2**20

#: What a client sends that the server gives it up for, and the code of that.
WRONG = {
    "a reserved opcode": (frame(3, b"x"), 1002),
    "a frame that is not masked": (frame(TEXT, b"x", masked=False), 1002),
    "text that is no UTF-8": (frame(TEXT, b"\xff", fin=False), 1007),
    "a frame over the limit": (frame(BINARY, length=5 * MIB), 1009),
    "fragments over the limit": (
        frame(BINARY, b"x" * MIB, fin=False) + frame(CONTINUATION, b"x" * MIB, fin=False),
        1009,
    ),
}
#: What one of them sends that its kind of socket does not take.
SENSELESS = (frame(TEXT, b"nonsense"), 4500)


async def until_closed(raw: RawSocket, code: int) -> None:
    while (answer := await raw.frame())[0] != CLOSE:
        pass
    assert int.from_bytes(answer[1][:2]) == code


async def say(raw: RawSocket, **message: Any) -> None:
    await raw.send(frame(TEXT, json.dumps(message).encode()))


# -- each kind of socket: it comes in, and how to see that it has left ---------------------------

Left = Callable[[], Awaitable[bool]]


async def listen(door: ServerDoor, raw: RawSocket) -> Left:
    slug = await door.stream()
    await raw.open(f"/ws/listener/{slug}/", "broadcast.v1")
    await door.until_listeners(slug, 1)

    async def has_left() -> bool:
        return await door.listeners(slug) == 0

    return has_left


async def feed(door: ServerDoor, raw: RawSocket) -> Left:
    slug = await door.stream()
    await raw.open(f"/ws/streamer/{slug}/")
    # What it sent before is published, however soon it leaves.
    await raw.send(frame(TEXT, b"before") * 3)

    async def is_idle() -> bool:
        said = await door.describe(slug)
        return not said["live"] and said["position"]["offset"] == 3

    return is_idle


async def meet(door: ServerDoor, raw: RawSocket) -> Left:
    room = new_room()
    other, _ = await enter(door, room)
    await raw.open(PATH)
    await say(raw, event="join_room", room_id=room)
    own = (await other.until("new_peer"))["peer_id"]
    await say(raw, event="update_status", status={"name": "the last word"})

    async def is_told() -> bool:
        assert (await other.event())["status"] == {"name": "the last word"}
        assert await other.event() == {"event": "peer_left", "sender_id": own}
        return True

    return is_told


async def open_page(door: ServerDoor, raw: RawSocket) -> Left:
    before = await pages(door)
    await raw.open("/ws/socket/?socket_connection_id=x")
    await say(raw, id=1, action="ping")
    await raw.frame()
    assert await pages(door) == before + 1

    async def is_closed() -> bool:
        return await pages(door) == before

    return is_closed


async def pages(door: ServerDoor) -> float:
    return (await asyncio.to_thread(scrape, door.process))["pages"]


KINDS = {"listener": listen, "streamer": feed, "room": meet, "page": open_page}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("data", "code"), WRONG.values(), ids=WRONG.keys())
async def test_a_client_that_breaks_the_protocol_leaves_before_its_connection_ends(
    our_door: ServerDoor, kind: str, data: bytes, code: int
) -> None:
    await leaves_at_once(our_door, kind, data, code)


async def leaves_at_once(door: ServerDoor, kind: str, data: bytes, code: int) -> None:
    """Who sends this is closed with the code, and has left while its connection is still open."""
    async with door.raw() as raw:
        has_left = await KINDS[kind](door, raw)
        await raw.send(data)
        await eventually(has_left)
        await until_closed(raw, code)
        # What the server has done by now, it did before.
        assert raw.is_held


async def test_a_listener_that_is_sent_away_leaves_before_its_connection_ends(
    our_door: ServerDoor,
) -> None:
    await leaves_at_once(our_door, "listener", *SENSELESS)


async def test_a_streamer_that_another_one_replaced_is_waited_for_by_nobody(
    our_door: ServerDoor,
) -> None:
    slug = await our_door.stream()
    before = await asyncio.to_thread(scrape, our_door.process)
    async with our_door.raw() as raw:
        await raw.open(f"/ws/streamer/{slug}/")
        await raw.send(frame(TEXT, b"x"))
        await our_door.plain_streamer(slug)
        await until_closed(raw, 4501)

        async def is_one() -> bool:
            now = await asyncio.to_thread(scrape, our_door.process)
            return now["streamers"] == before["streamers"] + 1

        await eventually(is_one)
        assert raw.is_held


async def test_it_frees_its_place_among_the_connections_that_may_be(tmp_path: Path) -> None:
    limited = {"DJANGO_SETTINGS_MODULE": "tests.settings", "BROADCAST_MAX_CONNECTIONS": "1"}
    with ServerProcess("broadcast", tmp_path, **limited) as process:
        door = ServerDoor(process)
        for data, code in WRONG.values():
            async with door.raw() as raw:
                await raw.open("/ws/listener/demo/", "broadcast.v1")
                assert b'"joined"' in (await raw.frame())[1]
                await raw.send(data)
                await until_closed(raw, code)
                # It would be closed with 4429.
                await (await door.listener("demo")).leave()
                await door.until_listeners("demo", 0)
                assert raw.is_held
        process.assert_clean_log()


class Page:
    """A page that may call one handler; its second call waits for the first."""

    connection_id = digest = ""
    caller: dict[str, Any] = {"headers": []}

    async def present(self) -> Any:
        return None

    def answer(self, payload: bytes) -> None:
        raise AssertionError(payload)


async def test_a_page_does_not_stay_until_its_calls_have_ended(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.BROADCAST_PAGE_CALLS = 1
    begun, goes_on = asyncio.Event(), asyncio.Event()

    async def stubborn(*arguments: Any) -> None:
        begun.set()
        with suppress(asyncio.CancelledError):
            await goes_on.wait()
        await goes_on.wait()

    monkeypatch.setitem(handlers._handlers, "stubborn", stubborn)
    actions = Actions(Page())
    await actions.take('{"id": 1, "action": "stubborn"}')
    await begun.wait()
    second = asyncio.create_task(actions.take('{"id": 2, "action": "stubborn"}'))
    await asyncio.sleep(0)
    assert not second.done()
    actions.give_up()
    await second
    (first,) = actions.running
    actions.cancel()
    goes_on.set()
    await asyncio.wait([first])


# -- servers that wait for the client's answer ---------------------------------------------------


@asynccontextmanager
async def unanswered(path: str) -> AsyncIterator[WebsocketCommunicator]:
    """A socket of the application; its server tells it of no disconnect."""
    communicator = WebsocketCommunicator(websocket_application, path, subprotocols=["broadcast.v1"])
    await communicator.connect(PATIENCE)
    yield communicator
    await communicator.wait(PATIENCE)


async def test_on_any_server_a_socket_that_is_sent_away_leaves_at_that_moment(
    in_process: InProcessDoor,
) -> None:
    slug = await in_process.stream()
    async with unanswered(f"/ws/listener/{slug}/") as socket:
        await socket.receive_output(PATIENCE)
        assert limits.get_limits().connections == 1
        await socket.send_input({"type": "websocket.receive", "text": "nonsense"})
        assert '"error"' in (await socket.receive_output(PATIENCE))["text"]
        assert (await socket.receive_output(PATIENCE))["code"] == 4500
    assert limits.get_limits().connections == 0
    assert slug not in get_guard().connections
    assert not any(topic.listeners for topic in all_topics())


@pytest.mark.parametrize("most, query", [(None, "?a=1&a=2"), (0, "")])
async def test_on_any_server_a_client_of_rooms_is_told_why_it_may_not_come_in(
    in_process: InProcessDoor, settings: Settings, most: int | None, query: str
) -> None:
    settings.BROADCAST_MAX_CONNECTIONS = most
    async with unanswered(PATH + query) as socket:
        assert '"error"' in (await socket.receive_output(PATIENCE))["text"]
        assert (await socket.receive_output(PATIENCE))["type"] == "websocket.close"


async def test_a_streamer_whose_socket_is_killed_while_it_ends_publishes_and_leaves(
    in_process: InProcessDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    slug = await in_process.stream()
    backend, goes_on, begun = get_backend(), asyncio.Event(), asyncio.Event()
    append = backend.append

    async def slow(*arguments: Any) -> Any:
        begun.set()
        await goes_on.wait()
        return await append(*arguments)

    monkeypatch.setattr(backend, "append", slow)
    socket = WebsocketCommunicator(websocket_application, f"/ws/streamer/{slug}/")
    await socket.connect(PATIENCE)
    await socket.send_to(text_data="the last word")
    await begun.wait()
    await socket.send_input({"type": "websocket.disconnect", "code": 1006})
    for _ in range(3):
        # As Daphne does, once a second.
        await asyncio.sleep(0)
        socket.future.cancel()
    await asyncio.wait({socket.future}, timeout=PATIENCE)
    goes_on.set()

    async def has_left() -> bool:
        return not (await backend.presence([slug]))[slug].streamer

    await eventually(has_left)
    _, found = await backend.read(slug, 0, 10, MIB)
    assert [one.data for one in found] == ["the last word"]


async def test_on_any_server_a_member_that_is_sent_away_leaves_its_room(
    in_process: Door,
) -> None:
    room = new_room()
    other, _ = await enter(in_process, room)
    async with unanswered(PATH) as socket:
        await socket.send_json_to({"event": "join_room", "room_id": room})
        own = (await other.event())["peer_id"]
        await socket.send_input({"type": "websocket.receive", "text": "x" * 2 * MIB})
        assert await other.event() == {"event": "peer_left", "sender_id": own}


async def test_an_event_stream_that_takes_nothing_leaves_when_it_is_sent_away(
    in_process: InProcessDoor,
) -> None:
    slug = await in_process.stream()
    scope: dict[str, Any] = {"type": "http", "method": "GET", "query_string": b""}
    scope |= {"client": ["192.0.2.1", 1], "headers": [(b"host", b"127.0.0.1")]}
    scope |= {"url_route": {"args": (), "kwargs": {"slug": slug}}}
    gone, begun = asyncio.Event(), asyncio.Event()

    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body":
            begun.set()
            await gone.wait()

    stream = asyncio.create_task(events.stream_events_application(scope, receive, send))
    await begun.wait()
    await in_process.until_listeners(slug, 1)
    (connection,) = get_guard().connections[slug]
    get_guard().remove([connection], Removed("a person removed this connection"))

    async def has_left() -> bool:
        return not limits.get_limits().households

    await eventually(has_left)
    assert await in_process.listeners(slug) == 0
    assert not stream.done()
    gone.set()
    await stream
