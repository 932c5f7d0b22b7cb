"""What a Django app adds to rooms, their limits, and what is counted of them."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import InterfaceError
from prometheus_client import REGISTRY
from pytest_django.fixtures import Settings

from broadcast import Peer, RoomError, metrics, room_handler
from broadcast.backends import get_backend
from broadcast.exceptions import BadRequest
from broadcast.groups import room_stream
from broadcast.hub.publishing import apublish
from broadcast.hub.relay import get_relay
from broadcast.models import RoomHour
from broadcast.models.room_hours import Counted
from broadcast.rooms import hours as room_hours
from broadcast.rooms import peers as rooms
from broadcast.rooms import signaling
from tests.rig.doors import Door, InProcessDoor, InProcessSocket, ServerDoor, Socket, eventually
from tests.rig.raw import TEXT, frame
from tests.rig.rooms import HOUR, PATH, answers, enter, error, heard, join, left, meet, new_room

# -- handlers ------------------------------------------------------------------------------------


@pytest.fixture
def own_handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test registers is forgotten after it."""
    monkeypatch.setattr(rooms, "handlers", {})
    yield


async def test_a_handler_answers_its_event(in_process: Door, own_handlers: None) -> None:
    @room_handler("count")
    async def count(message: dict[str, Any], peer: Peer) -> None:
        if not isinstance(message.get("to"), int):
            raise RoomError("count to what?")
        for number in range(message["to"]):
            await peer.send({"event": "counted", "number": number, "room": peer.room})

    socket = await in_process.connect(PATH)
    await socket.tell("count", to=2)
    for number in range(2):
        assert await socket.event() == {"event": "counted", "number": number, "room": ""}
    await socket.tell("count")
    assert await socket.event() == error("count to what?")
    assert await answers(socket) == []


async def test_a_handler_speaks_to_one_or_to_all(in_process: Door, own_handlers: None) -> None:
    @room_handler("whisper")
    async def whisper(message: dict[str, Any], peer: Peer) -> None:
        await peer.send_to(message["to"], {"event": "whispered", "name": peer.status["name"]})

    @room_handler("shout")
    async def shout(message: dict[str, Any], peer: Peer) -> None:
        await peer.send_to_room({"event": "shouted", "by": peer.id})

    _, (first, second), (own, other) = await meet(in_process)
    outside = await in_process.connect(PATH)
    await outside.tell("shout")
    assert await outside.event() == error("currently not in any room")
    await first.tell("update_status", status={"name": "A"})
    for socket in (first, second):
        assert (await socket.event())["event"] == "peer_updated_status"
    await first.tell("whisper", to=other)
    assert await second.event() == {"event": "whispered", "name": "A"}
    await first.tell("whisper", to="nobody")
    assert await first.event() == error("unknown peer")
    await second.tell("shout")
    for socket in (first, second):
        assert await socket.event() == {"event": "shouted", "by": other}


async def test_a_handler_that_fails_harms_nobody(
    in_process: InProcessDoor, own_handlers: None, caplog: pytest.LogCaptureFixture
) -> None:
    @room_handler("fail")
    async def fail(message: dict[str, Any], peer: Peer) -> None:
        raise KeyError("secret")

    socket = await in_process.connect(PATH)
    await socket.tell("fail", password="secret")
    assert await socket.event() == error("the server failed to do that")
    assert await answers(socket) == []
    (record,) = [one for one in caplog.records if one.exc_info]
    assert record.levelname == "ERROR"
    assert "password" not in caplog.text
    caplog.clear()


async def test_who_is_given_up_while_a_handler_is_slow_leaves_all_the_same(
    in_process: Door, own_handlers: None
) -> None:
    goes_on = asyncio.Event()

    @room_handler("slow")
    async def slow(message: dict[str, Any], peer: Peer) -> None:
        await peer.send({"event": "begun"})
        await goes_on.wait()

    _, (first, second), (_, other) = await meet(in_process)
    await second.tell("slow")
    assert await second.event() == {"event": "begun"}
    await give_up(second)
    goes_on.set()
    assert await first.event() == {"event": "peer_left", "sender_id": other}


async def give_up(socket: Socket) -> None:
    """The client is gone, and what becomes of it takes longer than Daphne waits."""
    assert isinstance(socket, InProcessSocket)
    before = len(signaling.get_clients().sockets)
    await socket.communicator.send_input({"type": "websocket.disconnect", "code": 1006})
    socket.over = True

    async def is_ending() -> bool:
        return len(signaling.get_clients().sockets) < before

    await eventually(is_ending)
    assert not socket.communicator.future.done()
    socket.communicator.future.cancel()
    await asyncio.wait({socket.communicator.future})


