"""Connections of MessagePack-RPC in the test's own loop: order, back-pressure, their end."""

import asyncio
import logging
import random
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from broadcast.backends import Appended
from broadcast.exceptions import Unavailable
from broadcast.models import Stream, rows
from broadcast.rpc import server as rpc_server
from broadcast.rpc.methods import figures
from tests.rig.doors import PATIENCE, eventually
from tests.rig.rpc import PONG
from tests.rig.rpc_server import GatedBackend, gated_backend, notification, request, served


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> GatedBackend:
    return gated_backend(monkeypatch, settings)


# -- order ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(10))
async def test_publications_of_a_connection_keep_their_order_whatever_is_waited_for(
    backend: GatedBackend, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)

    async def read_slowly(slug: str) -> Stream | None:
        for _ in range(chance.randrange(6)):
            await asyncio.sleep(0)
        if chance.random() < 0.5:
            # As when it is kept: from now on it is there without a wait, for a moment.
            rows._rows[slug] = (rows.time.monotonic() + chance.random() / 1000, None)
        return None

    append, lane = backend.append, asyncio.Lock()

    async def append_slowly(*args: Any, **kwargs: Any) -> Appended:
        # One after another, as Redis does it.
        async with lane:
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
            return await append(*args, **kwargs)

    monkeypatch.setattr(rows, "_read", read_slowly)
    monkeypatch.setattr(backend, "append", append_slowly)
    said, expected = bytearray(), dict[str, list[int]](s=[], t=[])
    for number in range(400):
        stream = chance.choice("st")
        method = chance.choice(["publish", "push", "push-both", "keyed"])
        if method == "keyed":
            said += request(number, "publish", stream, number, {"idempotency_key": str(number)})
        elif method == "push-both":
            said += notification("push", ["s", "t"], number)
        else:
            said += request(number, method, stream, number)
        for name in "st" if method == "push-both" else stream:
            expected[name].append(number)
    async with served() as server:
        client = await server.client()
        for start in range(0, len(said), 700):
            await client.say(bytes(said[start : start + 700]))
        client.writer.write_eof()
        while not await client.is_closed():
            pass
    assert {name: backend.published(name) for name in "st"} == expected


async def test_calls_are_answered_as_they_finish(backend: GatedBackend) -> None:
    gate = backend.shut("slow")
    async with served() as server:
        client = await server.client()
        await client.say(request(1, "publish", "slow", "x") + request(2, "publish", "fast", "x"))
        await client.say(request(3, "ping"))
        assert [(await client.answer())[1] for _ in range(2)] in ([2, 3], [3, 2])
        gate.set()
        assert (await client.answer())[1:3] == [1, None]


