"""What changes while sockets are open: who may no longer be there is sent away, and nobody else."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, Request, build_opener

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group, Permission, User
from django.contrib.sessions.models import Session
from django.db import DatabaseError
from django.test import Client
from django.utils import timezone

from broadcast import apublish
from broadcast.access import guard, rules
from broadcast.hub import bus
from broadcast.models import Room, Stream
from tests.rig.doors import V1, InProcessDoor, ServerDoor, Socket, eventually
from tests.rig.processes import Installation

PERMISSIONS = {"listener": "listen_stream", "streamer": "publish_stream"}
#: Seconds after which a server looks by itself: longer than any test waits.
NEVER = 600.0


class Person:
    """Somebody who may be at a private stream by one thing alone, and opens a socket there."""

    def __init__(self, slug: str, socket: str) -> None:
        self.slug, self.socket = slug, socket
        self.user = User.objects.create_user("somebody")
        self.client = Client()
        self.client.force_login(self.user)
        self.permission = Permission.objects.get(codename=PERMISSIONS[socket])

    @property
    def row(self) -> Any:
        return Stream.objects.filter(slug=self.slug)

    @property
    def users(self) -> Any:
        named = {"listener": "may_listen_users", "streamer": "may_publish_users"}
        return getattr(self.row.get(), named[self.socket])

    @property
    def headers(self) -> dict[str, str]:
        return {"Cookie": f"sessionid={self.client.cookies['sessionid'].value}"}


def own(person: Person) -> None:
    person.row.update(owner=person.user)


def permit(person: Person) -> None:
    person.user.user_permissions.add(person.permission)


def permit_group(person: Person) -> None:
    group = Group.objects.create(name="group")
    group.permissions.add(person.permission)
    person.user.groups.add(group)


def name(person: Person) -> None:
    person.users.add(person.user)


def employ(person: Person) -> None:
    User.objects.filter(pk=person.user.pk).update(is_staff=True)


#: How somebody came to be there, what changes, and the code and reason they are told.
CHANGES: dict[str, tuple[Callable[[Person], None], Callable[[Person], Any], int, str]] = {
    "another owner": (own, lambda one: one.row.update(owner=None), 4503, "may not"),
    "no permission any more": (
        *(permit, lambda one: one.user.user_permissions.clear()),
        *(4503, "may not"),
    ),
    "the group may not any more": (
        *(permit_group, lambda one: Group.objects.get().permissions.clear()),
        *(4503, "may not"),
    ),
    "out of the group": (permit_group, lambda one: one.user.groups.clear(), 4503, "may not"),
    "the group is gone": (permit_group, lambda one: Group.objects.all().delete(), 4503, "may not"),
    "named no more": (name, lambda one: one.users.clear(), 4503, "may not"),
    "no longer staff": (
        *(employ, lambda one: User.objects.update(is_staff=False)),
        *(4503, "may not"),
    ),
    "the user is inactive": (
        *(permit, lambda one: User.objects.update(is_active=False)),
        *(4503, "may not"),
    ),
    "the user is gone": (permit, lambda one: one.user.delete(), 4503, "may not"),
    "the session is gone": (permit, lambda one: Session.objects.all().delete(), 4503, "may not"),
    "a new password": (
        *(permit, lambda one: (one.user.set_password("new"), one.user.save())),
        *(4503, "may not"),
    ),
    "the stream is closed": (
        *(own, lambda one: one.row.update(closed_at=timezone.now())),
        *(4510, "closed"),
    ),
    "the stream is gone": (own, lambda one: one.row.delete(), 4504, "no such stream"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("socket", PERMISSIONS)
async def test_who_may_no_longer_be_there_is_told_and_sent_away(
    in_process: InProcessDoor, socket: str, change: str
) -> None:
    grant, action, code, reason = CHANGES[change]
    slug = await in_process.stream("private")
    person = await sync_to_async(Person)(slug, socket)
    await sync_to_async(grant)(person)
    opened = await open_socket(in_process, person)
    await sync_to_async(action)(person)
    assert reason in (await opened.until("error"))["message"]
    assert await opened.closed() == code


async def open_socket(door: Any, person: Person) -> Socket:
    opener = {"listener": door.listener, "streamer": door.streamer}[person.socket]
    opened: Socket = await opener(person.slug, headers=person.headers)
    return opened


async def test_who_may_still_be_there_stays_when_a_stream_is_made_private(
    in_process: InProcessDoor,
) -> None:
    slug = await in_process.stream("free")
    person = await sync_to_async(Person)(slug, "listener")
    await sync_to_async(own)(person)
    stays, publishes = (
        await open_socket(in_process, person),
        await in_process.streamer(slug, headers=person.headers),
    )
    stranger = await in_process.listener(slug)
    plain = await in_process.plain_listener(slug)
    await sync_to_async(person.row.update)(visibility="private")
    assert "may not listen" in (await stranger.until("error"))["message"]
    assert await stranger.closed() == await plain.closed() == 4503
    await publishes.publish("for those who stay")
    assert await stays.told() == (1, "for those who stay")
    await in_process.until_listeners(slug, 1)


async def test_what_a_streamer_had_published_before_is_published(
    in_process: InProcessDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    slug = await in_process.stream("free")
    listener, streamer = await in_process.listener(slug), await in_process.streamer(slug)
    for number in range(100):
        await streamer.publish(number)
    await streamer.accepted(100)
    await Stream.objects.filter(slug=slug).aupdate(publishing="owner")
    assert await streamer.closed() == 4503
    assert await listener.told_many(100) == [(number + 1, number) for number in range(100)]
    assert (await listener.until("idle"))["event"] == "idle"


async def test_a_token_that_runs_out_or_is_withdrawn_ends_its_sockets(
    in_process: InProcessDoor,
) -> None:
    slug = await in_process.stream("private")
    stream = await Stream.objects.aget(slug=slug)
    short, long = stream.make_token("listen", max_age=2), stream.make_token("listen")
    first = await in_process.listener(slug, f"?token={short}")
    second = await in_process.listener(slug, f"?token={long}")
    assert (await first.until("error"))["message"] == "the token ran out"
    assert await first.closed() == 4503
    await sync_to_async(stream.withdraw_tokens)(timezone.now())
    assert (await second.until("error"))["message"] == "the token was withdrawn"
    assert await second.closed() == 4503


async def test_a_session_counts_for_nothing_as_soon_as_it_is_said_to_end(
    in_process: InProcessDoor,
) -> None:
    private, free = await in_process.stream("private"), await in_process.stream("free")
    person = await sync_to_async(Person)(private, "listener")
    await sync_to_async(own)(person)
    goes = await open_socket(in_process, person)
    stays = await in_process.listener(free, headers=person.headers)
    # A log-out is told before the session is deleted.
    key = person.client.cookies["sessionid"].value
    guard.get_guard().hear(bus.AccessChanged("", guard.mark(key)))
    assert await goes.closed() == 4503
    assert await Session.objects.aexists()
    await apublish(free, "still here")
    assert await stays.told() == (1, "still here")


async def test_a_database_that_fails_sends_nobody_away(
    in_process: InProcessDoor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    slug = await in_process.stream("private")
    person = await sync_to_async(Person)(slug, "listener")
    await sync_to_async(own)(person)
    listener = await open_socket(in_process, person)
    asked = asyncio.Event()

    async def fail(*args: Any) -> None:
        asked.set()
        raise DatabaseError("away")

    with monkeypatch.context() as away:
        away.setattr(rules, "check", fail)
        for _ in range(3):
            await asyncio.wait_for(asked.wait(), 5)
            asked.clear()
    # It is told once, however often it failed.
    told = [record for record in caplog.records if record.exc_info]
    assert [record.name for record in told] == ["broadcast.loops"]
    caplog.clear()
    await sync_to_async(person.row.update)(owner=None)
    assert await listener.closed() == 4503


def test_a_room_whose_name_no_row_can_have_is_not_looked_for(db: None) -> None:
    # SQLite takes what makes a query fail in PostgreSQL.
    club, odd = (Room.objects.create(room_id=room_id) for room_id in ("club", "cl\0ub"))
    stream = Stream.objects.create(slug="s")
    names = [odd.stream, club.stream, stream.slug]
    assert guard.rows_of(names) == {club.stream: club, stream.slug: stream}


# -- what is announced ----------------------------------------------------------------------------

#: What is done to a stream "s" and a user with a session, and whether everybody is told of it.
ACTIONS: dict[str, tuple[Callable[[Person], Any], list[str]]] = {
    "a stream is saved": (lambda one: one.row.get().save(), ["s"]),
    "a stream is gone": (lambda one: one.row.get().delete(), ["s"]),
    "a user is saved": (lambda one: one.user.save(), [""]),
    "a user is gone": (lambda one: one.user.delete(), [""]),
    "a permission": (lambda one: one.user.user_permissions.add(one.permission), [""]),
    "named": (lambda one: one.users.add(one.user), [""]),
    "a login": (lambda one: Client().force_login(one.user), []),
}


@pytest.mark.parametrize("action", ACTIONS)
def test_a_change_is_announced_when_it_is_committed(
    db: None,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: Any,
    action: str,
) -> None:
    told: list[str] = []

    def hear(message: bus.Message) -> None:
        if isinstance(message, bus.AccessChanged):
            told.append(message.stream)

    monkeypatch.setattr(bus, "tell_everybody", hear)
    Stream.objects.create(slug="s")
    person = Person("s", "listener")
    do, expected = ACTIONS[action]
    with django_capture_on_commit_callbacks() as callbacks:
        do(person)
        assert not told
    for callback in callbacks:
        callback()
    assert sorted(set(told)) == expected


# -- across processes ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Two servers that look by themselves so seldom that no test sees it."""
    directory = tmp_path_factory.mktemp("guard")
    with Installation(directory, BROADCAST_WATCH_SECONDS=str(NEVER)) as installation:
        done = installation.servers[0].manage("shell", "-v0", "-c", ADMIN)
        assert done.returncode == 0, done.stderr
        yield installation