def test_an_event_has_one_handler(own_handlers: None) -> None:
    async def handler(message: dict[str, Any], peer: Peer) -> None: ...

    assert room_handler("mine")(handler) is handler
    for event in ("mine", "join_room", "ping"):
        with pytest.raises(ValueError, match=event):
            room_handler(event)(handler)


# -- limits --------------------------------------------------------------------------------------


async def test_a_room_that_is_full_says_so(in_process: Door, settings: Settings) -> None:
    settings.BROADCAST_MAX_PEERS = 2
    room, (first, second), _ = await meet(in_process)
    third = await in_process.connect(PATH)
    await third.tell("join_room", room_id=room)
    assert await third.event() == error("room is full")
    await second.tell("leave_room")
    assert (await first.event())["event"] == "peer_left"
    await join(third, room)


async def test_too_many_rooms_are_refused(in_process: Door, settings: Settings) -> None:
    settings.BROADCAST_MAX_ROOMS = 1
    room, _, _ = await meet(in_process)
    socket = await in_process.connect(PATH)
    await socket.tell("join_room", room_id=new_room())
    assert await socket.event() == error("too many rooms")
    await join(socket, room)


async def test_too_many_messages_close_with_4429(in_process: Door, settings: Settings) -> None:
    settings.BROADCAST_MAX_SIGNALS_PER_SECOND = 1.0
    room = new_room()
    other, _ = await enter(in_process, room)
    socket, joined = await enter(in_process, room)
    for _ in range(5):
        await socket.tell("ping")
    frames, code = await socket.rest()
    assert code == 4429
    said = [json.loads(frame) for frame in frames]
    assert said[-1] == error("too many messages: 1 per second are the most")
    assert all(one == {"event": "pong"} for one in said[:-1])
    assert (await other.event())["event"] == "new_peer"
    assert await other.event() == {"event": "peer_left", "sender_id": joined["own_id"]}


async def test_a_limit_of_message_size_is_a_setting(in_process: Door, settings: Settings) -> None:
    settings.BROADCAST_MAX_SIGNAL = 100
    socket = await in_process.connect(PATH)
    await socket.send('"' + "é" * 60 + '"')
    assert await socket.event() == error("a message has at most 100 bytes here")
    assert await socket.closed() == 1009


