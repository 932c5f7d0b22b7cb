"""`/metrics`: what is counted is what happened, and not everybody may read it."""

import asyncio
import json
import re
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from prometheus_client import REGISTRY
from pytest_django.fixtures import Settings

from broadcast import metrics
from tests.rig.doors import V1, Refused, ServerDoor, eventually
from tests.rig.floods import FLOOD, SIZE, flood, never_reading
from tests.rig.processes import ROOT, ServerProcess
from tests.rig.raw import BINARY
from tests.rig.rpc import connected
from tests.rig.scrapes import Figures, get, scrape

#: What one test sends: three publications, of 3, 5 and 7 bytes.
SENT = ("abc", b"12345", {"a": 1})
LOCAL = {"HTTP_HOST": "127.0.0.1:8000"}


async def figures(door: ServerDoor) -> Figures:
    return await asyncio.to_thread(scrape, door.process)


async def grown(door: ServerDoor, before: Figures, *names: str) -> dict[str, float]:
    return (await figures(door)).since(before, *names)


# -- what is counted ----------------------------------------------------------------------------


async def test_publications_deliveries_and_joins_are_counted_exactly(
    server_door: ServerDoor,
) -> None:
    slug = await server_door.stream()
    before = await figures(server_door)
    listeners = [await server_door.listener(slug) for _ in range(2)]
    plain = await server_door.plain_listener(slug)
    streamer = await server_door.streamer(slug)
    for data in SENT:
        await streamer.publish(data)
    for listener in listeners:
        await listener.told_many(len(SENT))
    await plain.receive_many(len(SENT))
    # One of them comes back, with all that it missed, and one with a position that never was.
    epoch = listeners[0].first["epoch"]
    resumed = await server_door.listener(slug, f"?epoch={epoch}&since=1")
    assert len(await resumed.told_many(2)) == 2
    assert not (await server_door.listener(slug, f"?epoch={epoch}&since=9")).first["recovered"]
    seen = await grown(server_door, before)
    assert {name: seen.pop(name) for name in sorted(seen) if not is_time(name)} == {
        "deliveries_total": 3 * 3 + 2,
        "delivered_bytes_total": 3 * 15 + 12,
        "joins_total{new}": 3,
        "joins_total{recovered}": 1,
        "joins_total{unrecovered}": 1,
        "publications_total": 3,
        "published_bytes_total": 15,
        "streamer_joins_total": 1,
    }
    # So often was appended, brought by the layer and flushed: each at least once.
    for name in ("append_seconds", "relay_lag_seconds"):
        assert 1 <= seen[f"{name}_count"] <= 3
        assert 0 < seen[f"{name}_sum"] < 5


def is_time(name: str) -> bool:
    """Whether it depends on how fast things went: into how many steps they fell."""
    return "_seconds_" in name or name.startswith("flush_publications_")


async def test_a_flush_is_counted_once_however_many_hear_it(impatient_door: ServerDoor) -> None:
    slug = await impatient_door.stream()
    listeners = [await impatient_door.listener(slug) for _ in range(20)]
    streamer = await impatient_door.streamer(slug)
    before = await figures(impatient_door)
    for number in range(1, 6):
        await streamer.publish(number)
        for listener in listeners:
            await listener.told()
    flushes = ("flush_seconds_count", "flush_publications_count", "flush_publications_sum")
    assert await grown(impatient_door, before, *flushes) == dict.fromkeys(flushes, 5)


async def test_gauges_say_who_is_there_now(impatient_door: ServerDoor) -> None:
    async def are_there(streams: int, listeners: int, streamers: int) -> bool:
        now = await figures(impatient_door)
        there = (now["streams"], now["listeners"], now["streamers"])
        return there == (streams, listeners, streamers)

    await eventually(lambda: are_there(0, 0, 0))
    one, other = await impatient_door.stream(), await impatient_door.stream()
    listeners = [await impatient_door.listener(slug) for slug in (one, one, other)]
    await impatient_door.streamer(one)
    assert await are_there(2, 3, 1)
    for listener in listeners:
        await listener.close()
    await eventually(lambda: are_there(1, 0, 1))
    assert (await figures(impatient_door))["processes"] == 1


async def refused(door: ServerDoor, path: str, code: int) -> None:
    socket = await door.connect(path, V1)
    assert await socket.closed() == code


