"""While Redis is away everybody is told so, and when it is back everything works as before.

Two real server processes, and a Redis that comes back with its data.
"""

import asyncio
import time
from collections.abc import Iterator

import pytest

from tests.rig.clients import CountedStreamer, ResumingListener
from tests.rig.doors import V1, ServerDoor
from tests.rig.outages import ANSWER_SECONDS, assert_unavailable, get, publish
from tests.rig.processes import DURABLE, Installation, ServerProcess
from tests.rig.rpc import connected


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    directory = tmp_path_factory.mktemp("away")
    with Installation(directory, options=DURABLE) as installation:
        yield installation


async def test_a_streamer_is_told_and_goes_on_with_its_run(
    installation: Installation, here: ServerDoor, there: ServerDoor, slug: str
) -> None:
    async with (
        ResumingListener([there], slug) as listener,
        CountedStreamer([here], slug) as streamer,
    ):
        streamer.publish("before")
        await listener.until_heard("before")
        with installation.outage():
            streamer.publish("while it is away")
            # Sent away, and again when it comes back too early.
            await streamer.until(lambda: len(streamer.codes) >= 3)
            assert len(streamer.errors) == len(streamer.codes)
        await listener.until_heard("while it is away")
        streamer.publish("after")
        await listener.until_heard("after")
    assert set(streamer.codes) == {4200}
    assert listener.everything == ["before", "while it is away", "after"]


async def test_a_program_is_told_and_feeds_anew(
    installation: Installation, here: ServerDoor, there: ServerDoor, slug: str
) -> None:
    listener = await there.listener(slug)
    async with connected(here.process) as client:

        async def error_of(method: str, *params: str) -> str:
            return str((await client.call(method, slug, *params))[2]).partition(":")[0]

        assert await error_of("feed") == await error_of("publish", "before") == "None"
        with installation.outage():
            assert await error_of("publish", "lost, and told so") == "Unavailable"
        # Nobody took over: that is not said.
        assert await error_of("publish", "behind a hole") == "Unavailable"
        assert await error_of("feed") == await error_of("publish", "after") == "None"
    heard = list[tuple[object, ...]]()
    while len(heard) < 2:
        said = await listener.told()
        # Not whether it is live, meanwhile.
        heard += [said] if isinstance(said[0], int) else []
    assert heard == [(1, "before"), (2, "after")]


async def test_a_plain_streamer_is_closed(
    installation: Installation, here: ServerDoor, slug: str
) -> None:
    streamer = await here.plain_streamer(slug)
    listener = await here.listener(slug)
    await streamer.send("before")
    assert await listener.told() == (1, "before")
    with installation.outage():
        await streamer.send("lost, and told so")
        assert await streamer.rest() == ([], 4200)
    await (await here.streamer(slug)).publish("after")
    assert await listener.told() == (2, "after")


async def test_listeners_stay_and_hear_what_comes_after(
    installation: Installation, here: ServerDoor, there: ServerDoor, slug: str
) -> None:
    plain = await there.plain_listener(slug)
    listener = await here.listener(slug)
    with installation.outage():
        assert await publish(here, slug, "lost, and told so")
        # Several looks for what changed without a word.
        await asyncio.sleep(3 * Installation.WATCH_SECONDS)
    assert await publish(there, slug, "after") is None
    assert await listener.told() == (1, "after")
    assert await plain.receive() == "after"


async def test_a_listener_that_comes_is_asked_to_come_back(
    installation: Installation, here: ServerDoor, slug: str
) -> None:
    await here.listener(slug)
    with installation.outage():
        # A stream that is heard here already, and one that is not.
        for path in (f"/ws/listener/{slug}/", f"/ws/listener/{slug}9/"):
            await assert_unavailable(await here.connect(path, V1))
            plain = await here.connect(path)
            assert await plain.rest() == ([], 4200)
    async with ResumingListener([here], slug) as listener:
        assert listener.firsts[0]["offset"] == 0


def test_the_command_says_so_in_one_line_and_fails(installation: Installation, slug: str) -> None:
    with installation.outage():
        done = installation.servers[0].manage("publish", slug, "text")
        piped = installation.servers[0].manage("publish", slug, "-", input="one\ntwo\n")
    for failed in (done, piped):
        assert failed.returncode == 1
        assert failed.stdout == ""
        assert failed.stderr.startswith("CommandError: ")
        assert failed.stderr.count("\n") == 1, failed.stderr
        assert "Redis" in failed.stderr
    done = installation.servers[0].manage("publish", slug, "text")
    assert done.stdout.endswith(":1\n"), done


