"""Who is at a stream, as every backend (`backends.Backend`) tells it."""

from pytest_django.fixtures import Settings

from broadcast.backends import Backend, Presence
from broadcast.backends.redis import PRESENCE_SECONDS
from tests.rig.backends import redis_backend
from tests.rig.clock import Clock


async def test_nobody_is_at_a_stream_nobody_came_to(backend: Backend) -> None:
    assert await backend.presence(iter(["s"])) == {"s": Presence("", 0, 0)}
    assert not Presence("", 3, 0).live


async def test_a_newcomer_replaces_the_streamer(backend: Backend) -> None:
    await backend.enter("s", "one")
    await backend.enter("s", "two")
    assert (await backend.presence(["s"]))["s"] == Presence("two", 0, 0)
    assert not await backend.leave("s", "one")
    assert (await backend.presence(["s"]))["s"].live
    assert await backend.leave("s", "two")
    assert not await backend.leave("s", "two")
    assert not (await backend.presence(["s"]))["s"].live


async def test_those_that_were_replaced_are_named_until_they_leave(backend: Backend) -> None:
    assert await backend.enter("s", "one") == []
    assert await backend.enter("s", "two") == ["one"]
    assert set(await backend.enter("s", "three")) == {"one", "two"}
    assert not await backend.leave("s", "one")
    assert await backend.replaced("s") == ["two"]
    assert await backend.leave("s", "three")
    # The stream is idle, and the second one may still have something to publish.
    assert await backend.enter("s", "four") == ["two"]
    assert await backend.replaced("other") == []


async def test_on_redis_a_killed_process_is_waited_for_no_longer_than_it_counts(
    redis_url: str, clock: Clock, settings: Settings
) -> None:
    settings.BROADCAST_REDIS_URLS = [redis_url]
    backend = redis_backend(clock)
    await backend.enter("s", "one")
    assert await backend.enter("s", "two") == ["one"]
    clock.now += PRESENCE_SECONDS + 1
    assert await backend.replaced("s") == []
    assert await backend.enter("s", "three") == []
    await backend.aclose()


async def test_listeners_are_counted_as_they_were_said_last(backend: Backend) -> None:
    for listeners in (3, 2, 0):
        await backend.count_listeners("s", listeners)
        assert (await backend.presence(["s", "t"])) == {
            "s": Presence("", listeners, 0),
            "t": Presence("", 0, 0),
        }


async def test_presence_outlives_the_history(backend: Backend) -> None:
    await backend.enter("s", "one")
    await backend.count_listeners("s", 2)
    await backend.clear("s")
    assert (await backend.presence(["s"]))["s"] == Presence("one", 2, 0)
