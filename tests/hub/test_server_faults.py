"""Servers killed and replaced, and a channel layer that fails, while publications flow."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.rig.clients import flowing
from tests.rig.doors import ServerDoor
from tests.rig.processes import Installation


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Three servers on one Redis."""
    with Installation(tmp_path_factory.mktemp("servers"), servers=3) as installation:
        yield installation
        for server in installation.servers:
            server.assert_clean_log()


async def test_nothing_is_lost_when_one_server_after_another_is_killed(
    installation: Installation,
) -> None:
    doors = [ServerDoor(server) for server in installation.servers]
    async with flowing(doors, installation.unused_stream("long"), listeners=6) as flow:
        # First the one that the streamer is at.
        for server in installation.servers[:2]:
            await flow.goes_on()
            server.kill()
            await flow.goes_on()
            server.start()
    flow.assert_nothing_lost()
    assert flow.streamer.codes[0] == 1006


async def test_two_hundred_listeners_lose_nothing_when_all_servers_are_replaced(
    installation: Installation,
) -> None:
    doors = [ServerDoor(server) for server in installation.servers]
    slug = installation.unused_stream("long")
    async with flowing(doors, slug, listeners=200, per_second=40) as flow:
        for server in installation.servers:
            await flow.goes_on(1)
            assert await asyncio.to_thread(server.stop) == 0
            await asyncio.to_thread(server.start)
        await flow.goes_on(1)
    flow.assert_nothing_lost()
    codes = {code for listener in flow.listeners for code in listener.codes}
    # 1006: the next one was not up yet.
    assert codes <= {4200, 1006}
    assert all(4200 in listener.codes for listener in flow.listeners)


async def test_nothing_is_lost_when_the_layer_drops_doubles_and_reorders(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with Installation(
        tmp_path_factory.mktemp("layer"),
        CHANNEL_LAYER="tests.rig.faulty_layer.FaultyLayer",
        FAULTS_SEED="1",
    ) as installation:
        doors = [ServerDoor(server) for server in installation.servers]
        async with flowing(doors, installation.unused_stream("long"), listeners=4) as flow:
            await flow.goes_on(600)
        flow.assert_nothing_lost()
        for server in installation.servers:
            server.assert_clean_log()
