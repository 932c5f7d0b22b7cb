"""`serve --workers`: a parent and its workers as real processes, on a real Redis."""

import asyncio
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from pytest_django.fixtures import Settings

from broadcast.server.binding import UnixAddress, listen, opened
from tests.rig.clients import flowing
from tests.rig.doors import V1, ServerDoor, Socket, door_of, eventually
from tests.rig.drains import refuses
from tests.rig.listening import ListeningProcess, answers, running
from tests.rig.processes import RedisProcess
from tests.rig.rpc import PONG, connected
from tests.rig.workers import (
    DRAIN,
    WORKERS,
    WorkersProcess,
    exit_status,
    listeners_at_all,
    replace_all,
    runs,
    until,
)

#: Seconds in which nothing but an exit at once can happen.
LONG_DRAIN = 60


@pytest.fixture(scope="module")
def first(
    tmp_path_factory: pytest.TempPathFactory, own_redis: RedisProcess
) -> Iterator[WorkersProcess]:
    process = WorkersProcess(tmp_path_factory.mktemp("first"), REDIS_URL=own_redis.url)
    process.arguments = ["start", "--workers", str(WORKERS)]
    if socket.has_dualstack_ipv6():
        process.arguments += ["--host", "::"]
    with process:
        yield process


def another(directory: Path, first: WorkersProcess, **environment: str) -> WorkersProcess:
    """One more on the same database and Redis, that does not run yet."""
    shared = {name: first.environment[name] for name in ("DATABASE_URL", "REDIS_URL")}
    process = WorkersProcess(directory, **{**shared, **environment})
    process.given = first.given
    return process


@pytest.fixture
def changing(first: WorkersProcess, tmp_path: Path) -> Iterator[WorkersProcess]:
    """A parent that does not run yet, whose settings a test may change: see `change`."""
    process = another(
        *(tmp_path, first), DJANGO_SETTINGS_MODULE="changing_settings", PYTHONPATH=str(tmp_path)
    )
    change(tmp_path)
    yield process
    process.kill()


def change(directory: Path, line: str = "") -> None:
    (directory / "changing_settings.py").write_text(f"from tests.settings import *\n{line}\n")


@pytest.fixture
def process(first: WorkersProcess) -> WorkersProcess:
    """A parent with all its workers; each test may end it."""
    if first.process is None or first.process.poll() is not None:
        first.start()
    return first


@pytest.fixture
def door(process: WorkersProcess) -> Iterator[ServerDoor]:
    yield from door_of(process)


# -- serving ------------------------------------------------------------------------------------


async def test_connections_come_to_all_workers_and_hear_each_other(
    door: ServerDoor, process: WorkersProcess
) -> None:
    slug = await door.stream()
    listeners = await listeners_at_all(door, slug)
    assert set(listeners) == process.workers
    streamer = await door.streamer(slug)
    for number in range(1, 101):
        await streamer.publish(number)
    for listener in listeners.values():
        assert await listener.told_many(100) == [(number, number) for number in range(1, 101)]
    assert process.said().count("Broadcast is at") == 1


async def test_exactly_one_worker_answers_messagepack_rpc_and_another_when_it_died(
    process: WorkersProcess,
) -> None:
    for _ in range(2):
        await until(lambda: len(process.workers) == WORKERS and len(process.rpc_listeners) == 1)
        (answering,) = process.rpc_listeners
        async with connected(process) as client:
            assert await client.call("ping") == PONG
            os.kill(answering, signal.SIGKILL)
            assert await client.is_closed()
        killed = time.monotonic()
        await until(lambda former=answering: bool(process.rpc_listeners - {former}))  # type: ignore[misc]
        assert time.monotonic() - killed < 5
    async with connected(process) as client:
        assert await client.call("ping") == PONG


async def test_a_killed_worker_is_replaced_and_listeners_of_others_notice_nothing(
    door: ServerDoor, process: WorkersProcess
) -> None:
    slug = await door.stream()
    streamer = await door.streamer(slug)
    listeners = await listeners_at_all(door, slug)
    unharmed = process.worker_of(streamer)
    (killed,) = process.workers - {unharmed}
    for number in range(1, 101):
        await streamer.publish(number)
        if number == 50:
            os.kill(killed, signal.SIGKILL)
    assert await listeners[unharmed].told_many(100) == [(n, n) for n in range(1, 101)]
    assert await listeners[killed].closed() == 1006
    new = await listeners_at_all(door, slug)
    assert set(new) > {unharmed} and killed not in new
    await streamer.publish(101)
    for listener in (*new.values(), listeners[unharmed]):
        assert await listener.told() == (101, 101)
    assert f"Worker {killed} was ended by signal 9 (Killed); the next one" in process.said()


# -- several addresses --------------------------------------------------------------------------


