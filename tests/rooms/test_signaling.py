"""The signalling socket, on every server: palava's messages, their order, every error."""

import json
import re
from typing import Any

import pytest

from broadcast.backends.rooms import UNKNOWN_PEER
from tests.rig.doors import Door, ServerDoor, eventually
from tests.rig.raw import TEXT, frame
from tests.rig.rooms import INFO, PATH, answers, enter, error, heard, join, meet, new_room

UUID4 = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
OFFER = {"event": "offer", "sdp": {"type": "offer", "sdp": "v=0\r\n"}}


async def test_nothing_is_said_before_the_client_does(door: Door) -> None:
    socket = await door.connect(PATH)
    assert socket.subprotocol is None
    assert await answers(socket) == []


async def test_two_peers_meet(door: Door) -> None:
    room = new_room()
    first, joined = await enter(door, room, name="A", user_agent="chrome")
    assert joined["peers"] == []
    assert UUID4.fullmatch(joined["own_id"])
    second, also = await enter(door, room, name="B")
    assert also["peers"] == [
        {"peer_id": joined["own_id"], "status": {"name": "A", "user_agent": "chrome"}}
    ]
    assert await first.event() == {
        "event": "new_peer",
        "peer_id": also["own_id"],
        "status": {"name": "B"},
    }
    await first.tell("send_to_peer", peer_id=also["own_id"], data=OFFER)
    assert await second.event() == {**OFFER, "sender_id": joined["own_id"]}
    await second.close()
    assert await first.event() == {"event": "peer_left", "sender_id": also["own_id"]}


async def test_a_relay_is_what_was_said_and_who_said_it(door: Door) -> None:
    _, (first, second, third), (own, other, last) = await meet(door, 3)
    data = {
        "event": "message",
        "sender_id": "forged",
        "peer_id": 1,
        "nested": [None, True, 1.5, {"": "Ünï\u2028😀"}],
        "half": "\ud800",
    }
    await first.tell("send_to_peer", peer_id=other, data=data, more="ignored")
    assert await second.event() == {**data, "sender_id": own}
    await first.tell("send_to_peer", peer_id=own, data=OFFER)
    assert await first.event() == {**OFFER, "sender_id": own}
    for event in ("answer", "ice_candidate"):
        await first.tell("send_to_peer", peer_id=other, data={"event": event})
        assert await second.event() == {"event": event, "sender_id": own}
    assert await heard(third, last) == []


async def test_a_status_is_told_to_all_and_shown_to_who_comes_later(door: Door) -> None:
    room, (first, second), (own, _) = await meet(door)
    for status in ({"name": "Zoë 😀", "mood": "good"}, {"user_agent": "firefox"}):
        await first.tell("update_status", status=status)
        told = {"event": "peer_updated_status", "status": status, "sender_id": own}
        assert await first.event() == told
        assert await second.event() == told
    _, joined = await enter(door, room)
    assert {"peer_id": own, "status": {"name": "Zoë 😀", "user_agent": "firefox"}} in joined[
        "peers"
    ]


@pytest.mark.parametrize("status", [{}, {"mood": "good"}, {"name": None}, None])
async def test_an_update_of_nothing_known_is_silent(in_process: Door, status: Any) -> None:
    _, (first, second), (own, other) = await meet(in_process)
    await first.tell("update_status", status=status)
    await first.tell("update_status")
    assert await heard(first, own) == []
    assert await heard(second, other) == []


async def test_who_leaves_is_the_same_peer_when_it_comes_again(door: Door) -> None:
    room, (first, second), (own, other) = await meet(door)
    await first.tell("update_status", status={"name": "A"})
    for socket in (first, second):
        assert (await socket.event())["event"] == "peer_updated_status"
    await first.tell("leave_room")
    await first.tell("leave_room")
    assert await answers(first) == []
    assert await second.event() == {"event": "peer_left", "sender_id": own}
    joined = await join(first, room)
    assert joined["own_id"] == own
    assert joined["peers"] == [{"peer_id": other, "status": {}}]
    # What it was called is forgotten.
    assert await second.event() == {"event": "new_peer", "peer_id": own, "status": {}}


async def test_it_hears_nothing_of_a_room_that_it_left(door: Door) -> None:
    room, (first, second), (own, other) = await meet(door)
    await first.tell("leave_room")
    assert await second.event() == {"event": "peer_left", "sender_id": own}
    await second.tell("update_status", status={"name": "B"})
    await second.event()
    await join(first, new_room())
    await first.tell("send_to_peer", peer_id=other, data=OFFER)
    assert await first.event() == error(UNKNOWN_PEER)
    await second.tell("send_to_peer", peer_id=own, data=OFFER)
    assert await second.event() == error(UNKNOWN_PEER)


JOIN = {"event": "join_room", "room_id": "r"}