ADMIN = """
from django.contrib.auth.models import User
User.objects.create_superuser("admin", password="secret")
"""


class Visit:
    """A browser at a server, without the browser: keeps cookies, and fills in forms."""

    def __init__(self, door: ServerDoor) -> None:
        self.url = door.process.url
        self.cookies = HTTPCookieProcessor()
        self.opener = build_opener(self.cookies)

    def post(self, path: str, **fields: str) -> None:
        form = urlencode({**fields, "csrfmiddlewaretoken": self["csrftoken"]}).encode()
        headers = {"Referer": self.url + path}
        self.opener.open(Request(self.url + path, form, headers)).close()

    def __getitem__(self, name: str) -> str:
        return {one.name: str(one.value) for one in self.cookies.cookiejar}[name]

    def log_in(self) -> dict[str, str]:
        self.opener.open(self.url + "/admin/login/").close()
        self.post("/admin/login/", username="admin", password="secret", next="/")
        return {"Cookie": f"sessionid={self['sessionid']}"}


async def test_logging_out_closes_the_sockets_that_need_that_session_everywhere(
    installation: Installation, here: ServerDoor, there: ServerDoor
) -> None:
    visit, other = Visit(here), Visit(here)
    headers = await asyncio.to_thread(visit.log_in)
    others = await asyncio.to_thread(other.log_in)
    private = installation.unused_stream("private")
    sockets = [await door.listener(private, headers=headers) for door in (here, there)]
    sockets.append(await there.streamer(private, headers=headers))
    stays = await there.listener(private, headers=others)
    await asyncio.to_thread(visit.post, "/admin/logout/")
    for socket in sockets:
        assert (await socket.until("error"))["message"] == "the session has ended"
        assert await socket.closed() == 4503
    streamer = await here.streamer(private, headers=others)
    await streamer.publish("still here")
    assert await stays.told() == (1, "still here")


