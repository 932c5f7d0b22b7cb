"""Limits: who is over one is told so, others notice nothing, and later there is room again."""

import asyncio
import itertools
import json
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from django.http import HttpRequest, JsonResponse
from django.test import AsyncClient
from pytest_django.fixtures import Settings

from broadcast.access import limits
from broadcast.access.limits import (
    BURST_SECONDS,
    MOST,
    MOST_GIVEN_UP,
    MOST_REFUSED,
    Limits,
    Pace,
    Place,
)
from broadcast.api import events
from broadcast.exceptions import BroadcastError, Forbidden, TooLarge, TooMany
from broadcast.http.answers import resource
from broadcast.logs import LOG_SECONDS
from tests.rig.doors import V1, Closed, Door, InProcessDoor, Socket, door_of, eventually
from tests.rig.processes import ServerProcess, prepared_database

# -- the pace, without a clock -------------------------------------------------------------------


def takes(pace: Pace, key: str, seconds: float, now: float) -> int:
    """How many `key` may take at that time."""
    for count in itertools.count():
        if pace.wait(key, seconds, now):
            return count
        pace.take(key, seconds, now)
    raise AssertionError


@pytest.mark.parametrize("rate", [0.5, 1, 3, 7, 20, 1000])
def test_some_seconds_worth_may_come_at_once_and_then_so_many_a_second(rate: float) -> None:
    pace = Pace()
    burst = max(int(rate * BURST_SECONDS), 1)
    assert takes(pace, "one", 1 / rate, 1e6) == burst
    assert takes(pace, "another", 1 / rate, 1e6) == burst
    assert [takes(pace, "one", 1 / rate, 1e6 + 2 * n / rate) for n in range(1, 9)] == [2] * 8
    assert takes(pace, "one", 1 / rate, 2e6) == burst


def test_it_is_known_how_long_to_wait() -> None:
    pace = Pace()
    takes(pace, "one", 0.5, 100.0)
    wait = pace.wait("one", 0.5, 100.0)
    assert wait == pytest.approx(0.5)
    assert pace.wait("one", 0.5, 100.0 + wait) == 0
    assert pace.wait("one", 0.5, 100.0 + wait - 0.001) > 0


def test_what_is_larger_than_all_that_may_come_at_once_may_come_alone() -> None:
    pace = Pace()
    assert takes(pace, "one", 30.0, 100.0) == 1
    assert pace.wait("one", 30.0, 110.0) == pytest.approx(20)
    assert pace.wait("one", 1.0, 110.0) == pytest.approx(16)
    assert takes(pace, "one", 30.0, 130.0) == 1


def test_what_does_not_matter_any_more_is_forgotten() -> None:
    pace = Pace()
    for number in range(100):
        pace.take(f"one of many {number}", 1.0, 100.0)
    pace.take("another", 1.0, 100.5)
    assert len(pace.until) == 101
    pace.take("another", 1.0, 101.0)
    assert list(pace.until) == ["another"]


def test_very_many_fill_no_memory_and_the_latest_are_remembered() -> None:
    pace = Pace()
    for number in range(2 * MOST):
        pace.take(number, 1.0, 100.0)
    assert list(pace.until) == list(range(MOST, 2 * MOST))


# -- what is counted, without a clock ------------------------------------------------------------


def enter_many(limits: Limits, address: str, count: int, now: float = 0.0) -> None:
    for _ in range(count):
        limits.enter(address, now)


def test_connections_are_counted_in_all_and_by_address(settings: Settings) -> None:
    settings.BROADCAST_MAX_CONNECTIONS, settings.BROADCAST_MAX_CONNECTIONS_PER_ADDRESS = 5, 3
    limits = Limits()
    enter_many(limits, "192.0.2.1", 3)
    with pytest.raises(TooMany, match="^too many connections from your address: 3 are the most$"):
        limits.enter("192.0.2.1", 0)
    enter_many(limits, "192.0.2.2", 2)
    with pytest.raises(TooMany, match="^too many connections here: 5 are the most$"):
        limits.enter("192.0.2.2", 0)
    limits.leave("192.0.2.1")
    limits.enter("192.0.2.2", 0)
    for address in ["192.0.2.1"] * 2 + ["192.0.2.2"] * 3:
        limits.leave(address)
    assert (limits.connections, limits.households) == (0, {})


