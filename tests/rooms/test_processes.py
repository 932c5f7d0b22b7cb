"""Rooms over several server processes on one Redis: real processes, a real Redis.

The members of a process that died leave after `PEER_SECONDS`.
"""

import asyncio
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from broadcast.rooms.signaling import UNAVAILABLE
from tests.rig.doors import ServerDoor, Socket
from tests.rig.processes import DURABLE, Installation
from tests.rig.rooms import PATH, enter, error, heard, join, new_room

PEER_SECONDS = 5
OFFER = {"event": "offer", "sdp": {"type": "offer", "sdp": "v=0"}}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    directory = tmp_path_factory.mktemp("rooms")
    with Installation(
        directory, servers=3, options=DURABLE, BROADCAST_PEER_SECONDS=str(PEER_SECONDS)
    ) as installation:
        yield installation


async def come(sockets: list[Socket], room: str) -> dict[str, Socket]:
    """All join at once; each meets each other once, `joined_room` first. Answers them by id."""
    for socket in sockets:
        await socket.tell("join_room", room_id=room)
    met: dict[str, Counter[str]] = {}
    found: dict[str, Socket] = {}

    async def hear(socket: Socket) -> None:
        joined = await socket.event()
        assert joined["event"] == "joined_room", joined
        own = joined["own_id"]
        found[own] = socket
        peers = met[own] = Counter(one["peer_id"] for one in joined["peers"])
        while peers.total() < len(sockets) - 1:
            told = await socket.event()
            assert told["event"] == "new_peer", told
            peers[told["peer_id"]] += 1

    await asyncio.gather(*map(hear, sockets))
    for own, peers in met.items():
        assert peers == Counter(found.keys() - {own})
    return found


async def event_after_all(socket: Socket) -> dict[str, Any]:
    """The next event, which comes when somebody was believed to be there for long enough."""
    with suppress(TimeoutError):
        return await socket.event()
    return await socket.event()


async def test_200_who_join_at_once_meet_each_other_and_leave_no_ghosts(
    here: ServerDoor, there: ServerDoor, elsewhere: ServerDoor, installation: Installation
) -> None:
    room = new_room()
    doors = (here, there, elsewhere)
    sockets = [await doors[number % 3].connect(PATH) for number in range(200)]
    found = await come(sockets, room)
    gone = {own for own, socket in found.items() if socket in elsewhere.sockets}
    installation.servers[2].kill()
    try:
        left = {own: socket for own, socket in found.items() if own not in gone}

        async def hear(own: str, socket: Socket) -> None:
            told = [await event_after_all(socket) for _ in gone]
            assert all(one["event"] == "peer_left" for one in told)
            assert {one["sender_id"] for one in told} == gone
            assert await heard(socket, own) == []

        await asyncio.gather(*(hear(*one) for one in left.items()))
        _, joined = await enter(there, room)
        assert {one["peer_id"] for one in joined["peers"]} == set(left)
    finally:
        installation.servers[2].start()


async def test_peers_at_two_servers_meet(here: ServerDoor, there: ServerDoor) -> None:
    room = new_room()
    first, joined = await enter(here, room, name="A", user_agent="chrome")
    second, also = await enter(there, room, name="B")
    own, other = joined["own_id"], also["own_id"]
    assert also["peers"] == [{"peer_id": own, "status": {"name": "A", "user_agent": "chrome"}}]
    assert await first.event() == {"event": "new_peer", "peer_id": other, "status": {"name": "B"}}
    for number in range(200):
        data = {"event": "ice_candidate", "candidate": number}
        await first.tell("send_to_peer", peer_id=other, data=data)
    for number in range(200):
        candidate = await second.event()
        assert candidate == {"event": "ice_candidate", "candidate": number, "sender_id": own}
    await second.tell("update_status", status={"name": "C"})
    assert (await first.event())["status"] == {"name": "C"}
    await second.leave()
    assert await first.event() == {"event": "peer_left", "sender_id": other}


async def test_a_newcomer_is_announced_before_anything_it_says(
    here: ServerDoor, there: ServerDoor
) -> None:
    room = new_room()
    first, joined = await enter(here, room)
    own = joined["own_id"]
    for _ in range(20):
        second = await there.connect(PATH)
        await second.tell("join_room", room_id=room)
        await second.tell("send_to_peer", peer_id=own, data=OFFER)
        await second.tell("leave_room")
        told = [await first.event() for _ in range(3)]
        assert [one["event"] for one in told] == ["new_peer", "offer", "peer_left"]