async def test_who_needs_no_session_stays_when_it_ends(
    installation: Installation, here: ServerDoor, there: ServerDoor, slug: str
) -> None:
    visit = Visit(here)
    headers = await asyncio.to_thread(visit.log_in)
    private = installation.unused_stream("private")
    token = await asyncio.to_thread(
        installation.servers[0].manage, "streamtoken", private, "listen"
    )
    with_token = await there.listener(private, f"?token={token.stdout.strip()}", headers=headers)
    listener = await there.listener(slug, headers=headers)
    streamer = await there.streamer(slug, headers=headers)
    goes = await there.listener(private, headers=headers)
    await asyncio.to_thread(visit.post, "/admin/logout/")
    assert await goes.closed() == 4503
    await streamer.publish("still here")
    assert await listener.told() == (1, "still here")
    another = Visit(here)
    owner = await here.streamer(private, headers=await asyncio.to_thread(another.log_in))
    await owner.publish("you, too")
    assert await with_token.told() == (1, "you, too")
    # What they may be there for is gone with it: they are nobody from now on.
    close = (
        "from broadcast.models import Stream;"
        f"stream = Stream.objects.get(slug={slug!r}); stream.visibility = 'private'; stream.save()"
    )
    done = await asyncio.to_thread(installation.servers[0].manage, "shell", "-c", close)
    assert done.returncode == 0, done.stderr
    assert await listener.closed() == 4503


async def test_a_change_in_another_process_is_heard_at_once(
    installation: Installation, here: ServerDoor, there: ServerDoor, slug: str
) -> None:
    sockets = [await door.listener(slug) for door in (here, there)]
    change = (
        "from broadcast.models import Stream;"
        f"stream = Stream.objects.get(slug={slug!r}); stream.visibility = 'private'; stream.save()"
    )
    done = await asyncio.to_thread(installation.servers[0].manage, "shell", "-c", change)
    assert done.returncode == 0, done.stderr
    for socket in sockets:
        assert await socket.closed() == 4503
    refused = await here.connect(f"/ws/listener/{slug}/", V1)
    assert await refused.closed() == 4503


async def test_who_is_asked_for_may_leave_before_that_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers: list[Any] = []

    async def answer(channel: str, message: bus.TheseAreThere) -> None:
        answers.append(message.connections)

    monkeypatch.setattr(bus, "answer", answer)

    class Somebody:
        slug = "s"

    async def is_answered() -> bool:
        return answers == [[]]

    somebody: Any = Somebody()
    guard.get_guard().enter(somebody)
    guard.get_guard().hear_question(bus.WhoIsThere("s", "q", "c"))
    guard.get_guard().leave(somebody)
    await eventually(is_answered)
