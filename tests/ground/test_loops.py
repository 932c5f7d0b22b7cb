"""Work in the background: no error ends a loop, each is logged once and counted."""

import ast
import asyncio
import logging
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.management import call_command
from django.db import InterfaceError
from prometheus_client import REGISTRY
from pytest_django.fixtures import Settings

import broadcast
from broadcast import apublish, loops
from broadcast.access import guard, sole_process
from broadcast.backends import get_backend
from broadcast.backends.redis_server import RedisServer
from broadcast.exceptions import Unavailable
from broadcast.hub import appending, housekeeping
from broadcast.hub.relay import get_relay
from broadcast.loops import FIRST_SECONDS, LOOPS, MOST_SECONDS, repeat
from broadcast.models import Installation, Recording, Room, RoomHour, Stream, Subscription
from broadcast.pages import watch as page_watch
from broadcast.rooms import hours, meetings
from broadcast.server import server, workers
from tests.rig.clock import clock, in_clock_loop
from tests.rig.doors import InProcessDoor
from tests.rig.rooms import HOUR, left
from tests.rig.sole_process import LOOK_OUT
from tests.rig.subscribed import opened, reopened


def failed(name: str) -> float:
    """How many rounds of a loop failed, as metrics have it."""
    return REGISTRY.get_sample_value("broadcast_failed_rounds_total", {"loop": name}) or 0.0


# -- the helper ------------------------------------------------------------------------------------


@in_clock_loop
async def test_a_loop_that_fails_goes_on_after_pauses_that_grow_to_a_bound() -> None:
    starts: list[float] = []

    async def work() -> None:
        starts.append(clock().now)
        raise ZeroDivisionError

    task = loops.spawn(repeat("rooms", work))
    await asyncio.sleep(60)
    task.cancel()
    pauses = [later - before for before, later in zip(starts, starts[1:], strict=False)]
    assert pauses[:4] == pytest.approx([FIRST_SECONDS, 1, 2, 4])
    assert set(pauses[4:]) == {MOST_SECONDS}
    assert len(starts) > 12


def test_failures_in_a_row_are_logged_once_and_so_is_their_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    before, outcomes = failed("rooms"), iter("xxx..x.")

    @in_clock_loop
    async def run() -> None:
        async def work() -> None:
            await asyncio.sleep(1)
            if next(outcomes) == "x":
                raise ZeroDivisionError("the reason")

        with pytest.raises(StopAsyncIteration):
            await repeat("rooms", stop_after(7, work), until=lambda: False)

    def stop_after(most: int, work: Callable[[], Any]) -> Callable[[], Any]:
        left = iter(range(most))

        async def counted() -> None:
            if next(left, None) is None:
                raise asyncio.CancelledError
            await work()

        return counted

    with pytest.raises(asyncio.CancelledError):
        run()
    said = [(one.levelname, bool(one.exc_info)) for one in caplog.records]
    assert said == [("ERROR", True), ("WARNING", False)] * 2
    assert failed("rooms") == before + 4


@in_clock_loop
async def test_what_others_have_logged_is_counted_alone() -> None:
    logger = logging.getLogger("broadcast.loops")
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logger.addHandler(handler)
    before, done = failed("rooms"), iter([Unavailable("away")] * 3)

    async def work() -> None:
        if error := next(done, None):
            raise error
        await asyncio.sleep(3600)

    task = loops.spawn(repeat("rooms", work, known=Unavailable))
    await asyncio.sleep(100)
    task.cancel()
    logger.removeHandler(handler)
    assert (records, failed("rooms")) == ([], before + 3)


# -- every loop ------------------------------------------------------------------------------------

ROOT = Path(broadcast.__file__).parent

#: Coroutines with an endless loop of their own, and why no error of theirs ends anything for good.
OWN_LOOPS = {
    "api/publications.py:slices": "one answer, which ends with its client or with history",
    "hub/repair.py:_fetch": "ends when it has what it came for, or with an error that is told",
    "rpc/server.py:_listen": "ends when it listens, or with the reason why it never will",
    "monitor/figures.py:_tell": "the loop of one socket, which is closed when it fails",
}

