"""The signalling socket, on every server: palava's messages, their order, every error."""

from typing import Any

import pytest

from tests.doors import Door, Socket
from tests.rooms import enter, new_room


async def test_two_peers_meet(door: Door) -> None:
    room = new_room()
    first, joined = await enter(door, room, name="A", user_agent="chrome")
    assert joined["peers"] == []
    second, also = await enter(door, room, name="B")
    assert also["peers"] == [
        {"peer_id": joined["own_id"], "status": {"name": "A", "user_agent": "chrome"}}
    ]
    assert await first.event() == {
        "event": "new_peer",
        "peer_id": also["own_id"],
        "status": {"name": "B"},
    }
    data = {"event": "offer", "sdp": {"type": "offer", "sdp": "v=0"}, "sender_id": "forged"}
    await first.tell("send_to_peer", peer_id=also["own_id"], data=data)
    assert await second.event() == {**data, "sender_id": joined["own_id"]}
    await second.close()
    assert await first.event() == {"event": "peer_left", "sender_id": also["own_id"]}
