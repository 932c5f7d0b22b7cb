"""Two installations on one Redis, and on one machine, neither hear nor see nor remove each other's.

Real servers with databases of their own, where every stream has the same name: one has the same
database number in Redis as ours, one another, which pub/sub knows nothing of.
"""

import ast
import asyncio
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen
from uuid import uuid4

import pytest

from tests.rig.doors import PATIENCE, ServerDoor, Socket
from tests.rig.pages import URLS, Person
from tests.rig.processes import RedisProcess, ServerProcess, prepared_database
from tests.rig.rooms import enter, heard, new_room

PREFIXES = {"ours": "our-own", "same number": "same", "other number": "other_1"}


def start(
    stack: ExitStack, directory: Path, redis: RedisProcess, name: str, **more: str
) -> ServerProcess:
    number = 1 if name == "other number" else 0
    directory.mkdir()
    server = ServerProcess(
        "broadcast",
        directory,
        REDIS_URL=f"redis://127.0.0.1:{redis.port}/{number}",
        SECRET_KEY=f"that of {name}, which is long enough for a key of Django",
        **URLS,
        **more,
    )
    path = directory / "db.sqlite3"
    path.write_bytes(prepared_database())
    with sqlite3.connect(path) as database:
        database.execute("UPDATE broadcast_installation SET prefix = ?", [PREFIXES[name]])
    database.close()
    stack.callback(server.kill)
    return server


@pytest.fixture(scope="module")
def servers(
    tmp_path_factory: pytest.TempPathFactory, own_redis: RedisProcess
) -> Iterator[dict[str, ServerProcess]]:
    directory = tmp_path_factory.mktemp("installations")
    with ExitStack() as stack:
        found = {name: start(stack, directory / name, own_redis, name) for name in PREFIXES}
        found["ours"].start()
        # The port of ours is taken when this one starts.
        found["same number"].environment["BROADCAST_RPC_PORT"] = str(found["ours"].rpc_port)
        found["same number"].rpc_port = found["ours"].rpc_port
        with ThreadPoolExecutor() as pool:
            list(pool.map(ServerProcess.start, [found["same number"], found["other number"]]))
        yield found
        for server in found.values():
            server.assert_clean_log()


@pytest.fixture
def ours(servers: dict[str, ServerProcess]) -> ServerDoor:
    return ServerDoor(servers["ours"])


@pytest.fixture(params=["same number", "other number"])
def theirs(servers: dict[str, ServerProcess], request: Any) -> ServerDoor:
    """Another installation on the same Redis."""
    return ServerDoor(servers[request.param])


@pytest.fixture
def slug(ours: ServerDoor) -> str:
    """A stream of both, that no other test uses."""
    return ours.process.unused_stream()


async def post(door: ServerDoor, slug: str, text: str) -> None:
    """Publish, and be no streamer for that."""
    url = f"{door.process.url}/api/streams/{slug}/publications/"
    headers = {"Idempotency-Key": "k", "Content-Type": "text/plain"}
    request = Request(url, text.encode(), headers)
    (await asyncio.to_thread(urlopen, request, timeout=PATIENCE)).close()


async def test_one_hears_nothing_of_the_other_and_has_a_history_of_its_own(
    ours: ServerDoor, theirs: ServerDoor, slug: str
) -> None:
    here, there = await ours.listener(slug), await theirs.listener(slug)
    streamer = await theirs.streamer(slug)
    await there.until("live")
    await streamer.publish("theirs")
    assert await there.told() == (1, "theirs")
    assert (await ours.describe(slug))["live"] is False
    assert (await ours.describe(slug))["listeners"] == 1
    assert (await ours.listener(slug, "?history=9")).first["offset"] == 0
    await post(ours, slug, "ours")
    # The first that it is told: not that theirs is live, nor what was said there.
    told = await here.event()
    assert (told["event"], told["offset"], told["data"]) == ("publication", 1, "ours")
    await ours.streamer(slug)
    assert here.first["epoch"] != there.first["epoch"]
    await streamer.publish("theirs, still: nobody took over")
    assert (await there.told())[0] == 2


async def test_a_room_of_the_same_name_is_another_room(
    ours: ServerDoor, theirs: ServerDoor
) -> None:
    room = new_room()
    here, joined_here = await enter(ours, room)
    there, joined_there = await enter(theirs, room)
    assert joined_here["peers"] == joined_there["peers"] == []
    for socket, joined in ((here, joined_here), (there, joined_there)):
        assert await heard(socket, joined["own_id"]) == []


async def test_a_page_hears_the_pushes_of_its_own_installation(
    ours: ServerDoor, theirs: ServerDoor
) -> None:
    channel = f"channel-{uuid4().hex}"
    here, there = Person(ours), Person(theirs)
    page = await (await here.page(channel)).open()
    other = await (await there.page(channel)).open()
    for person, message in ((there, "theirs"), (here, "ours")):
        await person.get("/do/push/", arguments=[message, channel])
    assert await page.receive() == {"payload": "ours", "channel": channel}
    assert await other.receive() == {"payload": "theirs", "channel": channel}
    await page.receive_nothing()