#: Who begins a task that is not `loops.spawn`'s, and who keeps and ends it.
OWN_TASKS = {
    "api/events.py": "a response waits for what comes first, and cancels both",
    "ingest/programs.py": "a feed leaves once",
    "monitor/figures.py": "a socket, until it is closed",
    "monitor/health.py": "a question, which answers whatever happens",
    "http/application.py": "one answer waits for what comes first, and cancels both",
    "hub/listeners.py": "a read of one listener, which closes it when it fails",
    "loops.py": "here they are all begun",
    "management/commands/rpcserver.py": "what the command waits for",
    "pages/actions.py": "a call of one page, which is answered whatever happens",
    "ingest/recorder.py": "a recording, from one streamer's coming to its going",
    "rpc/server.py": "a call of one connection, which is answered whatever happens",
    "server/server.py": "an application, which Daphne keeps and ends",
    "rooms/signaling.py": "what one client said, which is answered whatever happens",
    "wire/sinks.py": "what one socket is sent",
    "streams/streamer.py": "what one streamer sent",
    "backends/redis_server.py": "a probe, which ends when the server answers",
    "server/workers.py": "a worker's life, and what the parent waits for",
}


def sources() -> Iterator[tuple[str, ast.AST]]:
    for path in sorted(ROOT.rglob("*.py")):
        yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


def endless(function: ast.AsyncFunctionDef) -> bool:
    """Whether it has a loop that ends by no condition."""
    for node in ast.walk(function):
        if isinstance(node, ast.While) and isinstance(node.test, ast.Constant):
            return True
        if isinstance(node, ast.For) and ast.unparse(node.iter) == "count()":
            return True
    return False


def test_every_endless_loop_runs_through_the_helper_or_says_why_not() -> None:
    found = {
        f"{name}:{node.name}"
        for name, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.AsyncFunctionDef) and endless(node)
    }
    assert found == set(OWN_LOOPS)


def test_every_task_is_spawned_by_the_helper_or_says_who_keeps_it() -> None:
    makers = {"ensure_future", "create_task"}
    found = {
        name
        for name, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and (getattr(node.func, "attr", "") in makers or getattr(node.func, "id", "") in makers)
    }
    assert found == set(OWN_TASKS)


def test_every_loop_has_a_name_and_every_name_a_loop() -> None:
    makers = {"repeat", "Failures", "Watch"}
    named = {
        node.args[0].value
        for _, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in makers
        if isinstance(node.args[0], ast.Constant)
    }
    assert named == set(LOOPS)


# -- each of them, with an error in it -------------------------------------------------------------


class Broken:
    """Fails the first time, in place of a function; then it is that function, and `worked`."""

    def __init__(self, function: Any, error: type[Exception] = ZeroDivisionError) -> None:
        self.function = function
        self.error = error
        self.failed = False
        self.worked = asyncio.Event()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self.failed:
            self.failed = True
            raise self.error("injected")
        self.worked.set()
        return self.function(*args, **kwargs)


#: By the names of loops: an object, and what of it is broken.
PARTS: dict[str, Callable[[], tuple[Any, str]]] = {
    "access": lambda: (guard.get_guard()._watch, "look"),
    "channel_layer": lambda: (get_relay().layer, "receive"),
    "messages": lambda: (get_relay(), "_receive"),
    "relay": lambda: (get_backend(), "place"),
    "pages": lambda: (page_watch.get_pages()._watch, "look"),
    "rooms": lambda: (get_backend().rooms, "renew"),
    "room_hours": lambda: (RoomHour.objects, "add"),
    "housekeeping": lambda: (get_backend(), "sweep"),
}