async def test_refusals_are_counted_by_door_and_reason(our_door: ServerDoor) -> None:
    free, private, closed = [await our_door.stream(pool) for pool in ("free", "private", "closed")]
    before = await figures(our_door)
    await refused(our_door, f"/ws/listener/{free}/?since=x", 4500)
    await refused(our_door, "/ws/listener/nowhere/", 4504)
    await refused(our_door, "/ws/streamer/nowhere/", 4504)
    await refused(our_door, f"/ws/listener/{private}/", 4503)
    await refused(our_door, f"/ws/listener/{closed}/", 4510)
    with pytest.raises(Refused):
        await our_door.connect(f"/ws/listener/{free}/", headers={"Origin": "https://example.org"})
    for path in ("/api/streams/nowhere/", f"/api/streams/{private}/"):
        assert (await asyncio.to_thread(get, our_door.process, path)).status in (403, 404)
    async with connected(our_door.process) as client:
        assert (await client.call("publish", closed, "x"))[2].startswith("StreamClosed")
        assert (await client.call("publish", free, "x", {"nonsense": 1}))[2]
    streamer = await our_door.streamer(free)
    await streamer.send(b"x" * (1024 * 1024 + 1))
    assert await streamer.closed() == 1009
    assert await grown(our_door, before) == {
        "refusals_total{http,forbidden}": 1,
        "refusals_total{http,no_such_stream}": 1,
        "refusals_total{rpc,bad_request}": 1,
        "refusals_total{rpc,stream_closed}": 1,
        "refusals_total{socket,bad_request}": 1,
        "refusals_total{socket,forbidden}": 1,
        "refusals_total{socket,no_such_stream}": 2,
        "refusals_total{socket,origin}": 1,
        "refusals_total{socket,stream_closed}": 1,
        "streamer_joins_total": 1,
    }


async def test_who_falls_behind_is_counted_with_what_it_got_and_what_it_missed(
    servers: Callable[[str], ServerProcess],
) -> None:
    door = ServerDoor(servers("broadcast"))
    slug = await door.stream()
    async with AsyncExitStack() as stack:
        before = await figures(door)
        v1 = await never_reading(stack, door, slug, V1)
        plain = await never_reading(stack, door, slug)
        await flood(await door.streamer(slug), await door.listener(slug))
        assert (await figures(door))["full_listeners"] == 2
        delivered, missed = FLOOD, 0
        number = 0
        while number < FLOOD:
            opcode, data = await v1.frame()
            if opcode == BINARY:
                number = int.from_bytes(data[:8], "big")
                delivered += 1
            elif (said := json.loads(data))["event"] == "skipped":
                missed += said["to"] - said["from"] + 1
        frames, code = await plain.rest()
        assert (code, missed > 0) == (4408, True)
        delivered += len(frames)
        names = ("deliveries_total", "delivered_bytes_total", "skipped_publications_total")
        assert await grown(door, before, *names, "slow_closes_total{overtaken}") == {
            "deliveries_total": delivered,
            "delivered_bytes_total": delivered * SIZE,
            "skipped_publications_total": missed,
            "slow_closes_total{overtaken}": 1,
        }
    await door.aclose()


async def test_who_takes_nothing_for_long_is_counted_as_stuck(impatient_door: ServerDoor) -> None:
    slug = await impatient_door.stream()
    async with AsyncExitStack() as stack:
        before = await figures(impatient_door)
        slow = await never_reading(stack, impatient_door, slug)
        listener = await impatient_door.listener(slug)
        streamer = await impatient_door.streamer(slug)
        await flood(streamer, listener, 1, 200)
        # It reads no more until the server has given it up.
        await streamer.until("listeners", count=1)
        assert (await slow.rest())[1] == 4408
        closes = {name for name in before if name.startswith("slow_closes_total")}
        assert len(closes) == 3
        assert await grown(impatient_door, before, *closes) == {"slow_closes_total{stuck}": 1}


# -- how it is counted --------------------------------------------------------------------------


def test_a_tally_counts_as_a_histogram_does() -> None:
    names = ("broadcast_relay_lag_seconds", "broadcast_append_seconds")

    def all_of(name: str) -> dict[tuple[str, Any], float]:
        (family,) = [one for one in REGISTRY.collect() if one.name == name]
        return {
            (sample.name.removeprefix(name), sample.labels.get("le")): sample.value
            for sample in family.samples
        }

    metrics.relay_lags.pour()
    before = [all_of(name) for name in names]
    for value in (0, 0.0001, 0.00011, 0.003, 0.5, 10, 11, 1e9):
        metrics.relay_lags.observe(value)
        metrics.append_seconds.observe(value)
    metrics.relay_lags.pour()
    metrics.relay_lags.pour()
    tally, histogram = (
        {key: value - old[key] for key, value in all_of(name).items()}
        for name, old in zip(names, before, strict=True)
    )
    assert tally == pytest.approx(histogram)
    assert tally["_count", None] == 8


def test_every_metric_has_our_prefix_a_unit_where_it_has_one_and_a_sentence() -> None:
    ours = [one for one in REGISTRY.collect() if one.name.startswith("broadcast_")]
    assert len(ours) > 20
    for family in ours:
        assert family.documentation.endswith("."), family.name
        for label in {label for sample in family.samples for label in sample.labels}:
            assert label in {"le", "cause", "outcome", "door", "loop", "reason"}, family.name