def test_of_ipv6_a_64_is_one_address(settings: Settings) -> None:
    settings.BROADCAST_MAX_CONNECTIONS_PER_ADDRESS = 3
    limits = Limits()
    for last in ("1", "ffff:ffff:ffff:ffff", "2"):
        limits.enter(f"2001:db8:0:1::{last}" if ":" not in last else f"2001:db8:0:1:{last}", 0)
    with pytest.raises(TooMany):
        limits.enter("2001:0DB8::1:0:0:0:99", 0)
    enter_many(limits, "2001:db8:0:2::1", 3)
    assert limits.households == {"2001:db8:0:1::/64": 3, "2001:db8:0:2::/64": 3}


def test_who_has_no_address_counts_in_all_alone(settings: Settings) -> None:
    settings.BROADCAST_MAX_CONNECTIONS, settings.BROADCAST_MAX_CONNECTIONS_PER_ADDRESS = 5, 1
    settings.BROADCAST_MAX_JOINS_PER_SECOND = 0.1
    limits = Limits()
    enter_many(limits, "", 5)
    with pytest.raises(TooMany, match="here"):
        limits.enter("", 0)
    assert limits.households == {}


def test_none_is_any_number(settings: Settings) -> None:
    settings.BROADCAST_MAX_CONNECTIONS = settings.BROADCAST_MAX_CONNECTIONS_PER_ADDRESS = None
    limits = Limits()
    enter_many(limits, "192.0.2.1", 60_000)
    assert not limits.joins.until


def test_the_defaults_let_ten_thousand_in_from_one_address_at_once() -> None:
    limits = Limits()
    enter_many(limits, "192.0.2.1", 10_000)
    with pytest.raises(TooMany):
        limits.enter("192.0.2.1", 0)


def test_a_join_that_is_refused_is_not_counted(settings: Settings) -> None:
    settings.BROADCAST_MAX_JOINS_PER_SECOND = 2
    limits = Limits()
    enter_many(limits, "192.0.2.1", 10)
    said = "^too many new connections from your address: 2 per second are the most$"
    for _ in range(100):
        with pytest.raises(TooMany, match=said) as refused:
            limits.enter("192.0.2.1", 0.0)
        assert refused.value.retry_after == pytest.approx(0.5)
    limits.enter("192.0.2.1", 0.5)
    assert limits.connections == 11


def test_publications_are_counted_by_who_sends_them_where(settings: Settings) -> None:
    settings.BROADCAST_MAX_PUBLICATIONS_PER_SECOND = 2
    limits = Limits()
    for _ in range(10):
        limits.publish("192.0.2.1", "news", 1000, 0.0)
    with pytest.raises(TooMany, match="^too many publications: 2 per second are the most$") as said:
        limits.publish("192.0.2.1", "news", 1000, 0.0)
    assert said.value.retry_after == pytest.approx(0.5)
    limits.publish("192.0.2.1", "sport", 1000, 0.0)
    limits.publish("192.0.2.2", "news", 1000, 0.0)
    limits.publish("192.0.2.1", "news", 1000, 0.5)


def test_bytes_are_counted_exactly(settings: Settings) -> None:
    settings.BROADCAST_MAX_BYTES_PER_SECOND = 1000
    limits = Limits()
    for size in (0, 1, 998, 4001, 0):
        limits.publish("192.0.2.1", "news", size, 0.0)
    with pytest.raises(TooMany, match="^too many bytes: 1000 per second are the most$") as refused:
        limits.publish("192.0.2.1", "news", 1, 0.0)
    assert refused.value.retry_after == pytest.approx(0.001)
    limits.publish("192.0.2.1", "news", 100, 0.1)


def test_what_is_refused_for_its_bytes_is_no_publication(settings: Settings) -> None:
    settings.BROADCAST_MAX_PUBLICATIONS_PER_SECOND = 1
    settings.BROADCAST_MAX_BYTES_PER_SECOND = 1000
    limits = Limits()
    limits.publish("192.0.2.1", "news", 1000, 0.0)
    for _ in range(10):
        with pytest.raises(TooMany, match="bytes"):
            limits.publish("192.0.2.1", "news", 4001, 0.0)
    for _ in range(4):
        limits.publish("192.0.2.1", "news", 1, 0.0)