async def test_workers_share_all_addresses_and_so_do_those_that_replace_them(
    first: WorkersProcess, tmp_path: Path
) -> None:
    process = another(tmp_path, first)
    asked = [f"unix:{tmp_path}/x", f"unix:@{tmp_path}"]
    process.arguments += ["--bind", asked[0], "--bind", asked[1]]
    process.start()
    try:
        for _ in range(2):
            for address in (f"http://127.0.0.1:{process.port}/", *asked):
                assert all(await asyncio.gather(*(answers(address) for _ in range(20))))
            await replace_all(process)
        assert process.process
        refused = await asyncio.to_thread(process.manage, "serve", "--bind", asked[0])
        assert f"it is taken by process {process.process.pid} " in refused.stderr
        assert process.stop() == 0
        assert "x" not in os.listdir(tmp_path)
    finally:
        process.kill()


async def test_workers_share_the_sockets_of_systemd(first: WorkersProcess, tmp_path: Path) -> None:
    environment = {name: first.environment[name] for name in ("DATABASE_URL", "REDIS_URL")}
    process = ListeningProcess(tmp_path, "serve", "--workers", str(WORKERS), **environment)
    with listen("127.0.0.1", 0) as tcp, opened([UnixAddress(f"{tmp_path}/x")]) as (unix,):
        process.passed = [tcp, unix]
        with running(process):
            assert len(process.addresses) == 2 and process.process
            for _ in range(2):
                for address in process.addresses:
                    assert all(await asyncio.gather(*(answers(address) for _ in range(20))))
                process.process.send_signal(signal.SIGHUP)
                await until(lambda: "All workers were replaced" in process.said())
            assert process.stop() == 0


# -- SIGHUP -------------------------------------------------------------------------------------


async def come_and_go(door: ServerDoor, slug: str, enough: asyncio.Event) -> int:
    """Open one socket after another, and ask for a page each time; answers how often."""
    count = 0
    while not enough.is_set():
        await (await door.connect(f"/ws/listener/{slug}/", V1)).leave()
        await door.describe(slug)
        count += 1
    return count


async def test_sighup_replaces_all_workers_and_nobody_loses_anything(
    door: ServerDoor, process: WorkersProcess
) -> None:
    async with flowing([door], await door.stream("long"), listeners=6, per_second=100) as flow:
        await flow.goes_on(1)
        await replace_all(process)
        await flow.goes_on(1)
    flow.assert_nothing_lost()
    for client in (flow.streamer, *flow.listeners):
        assert client.codes and set(client.codes) == {4200}
    assert process.said().count("Broadcast is at") == 1


async def test_nobody_who_comes_during_a_replacement_is_refused_or_cut_off(
    door: ServerDoor, process: WorkersProcess
) -> None:
    slug = await door.stream()
    enough = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        # At all times some have just come, and hardly anybody stays.
        newcomers = [tasks.create_task(come_and_go(door, slug, enough)) for _ in range(10)]
        await replace_all(process)
        enough.set()
    assert min(newcomer.result() for newcomer in newcomers) > 1


# -- the end ------------------------------------------------------------------------------------


@pytest.mark.parametrize("told", ["the parent", "all processes"])
async def test_sigterm_drains_all_workers_at_once(
    door: ServerDoor, process: WorkersProcess, told: str
) -> None:
    slug = await door.stream()
    for _ in range(10):
        await door.listener(slug)
    await listeners_at_all(door, slug)
    workers = process.workers
    started = time.monotonic()
    if told == "all processes":
        # As service managers do: it is not the second signal for anybody.
        for worker in workers:
            os.kill(worker, signal.SIGTERM)
    process.tell(signal.SIGTERM)

    async def hear(listener: Socket) -> float:
        assert await listener.event() == {"event": "shutdown", "seconds": DRAIN}
        assert await listener.rest() == ([], 4200)
        return time.monotonic() - started

    assert max(await asyncio.gather(*map(hear, door.sockets))) > DRAIN / 3
    assert await exit_status(process) == 0
    assert not any(map(runs, workers))


async def test_a_second_signal_ends_them_at_once(first: WorkersProcess, tmp_path: Path) -> None:
    process = another(tmp_path, first, BROADCAST_DRAIN_SECONDS=str(LONG_DRAIN))
    process.start()
    door = ServerDoor(process)
    try:
        slug = await door.stream()
        listeners = [await door.listener(slug) for _ in range(20)]
        listeners += (await listeners_at_all(door, slug)).values()
        workers = process.workers
        process.tell(signal.SIGTERM)
        for listener in listeners:
            assert await listener.event() == {"event": "shutdown", "seconds": LONG_DRAIN}
        # Nor do clients wait in vain.
        await eventually(lambda: refuses(door))
        process.tell(signal.SIGTERM)
        assert await exit_status(process) == 0
        assert not any(map(runs, workers))
    finally:
        await door.aclose()
        process.kill()
    process.assert_clean_log()


async def test_workers_drain_when_their_parent_is_killed(
    door: ServerDoor, process: WorkersProcess
) -> None:
    listeners = await listeners_at_all(door, await door.stream())
    process.tell(signal.SIGKILL)
    for listener in listeners.values():
        assert await listener.until("shutdown") == {"event": "shutdown", "seconds": DRAIN}
        assert await listener.closed() == 4200
    await until(lambda: not any(map(runs, listeners)))


