"""Redis back without its data, or with data of some time ago: a new history begins, and says so.

Two real server processes, and a Redis that has on disk only what it was told to save.
"""

from collections.abc import Iterator

import pytest

from tests.rig.clients import CountedStreamer, ResumingListener, assert_honest, flowing
from tests.rig.doors import ServerDoor, eventually
from tests.rig.processes import Installation, RedisProcess
from tests.rig.rpc import connected


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with Installation(tmp_path_factory.mktemp("lost")) as installation:
        yield installation


async def publish(door: ServerDoor, slug: str, text: str) -> None:
    async with connected(door.process) as client:
        assert (await client.call("publish", slug, text))[2] is None


async def is_live(door: ServerDoor, slug: str) -> bool:
    return bool((await door.describe(slug))["live"])


async def test_without_its_data_a_new_history_begins(
    doors: list[ServerDoor], redis: RedisProcess, slug: str
) -> None:
    async with flowing(doors, slug) as flow:
        await flow.goes_on()
        with redis.away():
            redis.forget()
            await flow.stands_still()
        await flow.goes_on()
    assert_honest(flow, histories=2)
    old, new = flow.listeners[0].heard
    assert (await doors[1].describe(slug))["position"]["epoch"] == new
    stale = await doors[1].listener(slug, f"?epoch={old}&since=1")
    assert stale.first["recovered"] is False
    # What was not in when the old history ended is in the new one, from its beginning.
    whole = await doors[0].listener(slug, f"?epoch={new}&since=0")
    assert whole.first["recovered"] is True
    assert await whole.told() == (1, flow.streamer.base)
    for door in doors:
        await door.aclose()


async def test_who_noticed_nothing_goes_on_in_the_new_history(
    installation: Installation, doors: list[ServerDoor], redis: RedisProcess, slug: str
) -> None:
    async with (
        CountedStreamer(doors, slug) as streamer,
        ResumingListener(doors[1:], slug) as listener,
    ):
        for text in ("one", "two"):
            streamer.publish(text)
            await listener.until_heard(text)
        with installation.outage():
            redis.forget()
        # Who is there is known again, though Redis forgot it.
        await listener.until(lambda: len(listener.heard) == 2)
        await doors[0].until_listeners(slug, 1)
        await eventually(lambda: is_live(doors[1], slug))
        assert streamer.codes == []
        streamer.publish("three")
        await listener.until_heard("three")
    assert list(listener.heard.values()) == [["one", "two"], ["three"]]


async def test_an_older_snapshot_is_another_history_each_time_it_comes_back(
    doors: list[ServerDoor], redis: RedisProcess, slug: str
) -> None:
    async with flowing(doors, slug) as flow:
        await flow.goes_on()
        redis.command("SAVE")
        for _ in range(2):
            await flow.goes_on()
            with redis.away():
                await flow.stands_still()
        await flow.goes_on()
    assert_honest(flow, histories=3)
    # Neither what the snapshot holds nor what came after it is taken for the new history.
    for epoch in list(flow.listeners[0].heard)[:2]:
        for since in (1, flow.listeners[0].offset):
            stale = await doors[1].listener(slug, f"?epoch={epoch}&since={since}")
            assert stale.first["recovered"] is False
    for door in doors:
        await door.aclose()


async def test_a_quiet_listener_hears_what_is_published_first_after_an_older_snapshot(
    installation: Installation, doors: list[ServerDoor], redis: RedisProcess, slug: str
) -> None:
    async with ResumingListener(doors, slug) as listener:
        await publish(doors[0], slug, "saved")
        redis.command("SAVE")
        for text in ("lost", "lost too"):
            await publish(doors[0], slug, text)
            await listener.until_heard(text)
        with installation.outage():
            pass
        # At an offset that the listener has heard already, of the history that is no more.
        await publish(doors[1], slug, "new")
        await listener.until(lambda: listener.epoch != listener.firsts[0]["epoch"])
        await publish(doors[1], slug, "newer")
        await listener.until_heard("newer")
    old, new = listener.heard.values()
    assert old == ["saved", "lost", "lost too"]
    assert new in (["new", "newer"], ["newer"])


async def test_idle_listeners_learn_that_history_went_back(
    installation: Installation, doors: list[ServerDoor], redis: RedisProcess, slug: str
) -> None:
    redis.command("SAVE")
    async with ResumingListener(doors, slug) as listener:
        await publish(doors[0], slug, "lost")
        await listener.until_heard("lost")
        with installation.outage():
            pass
        await listener.until(lambda: len(listener.heard) == 2)
        assert listener.firsts[-1]["offset"] == 0
    assert set(listener.codes) <= {4200, 4408}
