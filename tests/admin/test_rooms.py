"""Rooms in the admin, and who is inside, as a person who runs them meets them."""

import re
import time
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import AsyncClient, Client
from pytest_django.fixtures import Settings

from broadcast.backends import get_backend
from broadcast.backends.rooms import Most
from broadcast.exceptions import BadToken
from broadcast.models import Room, RoomHour
from broadcast.monitor import figures
from broadcast.tokens import Grant
from tests.rig.doors import V1, InProcessDoor, Socket
from tests.rig.rooms import HOUR, enter, error, heard

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root", password="x"))
    return client


@pytest.fixture
def club() -> Room:
    return Room.objects.create(room_id="the club, 😀", title="Club")


def act(client: Client, action: str, *rooms: Room, **fields: Any) -> Any:
    chosen = [room.pk for room in rooms]
    fields = {"action": action, "_selected_action": chosen, **fields}
    return client.post("/admin/broadcast/room/", fields)


def test_a_room_is_made_with_a_title_and_an_id(admin: Client) -> None:
    fields = {"title": "Club", "room_id": "the club, 😀", "visibility": "private"}
    answer = admin.post("/admin/broadcast/room/add/", fields)
    assert answer.status_code == 302, answer.content
    assert Room.objects.get().room_id == "the club, 😀"
    assert b"Club" in admin.get("/admin/broadcast/room/?q=club").content


def test_its_id_cannot_be_changed(admin: Client, club: Room) -> None:
    fields = {"title": "New", "room_id": "other", "visibility": "public"}
    admin.post(f"/admin/broadcast/room/{club.pk}/change/", fields)
    club.refresh_from_db()
    assert (club.title, club.room_id) == ("New", "the club, 😀")


async def test_the_list_shows_how_many_are_inside(club: Room) -> None:
    await Room.objects.acreate(room_id="empty", title="Empty")
    for name in "ab":
        await get_backend().rooms.join("the club, 😀", name, {}, b"", Most(9, None))
    await get_backend().rooms.leave("the club, 😀", "a", b"")
    user = await User.objects.acreate(username="r", is_staff=True, is_superuser=True)
    client = AsyncClient()
    await client.aforce_login(user)
    page = (await client.get("/admin/broadcast/room/")).content.decode()
    rows = dict(zip(["Club", "Empty"], page.split("<tr>")[-2:], strict=True))
    assert re.search(
        'data-figure="inside" data-state="">1<.*data-figure="peak" data-state="">2<', rows["Club"]
    )
    assert re.search(
        'data-figure="inside" data-state="">0<.*data-figure="peak" data-state="">–<', rows["Empty"]
    )


def test_it_asks_before_it_closes_a_room(admin: Client, club: Room) -> None:
    page = act(admin, "close", club).content.decode()
    assert "the club, 😀" in page
    club.refresh_from_db()
    assert club.closed_at is None
    answer = act(admin, "close", club, do="yes", page=club.pk)
    assert answer.headers["Location"] == f"/admin/broadcast/room/{club.pk}/change/"
    club.refresh_from_db()
    assert club.closed_at
    assert "Done with 1 room." in admin.get("/admin/broadcast/room/").content.decode()
    act(admin, "reopen", club, do="yes")
    club.refresh_from_db()
    assert club.closed_at is None


def test_a_token_is_shown_once_and_withdrawn(admin: Client, club: Room) -> None:
    answer = act(admin, "new_token", club, do="yes", max_age=3600)
    assert "no-store" in answer.headers["Cache-Control"]
    token = re.search('data-copy="([^"]+)"', answer.content.decode())[1]  # type: ignore[index]
    club.check_token(token, Grant.ENTER, time.time() + 3590)
    assert LogEntry.objects.get().change_message == "Made a token to enter."
    act(admin, "withdraw_tokens", club, do="yes")
    club.refresh_from_db()
    with pytest.raises(BadToken, match="withdrawn"):
        club.check_token(token, Grant.ENTER, time.time())