#: What is said outside a room, and the error.
WRONG = [
    ("", "invalid message"),
    ("{", "invalid message"),
    (b"{}", "invalid message"),
    ("NaN", "invalid message"),
    ("[" * 100_000, "invalid message"),
    ("[]", "invalid message: not a hash"),
    ('"join_room"', "invalid message: not a hash"),
    ("null", "invalid message: not a hash"),
    ({}, "no event given"),
    ({"event": None}, "no event given"),
    ({"event": False}, "no event given"),
    ({"event": "jump"}, "unknown event"),
    ({"event": ""}, "unknown event"),
    ({"event": "_join_room"}, "unknown event"),
    ({"event": 0}, "unknown event"),
    ({"event": {}}, "unknown event"),
    ({"event": "join_room"}, "no room id given"),
    ({**JOIN, "room_id": None}, "no room id given"),
    ({**JOIN, "room_id": ""}, "no room id given"),
    ({**JOIN, "room_id": "😀" * 51}, "room id too long"),
    ({**JOIN, "room_id": 1}, "invalid room id"),
    ({**JOIN, "room_id": ["r"]}, "invalid room id"),
    ({**JOIN, "room_id": False}, "invalid room id"),
    ({**JOIN, "room_id": "\ud800"}, "invalid room id"),
    ({**JOIN, "status": "Guest"}, "invalid status"),
    ({**JOIN, "status": []}, "invalid status"),
    ({**JOIN, "status": False}, "invalid status"),
    ({**JOIN, "status": {"name": 1}}, "invalid status"),
    ({**JOIN, "status": {"name": ""}}, "blank name not allowed"),
    ({**JOIN, "status": {"name": " \t\u3000"}}, "blank name not allowed"),
    ({**JOIN, "status": {"name": "x" * 51}}, "name too long"),
    ({**JOIN, "status": {"name": "", "user_agent": "lynx"}}, "blank name not allowed"),
    ({**JOIN, "status": {"name": "x" * 51, "user_agent": "lynx"}}, "name too long"),
    ({**JOIN, "status": {"user_agent": "lynx"}}, "unknown user agent"),
    ({**JOIN, "status": {"user_agent": ""}}, "unknown user agent"),
    ({**JOIN, "status": {"user_agent": 1}}, "unknown user agent"),
    ('{"event":"join_room","room_id":"r","status":{"mood":1e999}}', "invalid message"),
    ({"event": "send_to_peer"}, "cannot send raw data"),
    ({"event": "send_to_peer", "peer_id": "x", "data": "hi"}, "cannot send raw data"),
    ({"event": "send_to_peer", "peer_id": "x", "data": {}}, "currently not in any room"),
    ({"event": "update_status"}, "currently not in any room"),
    ({"event": "update_status", "status": 1}, "currently not in any room"),
]

#: What is said in a room, and the error. `"own"` stands for the peer's own id.
WRONG_INSIDE = [
    (JOIN, "already joined another room"),
    ({**JOIN, "room_id": "own"}, "already joined another room"),
    ({**JOIN, "status": 1}, "already joined another room"),
    ({**JOIN, "room_id": None}, "no room id given"),
    ({"event": "send_to_peer", "peer_id": "own"}, "cannot send raw data"),
    ({"event": "send_to_peer", "peer_id": "own", "data": []}, "cannot send raw data"),
    ({"event": "send_to_peer", "peer_id": "x", "data": OFFER}, "unknown peer"),
    ({"event": "send_to_peer", "peer_id": "x" * 36, "data": OFFER}, "unknown peer"),
    ({"event": "send_to_peer", "peer_id": "é" * 36, "data": OFFER}, "unknown peer"),
    ({"event": "send_to_peer", "peer_id": "x" * 36, "data": {}}, "unknown peer"),
    ({"event": "send_to_peer", "peer_id": 1, "data": OFFER}, "unknown peer"),
    ({"event": "send_to_peer", "data": OFFER}, "unknown peer"),
    ({"event": "send_to_peer", "peer_id": "own", "data": {}}, "event not allowed"),
    ({"event": "send_to_peer", "peer_id": "own", "data": {"event": "x"}}, "event not allowed"),
    ({"event": "send_to_peer", "peer_id": "own", "data": {"event": []}}, "event not allowed"),
    ({"event": "update_status", "status": 1}, "invalid status"),
    ({"event": "update_status", "status": {"name": " "}}, "blank name not allowed"),
    ({"event": "update_status", "status": {"name": "x" * 51}}, "name too long"),
    ({"event": "update_status", "status": {"user_agent": "lynx"}}, "unknown user agent"),
]


async def test_each_mistake_is_told_and_the_socket_stays_open(door: Door) -> None:
    socket = await door.connect(PATH)
    for said, text in WRONG:
        await socket.send(json.dumps(said) if isinstance(said, dict) else said)
        assert await socket.event() == error(text), said
    assert await answers(socket) == []


