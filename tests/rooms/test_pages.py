"""The pages of rooms: which room an address leads to, who may enter, what the page is given."""

import base64
import hashlib
import hmac
import html
import json
import logging
import re
from typing import Any
from urllib.parse import quote, urljoin

import pytest
from django.contrib.auth.models import User
from django.core.checks import run_checks
from django.test import Client, override_settings
from django.utils import timezone

from broadcast.models import Room
from broadcast.rooms.ice import ice_servers
from tests.rig.html import assert_safe

pytestmark = pytest.mark.django_db

TURN = {"urls": ["turn:turn.example.org", "turns:turn.example.org:443"]}
STUN = {"urls": "stun:stun.example.org"}


def attribute(text: str, name: str) -> str:
    found = re.search(rf'data-{name}="([^"]*)"', text)
    assert found, name
    return html.unescape(found.group(1))


def room_of(client: Client, path: str) -> str:
    response = client.get(path)
    assert response.status_code == 200, response
    return attribute(response.content.decode(), "room")


# -- addresses ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "room_id",
    [
        *("standup", "Ä ö 日本 😀", "a b", "50%", "what?", "a#b", "a&b=c;d", "<b>'\"", "a/b", "a/"),
        *("/", "a\nb", "\0", "new", "x" * 50, "😀" * 50),
    ],
)
def test_any_id_can_stand_in_an_address(client: Client, room_id: str) -> None:
    assert room_of(client, f"/rooms/{quote(room_id, safe='')}/") == room_id


@pytest.mark.parametrize("room_id", ["standup", "Ä ö 日本 😀", "50%", "what?", "a#b", "a/b", "a'b"])
def test_the_form_leads_to_the_room_of_that_name(client: Client, room_id: str) -> None:
    response = client.get("/rooms/", {"room": f" {room_id} "})
    assert response.status_code == 302
    assert room_of(client, response["Location"]) == room_id


@pytest.mark.parametrize("room_id", ["", " ", ".", "..", "x" * 51, "a\0b"])
def test_a_name_that_no_room_can_have_is_told(client: Client, room_id: str) -> None:
    response = client.get("/rooms/", {"room": room_id})
    assert response.status_code == 400
    assert 'id="room-error"' in response.content.decode()
    assert_safe(response)


WAYS_OUT = ["../../admin", "..", "./a", "a/../../b", "a/..", "/../admin", "a/.", "../\\evil"]
OTHERS = ["..a/b", "a..", "...", "%2e%2e/%2e%2e/admin", "..\\..\\admin", "//evil", "a//b"]


@pytest.mark.parametrize("room_id", WAYS_OUT)
def test_no_name_leads_to_another_page(client: Client, room_id: str) -> None:
    assert client.get("/rooms/", {"room": room_id}).status_code == 400
    Room.objects.create(room_id=room_id, title="Odd")
    assert "Odd" not in client.get("/rooms/").content.decode()


@pytest.mark.parametrize("room_id", OTHERS)
def test_a_name_that_only_looks_so_leads_to_its_room(client: Client, room_id: str) -> None:
    location = client.get("/rooms/", {"room": room_id})["Location"]
    # As a browser follows it.
    assert urljoin("http://localhost/rooms/", location).startswith("http://localhost/rooms/")
    assert not re.search(r"(?i)/(\.|%2e){1,2}(/|$)|\\\\", location)
    assert room_of(client, location) == room_id


def test_an_id_that_is_too_long_leads_nowhere(client: Client) -> None:
    assert client.get(f"/rooms/{'x' * 51}/").status_code == 404


def test_a_new_room_has_another_name_each_time(client: Client) -> None:
    paths = {client.get("/rooms/", {"new": "1"})["Location"] for _ in range(20)}
    assert len(paths) == 20
    assert all(re.fullmatch(r"/rooms/([a-z]{4}-){2}[a-z]{4}/", path) for path in paths)


@pytest.mark.parametrize("path", ["/rooms/", "/rooms/standup/"])
def test_nothing_is_posted_to_them(client: Client, path: str) -> None:
    assert client.post(path).status_code == 405
    assert_safe(client.get(path))


def test_what_leads_there_is_on_every_page(client: Client) -> None:
    assert 'href="/rooms/"' in client.get("/").content.decode()


# -- rooms with a row -----------------------------------------------------------------------


def test_public_rooms_are_listed_and_no_others(client: Client) -> None:
    for visibility in Room.Visibility:
        Room.objects.create(
            room_id=visibility, title=f"The {visibility} one", visibility=visibility
        )
    Room.objects.create(room_id="closed", title="Closed", closed_at=timezone.now())
    Room.objects.create(room_id="a/b?", title="<b>Odd</b>")
    text = client.get("/rooms/").content.decode()
    links = re.findall(r'<h2><a href="([^"]+)">(.*?)</a>', text)
    assert ("/rooms/public/", "The public one") in links
    assert ("/rooms/a/b%3F/", "&lt;b&gt;Odd&lt;/b&gt;") in links
    assert len(links) == 2