def test_a_connection_counts_from_its_accept_and_what_begins_on_it_no_more(
    settings: Settings,
) -> None:
    settings.BROADCAST_MAX_CONNECTIONS, settings.BROADCAST_MAX_CONNECTIONS_PER_ADDRESS = 3, 2
    limits = Limits()
    places = [limits.accept("192.0.2.1", 0.0) for _ in range(3)]
    assert [bool(place and place.refusal) for place in places] == [False, False, True]
    first, second, refused = (place for place in places if place)
    ends = [limits.begin(first, "192.0.2.1", 0.0, joins=True) for _ in range(5)]
    with pytest.raises(TooMany, match="^too many connections from your address: 2 are the most$"):
        limits.begin(refused, "192.0.2.1", 0.0, joins=False)
    for end in ends:
        end()
    assert (limits.connections, limits.households) == (2, {"192.0.2.1": 2})
    for place in (first, second, refused):
        limits.end(place)
    assert (limits.connections, limits.households, limits.refused) == (0, {}, 0)


def test_on_a_proxys_connection_each_person_counts_as_long_as_what_they_began(
    settings: Settings,
) -> None:
    settings.BROADCAST_MAX_CONNECTIONS, settings.BROADCAST_MAX_CONNECTIONS_PER_ADDRESS = 1, 2
    limits = Limits()
    # Whose connection it is, is not known: it counts in all.
    place = limits.accept("", 0.0)
    assert place
    ends = [limits.begin(place, "192.0.2.1", 0.0, joins=False) for _ in range(2)]
    with pytest.raises(TooMany):
        limits.begin(place, "192.0.2.1", 0.0, joins=False)
    limits.begin(place, "192.0.2.2", 0.0, joins=False)()
    for end in ends:
        end()
    assert (limits.connections, limits.households) == (1, {})
    limits.end(place)
    assert limits.connections == 0


def test_only_so_many_are_told_that_they_are_too_many(settings: Settings) -> None:
    settings.BROADCAST_MAX_CONNECTIONS = 0
    limits = Limits()
    told = [limits.accept("192.0.2.1", 0.0) for _ in range(MOST_REFUSED)]
    assert all(isinstance(place, Place) for place in told)
    assert limits.accept("192.0.2.1", 0.0) is None
    assert told[0]
    limits.end(told[0])
    assert limits.accept("192.0.2.1", 0.0)


def test_so_many_that_the_server_has_closed_count_no_more_though_they_are_there() -> None:
    limits = Limits()
    ghosts = [limits.accept("192.0.2.1", 0.0) for _ in range(MOST_GIVEN_UP + 2)]
    for ghost in ghosts:
        assert ghost
        limits.give_up(ghost)
    # Nobody gets any number of connections so.
    assert (limits.connections, limits.households) == (2, {"192.0.2.1": 2})
    for ghost in ghosts:
        assert ghost
        limits.end(ghost)
    assert (limits.connections, limits.households, limits.given_up) == (0, {}, 0)


def test_refusals_are_logged_together(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    settings.BROADCAST_MAX_CONNECTIONS = 0
    limits = Limits()
    for number in range(1001):
        with pytest.raises(TooMany):
            limits.enter("192.0.2.1", number * LOG_SECONDS / 1000)
    said = ": too many connections here: 0 are the most"
    assert [record.getMessage() for record in caplog.records] == [
        f"Refused a connection from 192.0.2.1{said}",
        f"Refused a connection from 192.0.2.1, and 999 more since the last time{said}",
    ]


# -- over HTTP -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status", "header"),
    [
        (TooMany("too many", 2.1), 429, "3"),
        (TooMany("too many", 0.01), 429, "1"),
        (TooMany("too many"), 429, "10"),
        (TooLarge("too large"), 413, None),
        (Forbidden("no"), 403, None),
    ],
)
async def test_an_error_says_over_http_when_to_come_back(
    error: BroadcastError, status: int, header: str | None
) -> None:
    async def fail(request: HttpRequest) -> JsonResponse:
        raise error

    request = HttpRequest()
    request.method = "GET"
    answer: Any = await resource(GET=fail)(request)
    assert answer.status_code == status
    assert answer.headers.get("Retry-After") == header
    assert json.loads(answer.content) == {"error": str(error)}


async def test_another_door_may_count_what_is_published(settings: Settings) -> None:
    assert not limits.limits_publications()
    limits.check_publication("192.0.2.1", "news", 2**30)
    settings.BROADCAST_MAX_BYTES_PER_SECOND = 1
    assert limits.limits_publications()
    limits.check_publication("192.0.2.1", "news", 2**20)
    with pytest.raises(TooMany):
        limits.check_publication("192.0.2.1", "news", 1)


