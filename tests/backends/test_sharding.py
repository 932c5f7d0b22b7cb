"""Streams spread over two Redis servers: what happens to one happens to its streams alone."""

import asyncio
from collections.abc import Iterator

import pytest

from broadcast.backends.redis_server import TIMEOUT
from tests.rig.clients import CountedStreamer, ResumingListener, flowing
from tests.rig.doors import V1, ServerDoor
from tests.rig.outages import assert_unavailable, get, publish
from tests.rig.processes import DURABLE, Installation, ServerProcess


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Two servers on two Redis servers that come back with their data."""
    directory = tmp_path_factory.mktemp("sharding")
    with Installation(directory, redis=2, options=DURABLE) as installation:
        yield installation


def home(installation: Installation, slug: str) -> int:
    """The number of the one Redis server that knows of a stream."""
    found = [redis.command("KEYS", f"*{slug}}}*") for redis in installation.redis]
    (number,) = [number for number, keys in enumerate(found) if keys]
    return number


async def one_on_each(installation: Installation) -> list[str]:
    """Two streams that no other test uses, with a publication; the first is on the first Redis."""
    slugs: dict[int, str] = {}
    while len(slugs) < len(installation.redis):
        slug = installation.unused_stream("long")
        assert await publish(ServerDoor(installation.servers[0]), slug, "first") is None
        slugs[home(installation, slug)] = slug
    return [slugs[number] for number in sorted(slugs)]


async def test_a_stream_has_its_history_and_its_group_on_the_same_server(
    installation: Installation, here: ServerDoor
) -> None:
    for _ in range(5):
        for number, slug in enumerate(await one_on_each(installation)):
            await here.listener(slug)
            for other, redis in enumerate(installation.redis):
                groups = redis.command("PUBSUB", "CHANNELS", f"*{slug}")
                assert len(groups) == (other == number)


async def test_streams_of_both_servers_work(installation: Installation) -> None:
    doors = [ServerDoor(server) for server in installation.servers]
    for slug in await one_on_each(installation):
        async with flowing(doors, slug, listeners=4) as flow:
            await flow.goes_on()
            await doors[1].until_listeners(slug, 4)
            assert (await doors[1].describe(slug))["live"] is True
        flow.assert_nothing_lost()


@pytest.mark.parametrize("dead", [0, 1])
async def test_streams_of_one_server_are_not_disturbed_when_the_other_is_away(
    installation: Installation, here: ServerDoor, there: ServerDoor, dead: int
) -> None:
    slugs = await one_on_each(installation)
    lost, sound = slugs[dead], slugs[1 - dead]
    async with (
        flowing([here, there], sound, listeners=2) as flow,
        ResumingListener([here], lost) as listener,
        CountedStreamer([there], lost) as streamer,
    ):
        await flow.goes_on()
        with installation.outage(dead, lost):
            streamer.publish("while it is away")
            assert (await publish(here, lost, "lost, and told so") or "").startswith("Unavailable")
            assert await get(here, f"/api/streams/{lost}/") == (503, "application/json")
            await assert_unavailable(await there.connect(f"/ws/listener/{lost}/", V1))
            # The others are heard, joined, counted and published on as before.
            await flow.goes_on()
            assert await publish(there, sound, -1) is None
            newcomer = await there.listener(sound)
            await here.until_listeners(sound, 3)
            await newcomer.leave()
            await there.until_listeners(sound, 2)
            await flow.goes_on()
            await streamer.until(lambda: len(streamer.codes) > 1)
        await listener.until_heard("while it is away")
    assert listener.everything == ["while it is away"]
    for heard in flow.listeners:
        assert [one for one in heard.everything if one != -1] == flow.streamer.published
        assert heard.codes == []
    assert flow.streamer.codes == [], flow.streamer


async def test_nobody_waits_for_a_frozen_server_who_is_on_the_other(
    installation: Installation, here: ServerDoor, there: ServerDoor
) -> None:
    lost, sound = await one_on_each(installation)
    await here.listener(lost)
    async with (
        flowing([here, there], sound, listeners=2) as flow,
        ResumingListener([there], lost) as listener,
    ):
        streamer = await here.streamer(lost)
        await flow.goes_on()
        with installation.redis[0].frozen():
            await streamer.publish("in, perhaps")
            for _ in range(5):
                async with asyncio.timeout(1.5):
                    await flow.goes_on(100)
                    assert await publish(there, sound, -1) is None
                    newcomer = await there.listener(sound)
                    await newcomer.leave()
        await asyncio.to_thread(installation.wait_until_available, lost)
        assert await publish(there, lost, "after") is None
        await listener.until(lambda: "after" in listener.everything)
        await flow.goes_on()
    assert flow.streamer.codes == [], flow.streamer


async def test_what_the_layer_lost_is_found_while_the_other_server_is_away(
    installation: Installation, here: ServerDoor
) -> None:
    lost, sound = await one_on_each(installation)
    await here.listener(lost)
    listener = await here.listener(sound)
    silent = installation.new_server(CHANNEL_LAYER="tests.rig.faulty_layer.SilentLayer")
    with installation.outage(0, lost):
        done = await asyncio.to_thread(silent.manage, "publish", sound, "without a word")
        assert done.returncode == 0, done.stderr
        assert await listener.told() == (2, "without a word")


async def test_what_the_layer_lost_is_found_at_once_while_the_other_server_is_frozen(
    installation: Installation, late: ServerProcess, here: ServerDoor
) -> None:
    lost, sound = await one_on_each(installation)
    await here.listener(lost)
    listener = await here.listener(sound)
    late.environment["CHANNEL_LAYER"] = "tests.rig.faulty_layer.SilentLayer"
    await asyncio.to_thread(late.start)
    with installation.redis[0].frozen():
        # Sooner than the frozen one is given up.
        async with asyncio.timeout(TIMEOUT - 1):
            assert await publish(ServerDoor(late), sound, "without a word") is None
            assert await listener.told() == (2, "without a word")


@pytest.mark.parametrize("dead", [0, 1])
async def test_a_server_that_starts_while_one_is_away_serves_the_streams_of_the_other(
    installation: Installation, late: ServerProcess, here: ServerDoor, dead: int
) -> None:
    slugs = await one_on_each(installation)
    lost, sound = slugs[dead], slugs[1 - dead]
    door = ServerDoor(late)
    with installation.outage(dead, lost):
        await asyncio.to_thread(late.start)
        listener = await door.listener(sound)
        assert await publish(here, sound, "here") is None
        assert await listener.told() == (2, "here")
        await assert_unavailable(await door.connect(f"/ws/listener/{lost}/", V1))
    listener = await door.listener(lost)
    assert await publish(here, lost, "there") is None
    assert await listener.told() == (2, "there")
    await door.aclose()
    late.assert_calm_log()


@pytest.fixture
def late(installation: Installation) -> Iterator[ServerProcess]:
    """One more server, which does not run yet."""
    with installation.another_server() as server:
        yield server
