"""`/healthz`: whether a server lives, and whether it is ready, in time and without a secret."""

import asyncio
import http.client
import json
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from broadcast.monitor import health
from tests.rig.doors import ServerDoor, eventually
from tests.rig.health import READY, of
from tests.rig.processes import Installation, ServerProcess, prepared_database
from tests.rig.scrapes import get

#: Seconds within which a server says that it is not ready, on a busy machine too; a frozen Redis
#: is waited for longer.
IN_TIME = 4.5


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One server on two Redis servers, with its database in a directory `data`."""
    directory = tmp_path_factory.mktemp("health")
    (directory / "data").mkdir()
    (directory / "data" / "db.sqlite3").write_bytes(prepared_database())
    url = f"sqlite:///{directory / 'data' / 'db.sqlite3'}"
    with Installation(directory, servers=1, redis=2, DATABASE_URL=url) as installation:
        yield installation


@pytest.fixture
def server(installation: Installation) -> Iterator[ServerProcess]:
    (server,) = installation.servers
    until_healthz(server, 200, READY)
    yield server
    server.assert_calm_log()


def healthz(server: ServerProcess) -> tuple[int, dict[str, Any]]:
    started = time.monotonic()
    answer = get(server, "/healthz")
    assert time.monotonic() - started < IN_TIME
    return of(answer)


def until_healthz(server: ServerProcess, status: int, said: dict[str, Any]) -> None:
    deadline = time.monotonic() + 30
    while healthz(server) != (status, said):
        assert time.monotonic() < deadline, healthz(server)
        time.sleep(0.05)


def assert_live(server: ServerProcess) -> None:
    assert of(get(server, "/healthz?live")) == (200, {"live": True})


def test_a_server_that_has_all_it_needs_is_ready(server_door: ServerDoor) -> None:
    assert healthz(server_door.process) == (200, READY)
    assert_live(server_door.process)


def test_a_server_whose_redis_are_away_is_not_ready_and_lives(
    installation: Installation, server: ServerProcess
) -> None:
    nothing = {**READY, "ready": False, "channel_layer": "no answer", "backend": "no answer"}
    with installation.redis[0].away(), installation.redis[1].away():
        # Exactly this: no address, and no text of an error.
        assert healthz(server) == (503, nothing)
        assert_live(server)
    until_healthz(server, 200, READY)


def test_a_frozen_redis_does_not_make_it_wait(
    installation: Installation, server: ServerProcess
) -> None:
    nothing = {**READY, "ready": False, "channel_layer": "no answer", "backend": "no answer"}
    with installation.redis[0].frozen(), installation.redis[1].frozen():
        for _ in range(2):
            assert healthz(server) == (503, nothing)
        assert_live(server)
    until_healthz(server, 200, READY)


@pytest.mark.parametrize("number", [0, 1])
def test_one_redis_of_several_is_enough_for_the_streams_that_are_on_it(
    installation: Installation, server: ServerProcess, number: int
) -> None:
    partly = {**READY, "channel_layer": "partly", "backend": "partly"}
    with installation.redis[number].away():
        until_healthz(server, 200, partly)
    with installation.redis[number].frozen():
        until_healthz(server, 200, partly)
    until_healthz(server, 200, READY)


@pytest.mark.parametrize("is_empty", [False, True])
def test_a_server_whose_database_is_away_is_not_ready_and_lives(
    server: ServerProcess, is_empty: bool
) -> None:
    path = Path(server.environment["DATABASE_URL"].removeprefix("sqlite:///")).parent
    away = path.rename(path.with_name("away"))
    if is_empty:
        # SQLite makes a database that has nothing in it.
        path.mkdir()
    try:
        assert healthz(server) == (503, {**READY, "ready": False, "database": "no answer"})
        assert_live(server)
    finally:
        shutil.rmtree(path, ignore_errors=True)
        away.rename(path)
    assert healthz(server) == (200, READY)


def test_the_log_says_once_that_it_is_not_ready_and_once_that_it_is(
    installation: Installation, server: ServerProcess
) -> None:
    server.new_records()
    with installation.redis[0].away(), installation.redis[1].away():
        for _ in range(5):
            assert healthz(server)[0] == 503
    until_healthz(server, 200, READY)
    said = [
        record for record in server.new_records() if record.logger == "broadcast.monitor.health"
    ]
    assert [record.level for record in said] == ["WARNING", "INFO"]
    assert said[0].text.endswith("channel_layer, backend")


async def test_a_server_that_drains_is_not_ready(installation: Installation) -> None:
    with installation.another_server(BROADCAST_DRAIN_SECONDS="5") as server:
        await asyncio.to_thread(server.start)
        door = ServerDoor(server)
        listener = await door.listener(await door.stream())
        # It takes no new connections then.
        connection = http.client.HTTPConnection("127.0.0.1", server.port)

        def ask(path: str) -> tuple[int, dict[str, Any]]:
            connection.request("GET", path)
            with connection.getresponse() as response:
                return response.status, json.load(response)

        assert await asyncio.to_thread(ask, "/healthz") == (200, READY)
        assert server.process
        server.process.send_signal(signal.SIGTERM)
        await listener.until("shutdown")
        draining = {**READY, "ready": False, "draining": True}
        assert await asyncio.to_thread(ask, "/healthz") == (503, draining)
        assert await asyncio.to_thread(ask, "/healthz?live") == (200, {"live": True})
        connection.close()
        await door.aclose()


# -- a part that hangs --------------------------------------------------------------------------


async def test_a_database_that_hangs_is_asked_once_and_holds_nothing_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    goes_on = threading.Event()

    def hang() -> None:
        asked.append(threading.current_thread().name)
        goes_on.wait(30)

    monkeypatch.setattr(health, "_ask_database", hang)
    monkeypatch.setattr(health, "SECONDS", 0.05)
    answers = await asyncio.gather(*(health.ask([""], health._database) for _ in range(20)))
    assert answers == [("no answer", set())] * 20
    assert await health.ask([""], health._database) == ("no answer", set())
    assert len(asked) == 1
    (thread,) = [one for one in threading.enumerate() if one.name == asked[0]]
    # The process may end without it.
    assert thread.daemon
    goes_on.set()

    async def answers_again() -> bool:
        return await health.ask([""], health._database) == ("ok", set())

    await eventually(answers_again)
    # That may have been the answer to the first question.
    await eventually(answers_again)
    assert len(asked) > 1


async def test_a_part_with_an_error_is_silent_whatever_the_error_says() -> None:
    async def fail(name: str) -> str:
        raise RuntimeError("redis://:password@host")

    assert await health.ask(["one", "two"], fail) == ("no answer", set())


@pytest.mark.django_db
def test_healthz_is_for_everybody_and_cannot_be_written_to(client: Client) -> None:
    response = client.get("/healthz?live", REMOTE_ADDR="192.0.2.1")
    assert (response.status_code, response["Cache-Control"]) == (200, "no-store")
    assert client.post("/healthz").status_code == 405