@pytest.mark.parametrize("name", PARTS)
async def test_a_loop_goes_on_after_an_error_in_it(
    in_process: InProcessDoor,
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    name: str,
) -> None:
    settings.BROADCAST_WATCH_SECONDS = 0.02
    for module, seconds in ((loops, "FIRST_SECONDS"), (hours, "SECONDS")):
        monkeypatch.setattr(module, seconds, 0.01)
    monkeypatch.setattr(housekeeping, "SECONDS", 0.01)
    slug = await in_process.stream()
    listener = await in_process.plain_listener(slug)
    page = await in_process.connect("/ws/socket/")
    meetings.get_meetings().enter("r", "a", SimpleNamespace())  # type: ignore[arg-type]
    before = failed(name)
    thing, attribute = PARTS[name]()
    broken = Broken(getattr(thing, attribute))
    monkeypatch.setattr(thing, attribute, broken)
    guard.get_guard()._watch.changed(None)
    page_watch.get_pages()._watch.changed(None)
    hours.note(left(1))
    # The first one is lost where messages are broken, and history has it.
    for number in range(3):
        await apublish(slug, number)
    await asyncio.wait_for(broken.worked.wait(), 5)
    assert failed(name) == before + 1
    assert [await listener.receive() for _ in range(3)] == ["0", "1", "2"]
    await page.close()
    faults = [one for one in caplog.records if one.exc_info]
    assert [one.message for one in faults] == [f"{LOOPS[name]}; trying again"]
    caplog.clear()


@pytest.mark.parametrize("name", ["housekeeping", "room_hours"])
async def test_a_database_that_went_away_is_no_fault_of_a_loop(
    db: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
) -> None:
    for module, seconds in ((loops, "FIRST_SECONDS"), (hours, "SECONDS")):
        monkeypatch.setattr(module, seconds, 0.01)
    for seconds in ("SECONDS", "ROWS_SECONDS"):
        monkeypatch.setattr(housekeeping, seconds, 0.01)
    rows: Any = {"housekeeping": Subscription.objects, "room_hours": RoomHour.objects}[name]
    method = {"housekeeping": "prune_some", "room_hours": "add"}[name]
    broken = Broken(getattr(rows, method), InterfaceError)
    monkeypatch.setattr(rows, method, broken)
    before = failed(name)
    keeper = housekeeping.Housekeeping()
    hours.note(left(1))
    await asyncio.wait_for(broken.worked.wait(), 5)
    keeper.task.cancel()
    assert failed(name) == before + 1
    assert not [one for one in caplog.records if one.exc_info]
    caplog.clear()


async def test_a_process_goes_on_looking_for_others_after_an_error(
    db: None, monkeypatch: pytest.MonkeyPatch, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.BROADCAST_WATCH_SECONDS = 0.02
    monkeypatch.setattr(loops, "FIRST_SECONDS", 0.01)
    monkeypatch.setattr(sole_process, "is_serving", lambda: True)
    monkeypatch.setattr(sole_process, "_company", sole_process.Company("this"))
    take = Broken(Installation.objects.take)
    monkeypatch.setattr(Installation.objects, "take", take)
    before = failed("alone")
    LOOK_OUT()
    await asyncio.wait_for(take.worked.wait(), 5)
    assert failed("alone") == before + 1
    assert [one.message for one in caplog.records] == [f"{LOOPS['alone']}; trying again"]
    caplog.clear()


async def test_workers_are_replaced_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "FIRST_SECONDS", 0.0)
    parent = workers.Parent([], None, 1, "", lambda: None)  # type: ignore[arg-type]
    parent.ending, parent.have_served = asyncio.Event(), True

    async def end() -> str:
        return "ended"

    dead = SimpleNamespace(life=asyncio.ensure_future(end()), died_soon=False)
    lives = SimpleNamespace(life=asyncio.get_running_loop().create_future())
    parent.places = [dead]  # type: ignore[list-item]
    start = Broken(lambda: lives, OSError)
    monkeypatch.setattr(parent, "_start", start)
    keeping = asyncio.ensure_future(parent._keep(0))
    await asyncio.wait_for(start.worked.wait(), 5)
    keeping.cancel()
    assert start.failed