# -- who may read it ----------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize(
    "request_headers",
    [
        {"REMOTE_ADDR": "192.0.2.1", "HTTP_HOST": "localhost"},
        {"REMOTE_ADDR": "", **LOCAL},
        {"REMOTE_ADDR": "a socket", **LOCAL},
        {"HTTP_X_FORWARDED_FOR": "192.0.2.1", **LOCAL},
        {"HTTP_FORWARDED": "for=192.0.2.1", **LOCAL},
        {"HTTP_X_REAL_IP": "192.0.2.1", **LOCAL},
        {"HTTP_VIA": "1.1 proxy", **LOCAL},
        # A proxy on this machine that says nothing of itself but the name that was asked for.
        {"HTTP_HOST": "testserver"},
        {"HTTP_AUTHORIZATION": "Bearer ", "HTTP_HOST": "testserver"},
        {"HTTP_AUTHORIZATION": "Bearer None", "HTTP_HOST": "testserver"},
    ],
)
def test_without_a_token_nobody_from_elsewhere_may_read(
    client: Client, request_headers: dict[str, str]
) -> None:
    response = client.get("/metrics", **request_headers)  # type: ignore[arg-type]
    assert response.status_code == 403
    assert response["Content-Type"] == "application/json"
    assert set(response.json()) == {"error"}


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("name", ["localhost", "127.0.0.1:8000", "[::1]:8000"])
def test_without_a_token_programs_of_this_machine_may_read(
    client: Client, settings: Settings, address: str, name: str
) -> None:
    settings.ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]
    response = client.get("/metrics", REMOTE_ADDR=address, HTTP_HOST=name)
    assert response.status_code == 200
    assert response["Content-Type"].startswith("text/plain; version=0.0.4")
    assert response["Cache-Control"] == "no-store"
    assert Figures(response.content.decode()).counters


@pytest.mark.django_db
def test_with_a_token_only_who_has_it_may_read(client: Client, settings: Settings) -> None:
    settings.BROADCAST_METRICS_TOKEN = "a-secret"
    assert client.get("/metrics", **LOCAL).status_code == 403  # type: ignore[arg-type]
    for wrong in (
        "Bearer a-secre",
        "Bearer a-secret2",
        "Basic a-secret",
        "a-secret",
        "Bearer \xff",
    ):
        assert client.get("/metrics", HTTP_AUTHORIZATION=wrong).status_code == 403, wrong
    assert client.get("/metrics?token=a-secret").status_code == 403
    for right in ("Bearer a-secret", "bearer a-secret"):
        response = client.get(
            "/metrics", HTTP_AUTHORIZATION=right, HTTP_X_FORWARDED_FOR="192.0.2.1"
        )
        assert response.status_code == 200


@pytest.mark.django_db
@pytest.mark.parametrize("token", [None, "a-secret"])
def test_staff_may_read_and_other_users_may_not(
    client: Client, settings: Settings, token: str | None
) -> None:
    settings.BROADCAST_METRICS_TOKEN = token
    client.force_login(User.objects.create_user("somebody"))
    assert client.get("/metrics").status_code == 403
    client.force_login(User.objects.create_user("one", is_staff=True))
    assert client.get("/metrics").status_code == 200


def test_nothing_can_be_written_there(client: Client) -> None:
    response = client.post("/metrics", **LOCAL)  # type: ignore[arg-type]
    assert (response.status_code, response["Allow"]) == (405, "GET, HEAD")


# -- the dashboard ------------------------------------------------------------------------------

DASHBOARD = json.loads((ROOT / "docs/grafana.json").read_text())
#: What Grafana's Prometheus panels call seconds, bytes, …
UNITS = {"short", "s", "Bps", "bytes", "cps", "ops", "percentunit"}


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def expressions() -> list[str]:
    found = [target["expr"] for panel in panels() for target in panel["targets"]]
    return [*found, *(one["definition"] for one in variables("query"))]


def variables(kind: str) -> list[dict[str, Any]]:
    return [one for one in DASHBOARD["templating"]["list"] if one["type"] == kind]


def test_the_dashboard_asks_for_metrics_that_there_are_and_for_all_of_them() -> None:
    known = set()
    for family in REGISTRY.collect():
        if family.name.startswith("broadcast_"):
            suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
            known |= {family.name + suffix for suffix in suffixes.get(family.type, [""])}
    named = {name for one in expressions() for name in re.findall(r"\bbroadcast_\w+", one)}
    assert named <= known
    shown = {re.sub("_(total|bucket|sum|count)$", "", name) for name in named}
    assert shown == {re.sub("_(total|bucket|sum|count)$", "", name) for name in known}


def test_the_dashboard_can_be_imported_whatever_the_data_source_is_called() -> None:
    assert DASHBOARD["schemaVersion"] >= 39
    assert DASHBOARD["id"] is None
    assert [one["query"] for one in variables("datasource")] == ["prometheus"]
    places = [*panels(), *variables("query")]
    places += [target for panel in panels() for target in panel["targets"]]
    for place in places:
        assert place["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_every_panel_says_what_it_shows_in_which_unit_and_stands_alone() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    for panel in panels():
        assert panel["title"] and panel["description"].endswith("."), panel
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        assert panel["targets"]


def test_every_expression_is_one_whose_brackets_close() -> None:
    for one in expressions():
        for opening, closing in ("()", "{}", "[]"):
            assert one.count(opening) == one.count(closing), one
        if "_total" in one or "_bucket" in one:
            assert "$__rate_interval" in one, one