async def test_each_mistake_in_a_room_is_told_to_who_made_it_alone(door: Door) -> None:
    _, (first, second), (own, other) = await meet(door)
    for said, text in WRONG_INSIDE:
        await first.send(json.dumps(said).replace('"own"', f'"{own}"'))
        assert await first.event() == error(text), said
    assert await heard(second, other) == []
    await first.tell("send_to_peer", peer_id=own, data=OFFER)
    assert await first.event() == {**OFFER, "sender_id": own}


@pytest.mark.parametrize(
    "fields", [{}, {"status": {}}, {"status": None}, {"status": {"mood": "good"}, "more": 1}]
)
async def test_a_join_needs_no_status(in_process: Door, fields: dict[str, Any]) -> None:
    room = new_room()
    first, _ = await enter(in_process, room)
    second = await in_process.connect(PATH)
    await second.tell("join_room", room_id=room, **fields)
    joined = await second.event()
    assert [one["status"] for one in joined["peers"]] == [{}]
    told = await first.event()
    assert told["status"] == (fields.get("status") or {})


async def test_names_and_rooms_have_up_to_50_characters_of_any_kind(door: Door) -> None:
    room = "😀" * 44 + new_room()[-6:]
    first, _ = await enter(door, room, name="é" * 50, user_agent="safari")
    _, joined = await enter(door, room)
    assert joined["peers"][0]["status"] == {"name": "é" * 50, "user_agent": "safari"}
    await first.close()


async def test_of_two_joins_in_one_segment_the_second_is_refused(our_door: ServerDoor) -> None:
    room = new_room()
    message = json.dumps({"event": "join_room", "room_id": room}).encode()
    async with our_door.raw() as raw:
        await raw.open(PATH)
        await raw.send(frame(TEXT, message) * 2)
        assert json.loads((await raw.frame())[1])["event"] == "joined_room"
        assert json.loads((await raw.frame())[1]) == error("already joined another room")

    async def is_empty() -> bool:
        socket, joined = await enter(our_door, room)
        await socket.close()
        return bool(joined["peers"] == [])

    await eventually(is_empty)


async def test_a_bad_status_leaves_nobody_in_the_room(door: Door) -> None:
    room = new_room()
    first, joined = await enter(door, room)
    second = await door.connect(PATH)
    await second.tell("join_room", room_id=room, status={"name": 5})
    assert await second.event() == error("invalid status")
    assert await heard(first, joined["own_id"]) == []
    assert len((await join(second, room))["peers"]) == 1


async def test_a_ping_is_answered_with_pong(door: Door) -> None:
    socket = await door.connect(PATH)
    await socket.tell("ping")
    assert await socket.event() == {"event": "pong"}


async def test_a_client_that_goes_without_a_word_has_left(door: Door) -> None:
    _, (first, second), (_, other) = await meet(door)
    await second.leave()
    assert await first.event() == {"event": "peer_left", "sender_id": other}


async def test_what_was_said_before_closing_is_done(door: Door) -> None:
    _, (first, second), (own, other) = await meet(door)
    await second.tell("send_to_peer", peer_id=own, data=OFFER)
    await second.close()
    assert await first.event() == {**OFFER, "sender_id": other}
    assert await first.event() == {"event": "peer_left", "sender_id": other}


async def test_a_frame_over_the_limit_closes_with_1009(door: Door) -> None:
    _, (first, second), (own, other) = await meet(door)
    data = {"event": "message", "text": "x" * 1_000_000}
    await first.tell("send_to_peer", peer_id=other, data=data)
    assert await second.event() == {**data, "sender_id": own}
    await first.send('"' + "x" * 1024 * 1024 + '"')
    assert await first.closed() == 1009
    assert await second.event() == {"event": "peer_left", "sender_id": own}


async def test_50_who_join_at_once_are_each_announced_once_to_each_other(door: Door) -> None:
    room, count = new_room(), 50
    sockets = [await door.connect(PATH) for _ in range(count)]
    for socket in sockets:
        await socket.tell("join_room", room_id=room)
    known: dict[str, list[str]] = {}
    for socket in sockets:
        joined = await socket.event()
        assert joined["event"] == "joined_room"
        met = known[joined["own_id"]] = [one["peer_id"] for one in joined["peers"]]
        while len(met) < count - 1:
            told = await socket.event()
            assert told["event"] == "new_peer", told
            met.append(told["peer_id"])
    for own, met in known.items():
        assert sorted([own, *met]) == sorted(known)


async def test_an_unknown_sub_protocol_is_not_answered(door: Door) -> None:
    socket = await door.connect(PATH, "broadcast.v1")
    assert socket.subprotocol is None
    await socket.tell("info")
    assert await socket.event() == INFO
