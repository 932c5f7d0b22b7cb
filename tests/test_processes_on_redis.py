"""Several server processes on one Redis are one: real processes, a real Redis."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.doors import ServerDoor
from tests.processes import RedisProcess, ServerProcess

Pair = tuple[ServerDoor, ServerDoor]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerProcess, ServerProcess]]:
    """Two servers that share a database and a Redis."""
    directory = tmp_path_factory.mktemp("pair")
    with ExitStack() as stack:
        redis = stack.enter_context(RedisProcess(directory))
        first = stack.enter_context(ServerProcess("broadcast", directory, REDIS_URL=redis.url))
        (directory / "second").mkdir()
        second = ServerProcess("broadcast", directory / "second", REDIS_URL=redis.url)
        second.environment["DATABASE_URL"] = first.environment["DATABASE_URL"]
        second.start()
        stack.push(second.__exit__)
        yield first, second


async def test_a_listener_at_one_hears_the_streamer_at_another(
    pair: tuple[ServerProcess, ServerProcess],
) -> None:
    here, there = ServerDoor(pair[0]), ServerDoor(pair[1])
    slug = pair[0].unused_stream()
    listener = await here.listener(slug)
    streamer = await there.streamer(slug)
    count = 5000
    for number in range(count):
        await streamer.publish(f"publication {number}")
    expected = [(number + 1, f"publication {number}") for number in range(count)]
    assert await listener.told_many(count) == expected
    await streamer.accepted(count)
    await here.aclose()
    await there.aclose()


async def test_who_resumes_at_another_misses_nothing(
    pair: tuple[ServerProcess, ServerProcess],
) -> None:
    here, there = ServerDoor(pair[0]), ServerDoor(pair[1])
    slug = pair[0].unused_stream()
    listener = await here.listener(slug)
    streamer = await there.streamer(slug)
    await streamer.publish("one")
    assert await listener.told() == (1, "one")
    await listener.close()
    await streamer.publish("two")
    await streamer.accepted(2)
    position = f"?epoch={listener.first['epoch']}&since=1"
    resumed = await there.listener(slug, position)
    assert resumed.first["recovered"] is True
    assert await resumed.told() == (2, "two")
    await here.aclose()
    await there.aclose()


async def test_a_streamer_is_replaced_by_one_at_another(
    pair: tuple[ServerProcess, ServerProcess],
) -> None:
    here, there = ServerDoor(pair[0]), ServerDoor(pair[1])
    slug = pair[0].unused_stream()
    former = await here.streamer(slug)
    await there.streamer(slug)
    assert await former.closed() == 4501
    await here.aclose()
    await there.aclose()


def test_publish_needs_no_server_where_the_backend_is_shared(
    pair: tuple[ServerProcess, ServerProcess],
) -> None:
    slug = pair[0].unused_stream()
    done = pair[0].manage("publish", slug, "straight into Redis")
    assert done.returncode == 0, done.stderr
    heard = pair[1].manage(*("listen", slug, "--url", pair[1].ws, "--history", "1", "--count", "1"))
    assert heard.stdout == "straight into Redis\n"