async def test_a_ping_is_answered_while_a_relay_waits(
    in_process: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, (first, second), (own, other) = await meet(in_process)
    waits, rooms_ = asyncio.Event(), get_backend().rooms
    relay = rooms_.relay

    async def slow(*args: Any) -> Any:
        await waits.wait()
        return await relay(*args)

    monkeypatch.setattr(rooms_, "relay", slow)
    await first.tell("send_to_peer", peer_id=other, data={"event": "message"})
    await first.tell("info")
    await first.tell("ping")
    assert await first.event() == {"event": "pong"}
    waits.set()
    assert (await first.event())["event"] == "info"
    assert (await second.event())["event"] == "message"


async def test_nobody_reaches_a_room_as_a_stream(in_process: Door) -> None:
    room, (first, _), (own, _) = await meet(in_process)
    with pytest.raises(BadRequest):
        await apublish(room_stream(room), "hello")
    listener = await in_process.connect(f"/ws/listener/{room_stream(room)}/")
    assert await listener.closed() == 4504
    assert await heard(first, own) == []


async def test_a_room_leaves_nothing_behind(in_process: Door) -> None:
    room, sockets, _ = await meet(in_process, 3)
    topic = get_relay().topics[room_stream(room)]
    for socket in sockets:
        await socket.close()
    assert not topic.listeners
    assert not topic.edge.by_encoding

    async def is_left() -> bool:
        return room_stream(room) not in get_relay().topics

    await eventually(is_left)


async def test_a_client_that_was_overtaken_is_closed_and_disturbs_nobody(
    our_door: ServerDoor,
) -> None:
    room, (first, second), (own, other) = await meet(our_door)
    async with our_door.raw(receive_buffer=4096) as slow:
        await slow.open(PATH)
        join = json.dumps({"event": "join_room", "room_id": room}).encode()
        await slow.send(frame(TEXT, join))
        peer = json.loads((await slow.frame())[1])["own_id"]
        for socket in (first, second):
            assert (await socket.event())["event"] == "new_peer"
        # More than its socket, the ring and history hold.
        for _ in range(20):
            data = {"event": "message", "text": "x" * 1_000_000}
            await first.tell("send_to_peer", peer_id=peer, data=data)
        assert await heard(first, own) == []
        assert await heard(second, other) == []
        assert await slow.ended() == 4408
    assert await first.event() == {"event": "peer_left", "sender_id": peer}


# -- nonsense ------------------------------------------------------------------------------------

KEYS = ("event", "room_id", "status", "peer_id", "data", "name", "user_agent", "sdp")
WORDS = ("join_room", "leave_room", "send_to_peer", "update_status", "info", "offer", "chrome", "")


def nonsense(random: random.Random, own: str, depth: int = 0) -> Any:
    kind = random.randrange(10 if depth < 4 else 7)
    if kind < 3:
        return random.choice((*WORDS, own, "fuzz", "\ud800", "x" * 60, "\x00"))
    if kind < 7:
        return random.choice((None, True, False, 0, -1, 1.5, 10**400, 1e308))
    if kind == 7:
        return [nonsense(random, own, depth + 1) for _ in range(random.randrange(4))]
    some = random.sample(KEYS, random.randrange(1, 5))
    return {key: nonsense(random, own, depth + 1) for key in some}


def message(random: random.Random, own: str) -> str:
    said = nonsense(random, own)
    if isinstance(said, dict) and random.random() < 0.8:
        said["event"] = random.choice(WORDS)
    text = json.dumps(said, ensure_ascii=True)
    if random.random() < 0.1:
        at = random.randrange(len(text) + 1)
        text = text[:at] + random.choice('{}[]",:\\0') + text[at:]
    return text


@pytest.mark.parametrize("seed", range(3))
async def test_nonsense_is_answered_and_harms_nobody(
    our_door: Door, seed: int, settings: Settings
) -> None:
    source = random.Random(seed)
    _, (first, second), (own, other) = await meet(our_door)
    fuzzing = await our_door.connect(PATH)
    for _ in range(700):
        await fuzzing.send(message(source, own))
    for said in await answers(fuzzing):
        assert isinstance(said["event"], str), said
        if said["event"] == "error":
            assert said["message"] == said["description"]
    assert await heard(first, own) == []
    assert await heard(second, other) == []


# -- what is counted -----------------------------------------------------------------------------


async def test_hours_are_added_up(db: None) -> None:
    for one in (left(0.9), left(1), left(1.9, 3), left(70, 3), left(2, 4, HOUR + timedelta(1))):
        room_hours.note(one)
    await room_hours.write()
    room_hours.note(left(0.5, 3))
    await room_hours.write()
    hours = await sync_to_async(RoomHour.objects.by_hour)()
    assert hours == [
        {"hour": HOUR + timedelta(1), "peaks": {4: 1}, "minutes": {2: 1}},
        {"hour": HOUR, "peaks": {3: 3}, "minutes": {0: 2, 1: 2, 70: 1}},
    ]


async def test_counting_goes_on_after_the_connection_to_the_database_was_lost(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    add, lost = RoomHour.objects.add, iter([InterfaceError("connection already closed")])

    def add_later(counts: Counter[Counted]) -> None:
        if error := next(lost, None):
            raise error
        add(counts)

    monkeypatch.setattr(room_hours, "SECONDS", 0.01)
    monkeypatch.setattr(RoomHour.objects, "add", add_later)
    room_hours.note(left(1))

    async def is_counted() -> bool:
        hours = await sync_to_async(RoomHour.objects.by_hour)()
        return hours == [{"hour": HOUR, "peaks": {}, "minutes": {1: 1}}]

    await eventually(is_counted)
    assert next(lost, None) is None


async def test_what_happens_in_a_room_is_counted(
    in_process: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room_hours, "SECONDS", 0.01)
    _, sockets, ids = await meet(in_process, 3)
    metrics.refresh(get_relay().topics.values())
    assert sample("rooms") == 1
    assert sample("peers") == 3
    assert sample("listeners") == sample("streams") == 0
    relays, errors, peaks = map(sample, ("relays_total", "room_errors_total", "room_peaks_count"))
    assert await heard(sockets[0], ids[0]) == []
    await sockets[0].tell("nothing")
    assert await sockets[0].event() == error("unknown event")
    assert sample("relays_total") == relays + 1
    assert sample("room_errors_total") == errors + 1
    for socket in sockets:
        await socket.close()

    async def is_counted() -> bool:
        hours = await sync_to_async(RoomHour.objects.by_hour)()
        return [one["peaks"] for one in hours] == [{3: 1}] and hours[0]["minutes"] == {0: 3}

    await eventually(is_counted)
    assert sample("room_peaks_count") == peaks + 1


def sample(name: str) -> float:
    return REGISTRY.get_sample_value(f"broadcast_{name}") or 0