ASK = """
from asgiref.sync import async_to_sync
from broadcast.access.connections import remove, who_is_at
print([one["id"] for one in async_to_sync(who_is_at)({slug!r})])
async_to_sync(remove)({slug!r}, {id!r})
"""


async def ask(door: ServerDoor, slug: str, id: str = "") -> list[str]:
    """Who is at the stream, as staff there see it, who then remove the one with this id."""
    code = ASK.format(slug=slug, id=id)
    done = await asyncio.to_thread(door.process.manage, "shell", "-v0", "-c", code)
    assert done.returncode == 0, done.stderr
    found: list[str] = ast.literal_eval(done.stdout)
    return found


async def test_staff_see_and_remove_those_of_their_own_installation(
    ours: ServerDoor, theirs: ServerDoor, slug: str
) -> None:
    listener = await ours.listener(slug)
    [id] = await ask(ours, slug)
    assert await ask(theirs, slug, id) == []
    assert await ask(ours, slug, id) == [id]
    assert await listener.closed() == 4510


async def test_a_rotated_secret_key_changes_nothing(
    ours: ServerDoor, slug: str, servers: dict[str, ServerProcess]
) -> None:
    listener = await ours.listener(slug)
    server = servers["ours"]
    before, server.environment["SECRET_KEY"] = server.environment["SECRET_KEY"], "x" * 60
    try:
        done = await asyncio.to_thread(server.manage, "publish", slug, "rotated")
    finally:
        server.environment["SECRET_KEY"] = before
    assert done.stdout == f"{listener.first['epoch']}:1\n"
    assert await listener.told() == (1, "rotated")


# -- the port of MessagePack-RPC ------------------------------------------------------------


def test_a_start_that_finds_its_port_taken_by_a_stranger_says_so_and_does_not_announce_it(
    servers: dict[str, ServerProcess],
) -> None:
    said = servers["same number"].log.read_text()
    port = servers["ours"].rpc_port
    assert said.count("No MessagePack-RPC here: another installation ('our-own') listens") == 1
    assert f"Broadcast is at {servers['same number'].url}/ (no MessagePack-RPC). Stop with" in said
    assert f"MessagePack-RPC at 127.0.0.1:{port}" in servers["ours"].log.read_text()


def test_nothing_is_published_through_the_port_of_another_installation(
    servers: dict[str, ServerProcess], ours: ServerDoor, slug: str
) -> None:
    theirs = servers["same number"]
    redis = theirs.environment.pop("REDIS_URL")
    try:
        done = theirs.manage("publish", slug, "for ours?")
    finally:
        theirs.environment["REDIS_URL"] = redis
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "of another installation ('our-own', and this one is 'same')" in done.stderr
    assert "BROADCAST_RPC_PORT" in done.stderr
    assert ours._get(f"/api/streams/{slug}/")["position"]["offset"] == 0


# -- names ----------------------------------------------------------------------------------


async def be_busy(door: ServerDoor) -> list[Socket]:
    """Do something of everything, and answer what has to be kept meanwhile."""
    slug, media = await door.stream(), await door.stream("media")
    listener, odd = await door.listener(slug), await door.stream()
    streamer = await door.streamer(slug, f"?run={uuid4()}")
    await streamer.publish("x")
    await listener.told()
    await door.streamer(media, f"?run={uuid4()}")
    person = Person(door)
    page = await (await person.page(f"{odd} äöü", slug)).open()
    await person.get("/do/push/", arguments=["x", f"{odd} äöü"])
    await page.receive()
    peer, joined = await enter(door, "a room, 😀")
    await heard(peer, joined["own_id"])
    await post(door, slug, "x")
    return door.sockets


async def test_every_key_and_channel_in_redis_begins_with_an_installation(
    servers: dict[str, ServerProcess], own_redis: RedisProcess
) -> None:
    doors = [ServerDoor(server) for server in servers.values()]
    sockets = await asyncio.gather(*map(be_busy, doors))
    assert all(sockets)
    starts = {name: f"broadcast:{prefix}:" for name, prefix in PREFIXES.items()}
    keys = {number: await asyncio.to_thread(keys_of, own_redis, number) for number in (0, 1)}
    assert all(key.startswith(starts["other number"]) for key in keys[1])
    assert all(key.startswith((starts["ours"], starts["same number"])) for key in keys[0])
    for name, start in starts.items():
        found = [key for key in keys[name == "other number"] if key.startswith(start)]
        kinds = {key.rpartition(":")[2] for key in found}
        assert kinds >= {"meta", "stream", "presence", "generation", "rooms", "members", "keys"}
    channels = own_redis.command("PUBSUB", "CHANNELS")
    for prefix in PREFIXES.values():
        groups = f"asgi__group__broadcast.{prefix}."
        own = [one for one in channels if one.startswith((groups, f"asgibroadcast.{prefix}."))]
        assert len(own) >= 5
        channels = [one for one in channels if one not in own]
    assert channels == []
    for door in doors:
        await door.aclose()


def keys_of(redis: RedisProcess, number: int) -> list[str]:
    """All keys of the database of that number."""
    script = "redis.call('SELECT', ARGV[1]) return redis.call('KEYS', '*')"
    return list(redis.command("EVAL", script, 0, number))
