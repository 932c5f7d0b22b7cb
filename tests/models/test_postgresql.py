"""PostgreSQL through `DATABASE_URL`: a real one, under everything that asks the database."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from http.client import HTTPConnection
from typing import Any

import psycopg
import pytest

from broadcast.conf import Conf
from tests.rig.doors import PATIENCE, V1, Closed, ServerDoor, door_of
from tests.rig.events import hear
from tests.rig.pages import PageSocket
from tests.rig.postgres import OTHERS, PostgresProcess
from tests.rig.processes import SETUP, ServerProcess
from tests.rig.rooms import enter, heard

#: A thread each, the one of all sockets, and the probe of the health check.
MOST = Conf().THREADS + 2

SIGN_IN = """
from django.contrib.auth.models import User
from django.test import Client
client = Client()
user, _ = User.objects.get_or_create(username="admin", is_staff=True, is_superuser=True)
client.force_login(user)
print(client.cookies["sessionid"].value)
"""


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresProcess]:
    with PostgresProcess() as postgres:
        yield postgres


@pytest.fixture(scope="module")
def process(
    postgres: PostgresProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """A server whose database is in PostgreSQL."""
    directory = tmp_path_factory.mktemp("postgresql")
    with ServerProcess("broadcast", directory, SETUP, DATABASE_URL=postgres.url) as process:
        yield process


@pytest.fixture
def door(process: ServerProcess) -> Iterator[ServerDoor]:
    yield from door_of(process)


async def test_what_is_published_is_heard(door: ServerDoor) -> None:
    slug = await door.stream()
    listener, streamer = await door.listener(slug), await door.streamer(slug)
    await streamer.publish("in PostgreSQL")
    assert await listener.told() == (1, "in PostgreSQL")
    assert (await door.describe(slug))["listeners"] == 1


async def test_a_session_lets_into_a_private_stream_and_no_nonsense_does(door: ServerDoor) -> None:
    slug = await door.stream("private")
    key = sign_in(door)
    await door.listener(slug, headers={"Cookie": f"sessionid={key}"})
    for nonsense in ("x", "0" * 32, key.upper(), "a" * 500):
        refused = await door.connect(
            f"/ws/listener/{slug}/", V1, headers={"Cookie": f"sessionid={nonsense}"}
        )
        assert await refused.closed() == 4503


async def test_a_stream_that_is_closed_in_the_database_closes_its_sockets(door: ServerDoor) -> None:
    slug = await door.stream()
    listener = await door.plain_listener(slug)
    close_in_database(door, slug)
    assert await listener.closed() == 4510


async def test_a_room_whose_name_it_cannot_hold_is_entered_and_hinders_nobody(
    door: ServerDoor,
) -> None:
    socket, joined = await enter(door, "cl\0ub")
    slug = await door.stream()
    listener = await door.plain_listener(slug)
    close_in_database(door, slug)
    assert await listener.closed() == 4510
    assert await heard(socket, joined["own_id"]) == []


def close_in_database(door: ServerDoor, slug: str) -> None:
    close = (
        "from broadcast.models import Stream; from django.utils.timezone import now; "
        f"Stream.objects.filter(slug={slug!r}).update(closed_at=now())"
    )
    assert door.process.manage("shell", "-v0", "-c", close).returncode == 0


def sign_in(door: ServerDoor) -> str:
    """The key of a session of a superuser."""
    return door.process.manage("shell", "-v0", "-c", SIGN_IN).stdout.strip()


# -- how many connections there are, and what is told when there is none left --------------------


def get(process: ServerProcess, path: str, headers: dict[str, str] | None = None) -> Any:
    """Status, headers and text of an answer, on a connection of its own."""
    connection = HTTPConnection("127.0.0.1", process.port, timeout=PATIENCE)
    try:
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()
    finally:
        connection.close()


async def get_all(door: ServerDoor, paths: list[str], headers: dict[str, str]) -> Counter[int]:
    """The statuses of as many requests at once."""
    asking = (asyncio.to_thread(get, door.process, path, headers) for path in paths)
    return Counter([status for status, *_ in await asyncio.gather(*asking)])


async def test_there_are_few_connections_whatever_the_traffic(
    door: ServerDoor, postgres: PostgresProcess
) -> None:
    slug, private = await door.stream(), await door.stream("private")
    cookie = {"Cookie": f"sessionid={sign_in(door)}"}
    for _ in range(20):
        for path in (f"/streams/{private}/", f"/api/streams/{private}/publications/"):
            assert get(door.process, path, cookie)[0] == 200
    assert postgres.connections() <= MOST
    paths = ["/rooms/", f"/streams/{slug}/", f"/api/streams/{private}/", "/admin/"] * 15
    assert await get_all(door, paths, cookie) == {200: 60}
    async with AsyncExitStack() as stack:
        await asyncio.gather(*(door.listener(private, headers=cookie) for _ in range(50)))
        await asyncio.gather(
            *(
                stack.enter_async_context(hear(door, private, Cookie=cookie["Cookie"]))
                for _ in range(20)
            )
        )
        pages = [PageSocket(await door.connect("/ws/socket/", headers=cookie)) for _ in range(30)]
        answers = await asyncio.gather(*(page.route("GET", "/rooms/") for page in pages))
        assert {answer["status"] for answer in answers} == {200}
        await door.connect("/ws/admin/streams/", headers=cookie | {"Origin": door.process.url})
        assert postgres.connections() <= MOST


async def test_a_database_that_was_restarted_is_asked_again_at_once(
    door: ServerDoor, postgres: PostgresProcess
) -> None:
    slug = await door.stream("private")
    for _ in range(3):
        postgres.cut_off()
        assert get(door.process, f"/streams/{slug}/")[0] == 302
        assert await (await door.connect(f"/ws/listener/{slug}/", V1)).closed() == 4503


@contextmanager
def full(postgres: PostgresProcess) -> Iterator[None]:
    """Meanwhile others have all of its connections."""
    held: list[psycopg.Connection[Any]] = []
    with ExitStack() as stack:
        while True:
            with pytest.raises(psycopg.OperationalError, match="too many clients"):
                while True:
                    one = stack.enter_context(psycopg.connect(postgres.url, autocommit=True))
                    held.append(one)
            # The server may have had some, or may have come back while these came.
            own = [one.info.backend_pid for one in held]
            end = f"SELECT pg_terminate_backend(pid) {OTHERS} AND pid <> ALL(%s)"
            if not held[0].execute(end, [own]).fetchall():
                break
        yield


async def test_a_database_that_is_full_is_told_with_when_to_come_back(
    door: ServerDoor, postgres: PostgresProcess
) -> None:
    slug = await door.stream()
    # Nobody has asked for this stream: nothing is known of it.
    with full(postgres):
        status, headers, text = get(door.process, f"/streams/{slug}/")
        assert (status, headers["Retry-After"]) == (503, "1")
        assert "does not work just now" in text
        status, headers, text = get(door.process, f"/api/streams/{slug}/")
        assert (status, headers["Retry-After"]) == (503, "1")
        assert text == '{"error": "the database does not answer"}'
        for path in (f"/ws/listener/{slug}/", f"/ws/streamer/{slug}/"):
            socket = await door.connect(path, V1)
            assert (await socket.event())["event"] == "error"
            with pytest.raises(Closed, match="^closed with 4200: the database does not answer$"):
                await socket.receive()
        async with hear(door, slug) as events:
            assert (await events.event()).data.count("the database does not answer") == 1
    await door.listener(slug)
    said = [one for one in door.process.new_records() if one.logger == "broadcast.models.database"]
    assert len(said) == 1, said
