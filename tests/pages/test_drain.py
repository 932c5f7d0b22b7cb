"""The end of our own server, as pages hear it."""

import json
import signal
from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.rig.doors import ServerDoor
from tests.rig.drains import exit_status, running, tell
from tests.rig.pages import URLS, PageSocket, Person
from tests.rig.processes import ServerProcess

#: Seconds a drain takes here: the first socket is closed at once, the last one at the end.
DRAIN = 1
SHUTDOWN = {"event": "shutdown", "seconds": DRAIN}


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    settings = {**URLS, "BROADCAST_DRAIN_SECONDS": str(DRAIN)}
    directory = tmp_path_factory.mktemp("drain")
    with ServerProcess("broadcast", directory, setup="", **settings) as process:
        yield process


@pytest.fixture
def person(process: ServerProcess) -> Iterator[Person]:
    yield Person(ServerDoor(running(process)))
    process.assert_clean_log()


async def rest(socket: PageSocket) -> tuple[list[object], int]:
    """All messages that still come, without answers, and the code of the close."""
    frames, code = await socket.socket.rest()
    said = socket.told + [json.loads(frame) for frame in frames]
    return [one for one in said if "id" not in one], code


async def test_pages_that_understand_events_are_told_of_the_end_and_others_nothing(
    person: Person,
) -> None:
    pages = [await person.page("news") for _ in range(4)]
    plain = [await page.open() for page in pages]
    speaking = [await page.open(positions=1) for page in pages]
    for socket in speaking:
        socket.told.clear()
    tell(person.door, signal.SIGTERM)
    for socket in plain:
        assert await rest(socket) == ([], 4200)
    for socket in speaking:
        assert await rest(socket) == ([SHUTDOWN], 4200)
    assert await exit_status(person.door) == 0


async def test_what_was_pushed_before_the_end_reaches_every_page_before_its_close(
    person: Person,
) -> None:
    name = uuid4().hex
    sockets = [await (await person.page(name)).open() for _ in range(4)]
    messages = ["one", "two", "three"]
    await sockets[0].say("push-and-stop", channel=name, messages=messages)
    expected = [{"payload": message, "channel": name} for message in messages]
    for socket in sockets:
        assert await rest(socket) == (expected, 4200)
    assert await exit_status(person.door) == 0


async def test_what_waits_for_the_end_of_the_turn_comes_before_the_close(person: Person) -> None:
    # The only one is closed in the very turn in which it is told.
    socket = await (await person.page()).open(positions=1)
    socket.told.clear()
    tell(person.door, signal.SIGTERM)
    assert await rest(socket) == ([SHUTDOWN], 4200)
    assert await exit_status(person.door) == 0