async def test_redis_is_probed_after_an_error_that_nobody_expects(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loops, "FIRST_SECONDS", 0.0)
    one = RedisServer(redis_url, "generation")
    ping = Broken(one.client.ping)
    monkeypatch.setattr(one.client, "ping", ping)
    one.away = ConnectionError("away")
    await one._probe()
    assert one.away is None and ping.failed
    await one.aclose()


async def test_a_drain_goes_on_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[str] = []

    async def leave() -> None:
        left.append("left")

    async def run() -> None:
        one = server.Server.__new__(server.Server)
        one.failures, one.drain_until = loops.Failures("drain"), 0.0
        monkeypatch.setattr(one, "_close_some", Broken(lambda steps: True))
        monkeypatch.setattr(one, "_leave", leave)
        one.drain_until = asyncio.get_running_loop().time() + 100
        one._drain_step(3)
        await asyncio.sleep(5 * server.DRAIN_STEP)

    await run()
    assert left == ["left"]


# -- what drains a queue ---------------------------------------------------------------------------


async def test_a_stream_can_be_published_to_after_an_error_that_nobody_expects(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand_over = Broken(appending.hand_over)
    monkeypatch.setattr(appending, "hand_over", hand_over)
    for number in (1, 2):
        assert (await asyncio.wait_for(apublish("s", number), 5)).offset == number
    assert hand_over.failed


async def test_a_room_goes_on_after_an_error_that_nobody_expects(
    db: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    room = meetings.get_meetings()
    monkeypatch.setattr(meetings, "hand_over", Broken(meetings.hand_over))

    async def action() -> None:
        return None

    for _ in range(2):
        assert await asyncio.wait_for(room.do("r", action), 5) is None
    assert [one.message for one in caplog.records] == [
        "Messages of a room could not be handed over"
    ]
    assert room._rounds._waiting == {}


# -- without time zones ----------------------------------------------------------------------------


@pytest.fixture
def zoneless(settings: Settings) -> None:
    settings.USE_TZ = False
    settings.TIME_ZONE = "America/New_York"


async def test_hours_of_rooms_are_written_without_time_zones(zoneless: None, db: None) -> None:
    hours.note(left(1, 3))
    await hours.write()
    (hour,) = await sync_to_async(RoomHour.objects.by_hour)()
    assert hour["hour"] == datetime.fromtimestamp(HOUR.timestamp())


async def test_what_is_broken_in_the_database_is_written_later(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hours, "SECONDS", 0.01)
    monkeypatch.setattr(loops, "FIRST_SECONDS", 0.01)
    add = Broken(RoomHour.objects.add, InterfaceError)
    monkeypatch.setattr(RoomHour.objects, "add", add)
    hours.note(left(1))
    await asyncio.wait_for(add.worked.wait(), 5)


def test_the_admin_and_prune_work_without_time_zones(zoneless: None, admin_client: Any) -> None:
    stream = Stream.objects.create(slug="s", kind=Stream.Kind.MEDIA)
    stream.close(datetime.now())
    stream.withdraw_tokens(datetime.now())
    Room.objects.create(room_id="r")
    Recording.objects.create(stream=stream, name="s/a.webm", started_at=datetime.now())
    RoomHour.objects.add({(datetime(2026, 1, 1), "peak", 2): 1})
    for model in ("stream", "room", "recording", "roomhour", "subscription"):
        assert admin_client.get(f"/admin/broadcast/{model}/").status_code == 200
    assert admin_client.get(f"/admin/broadcast/stream/{stream.pk}/change/").status_code == 200
    assert admin_client.get("/streams/s/recordings/1/").status_code in (200, 404)
    call_command("prune")


async def test_pages_work_without_time_zones(zoneless: None, in_process: InProcessDoor) -> None:
    page = await opened(in_process, "a")
    await apublish("a", 1)
    assert (await page.receive())["payload"] == 1
    await page.socket.close()
    await apublish("a", 2)
    page = await reopened(in_process, page.session)
    assert (await page.receive())["payload"] == 2
    assert not await housekeeping.drop_expired()