def test_hours_are_shown_and_cannot_be_changed(admin: Client) -> None:
    RoomHour.objects.add({(HOUR, "peak", 7): 3})
    page = admin.get("/admin/broadcast/roomhour/").content.decode()
    assert re.search('field-value">7<.*field-count">3<', page)
    row = RoomHour.objects.get()
    assert admin.get("/admin/broadcast/roomhour/add/").status_code == 403
    assert admin.post(f"/admin/broadcast/roomhour/{row.pk}/change/", {}).status_code == 403


def test_whoever_may_only_look_does_nothing(club: Room) -> None:
    user = User.objects.create_user("looker", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_room"))
    client = Client()
    client.force_login(user)
    page = client.get(f"/admin/broadcast/room/{club.pk}/change/").content.decode()
    assert "data-connections" in page and "data-remove" not in page
    act(client, "close", club, do="yes")
    club.refresh_from_db()
    assert club.closed_at is None
    url = f"/admin/broadcast/room/{club.pk}/remove/"
    assert client.post(url, {"connection": "x"}).status_code == 403


# -- the socket of its pages ---------------------------------------------------------------------


@sync_to_async
def staff(*permissions: str) -> User:
    user = User.objects.create_user("staff", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return user


async def look(door: InProcessDoor, query: str, permission: str = "view_room") -> Socket:
    door.user = await staff(permission)
    opened = await door.connect(f"/ws/admin/rooms/{query}", V1)
    door.user = None
    return opened


async def until_inside(socket: Socket, room: Room, inside: int) -> dict[str, Any]:
    while True:
        told: dict[str, Any] = (await socket.until("figures"))["streams"][str(room.pk)]
        if told["inside"] == inside:
            return told


async def test_who_is_inside_is_shown_as_it_changes(
    in_process: InProcessDoor, club: Room, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    monkeypatch.setattr(figures, "TICK", 0.05)
    page = await look(in_process, f"?room={club.pk}")
    assert await until_inside(page, club, 0) == {"inside": 0, "peak": None, "since": None}
    before = time.time()
    first, one = await enter(in_process, club.room_id, name="Ada", user_agent="chrome")
    second, other = await enter(in_process, club.room_id)
    told = await until_inside(page, club, 2)
    assert told["peak"] == 2
    assert before <= told["since"] <= time.time()
    while len(shown := (await page.until("connections"))["connections"]) < 2:
        pass
    assert [(who["id"], who["name"], who["agent"]) for who in shown] == [
        (one["own_id"], "Ada", "chrome"),
        (other["own_id"], "", ""),
    ]
    assert {who["deed"] for who in shown} == {"enter"}
    assert before <= shown[0]["since"] <= shown[1]["since"]


async def test_a_name_that_is_not_valid_unicode_is_shown(
    in_process: InProcessDoor, club: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "TICK", 0.05)
    _, joined = await enter(in_process, club.room_id, name="half \ud83d")
    page = await look(in_process, f"?room={club.pk}")
    (shown,) = (await page.until("connections"))["connections"]
    assert (shown["id"], shown["name"]) == (joined["own_id"], "half ?")


async def test_somebody_is_removed(in_process: InProcessDoor, club: Room, admin: Client) -> None:
    first, one = await enter(in_process, club.room_id)
    second, other = await enter(in_process, club.room_id)
    assert (await first.event())["event"] == "new_peer"
    url = f"/admin/broadcast/room/{club.pk}/remove/"
    post = sync_to_async(admin.post)
    assert (await post(url, {"connection": other["own_id"]})).status_code == 204
    assert await second.event() == error("a person removed this connection")
    assert await second.closed() == 4510
    assert await first.event() == {"event": "peer_left", "sender_id": other["own_id"]}
    assert await heard(first, one["own_id"]) == []


async def test_who_may_not_view_rooms_is_told_nothing(
    in_process: InProcessDoor, club: Room
) -> None:
    page = await look(in_process, f"?room={club.pk}", "view_stream")
    assert (await page.event())["message"] == "only staff who may view rooms see this"
    assert await page.closed() == 4503


@pytest.mark.parametrize("query", ["", "?room=", "?room=x", "?rooms=9,,x,99999999999999999999"])
async def test_rooms_that_are_none_are_left_out(in_process: InProcessDoor, query: str) -> None:
    page = await look(in_process, query)
    assert (await page.until("figures"))["streams"] == {}