def test_a_private_room_is_for_those_who_may(client: Client) -> None:
    room = Room.objects.create(room_id="board", title="Board", visibility="private")
    assert client.get("/rooms/board/")["Location"].startswith("/admin/login/")
    user = User.objects.create_user("ada")
    client.force_login(user)
    response = client.get("/rooms/board/")
    assert response.status_code == 403 and "may not enter" in response.content.decode()
    token = room.make_token()
    response = Client().get("/rooms/board/", {"token": token})
    assert attribute(response.content.decode(), "token") == token
    assert response.headers["Referrer-Policy"] == "no-referrer"
    # Whoever shares the link does not share what was given to them.
    assert token not in response.content.decode().replace(f'data-token="{token}"', "").replace(
        f"token%3D{quote(token)}", ""
    )
    room.may_enter_users.add(user)
    assert room_of(client, "/rooms/board/") == "board"


def test_a_closed_room_says_so(client: Client) -> None:
    Room.objects.create(room_id="old", title="Old", closed_at=timezone.now())
    response = client.get("/rooms/old/")
    assert response.status_code == 410 and "Nobody can enter Old now" in response.content.decode()
    assert_safe(response)


def test_a_closed_private_room_says_its_title_to_nobody_else(client: Client) -> None:
    room = Room.objects.create(
        room_id="deal", title="Merger", visibility="private", closed_at=timezone.now()
    )
    assert client.get("/rooms/deal/")["Location"].startswith("/admin/login/")
    user = User.objects.create_user("ada")
    client.force_login(user)
    response = client.get("/rooms/deal/")
    assert response.status_code == 403 and "Merger" not in response.content.decode()
    room.may_enter_users.add(user)
    response = client.get("/rooms/deal/")
    assert response.status_code == 410 and "Merger" in response.content.decode()


def test_who_is_known_need_not_say_their_name(client: Client) -> None:
    client.force_login(User.objects.create_user("ada", first_name="Ada", last_name="Lovelace"))
    assert 'value="Ada Lovelace"' in client.get("/rooms/standup/").content.decode()


# -- STUN and TURN --------------------------------------------------------------------------


def given(client: Client) -> Any:
    """The servers that the page is given."""
    response = client.get("/rooms/standup/")
    assert "no-store" in response.headers["Cache-Control"]
    return json.loads(attribute(response.content.decode(), "ice-servers"))


def test_without_settings_there_are_no_servers(client: Client) -> None:
    assert given(client) == []


@override_settings(BROADCAST_ICE_SERVERS=[STUN, TURN], BROADCAST_TURN_SECRET="open-sesame")
def test_turn_servers_get_a_credential_that_runs_out() -> None:
    stun, turn = ice_servers("7", now=1_000_000.5)
    assert stun == STUN
    assert turn["urls"] == TURN["urls"]
    assert turn["username"] == "1086400:7"
    digest = hmac.new(b"open-sesame", b"1086400:7", hashlib.sha1).digest()
    assert base64.b64decode(turn["credential"]) == digest


@override_settings(
    BROADCAST_ICE_SERVERS=[TURN], BROADCAST_TURN_SECRET="open-sesame", BROADCAST_TURN_AGE=60
)
def test_it_is_made_when_the_page_is_opened_and_never_logged(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    now = timezone.now().timestamp()
    with caplog.at_level(logging.DEBUG):
        [turn] = given(client)
    expiry, user = turn["username"].split(":")
    assert user == "guest" and 59 <= int(expiry) - now <= 70
    assert turn["credential"] not in caplog.text and "open-sesame" not in caplog.text
    user = User.objects.create_user("ada")
    client.force_login(user)
    assert given(client)[0]["username"].endswith(f":{user.pk}")


@override_settings(
    BROADCAST_ICE_SERVERS=[{**TURN, "username": "ada", "credential": "x"}, STUN],
    BROADCAST_TURN_SECRET="open-sesame",
)
def test_a_server_with_a_credential_keeps_it(client: Client) -> None:
    assert given(client)[0] == {**TURN, "username": "ada", "credential": "x"}


@override_settings(BROADCAST_ICE_SERVERS=[TURN])
def test_without_a_secret_there_is_no_credential(client: Client) -> None:
    assert given(client) == [TURN]


@pytest.mark.parametrize(
    "servers",
    [
        *("stun:stun.example.org", ["stun:stun.example.org"], [{}], [{"urls": []}], [{"urls": 3}]),
        *([{"urls": "stun.example.org"}], [{"urls": ["stun:a", "http://b"]}], [{"url": "stun:a"}]),
    ],
)
def test_servers_that_browsers_refuse_are_found_by_the_checks(servers: Any) -> None:
    with override_settings(BROADCAST_ICE_SERVERS=servers):
        [found] = run_checks(tags=["broadcast"])
    assert found.id == "broadcast.E002"
    with override_settings(BROADCAST_ICE_SERVERS=[STUN, TURN]):
        assert run_checks(tags=["broadcast"]) == []