async def test_a_server_that_goes_says_so_and_serves_to_the_end(
    here: ServerDoor, there: ServerDoor, installation: Installation
) -> None:
    with installation.another_server(BROADCAST_DRAIN_SECONDS="2") as server:
        await asyncio.to_thread(server.start)
        leaving = ServerDoor(server)
        room = new_room()
        first, _ = await enter(here, room)
        second, joined = await enter(leaving, room)
        other = joined["own_id"]
        assert (await first.event())["event"] == "new_peer"
        idle = await leaving.connect(PATH)
        assert server.process
        server.process.send_signal(signal.SIGTERM)
        for socket in (second, idle):
            assert await socket.event() == {"event": "shutdown", "seconds": 2}
        await second.tell("send_to_peer", peer_id=other, data=OFFER)
        assert await second.event() == {**OFFER, "sender_id": other}
        for socket in (second, idle):
            assert await socket.rest() == ([], 4200)
        assert await first.event() == {"event": "peer_left", "sender_id": other}
        assert await asyncio.to_thread(server.process.wait, 30) == 0
        server.assert_clean_log()
        await leaving.aclose()


async def test_who_was_taken_for_dead_comes_back(
    here: ServerDoor, there: ServerDoor, installation: Installation
) -> None:
    room = new_room()
    first, _ = await enter(here, room)
    second, joined = await enter(there, room)
    assert (await first.event())["event"] == "new_peer"
    frozen = installation.servers[1].process
    assert frozen
    frozen.send_signal(signal.SIGSTOP)
    try:
        told = await event_after_all(first)
        assert told == {"event": "peer_left", "sender_id": joined["own_id"]}
    finally:
        frozen.send_signal(signal.SIGCONT)
    assert await second.closed() == 4408
    await enter(there, room)
    assert (await first.event())["event"] == "new_peer"


async def test_members_stay_while_redis_is_away(
    here: ServerDoor, there: ServerDoor, installation: Installation
) -> None:
    room = new_room()
    first, joined = await enter(here, room)
    second, also = await enter(there, room)
    own, other = joined["own_id"], also["own_id"]
    assert (await first.event())["event"] == "new_peer"
    with installation.outage():
        for said in (
            {"event": "send_to_peer", "peer_id": other, "data": OFFER},
            {"event": "update_status", "status": {"name": "A"}},
        ):
            await first.tell(**said)
            assert await first.event() == error(UNAVAILABLE)
        third = await there.connect(PATH)
        await third.tell("join_room", room_id=room)
        assert await third.event() == error(UNAVAILABLE)
        await third.tell("ping")
        assert await third.event() == {"event": "pong"}
        # Longer than anybody is believed to be there who says nothing.
        await asyncio.sleep(PEER_SECONDS + 0.5)
    await first.tell("send_to_peer", peer_id=other, data=OFFER)
    assert await second.event() == {**OFFER, "sender_id": own}
    joined = await join(third, room)
    assert {one["peer_id"] for one in joined["peers"]} == {own, other}
    assert (await first.event())["event"] == "new_peer"


async def test_who_leaves_while_redis_is_away_has_left_when_it_is_back(
    here: ServerDoor, there: ServerDoor, installation: Installation
) -> None:
    room = new_room()
    first, _ = await enter(here, room)
    second, joined = await enter(there, room)
    assert (await first.event())["event"] == "new_peer"
    with installation.outage():
        await second.leave()
    assert await event_after_all(first) == {"event": "peer_left", "sender_id": joined["own_id"]}


async def test_a_redis_that_forgot_the_room_has_all_come_back(
    here: ServerDoor, there: ServerDoor, installation: Installation
) -> None:
    room = new_room()
    sockets = [(await enter(door, room))[0] for door in (here, there)]
    for process in installation.redis:
        with process.away():
            process.forget()
    installation.wait_until_available()
    for socket in sockets:
        assert await socket.closed() == 4408
    first, joined = await enter(here, room)
    assert joined["peers"] == []
    second, _ = await enter(there, room)
    assert (await first.event())["event"] == "new_peer"