async def test_answers_that_come_together_go_out_together(
    backend: GatedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = backend.shut("s")
    writes: list[int] = []
    write = asyncio.StreamWriter.write

    def count(writer: asyncio.StreamWriter, data: bytes) -> None:
        writes.append(len(data))
        write(writer, data)

    async with served() as server:
        client = await server.client()
        await client.say(b"".join(request(number, "publish", "s", "x") for number in range(100)))
        await eventually(lambda: under_way(100))
        monkeypatch.setattr(asyncio.StreamWriter, "write", count)
        gate.set()
        assert sorted([(await client.answer())[1] for _ in range(100)]) == list(range(100))
    assert len(writes) < 5


# -- back-pressure --------------------------------------------------------------------------


async def under_way(count: int) -> bool:
    """So many calls were begun, in the life of the test."""
    return figures.calls - calls_before == count


calls_before = 0


@pytest.fixture(autouse=True)
def count_calls() -> None:
    global calls_before
    calls_before = figures.calls


@pytest.mark.parametrize(
    ("size", "most"),
    # Bounded in calls, and in bytes: the one that goes beyond is begun.
    [(1000, 256), (1_000_000, 5)],
)
async def test_who_pushes_faster_than_is_published_is_read_no_further(
    backend: GatedBackend, size: int, most: int
) -> None:
    gate = backend.shut("s")
    count = 20_000_000 // size
    async with served() as server:
        client, other = await server.client(), await server.client()
        payload = "x" * size
        for number in range(count):
            client.writer.write(notification("publish", "s", f"{number} {payload}"))
        await eventually(lambda: under_way(most))
        for number in range(50):
            # Meanwhile it is read no further, and others are answered.
            assert await other.call("ping") == PONG
            assert await under_way(most + number + 1)
        assert client.writer.transport.get_write_buffer_size() > 1_000_000
        gate.set()
        await eventually(lambda: under_way(most + 50 + count - most))
        last = await client.call("publish", "s", "end")
        assert last[3]["offset"] == count + 1
    numbers = [int(text.split()[0]) for text in backend.published("s")[:-1]]
    assert numbers == list(range(count))


async def test_who_takes_no_answers_is_read_no_further(
    backend: GatedBackend, settings: Settings
) -> None:
    settings.BROADCAST_RPC_MAX_CALLS = 20
    async with served() as server:
        client, other = await server.client(), await server.client()
        for number in range(20):
            await other.call("publish", "s", f"{number}" * 5000)
        count = 400
        # Their answers are many times as large as they are.
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]
        client.writer.write(b"".join(request(number, "history", "s") for number in range(count)))
        before = -1
        while before != figures.calls:
            before = figures.calls
            for _ in range(20):
                await other.call("stats")
            before += 20
        assert figures.calls - calls_before < count
        client.reader._transport.resume_reading()  # type: ignore[attr-defined]
        answered = {(await client.answer())[1] for _ in range(count)}
        assert answered == set(range(count))


# -- turns of the loop ----------------------------------------------------------------------


async def most_of_one_turn(most: list[int]) -> None:
    """The most calls that were carried out in one turn of the loop, until cancelled."""
    while True:
        before = figures.calls
        await asyncio.sleep(0)
        most[0] = max(most[0], figures.calls - before)


@pytest.mark.parametrize(
    ("call", "least"),
    [
        (notification("x"), 1),
        (notification("publish", "s", "x" * 1000), 4),
        (notification("history", "s"), 32),
        (notification("push", [f"{number:x}" for number in range(100)], None), 100),
    ],
)
async def test_in_one_turn_few_calls_of_all_connections_are_begun(
    backend: GatedBackend, call: bytes, least: int
) -> None:
    """Each is as much as `least` calls."""
    count, most = 300 // least + 3, [0]
    watch = asyncio.ensure_future(most_of_one_turn(most))
    async with served() as server:
        clients = [await server.client() for _ in range(4)]
        for client in clients:
            client.writer.write(call * count)
        assert [await client.call("ping") for client in clients] == [PONG] * 4
        await eventually(lambda: under_way(4 * count + 4))
    watch.cancel()
    assert 0 < most[0] <= rpc_server.TURN_CALLS // least + 1


async def test_who_says_little_waits_for_nobody_who_says_much(backend: GatedBackend) -> None:
    async with served() as server:
        quiet, *busy = [await server.client() for _ in range(4)]
        assert await quiet.call("ping") == PONG
        count = 10_000
        for client in busy:
            client.writer.write(notification("x") * count)
        for _ in range(10):
            before = figures.calls
            assert await quiet.call("ping") == PONG
            # It had its turn after each of the others had one, or two.
            assert figures.calls - before <= 10 * rpc_server.TURN_CALLS
        assert figures.calls - calls_before < len(busy) * count


