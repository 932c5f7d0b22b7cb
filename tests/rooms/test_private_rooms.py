"""Who may enter a room that has a row, and what becomes of who is inside when that changes."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.test import Client
from django.utils import timezone

from broadcast.models import Room, Stream, rows
from tests.rig.doors import Closed, InProcessDoor, Socket
from tests.rig.rooms import PATH, answers, enter, error, join

REFUSED = error("you may not enter here")


@sync_to_async
def private(**fields: Any) -> Room:
    return Room.objects.create(
        **{"room_id": "club", "title": "Club", "visibility": "private", **fields}
    )


@sync_to_async
def person(who: str) -> Any:
    if who == "nobody":
        return AnonymousUser()
    user = User.objects.create_user(who, is_staff=who == "staff")
    room = Room.objects.get()
    if who == "owner":
        Room.objects.update(owner=user)
    if who == "permitted":
        user.user_permissions.add(Permission.objects.get(codename="enter_room"))
    if who == "named":
        room.may_enter_users.add(user)
    return user


async def ask(socket: Socket, room: str = "club") -> dict[str, Any]:
    await socket.tell("join_room", room_id=room)
    return await socket.event()


@pytest.mark.parametrize("who", ["nobody", "somebody", "owner", "staff", "permitted", "named"])
async def test_a_private_room_is_for_owner_staff_and_the_permitted(
    in_process: InProcessDoor, who: str
) -> None:
    await private()
    in_process.user = await person(who)
    socket = await in_process.connect(PATH)
    said = await ask(socket)
    if who in ("nobody", "somebody"):
        assert said == REFUSED
        # It stays open, and may go elsewhere.
        assert (await ask(socket, "elsewhere"))["event"] == "joined_room"
    else:
        assert said["event"] == "joined_room"


async def test_other_rooms_with_a_row_are_for_everybody(in_process: InProcessDoor) -> None:
    for visibility in ("public", "unlisted"):
        await private(room_id=visibility, visibility=visibility)
        socket = await in_process.connect(PATH)
        assert (await ask(socket, visibility))["event"] == "joined_room"


async def test_who_was_refused_is_announced_to_nobody(in_process: InProcessDoor) -> None:
    room = await private()
    token = room.make_token()
    first, _ = await enter_with(in_process, token)
    socket = await in_process.connect(PATH)
    assert await ask(socket) == REFUSED
    await first.tell("update_status", status={"name": "A"})
    assert (await first.event())["event"] == "peer_updated_status"


async def enter_with(door: InProcessDoor, token: str) -> tuple[Socket, dict[str, Any]]:
    socket = await door.connect(f"{PATH}?token={token}")
    return socket, await join(socket, "club")


async def test_a_token_lets_in_as_query_as_header_and_as_sub_protocol(
    in_process: InProcessDoor,
) -> None:
    token = (await private()).make_token()
    await enter_with(in_process, token)
    socket = await in_process.connect(PATH, headers={"Authorization": f"Bearer {token}"})
    await join(socket, "club")
    socket = await in_process.connect(PATH, f"token.{token}")
    assert socket.subprotocol == f"token.{token}"
    await join(socket, "club")


async def test_a_token_that_does_not_let_in_is_told_why(in_process: InProcessDoor) -> None:
    room = await private()
    other = await private(room_id="other")
    withdrawn = room.make_token()
    await sync_to_async(room.withdraw_tokens)(timezone.now())
    tokens = {
        "nonsense": "the token is none, or was tampered with",
        other.make_token(): "the token is for another room",
        withdrawn: "the token was withdrawn",
    }
    for token, text in tokens.items():
        socket = await in_process.connect(f"{PATH}?token={token}")
        assert await ask(socket) == error(text)
        assert await answers(socket) == []


async def test_a_token_of_a_stream_is_none_of_a_room(in_process: InProcessDoor) -> None:
    room = await private()
    slug = await in_process.stream("private")
    stream = await Stream.objects.aget(slug=slug)
    assert stream.pk == room.pk
    socket = await in_process.connect(f"{PATH}?token={stream.make_token('listen')}")
    assert await ask(socket) == error("the token is to listen, not to enter")
    listener = await in_process.connect(f"/ws/listener/{slug}/?token={room.make_token()}")
    assert await listener.closed() == 4503


async def test_a_closed_room_is_for_nobody(in_process: InProcessDoor) -> None:
    await private(visibility="public", closed_at=timezone.now())
    socket = await in_process.connect(PATH)
    assert await ask(socket) == error("the room was closed")


async def test_a_room_whose_name_no_row_can_have_is_for_everybody(
    in_process: InProcessDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def query(model: type[Room], room_id: str) -> None:
        asked.append(room_id)

    monkeypatch.setattr(rows, "_query", query)
    await enter(in_process, "club")
    await enter(in_process, "cl\0ub")
    assert asked == ["club"]


async def test_a_row_may_have_a_limit_of_its_own(in_process: InProcessDoor) -> None:
    await private(visibility="public", max_peers=1)
    await enter(in_process, "club")
    socket = await in_process.connect(PATH)
    assert await ask(socket) == error("room is full")


# -- what changes for who is inside --------------------------------------------------------------


CHANGES: dict[str, tuple[Callable[[Room], Any], int, str]] = {
    "closed": (lambda room: room.close(timezone.now()), 4510, "the room was closed"),
    "closed without a word": (
        *(lambda room: Room.objects.update(closed_at=timezone.now()), 4510),
        "the room was closed",
    ),
    "tokens withdrawn": (
        *(lambda room: room.withdraw_tokens(timezone.now()), 4503),
        "the token was withdrawn",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_who_may_no_longer_be_inside_is_told_and_sent_away(
    in_process: InProcessDoor, change: str
) -> None:
    room = await private()
    guest, joined = await enter_with(in_process, room.make_token())
    elsewhere, own = await enter(in_process, "elsewhere")
    do, code, text = CHANGES[change]
    await sync_to_async(do)(room)
    assert await guest.event() == error(text)
    assert await guest.closed() == code
    await elsewhere.tell("send_to_peer", peer_id=own["own_id"], data={"event": "message"})
    assert (await elsewhere.event())["event"] == "message"


async def test_a_named_user_who_is_removed_leaves_at_once_and_others_stay(
    in_process: InProcessDoor,
) -> None:
    room = await private()
    host, _ = await enter_with(in_process, room.make_token())
    user = in_process.user = await person("named")
    guest, joined = await enter_with(in_process, "")
    assert (await host.event())["event"] == "new_peer"
    await sync_to_async(room.may_enter_users.remove)(user)
    assert await guest.event() == REFUSED
    assert await guest.closed() == 4503
    assert await host.event() == {"event": "peer_left", "sender_id": joined["own_id"]}


async def test_a_room_that_is_given_a_row_holds_for_who_is_inside(
    in_process: InProcessDoor,
) -> None:
    guest, _ = await enter(in_process, "club")
    await private()
    assert await guest.event() == REFUSED
    assert await guest.closed() == 4503


async def test_who_left_is_not_sent_away(in_process: InProcessDoor) -> None:
    room = await private()
    guest, _ = await enter_with(in_process, room.make_token())
    await guest.tell("leave_room")
    assert await answers(guest) == []
    await join(guest, "elsewhere")
    await sync_to_async(room.close)(timezone.now())
    other, _ = await enter(in_process, "elsewhere")
    assert (await guest.event())["event"] == "new_peer"
    await other.close()


async def test_a_token_that_runs_out_ends_the_stay(
    in_process: InProcessDoor,
) -> None:
    room = await private()
    now = time.time()
    guest, _ = await enter_with(in_process, room.make_token(2, now))
    assert await guest.event() == error("the token ran out")
    assert await guest.closed() == 4503
    assert time.time() >= int(now + 2)


async def test_a_session_that_ends_ends_the_stay(in_process: InProcessDoor) -> None:
    await private()
    client = Client()
    user = await person("named")
    await sync_to_async(client.force_login)(user)
    cookie = f"sessionid={client.cookies['sessionid'].value}"
    guest = await in_process.connect(PATH, headers={"Cookie": cookie})
    await join(guest, "club")
    await sync_to_async(client.logout)()
    with pytest.raises(Closed) as closed:
        async with asyncio.timeout(30):
            while True:
                await guest.receive()
    assert closed.value.code in (4503, 4200)