async def test_what_is_posted_too_fast_is_refused_with_when_to_come_back(
    in_process: InProcessDoor, settings: Settings
) -> None:
    settings.BROADCAST_MAX_PUBLICATIONS_PER_SECOND = 1
    path = f"/api/streams/{await in_process.stream()}/publications/"
    statuses = []
    for _ in range(int(BURST_SECONDS) + 1):
        answer = await AsyncClient().post(path, b"x", content_type="text/plain")
        statuses.append(answer.status_code)
    assert statuses == [201] * int(BURST_SECONDS) + [429]
    assert int(answer.headers["Retry-After"]) >= 1
    assert json.loads(answer.content)["error"] == "too many publications: 1 per second are the most"


async def test_event_streams_are_connections_too(
    in_process: InProcessDoor, settings: Settings
) -> None:
    settings.BROADCAST_MAX_CONNECTIONS_PER_ADDRESS = 1
    slug = await in_process.stream()
    scope: dict[str, Any] = {
        **{"type": "http", "method": "GET", "client": ["192.0.2.1", 1], "query_string": b""},
        **{
            "headers": [(b"host", b"127.0.0.1")],
            "url_route": {"args": (), "kwargs": {"slug": slug}},
        },
    }
    first, second = (
        ApplicationCommunicator(events.stream_events_application, dict(scope)) for _ in range(2)
    )
    await first.send_input({"type": "http.request"})
    assert (await first.receive_output())["status"] == 200
    await second.send_input({"type": "http.request"})
    assert (await second.receive_output())["status"] == 429
    await first.send_input({"type": "http.disconnect"})
    await first.wait()
    assert not limits.get_limits().households


# -- sockets -------------------------------------------------------------------------------------

#: Few enough for tests to reach. Whoever comes is told apart by what a proxy says of them: the
#: proxy is the test itself.
CONNECTIONS, PER_ADDRESS, JOINS, PUBLICATIONS, BYTES = 12, 5, 2, 20, 128 * 1024
SETTINGS = {
    "BROADCAST_MAX_CONNECTIONS": CONNECTIONS,
    "BROADCAST_MAX_CONNECTIONS_PER_ADDRESS": PER_ADDRESS,
    "BROADCAST_MAX_JOINS_PER_SECOND": JOINS,
    "BROADCAST_MAX_PUBLICATIONS_PER_SECOND": PUBLICATIONS,
    "BROADCAST_MAX_BYTES_PER_SECOND": BYTES,
}
OVER_ADDRESS = f"too many connections from your address: {PER_ADDRESS} are the most"
OVER_ALL = f"too many connections here: {CONNECTIONS} are the most"

_addresses = (f"10.0.{high}.{low}" for high in range(256) for low in range(256))


def somebody(address: str = "") -> dict[str, dict[str, str]]:
    """Options of a socket that comes from an address that no other test uses, or from this one."""
    return {"headers": {"X-Forwarded-For": address or next(_addresses)}}


