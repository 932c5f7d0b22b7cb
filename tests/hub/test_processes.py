"""Several server processes on one Redis are one: real processes, a real Redis."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.rig.clients import flowing
from tests.rig.doors import ServerDoor
from tests.rig.processes import Installation, ServerProcess
from tests.rig.rpc import connected

#: Seconds after which a process that was killed must not be counted any more. What is promised is
#: not a setting, so a test of it takes as long.
GONE_SECONDS = 30.0


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Three servers on one Redis."""
    with Installation(tmp_path_factory.mktemp("processes"), servers=3) as installation:
        yield installation
        for server in installation.servers:
            server.assert_clean_log()


async def test_a_listener_at_one_hears_the_streamer_at_another(
    here: ServerDoor, there: ServerDoor, slug: str
) -> None:
    listener = await here.listener(slug)
    streamer = await there.streamer(slug)
    count = 5000
    for number in range(count):
        await streamer.publish(f"publication {number}")
    expected = [(number + 1, f"publication {number}") for number in range(count)]
    assert await listener.told_many(count) == expected
    await streamer.accepted(count)


async def test_all_hear_what_three_publish_at_once_in_one_order(
    here: ServerDoor, there: ServerDoor, elsewhere: ServerDoor, slug: str
) -> None:
    doors = (here, there, elsewhere)
    listeners = [await door.listener(slug) for door in doors]
    plain = [await door.connect(f"/ws/listener/{slug}/") for door in doors]
    await here.until_listeners(slug, 6)
    streamer = await here.streamer(slug)
    count = 500

    async def stream() -> None:
        for number in range(count):
            await streamer.publish(f"streamer {number}")

    async def call(door: ServerDoor, name: str) -> None:
        async with connected(door.process) as client:
            for number in range(count):
                _, _, error, _ = await client.call("publish", slug, f"{name} {number}")
                assert error is None

    await asyncio.gather(stream(), call(there, "there"), call(elsewhere, "elsewhere"))
    heard = await listeners[0].told_many(3 * count)
    assert [offset for offset, _ in heard] == list(range(1, 3 * count + 1))
    for name in ("streamer", "there", "elsewhere"):
        of_one = [data for _, data in heard if data.startswith(name)]
        assert of_one == [f"{name} {number}" for number in range(count)]
    for listener in listeners[1:]:
        assert await listener.told_many(3 * count) == heard
    for listener in plain:
        assert await listener.receive_many(3 * count) == [data for _, data in heard]


async def test_who_resumes_at_another_misses_nothing(
    here: ServerDoor, there: ServerDoor, slug: str
) -> None:
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


async def test_a_run_goes_on_at_another(here: ServerDoor, there: ServerDoor, slug: str) -> None:
    async with flowing([here, there], slug, listeners=2) as flow:
        await flow.goes_on()
        # The streamer's socket, which came last.
        await here.sockets[-1].leave()
        await flow.goes_on()
    flow.assert_nothing_lost()
    assert flow.streamer.codes == [1006]


async def test_a_streamer_is_replaced_by_one_at_another(
    here: ServerDoor, there: ServerDoor, slug: str
) -> None:
    former = await here.streamer(slug)
    listener = await here.listener(slug)
    assert listener.first["live"] is True
    await there.streamer(slug)
    assert await former.closed() == 4501
    # The former one's going does not make the stream idle.
    assert (await here.describe(slug))["live"] is True
    assert (await there.describe(slug))["live"] is True


async def test_listeners_everywhere_are_told_when_a_streamer_comes_and_goes(
    here: ServerDoor, there: ServerDoor, elsewhere: ServerDoor, slug: str
) -> None:
    listeners = [await door.listener(slug) for door in (here, there, elsewhere)]
    assert [listener.first["live"] for listener in listeners] == [False] * 3
    streamer = await there.streamer(slug)
    for listener in listeners:
        await listener.until("live")
    await streamer.close()
    for listener in listeners:
        await listener.until("idle")


async def test_every_process_counts_the_listeners_of_all(
    here: ServerDoor, there: ServerDoor, elsewhere: ServerDoor, slug: str
) -> None:
    doors = (here, there, elsewhere)
    for door in doors:
        for _ in range(2):
            await door.listener(slug)
    last = await elsewhere.listener(slug)
    for door in doors:
        await door.until_listeners(slug, 7)
    await last.leave()
    for door in doors:
        await door.until_listeners(slug, 6)


async def test_a_streamer_is_told_of_the_listeners_of_all_processes(
    here: ServerDoor, there: ServerDoor, slug: str
) -> None:
    streamer = await here.streamer(slug)
    await here.listener(slug)
    far = await there.listener(slug)
    await streamer.until("listeners", count=2)
    await far.leave()
    await streamer.until("listeners", count=1)


async def test_closing_a_stream_closes_its_sockets_in_all_processes(
    installation: Installation,
    here: ServerDoor,
    there: ServerDoor,
    elsewhere: ServerDoor,
    slug: str,
) -> None:
    sockets = [await door.listener(slug) for door in (here, there, elsewhere)]
    sockets.append(await there.streamer(slug))
    closing = (
        "from broadcast.models import Stream; from django.utils import timezone;"
        f"Stream.objects.filter(slug={slug!r}).update(closed_at=timezone.now())"
    )
    done = await asyncio.to_thread(installation.servers[0].manage, "shell", "-c", closing)
    assert done.returncode == 0, done.stderr
    for socket in sockets:
        assert await socket.closed() == 4510
    late = await elsewhere.connect(f"/ws/listener/{slug}/")
    assert await late.closed() == 4510


def test_publish_needs_no_server_where_the_backend_is_shared(
    installation: Installation, slug: str
) -> None:
    server = installation.servers[0]
    done = server.manage("publish", slug, "straight into Redis")
    assert done.returncode == 0, done.stderr
    heard = server.manage("listen", slug, "--url", server.ws, "--history", "1", "--count", "1")
    assert heard.stdout == "straight into Redis\n"


@pytest.fixture
def victim(installation: Installation) -> Iterator[ServerProcess]:
    """One more server, for a test to kill."""
    with installation.another_server() as server:
        server.start()
        yield server


async def test_who_was_at_a_killed_process_is_not_counted_half_a_minute_later(
    installation: Installation, here: ServerDoor, there: ServerDoor, victim: ServerProcess
) -> None:
    doomed = ServerDoor(victim)
    fed, heard = installation.unused_stream(), installation.unused_stream()
    await doomed.streamer(fed)
    listener = await here.listener(fed)
    streamer = await there.streamer(heard)
    for _ in range(3):
        await doomed.listener(heard)
    assert listener.first["live"] is True
    await here.until_listeners(heard, 3)
    victim.kill()
    async with asyncio.timeout(GONE_SECONDS):
        while (await here.describe(fed))["live"] or await here.listeners(heard):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        await streamer.until("listeners", count=0)
    await listener.until("idle")


async def test_a_program_that_was_replaced_elsewhere_is_not_taken_for_the_streamer_again(
    here: ServerDoor, there: ServerDoor, slug: str
) -> None:
    async with connected(there.process) as client:
        assert (await client.call("feed", slug))[2] is None
        listener = await there.listener(slug)
        streamer = await here.streamer(slug)
        await streamer.publish("x")
        assert (await listener.told())[1] == "x"
        await streamer.close()
        assert (await listener.event())["event"] == "idle"
        # Its process has said who is there once more, when another listener is counted here.
        await there.listener(slug)
        await here.until_listeners(slug, 2)
        assert not (await here.describe(slug))["live"]
