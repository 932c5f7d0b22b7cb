"""What the admin's pages are told as it changes; who is connected, and the removal of somebody."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.test import Client

from broadcast import apublish
from broadcast.access.guard import MOST
from broadcast.backends import get_backend
from broadcast.models import Stream
from broadcast.monitor import figures
from broadcast.monitor.figures import Rates, excerpt, last_publications, type_of
from broadcast.publications import Kind, Publication
from tests.rig.doors import V1, InProcessDoor, ServerDoor, Socket
from tests.rig.processes import Installation

PATH = "/ws/admin/streams/"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "TICK", 0.05)


@sync_to_async
def staff(*permissions: str) -> User:
    user = User.objects.create_user("staff", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return user


async def look(door: InProcessDoor, query: str) -> Socket:
    user, door.user = door.user, await staff("view_stream")
    opened = await door.connect(PATH + query, V1)
    door.user = user
    return opened


async def until_figures(socket: Socket, slug: str, **expected: Any) -> dict[str, Any]:
    """The first figures of the stream that are as expected."""
    while True:
        told = (await socket.until("figures"))["streams"].get(slug, {})
        if expected.items() <= told.items():
            return dict(told)


async def until_connections(socket: Socket, count: int) -> list[dict[str, Any]]:
    while True:
        told: list[dict[str, Any]] = (await socket.until("connections"))["connections"]
        if len(told) == count:
            return told


@pytest.mark.parametrize("query", ["?stream=room:standup", "?streams=demo,page:0f"])
async def test_who_may_view_streams_is_told_nothing_of_rooms_and_of_pages(
    in_process: InProcessDoor, query: str
) -> None:
    assert await (await look(in_process, query)).closed() == 4500


async def test_figures_follow_what_happens(in_process: InProcessDoor, quick: None) -> None:
    one, other = await in_process.stream(), await in_process.stream()
    page = await look(in_process, f"?streams={one},{other}")
    idle = await until_figures(page, one, live=False, listeners=0, offset=0)
    assert idle["since"] is None
    streamer = await in_process.streamer(one)
    await in_process.listener(one)
    await streamer.publish("x")
    told = await until_figures(page, one, live=True, listeners=1, offset=1)
    assert told["since"] > 1_700_000_000
    await until_figures(page, other, live=False, listeners=0, offset=0)
    await streamer.close()
    await until_figures(page, one, live=False, since=None)


async def test_the_last_publications_are_told_when_there_are_new_ones(
    in_process: InProcessDoor, quick: None
) -> None:
    slug = await in_process.stream()
    page = await look(in_process, f"?stream={slug}")
    assert (await page.until("publications"))["publications"] == []
    for payload in ("<b>text</b>", {"a": 1}, b"\x89PNG\r\n\x1a\n"):
        await apublish(slug, payload)
    while len(told := (await page.until("publications"))["publications"]) < 3:
        pass
    assert all(1_700_000_000 < one.pop("time") < 3_000_000_000 for one in told)
    assert told == [
        {"offset": 3, "bytes": 8, "type": "image/png"},
        {"offset": 2, "bytes": 7, "type": "json", "text": '{"a":1}'},
        {"offset": 1, "bytes": 11, "type": "text", "text": "<b>text</b>"},
    ]


async def test_who_is_connected_is_told_and_can_be_removed_by_who_may(
    in_process: InProcessDoor, quick: None
) -> None:
    slug = await in_process.stream()
    in_process.user = await User.objects.acreate(username="ada")
    listener = await in_process.listener(slug)
    in_process.user = None
    plain = await in_process.plain_listener(slug)
    page = await look(in_process, f"?stream={slug}")
    told = await until_connections(page, 2)
    assert {(one["user"], one["way"], one["deed"], one["behind"]) for one in told} == {
        ("ada", V1, "listen", 0),
        ("", "plain", "listen", 0),
    }
    await remove_as(await admin_client(), slug, next(one for one in told if one["user"])["id"])
    assert (await listener.until("error"))["message"] == "a person removed this connection"
    assert await listener.closed() == 4510
    await until_connections(page, 1)
    await apublish(slug, "x")
    assert await plain.receive() == "x"


@sync_to_async
def admin_client() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


async def remove_as(client: Client, slug: str, connection: str) -> None:
    stream = await Stream.objects.aget(slug=slug)
    path = f"/admin/broadcast/stream/{stream.pk}/remove/"
    answer = await sync_to_async(client.post)(path, {"connection": connection})
    assert answer.status_code == 204


@pytest.mark.parametrize("connection", ["", "nobody's", "x" * 10_000])
async def test_removing_nobody_disturbs_nobody(in_process: InProcessDoor, connection: str) -> None:
    slug = await in_process.stream()
    listener = await in_process.listener(slug)
    await remove_as(await admin_client(), slug, connection)
    await apublish(slug, "x")
    assert await listener.told() == (1, "x")


async def test_of_very_many_those_are_told_who_are_furthest_behind(
    in_process: InProcessDoor, quick: None
) -> None:
    slug = await in_process.stream()
    for _ in range(MOST + 10):
        await in_process.listener(slug)
    page = await look(in_process, f"?stream={slug}")
    assert len(await until_connections(page, MOST)) == MOST
    await until_figures(page, slug, listeners=MOST + 10)


# -- who may look ----------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["nobody", "user", "staff without the permission", "viewer"])
async def test_only_staff_who_may_view_streams_are_told(
    in_process: InProcessDoor, who: str
) -> None:
    if who == "nobody":
        in_process.user = AnonymousUser()
    elif who == "user":
        in_process.user = await User.objects.acreate(username="user")
        await sync_to_async(in_process.user.user_permissions.set)(
            await sync_to_async(list)(Permission.objects.filter(codename="view_stream"))
        )
    else:
        in_process.user = await (staff("view_stream") if who == "viewer" else staff())
    page = await in_process.connect(f"{PATH}?streams=demo", V1)
    if who == "viewer":
        assert (await page.event())["event"] == "figures"
    else:
        assert (await page.event())["event"] == "error"
        assert await page.closed() == 4503


async def test_who_may_look_no_more_is_told_so(in_process: InProcessDoor, quick: None) -> None:
    page = await look(in_process, "?streams=demo")
    await page.until("figures")
    await User.objects.filter(username="staff").aupdate(is_staff=False)
    assert "only staff" in (await page.until("error"))["message"]
    assert await page.closed() == 4503


@pytest.mark.parametrize("said", ["x", "[]", '{"event":"publication","data":1}', b"\x00"])
async def test_nothing_can_be_said_there_but_ping(in_process: InProcessDoor, said: Any) -> None:
    page = await look(in_process, "?streams=demo")
    await page.tell("ping")
    await page.until("pong")
    await page.send(said)
    assert await page.closed() == 4500


@pytest.mark.parametrize("query", ["", "?streams=", "?stream=", "?streams=%00,nowhere"])
async def test_a_page_that_asks_for_nothing_that_is_there_is_told_nothing(
    in_process: InProcessDoor, query: str
) -> None:
    page = await look(in_process, query)
    told = (await page.until("figures"))["streams"]
    assert not any(one["live"] or one["listeners"] or one["offset"] for one in told.values())


# -- parts -----------------------------------------------------------------------------------------


def test_the_rate_is_taken_over_the_last_looks() -> None:
    rates = Rates()
    assert rates.see("s", "e", 100, 0.0) is None
    assert rates.see("s", "e", 110, 1.0) == 10
    assert rates.see("s", "e", 110, 2.0) == 5
    for second in range(3, 10):
        rates.see("s", "e", 110, float(second))
    assert rates.see("s", "e", 110, 10.0) == 0
    assert rates.see("s", "another life", 3, 11.0) is None


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"\x00\x00\x00\x18ftypmp42", "video/mp4"),
        (b"\x1aE\xdf\xa3\x01", "video/webm"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"%PDF-1.7", "application/pdf"),
        (b"", "binary"),
        (b"anything", "binary"),
    ],
)
def test_bytes_are_named_by_how_they_begin(payload: bytes, expected: str) -> None:
    assert type_of(payload) == expected


def test_a_long_text_is_cut_between_two_characters() -> None:
    said = excerpt(Publication(1, Kind.TEXT, ("ä€😀" * 1000).encode(), 0, 1.0))
    assert said["text"] == ("ä€😀" * 1000)[: figures.CHARACTERS]
    assert said["bytes"] == 9000


async def test_large_publications_do_not_hide_the_newest(db: None, settings: Any) -> None:
    for number in range(25):
        await apublish("large", bytes([number]) * 300_000)
    _, newest = (await get_backend().positions(["large"]))["large"]
    found = await last_publications("large", newest)
    assert [one["offset"] for one in found] == [25, 24, 23]


# -- across processes ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with Installation(tmp_path_factory.mktemp("figures")) as installation:
        yield installation


VIEWER = """
from django.contrib.auth.models import User
from django.test import Client
client = Client()
client.force_login(User.objects.create_superuser("admin"))
print(client.cookies["sessionid"].value)
"""


async def test_connections_of_all_processes_are_told_and_removed(
    installation: Installation, here: ServerDoor, there: ServerDoor, slug: str
) -> None:
    made = await asyncio.to_thread(installation.servers[0].manage, "shell", "-v0", "-c", VIEWER)
    cookie = {"Cookie": f"sessionid={made.stdout.strip()}"}
    near, far = await here.listener(slug), await there.listener(slug, headers=cookie)
    streamer = await there.streamer(slug)
    page = await here.connect(f"{PATH}?stream={slug}", V1, headers=cookie)
    told = await until_connections(page, 3)
    assert sorted(one["deed"] for one in told) == ["listen", "listen", "publish"]
    assert {one["address"] for one in told} == {"127.0.0.1"}
    [known] = [one for one in told if one["user"] == "admin"]
    removal = (
        "from asgiref.sync import async_to_sync; from broadcast.access import connections;"
        f"async_to_sync(connections.remove)({slug!r}, {known['id']!r})"
    )
    done = await asyncio.to_thread(installation.servers[0].manage, "shell", "-c", removal)
    assert done.returncode == 0, done.stderr
    assert await far.closed() == 4510
    await until_connections(page, 2)
    await streamer.publish("x")
    assert await near.told() == (1, "x")
    frame = json.dumps({"event": "ping"})
    await page.send(frame)
    await page.until("pong")
