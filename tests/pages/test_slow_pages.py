"""Pages that read too slowly or not at all, on our own server; and a page on another process."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from pytest_django.fixtures import Settings

from broadcast.pages import watch as page_watch
from tests.rig.doors import InProcessDoor, ServerDoor, eventually
from tests.rig.pages import URLS, Person, arguments, push
from tests.rig.processes import Installation, ServerProcess
from tests.rig.raw import PING, TEXT, RawSocket, frame
from tests.rig.subscribed import opened

#: Publications that fill the buffers of the kernel more than once: 26 MiB in two channels.
SIZE, COUNT = 64 * 1024, 200
#: What all processes tell each other is not found by looking, in these tests.
NEVER = "600"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Two servers on one Redis."""
    directory = tmp_path_factory.mktemp("pages")
    with Installation(directory, BROADCAST_WATCH_SECONDS=NEVER, **URLS) as installation:
        yield installation


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess("broadcast", tmp_path_factory.mktemp("slow"), **URLS) as process:
        yield process


@pytest.fixture
def person(process: ServerProcess) -> Person:
    return Person(ServerDoor(process))


@asynccontextmanager
async def never_reading(person: Person, *slugs: str) -> AsyncIterator[RawSocket]:
    """A page's socket that hears the streams and stops reading there."""
    page = await person.page(*slugs)
    async with person.door.raw(receive_buffer=4096) as raw:
        path = f"/ws/socket/?socket_connection_id={page.id}"
        await raw.open(path, cookie=person.cookie["Cookie"])
        for slug in slugs:
            await person.door.until_listeners(slug, 1)
        yield raw


async def message(raw: RawSocket) -> bytes:
    """The next one; a server that had to wait long sent a ping, too."""
    while (found := await raw.frame())[0] != TEXT:
        assert found[0] == PING
    return found[1]


async def flood(door: ServerDoor, slug: str, count: int = COUNT) -> None:
    streamer = await door.streamer(slug)
    for number in range(count):
        await streamer.publish(f"{number:06}".ljust(SIZE, "x"))
    await streamer.accepted(count)


async def test_a_page_that_stood_still_gets_everything_once_and_in_order(person: Person) -> None:
    slugs = [await person.door.stream("long") for _ in range(2)]
    async with never_reading(person, *slugs) as raw:
        before = person.door.process.memory
        await asyncio.gather(*(flood(person.door, slug) for slug in slugs))
        heard: dict[str, list[int]] = {slug: [] for slug in slugs}
        while sum(map(len, heard.values())) < 2 * COUNT:
            said = json.loads(await message(raw))
            heard[said["channel"]].append(int(said["payload"][:6]))
        assert heard == {slug: list(range(COUNT)) for slug in slugs}
        # History and rings hold it once; the page has nothing of its own.
        assert person.door.process.memory - before < 2.5 * 2 * COUNT * SIZE


async def test_a_page_that_cannot_be_told_what_it_missed_is_closed(person: Person) -> None:
    slug = await person.door.stream("short")
    async with never_reading(person, slug) as raw:
        await flood(person.door, slug)
        assert await raw.ended() == 4408


async def test_a_page_that_calls_and_never_reads_is_read_no_more(person: Person) -> None:
    process = person.door.process
    call = {"id": 1, "action": "call-route", "method": "GET", "uri": "/large/?size=1000000"}
    said = frame(TEXT, json.dumps(call).encode())
    async with never_reading(person) as raw:
        before = process.memory
        await raw.send(said * 200)
        for _ in range(20):
            # Whatever was begun with is through when others were answered so often.
            await person.get("/echo/")
        assert process.memory - before < 50_000_000
        for _ in range(200):
            answer = json.loads(await message(raw))
            assert (answer["id"], answer["status"]) == (1, 200)


async def test_a_page_that_takes_nothing_is_closed_though_it_is_written_to_again_and_again(
    in_process: InProcessDoor, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.BROADCAST_SLOW_SECONDS = 0.3
    page = await opened(in_process, "a")
    (consumer,) = page_watch.get_pages().by_digest[page.digest]
    monkeypatch.setattr(consumer.sink, "write", lambda data: False)

    async def is_closed() -> bool:
        # What is answered to its calls is written to it, full or not.
        consumer.answer(b"{}")
        return consumer.refused

    await eventually(is_closed)
    assert await page.socket.closed() == 4408


# -- the page's socket at another process than the request -----------------------------------------


async def test_a_page_of_one_process_opens_its_socket_at_another(
    here: ServerDoor, there: ServerDoor
) -> None:
    person, name = Person(here), uuid4().hex
    page = await person.page(name)
    await push(person, 1, name)
    socket = await page.open(there)
    assert (await socket.receive())["payload"] == 1
    await push(person, 2, f"{name[:8]}*")
    assert (await socket.receive())["payload"] == 2
    await person.get("/do/push_to/", arguments=[page.digest, 3, name])
    assert (await socket.receive())["payload"] == 3


async def test_what_changes_at_one_process_holds_at_the_other_at_once(
    here: ServerDoor, there: ServerDoor
) -> None:
    person, name = Person(here), uuid4().hex
    page = await person.page(name, f"{name}.2")
    sockets = [await page.open(door) for door in (here, there)]
    await sockets[0].route("GET", "/do/unsubscribe/?" + arguments(name))
    await sockets[1].route("GET", "/do/subscribe/?" + arguments(f"{name}.3"))
    for number, channel in enumerate((name, f"{name}.2", f"{name}.3")):
        await push(person, number, channel)
    for socket in sockets:
        told = [(await socket.receive())["payload"] for _ in range(2)]
        assert sorted(told) == [1, 2]
        await socket.receive_nothing()


async def test_logging_out_at_one_process_ends_the_page_at_the_other(
    here: ServerDoor, there: ServerDoor
) -> None:
    person = Person(here)
    await person.get("/log-in/somebody/")
    sockets = [await (await person.page()).open(door) for door in (here, there)]
    await person.get("/log-out/")
    for socket in sockets:
        assert await socket.socket.closed() == 4200


async def test_what_the_admin_does_in_another_program_holds_at_once(
    installation: Installation, here: ServerDoor
) -> None:
    person, name = Person(here), uuid4().hex
    socket = await (await person.page(name, f"{name}.2")).open()
    delete = (
        f"from broadcast.models import *; Subscription.objects.filter(channel={name!r}).delete()"
    )
    done = await asyncio.to_thread(installation.servers[1].manage, "shell", "-c", delete)
    assert done.returncode == 0, done.stderr
    await push(person, 1, name)
    await push(person, 2, f"{name}.2")
    assert (await socket.receive())["payload"] == 2


async def test_a_page_of_a_killed_process_goes_on_at_another_with_what_it_missed(
    installation: Installation, here: ServerDoor
) -> None:
    with installation.another_server() as third:
        third.start()
        person, name = Person(here), uuid4().hex
        page = await person.page(name)
        socket = await page.open(ServerDoor(third), positions=1)
        await push(person, 1, name)
        told = {}
        while "payload" not in (told := await socket.receive()):
            pass
        third.kill()
        await push(person, 2, name)
        since = json.dumps({name: [told["epoch"], told["offset"]]})
        again = await page.open(here, positions=1, since=since)
        heard = []
        while "payload" not in (said := await again.receive()):
            heard.append(said["channel"])
        assert said["payload"] == 2