async def test_a_call_of_too_many_items_is_told_and_the_connection_goes_on(
    backend: GatedBackend, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "broadcast")
    error = "TooLarge: a message has at most 130000 items"
    async with served() as server:
        client = await server.client()
        await client.say(notification("publish", "s", [[]] * 200_000) * 3)
        assert await client.call("publish", "s", [None] * 200_000) == [1, 1, error, None]
        answer = await client.call("publish", "s", [1.5] * 100_000)
        assert answer[2] is None
        assert await client.call("publish", "s", "[" + "[]," * 200_000, {"json": True}) == [
            *(1, 1, "TooLarge: a value has at most 130000 items", None),
        ]
        assert await client.call("ping") == PONG
    assert [len(data) for data in backend.published("s")] == [100_000]
    said = [record.getMessage() for record in caplog.records if record.name.startswith("broadcast")]
    assert said == ["A MessagePack-RPC notification of publish failed: TooLarge"]


# -- the end --------------------------------------------------------------------------------


async def test_a_server_that_ends_answers_what_was_begun(backend: GatedBackend) -> None:
    gate = backend.shut("s")
    async with served() as server:
        client, idle = await server.client(), await server.client()
        assert await idle.call("ping") == PONG
        await client.say(request(7, "publish", "s", "x"))
        await eventually(lambda: under_way(2))
        server.task.cancel()
        assert await idle.is_closed()
        with pytest.raises(OSError):
            await server.client()
        # What comes now is not carried out, and takes no answer away.
        await client.say(request(8, "ping"))
        gate.set()
        assert (await client.answer())[:3] == [1, 7, None]
        assert await client.is_closed()
    assert backend.published("s") == ["x"]


async def test_a_half_closed_client_is_answered_when_the_server_ends(
    backend: GatedBackend,
) -> None:
    gate = backend.shut("s")
    async with served() as server:
        client = await server.client()
        await client.say(request(7, "publish", "s", "x"))
        client.writer.write_eof()
        await eventually(lambda: under_way(1))
        server.task.cancel()
        await asyncio.sleep(0)
        gate.set()
        assert (await client.answer())[:3] == [1, 7, None]
        assert await client.is_closed()


async def test_what_a_client_sent_before_it_went_is_published(backend: GatedBackend) -> None:
    gate = backend.shut("s")
    async with served() as server:
        client = await server.client()
        await client.say(request(1, "publish", "s", "x") + notification("publish", "s", "y"))
        await eventually(lambda: under_way(2))
        client.writer.transport.abort()
        gate.set()

        async def both() -> bool:
            return backend.published("s") == ["x", "y"]

        await eventually(both)


async def test_a_request_that_is_too_large_is_answered_before_the_end(
    backend: GatedBackend, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.BROADCAST_RPC_MAX_OBJECT = 100_000
    monkeypatch.setattr(rpc_server, "LINGER_SECONDS", PATIENCE)
    async with served() as server:
        client = await server.client()
        assert await client.call("ping") == PONG
        # It reads when it has sent all of it: by then nothing may have taken the answer away.
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]
        await client.say(request(9, "publish", "s", "x" * 30_000_000))
        client.writer.write_eof()
        client.reader._transport.resume_reading()  # type: ignore[attr-defined]
        kind, msgid, error, result = await client.answer()
        assert (kind, msgid, result) == (1, 9, None) and "100000 bytes" in error
        assert await client.is_closed()


async def test_notifications_that_fail_are_logged_once_and_unknown_ones_never(
    backend: GatedBackend, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "broadcast")
    async with served() as server:
        client = await server.client()
        for number in range(10):
            await client.say(notification("publish", "s", {"secret": b"\xff"}))
            await client.say(notification("nvim_set_client_info", f"name {number}"))
        assert await client.call("ping") == PONG
    said = [record.getMessage() for record in caplog.records if record.name.startswith("broadcast")]
    assert said == ["A MessagePack-RPC notification of publish failed: BadRequest"]


async def test_an_engine_that_is_away_is_an_error_of_the_call(
    backend: GatedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*args: Any) -> None:
        raise Unavailable("away")

    monkeypatch.setattr(backend, "append", fail)
    async with served() as server:
        client = await server.client()
        assert await client.call("push", ["s", "t"], "x") == [1, 1, "Unavailable: away", None]
        assert await client.call("ping") == PONG
