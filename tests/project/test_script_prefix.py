"""A site that is mounted below a path: every address on every page is below it, too."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import set_script_prefix
from pytest_django.fixtures import Settings

from broadcast.models import Room, Stream

PREFIX = "/at/home/"
#: Attributes whose value is an address where it begins with a slash.
ADDRESS = re.compile(r"""\s(href|src|action|data-[a-z-]+)="(/[^"]*)\"""")

PAGES = [
    *("", "streams/s/", "streams/s/studio/", "streams/film/studio/", "streams/s/embed/"),
    *("streams/none/embed/", "rooms/", "rooms/r/", "vote/"),
    *("admin/broadcast/stream/", "admin/broadcast/room/"),
]


@pytest.fixture
def owner(db: None, settings: Settings) -> Iterator[User]:
    settings.FORCE_SCRIPT_NAME, settings.FIRST_STEPS = PREFIX.rstrip("/"), True
    # Both as a server has it: the client of tests leaves it out.
    set_script_prefix(PREFIX)
    settings.STATIC_URL = f"{PREFIX}static/"
    owner = User.objects.create_superuser("owner")
    Stream.objects.create(slug="s", title="S", owner=owner)
    Stream.objects.create(slug="film", kind="media", owner=owner)
    Stream.objects.create(slug="demo")
    Room.objects.create(room_id="r", owner=owner)
    yield owner
    set_script_prefix("/")


def page_at(client: Client, path: str) -> str:
    response: Any = client.get(f"/{path}")
    assert response.status_code in (200, 404), response.status_code
    return str(response.content.decode())


@pytest.mark.parametrize("path", PAGES)
def test_every_address_of_a_page_is_below_it(owner: User, client: Client, path: str) -> None:
    client.force_login(owner)
    addresses = ADDRESS.findall(page_at(client, path))
    assert addresses
    assert [one for one in addresses if not f"{one[1]}/".startswith(PREFIX)] == []


@pytest.mark.parametrize(
    ("path", "socket"),
    [
        ("", "ws/listener/demo/"),
        ("streams/s/", "ws/listener/s/"),
        ("streams/s/studio/", "ws/streamer/s/"),
        ("rooms/r/", "ws/signaling/"),
        ("vote/", "ws/socket/"),
        ("admin/broadcast/stream/", "ws/admin/streams/"),
        ("admin/broadcast/room/", "ws/admin/rooms/"),
    ],
)
def test_the_sockets_of_pages_are_below_it(
    owner: User, client: Client, path: str, socket: str
) -> None:
    client.force_login(owner)
    sockets = [
        address for _, address in ADDRESS.findall(page_at(client, path)) if "/ws/" in address
    ]
    assert {address.partition("?")[0] for address in sockets} == {PREFIX + socket}


def test_the_addresses_of_one_stream_in_the_admin(owner: User, client: Client) -> None:
    client.force_login(owner)
    page = page_at(client, f"admin/broadcast/stream/{Stream.objects.get(slug='s').pk}/change/")
    addresses = dict(ADDRESS.findall(page))
    assert addresses["data-socket"].startswith(f"{PREFIX}ws/admin/streams/?")


def test_the_api_names_addresses_below_it(owner: User, client: Client) -> None:
    described = client.get("/api/schema/").json()
    assert described["servers"] == [{"url": PREFIX.rstrip("/")}]