async def test_a_call_is_answered_with_an_error(
    installation: Installation, here: ServerDoor, slug: str
) -> None:
    assert await publish(here, slug, "before") is None
    with installation.outage():
        error = await publish(here, slug, "lost, and told so")
    assert error
    assert error.startswith("Unavailable: ")
    assert await publish(here, slug, "after") is None
    assert (await here.describe(slug))["position"]["offset"] == 2


async def test_the_api_answers_503_as_json_and_pages_load(
    installation: Installation, here: ServerDoor, slug: str
) -> None:
    api = ("/api/streams/", f"/api/streams/{slug}/")
    pages = ("/", f"/streams/{slug}/", f"/streams/{slug}/studio/", "/admin/login/")
    with installation.outage():
        for path in api:
            assert await get(here, path) == (503, "application/json"), path
        for path in pages:
            assert (await get(here, path)).status == 200, path
    for path in (*api, *pages):
        assert (await get(here, path)).status == 200, path


async def test_a_frozen_redis_is_told_of_like_one_that_is_away(
    installation: Installation, here: ServerDoor, slug: str
) -> None:
    streamer = await here.streamer(slug)
    listener = await here.listener(slug)
    with installation.redis[0].frozen():
        async with asyncio.timeout(ANSWER_SECONDS), asyncio.TaskGroup() as tasks:
            await streamer.publish("in, perhaps")
            tasks.create_task(assert_unavailable(streamer))
            new = await here.connect(f"/ws/listener/{slug}/", V1)
            tasks.create_task(assert_unavailable(new))
            call = tasks.create_task(publish(here, slug, "in, too, perhaps"))
            described = tasks.create_task(get(here, f"/api/streams/{slug}/"))
            watched = tasks.create_task(get(here, f"/streams/{slug}/"))
        assert (call.result() or "").startswith("Unavailable: ")
        assert described.result() == (503, "application/json")
        assert watched.result().status == 200
    await asyncio.to_thread(installation.wait_until_available)
    assert await publish(here, slug, "after") is None
    heard = []
    while "after" not in heard:
        heard.append((await listener.told())[1])
    assert heard in (
        ["after"],
        ["in, perhaps", "after"],
        ["in, too, perhaps", "after"],
        ["in, perhaps", "in, too, perhaps", "after"],
        ["in, too, perhaps", "in, perhaps", "after"],
    )


async def test_the_log_says_when_it_went_and_when_it_is_back_and_not_much_else(
    installation: Installation, here: ServerDoor, there: ServerDoor, slug: str
) -> None:
    for server in installation.servers:
        server.assert_calm_log()
    listeners = [await door.listener(slug) for door in (here, there)]
    async with CountedStreamer([here, there], slug) as streamer:
        streamer.publish("before")
        with installation.outage():
            started = time.monotonic()
            while time.monotonic() < started + 2:
                streamer.publish("more")
                await publish(there, slug, "lost, and told so")
                await asyncio.sleep(0.05)
        await streamer.until(lambda: streamer.accepted == len(streamer.published))
    assert (await listeners[0].told())[0] == 1
    for server in installation.servers:
        said = [record for record in server.new_records() if record.level != "INFO"]
        assert len([one for one in said if one.logger.startswith("broadcast")]) == 2, said
        assert not [one for one in said if "\n" in one.text], said


async def test_a_server_that_starts_while_it_is_away_works_when_it_is_back(
    installation: Installation, late: ServerProcess, slug: str
) -> None:
    door = ServerDoor(late)
    with installation.outage():
        await asyncio.to_thread(late.start)
        assert (await get(door, f"/streams/{slug}/")).status == 200
        assert (await get(door, f"/api/streams/{slug}/")).status == 503
        await assert_unavailable(await door.connect(f"/ws/listener/{slug}/", V1))
    async with ResumingListener([door], slug) as listener:
        assert await publish(door, slug, "after") is None
        await listener.until_heard("after")
    late.assert_calm_log()


@pytest.fixture
def late(installation: Installation) -> Iterator[ServerProcess]:
    """One more server, which does not run yet."""
    with installation.another_server() as server:
        yield server