SLOW_URLS = """
import asyncio, pathlib
from django.http import HttpResponse
from django.urls import path

async def slow(request):
    folder = pathlib.Path(__file__).parent
    (folder / "asked").touch()
    while not (folder / "answer").exists():
        await asyncio.sleep(0.01)
    return HttpResponse("an answer")

urlpatterns = [path("slow/", slow)]
"""


async def test_who_has_asked_before_the_end_is_answered(
    changing: WorkersProcess, tmp_path: Path
) -> None:
    (tmp_path / "slow_urls.py").write_text(SLOW_URLS)
    change(tmp_path, 'ROOT_URLCONF = "slow_urls"')
    changing.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", changing.port)
    writer.write(b"GET /slow/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    await until((tmp_path / "asked").exists)
    idle = changing.workers - changing.holders(changing.port, writer.get_extra_info("sockname")[1])
    changing.tell(signal.SIGTERM)
    # Who has nothing to do does not wait for the others.
    await until(lambda: not any(map(runs, idle)))
    (tmp_path / "answer").touch()
    assert (await reader.read()).endswith(b"an answer")
    writer.close()
    assert await exit_status(changing) == 0


# -- what cannot be -----------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["serve", "start"])
def test_several_workers_without_a_shared_backend_are_refused_with_the_reason(command: str) -> None:
    # Before anything is set up: the database may not be used here.
    with pytest.raises(CommandError, match="memory of one process: set BROADCAST_REDIS_URL"):
        call_command(command, workers=2)


def test_several_workers_without_a_shared_layer_are_refused_with_the_reason(
    settings: Settings,
) -> None:
    settings.BROADCAST_BACKEND = "broadcast.backends.redis.RedisBackend"
    settings.BROADCAST_REDIS_URLS = ["redis://127.0.0.1/"]
    settings.CHANNEL_LAYERS = {"broadcast": {"BACKEND": "broadcast.layers.MemoryLayer"}}
    with pytest.raises(CommandError, match="shared channel layer"):
        call_command("serve", workers=2)


def test_several_workers_from_within_a_program_are_refused_with_the_reason(
    settings: Settings,
) -> None:
    # It is the command line that starts a worker.
    settings.BROADCAST_BACKEND = "broadcast.backends.redis.RedisBackend"
    settings.BROADCAST_REDIS_URLS = ["redis://127.0.0.1/"]
    with pytest.raises(CommandError, match="from the command line"):
        call_command("serve", workers=2)


@pytest.mark.parametrize("number", [0, -1])
def test_less_than_one_worker_is_refused(number: int) -> None:
    with pytest.raises(CommandError, match="--workers is 1 or more"):
        call_command("serve", workers=number)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "::1::", "127.0.0.1"])
def test_an_address_that_cannot_be_had_is_refused(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises((OSError, OverflowError)):
        listen(host, other.getsockname()[1])


@pytest.mark.parametrize(
    ("redis_url", "said"), [(None, "it is taken by process "), ("", "BROADCAST_REDIS_URL")]
)
def test_a_refusal_is_one_clear_line_and_exit_status_1(
    process: WorkersProcess, tmp_path: Path, redis_url: str | None, said: str
) -> None:
    environment = {} if redis_url is None else {"REDIS_URL": redis_url}
    refused = another(tmp_path, process, **environment)
    done = refused.manage("serve", "--workers", "2", "--port", str(process.port))
    assert done.returncode == 1
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


BROKEN = 'ASGI_APPLICATION = "nowhere.application"'


def test_when_no_worker_can_start_it_ends_and_says_why(
    changing: WorkersProcess, tmp_path: Path
) -> None:
    change(tmp_path, BROKEN)
    done = changing.manage("serve", "--workers", "2", "--port", str(changing.port))
    assert done.returncode == 1
    reason = "CommandError: Cannot import ASGI_APPLICATION module 'nowhere'"
    end = "CommandError: no worker came to serve: one ended with exit status 1"
    assert done.stderr.splitlines() in ([reason, end], [reason, reason, end])


async def test_workers_that_cannot_start_any_more_are_tried_less_and_less_often(
    changing: WorkersProcess, tmp_path: Path
) -> None:
    changing.start()
    before = changing.workers
    change(tmp_path, BROKEN)
    changing.tell(signal.SIGHUP)
    await until(lambda: "before it served; the others stay" in changing.said())
    assert changing.workers == before
    os.kill(max(before), signal.SIGKILL)
    await until(lambda: "starts in 2 s" in changing.said())
    pauses = re.findall(r"the next one starts in (\d+) s", changing.said())
    # The one that was killed may have lived for long by then, and is to be replaced at once.
    assert pauses in (["1", "2"], ["0", "1", "2"])
    assert len(changing.workers) == 1
    change(tmp_path)
    await until(lambda: changing.said().count(" serves\n") == WORKERS + 1)
    assert len(changing.workers) == WORKERS
    assert changing.stop() == 0