def limited_server(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    directory = tmp_path_factory.mktemp(f"limited-{kind}")
    (directory / "db.sqlite3").write_bytes(prepared_database())
    environment = {name: str(value) for name, value in SETTINGS.items()}
    process = ServerProcess(
        kind,
        directory,
        DJANGO_SETTINGS_MODULE="tests.settings",
        BROADCAST_PROXIES="127.0.0.1",
        **environment,
    )
    process.start()
    yield process
    process.kill()


@pytest.fixture(scope="module")
def limited_broadcast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    yield from limited_server("broadcast", tmp_path_factory)


@pytest.fixture(scope="module")
def limited_uvicorn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    yield from limited_server("uvicorn", tmp_path_factory)


@pytest.fixture(params=["broadcast", "uvicorn", "in_process"])
def limited(request: Any, db: None, settings: Settings) -> Iterator[Door]:
    """A way in where few are too many."""
    if request.param != "in_process":
        yield from door_of(request.getfixturevalue(f"limited_{request.param}"))
        return
    for name, value in SETTINGS.items():
        setattr(settings, name, value)
    # Its sockets have no address, as those of a Unix socket.
    settings.BROADCAST_PROXIES = ["unix:"]
    yield request.getfixturevalue("in_process")


async def refusal(door: Door, path: str, **options: Any) -> str:
    """The words with which a socket is refused, which is closed with 4429."""
    socket = await door.connect(path, V1, **options)
    said = await socket.event()
    assert said.keys() == {"event", "message"} and said["event"] == "error", said
    with pytest.raises(Closed) as closed:
        await socket.receive()
    assert (closed.value.code, closed.value.reason) == (4429, said["message"])
    return str(said["message"])


async def come_in(door: Door, slug: str, **options: Any) -> Socket:
    """A listener, as soon as there is room for it."""
    found: list[Socket] = []

    async def is_in() -> bool:
        socket = await door.connect(f"/ws/listener/{slug}/", V1, **options)
        said = await socket.event()
        found.append(socket)
        return bool(said["event"] == "joined")

    await eventually(is_in)
    return found[-1]


@asynccontextmanager
async def others(door: Door) -> AsyncIterator[None]:
    """A streamer and a listener from elsewhere, who notice nothing."""
    slug = await door.stream()
    listener = await come_in(door, slug, **somebody())
    streamer = await door.streamer(slug, **somebody())
    await streamer.publish("before")
    assert await listener.told() == (1, "before")
    yield
    await streamer.publish("after")
    assert await listener.told() == (2, "after")
    assert await streamer.accepted(2)


async def test_one_connection_more_from_an_address_is_refused_until_another_one_leaves(
    limited: Door,
) -> None:
    slug = await limited.stream()
    here = somebody()
    async with others(limited):
        listeners = [await come_in(limited, slug, **here) for _ in range(PER_ADDRESS - 1)]
        await limited.streamer(slug, **here)
        for path in (f"/ws/listener/{slug}/", f"/ws/streamer/{slug}/", "/ws/listener/nowhere/"):
            assert await refusal(limited, path, **here) == OVER_ADDRESS
        plain = await limited.connect(f"/ws/listener/{slug}/", **here)
        assert await plain.rest() == ([], 4429)
        await come_in(limited, slug, **somebody())
        await listeners[0].close()
        await come_in(limited, slug, **here)
        assert await refusal(limited, f"/ws/listener/{slug}/", **here) == OVER_ADDRESS


async def test_who_is_refused_says_what_they_like(limited: Door) -> None:
    slug = await limited.stream()
    here = somebody()
    for _ in range(PER_ADDRESS):
        await come_in(limited, slug, **here)
    async with others(limited):
        refused = await limited.connect(f"/ws/streamer/{slug}/", **here)
        for _ in range(20):
            try:
                await refused.send("nobody hears it")
            except Closed:
                break
        assert await refused.closed() == 4429
    # It took nobody's place: there is room again when one leaves, and not for two.
    await limited.sockets[0].close()
    await come_in(limited, slug, **here)
    assert await refusal(limited, f"/ws/listener/{slug}/", **here) == OVER_ADDRESS


async def test_a_64_of_ipv6_is_one_address_behind_a_proxy_too(limited: Door) -> None:
    slug = await limited.stream()
    block = f"2001:db8:0:{uuid.uuid4().hex[:4]}"
    for number in range(PER_ADDRESS):
        await come_in(limited, slug, **somebody(f"{block}::{number}:1"))
    over = somebody(f"[{block}:ffff::1]:4711")
    assert await refusal(limited, f"/ws/listener/{slug}/", **over) == OVER_ADDRESS
    await come_in(limited, slug, **somebody("2001:db8:1::1"))


async def test_one_connection_more_in_all_is_refused_until_another_one_leaves(
    limited: Door,
) -> None:
    slug = await limited.stream()
    async with others(limited):
        listeners = [await come_in(limited, slug, **somebody()) for _ in range(CONNECTIONS - 2)]
        for path in (f"/ws/listener/{slug}/", f"/ws/streamer/{slug}/"):
            assert await refusal(limited, path, **somebody()) == OVER_ALL
        await listeners[0].leave()
        await come_in(limited, slug, **somebody())
        assert await refusal(limited, f"/ws/listener/{slug}/", **somebody()) == OVER_ALL


async def test_who_joins_too_often_is_refused_until_some_time_has_passed(limited: Door) -> None:
    slug = await limited.stream()
    here = somebody()
    burst = int(JOINS * BURST_SECONDS)
    async with others(limited):
        started = time.monotonic()
        joins = 0
        while True:
            socket = await limited.connect(f"/ws/listener/{slug}/", V1, **here)
            said = await socket.event()
            if said["event"] != "joined":
                break
            # The next one must find the place free.
            await socket.close()
            await limited.until_listeners(slug, 0)
            joins += 1
        took = time.monotonic() - started
        assert said["message"] == (
            f"too many new connections from your address: {JOINS} per second are the most"
        )
        assert await socket.closed() == 4429
        assert burst <= joins <= burst + JOINS * took + 1
        await limited.listener(slug, **somebody())
        await asyncio.sleep(1 / JOINS)
        await limited.listener(slug, **here)


async def test_a_refusal_looks_nothing_up(
    in_process: InProcessDoor, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up: list[str] = []

    async def note(slug: str) -> None:
        looked_up.append(slug)

    async def code() -> int:
        return await (await in_process.connect("/ws/listener/nowhere/")).closed()

    monkeypatch.setattr("broadcast.models.rows.find_stream", note)
    settings.BROADCAST_MAX_CONNECTIONS = 0
    assert (await code(), looked_up) == (4429, [])
    settings.BROADCAST_MAX_CONNECTIONS = 1
    assert (await code(), looked_up) == (4504, ["nowhere"])


async def too_fast(streamer: Socket, frames: int, size: int) -> tuple[int, float]:
    """Publish so many at once, and be closed: how many are in, and the seconds that took."""
    started = time.monotonic()
    for number in range(frames):
        try:
            await streamer.publish(f"{number:0{size}}")
        except Closed:
            break
    said, code = await streamer.rest()
    took = time.monotonic() - started
    assert code == 4429
    events = [json.loads(frame) for frame in said]
    counts = [one["accepted"] for one in events if one["event"] == "accepted"]
    return max(counts, default=0), took


async def test_a_run_that_is_too_fast_is_closed_and_comes_back_without_losing_anything(
    limited: Door,
) -> None:
    slug = await limited.stream()
    here, run = somebody(), uuid.uuid4()
    burst = int(PUBLICATIONS * BURST_SECONDS)
    async with others(limited):
        listener = await limited.listener(slug, **somebody())
        first = await limited.streamer(slug, f"?run={run}", **here)
        accepted, took = await too_fast(first, 3 * burst, 4)
        assert burst <= accepted <= burst + PUBLICATIONS * took + 1
        await asyncio.sleep(6 / PUBLICATIONS)
        again = await limited.streamer(slug, f"?run={run}", **here)
        assert again.first["accepted"] == accepted
        for number in range(accepted, accepted + 5):
            await again.publish(f"{number:04}")
        await again.accepted(accepted + 5)
        told = await listener.told_many(accepted + 5)
        assert told == [(number + 1, f"{number:04}") for number in range(accepted + 5)]


async def test_to_come_back_is_no_new_beginning(limited: Door) -> None:
    slug = await limited.stream()
    here = somebody()
    burst = int(PUBLICATIONS * BURST_SECONDS)
    started = time.monotonic()
    accepted = 0
    for _ in range(3):
        streamer = await limited.streamer(slug, **here)
        accepted += (await too_fast(streamer, 3 * burst, 4))[0]
    took = time.monotonic() - started
    assert burst <= accepted <= burst + PUBLICATIONS * took + 1


async def test_a_streamer_that_is_too_fast_is_told_which_limit(limited: Door) -> None:
    slug = await limited.stream()
    streamer = await limited.streamer(slug, **somebody())
    for number in range(int(PUBLICATIONS * BURST_SECONDS) * 3):
        try:
            await streamer.publish(number)
        except Closed:
            break
    said = await streamer.until("error")
    assert said["message"] == f"too many publications: {PUBLICATIONS} per second are the most"
    assert await streamer.closed() == 4429


async def test_a_plain_streamer_that_is_too_fast_is_closed_and_what_came_before_is_published(
    limited: Door,
) -> None:
    slug = await limited.stream()
    listener = await limited.listener(slug, **somebody())
    streamer = await limited.plain_streamer(slug, **somebody())
    burst = int(PUBLICATIONS * BURST_SECONDS)
    for number in range(3 * burst):
        try:
            await streamer.send(str(number))
        except Closed:
            break
    assert await streamer.rest() == ([], 4429)
    told = [await listener.told() for _ in range(burst)]
    assert told == [(number + 1, str(number)) for number in range(burst)]


async def test_too_many_bytes_are_refused_too(limited: Door) -> None:
    slug = await limited.stream()
    size = 16 * 1024
    burst = int(BYTES * BURST_SECONDS / size)
    assert burst < PUBLICATIONS * BURST_SECONDS
    async with others(limited):
        streamer = await limited.streamer(slug, **somebody())
        accepted, took = await too_fast(streamer, int(PUBLICATIONS * BURST_SECONDS), size)
        assert burst <= accepted <= burst + took * BYTES / size + 1
