"""MessagePack-RPC of a real server: who publishes through it, and that nothing kills it."""

import asyncio
import random
import socket
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException
from typing import Any

import msgpack
import pytest

from tests.rig.doors import PATIENCE, ServerDoor
from tests.rig.processes import ServerProcess
from tests.rig.rpc import PONG, Client, connected, raw


async def test_publish_reaches_listeners_and_answers_the_position(our_door: ServerDoor) -> None:
    slug = await our_door.stream()
    listener = await our_door.listener(slug)
    epoch = listener.first["epoch"]
    async with connected(our_door.process) as client:
        for offset, payload in enumerate(("text", b"\xff", {"a": [1]}, None), 1):
            answer = await client.call("publish", slug, payload)
            assert answer == [1, 1, None, {"epoch": epoch, "offset": offset}]
            assert await listener.told() == (offset, payload)


async def test_names_keys_and_payloads_as_real_clients_send_them(our_door: ServerDoor) -> None:
    slug = await our_door.stream()
    listener = await our_door.listener(slug)
    async with connected(our_door.process) as client:
        options = {b"entry": True, b"idempotency_key": b"k"}
        assert (await client.call(b"publish", slug.encode(), b"bin", options))[2] is None
        # Bytes of the old raw type.
        name = msgpack.packb(slug)
        await client.say(b"\x94\x00\x01" + raw(b"publish") + b"\x92" + name + raw(b"\xff\xfe"))
        assert (await client.answer())[2] is None
        # pynvim's first word.
        await client.say(msgpack.packb([2, b"nvim_set_client_info", [b"x", {}, b"remote", {}, {}]]))
        assert await client.call("ping") == PONG
    assert await listener.told_many(2) == [(1, b"bin"), (2, b"\xff\xfe")]


async def test_a_web_page_of_this_machine_publishes_nothing(our_door: ServerDoor) -> None:
    slug = await our_door.stream()
    listener = await our_door.listener(slug)
    body = b"\r\n\r\n" + msgpack.packb([0, 1, "publish", [slug, "smuggled"]]) * 100

    def post(method: str, content_type: str) -> None:
        connection = HTTPConnection("127.0.0.1", our_door.process.rpc_port, timeout=PATIENCE)
        with closing(connection), pytest.raises((ConnectionError, HTTPException)):
            connection.request(method, "/", body, {"Content-Type": content_type})
            connection.getresponse()

    for method in ("POST", "PUT", "OPTIONS", "GET"):
        for content_type in ("text/plain", "application/octet-stream", "multipart/form-data"):
            await asyncio.to_thread(post, method, content_type)
    # Nor does what other protocols begin with, or a page that comes in small parts.
    for start in (
        b"\x16\x03\x01\x02\x00",
        b"PRI * HTTP/2.0\r\n\r\n",
        b"\r\n",
        b"\n\n",
        b"\x00\x01",
    ):
        async with connected(our_door.process) as client:
            with suppress(ConnectionError):
                await client.say(start[:1])
                await client.say(start[1:] + body)
            assert await client.is_closed()
    async with connected(our_door.process) as client:
        assert (await client.call("publish", slug, "honest"))[3]["offset"] == 1
    assert await listener.told() == (1, "honest")


async def test_calls_are_pipelined_and_a_half_closed_peer_is_answered(
    our_door: ServerDoor,
) -> None:
    slug = await our_door.stream()
    async with connected(our_door.process) as client:
        calls = [msgpack.packb([0, n, "publish", [slug, n]]) for n in range(1, 501)]
        await client.say(b"".join(calls))
        client.writer.write_eof()
        answers = [await client.answer() for _ in calls]
        # In the order of the stream.
        answered = sorted((one[1], one[3]["offset"]) for one in answers)
        assert answered == [(n, n) for n in range(1, 501)]
        assert await client.is_closed()


@pytest.mark.parametrize(
    ("method", "params", "error"),
    [
        ("nonsense", [], "method `nonsense' is not accepted"),
        ("publish", [], "wrong parameters"),
        ("publish", [1, 2, 3, 4], "wrong parameters"),
        ("publish", ["s", "x", 5], ""),
        ("publish", ["s", "x", {"unknown": 1}], "unknown"),
        ("publish", [None, "x"], "BadRequest"),
        ("publish", ["", "x"], "BadRequest"),
        ("publish", ["s", {"a": b"\xff"}], "BadRequest"),
        ("publish", ["s", float("nan")], "BadRequest"),
        ("publish", ["s", "x" * (2**20 + 1)], "TooLarge"),
        ("publish", ["closed-1", "x"], "StreamClosed"),
        ("publish", ["s", "x", {"idempotency_key": 5}], "BadRequest"),
        ("ping", [1], "it takes 0"),
        ("history", [], "it takes 1 to 3"),
        ("push", ["s"], "it takes 2"),
        ("push_data", [], "it takes 1"),
        ("push_data", [{"a": b"\xff"}], "BadRequest"),
        ("authenticate", [None], "BadRequest"),
    ],
)
async def test_a_fault_of_the_caller_is_answered(
    our_door: ServerDoor, method: str, params: list[Any], error: str
) -> None:
    async with connected(our_door.process) as client:
        kind, msgid, said, result = await client.call(method, *params)
        assert (kind, msgid, result) == (1, 1, None)
        assert isinstance(said, str) and said and error in said
        assert await client.call("ping") == PONG


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(b"\x94\x00\x01" + raw(b"\xff") + b"\x90", id="method"),
        pytest.param(b"\x94\x00\x01" + raw(b"publish") + b"\x92" + raw(b"\xff") + raw(b"x"),
                     id="stream"),
        pytest.param(
            b"\x94\x00\x01" + raw(b"publish") + b"\x93" + raw(b"s") + raw(b"x") + b"\x81"
            + raw(b"\xff") + b"\x01",
            id="option",
        ),
        pytest.param(
            b"\x94\x00\x01" + raw(b"publish") + b"\x93" + raw(b"s") + raw(b"x") + b"\x81"
            + raw(b"idempotency_key") + raw(b"\xff"),
            id="key",
        ),
    ],
)  # fmt: skip
async def test_names_that_are_no_utf8_are_answered(our_door: ServerDoor, call: bytes) -> None:
    async with connected(our_door.process) as client:
        await client.say(call)
        assert (await client.answer())[:2] == [1, 1]
        assert await client.call("ping") == PONG


BAD = [
    *(b"\xc1", b"GET / HTTP/1.1\r\n\r\n", b"\x91" * 5000, b"\xdf\xff\xff\xff\xff", b"\x80"),
    *(msgpack.packb([1, 1, None, None]), msgpack.packb([0, 2**32, "ping", []])),
    *(b"\x93\x02\xa1m\x91\x81\x90\x01", b"\xc6\x00\x60\x00\x00" + b"x" * 5_000_000),
    b"\x93\x02\xa1m\x91\xc6\x00\x60\x00\x00" + b"x" * 5_000_000,
    msgpack.packb([2, "publish", {}]),
]


@pytest.mark.parametrize("bad", BAD, ids=range(len(BAD)))
async def test_bad_input_ends_its_connection_and_no_other(our_door: ServerDoor, bad: bytes) -> None:
    async with connected(our_door.process) as other, connected(our_door.process) as client:
        assert await other.call("ping") == PONG
        try:
            await client.say(bad)
            assert await client.is_closed()
        except ConnectionError:
            pass
        assert await other.call("ping") == PONG


async def test_a_client_that_goes_in_the_middle_is_no_matter(our_door: ServerDoor) -> None:
    call = msgpack.packb([0, 1, "publish", ["s", "x" * 10_000]])
    for at in (1, 100, len(call)):
        async with connected(our_door.process) as client:
            await client.say(call[:at])
            client.writer.transport.abort()
    async with connected(our_door.process) as client:
        assert await client.call("ping") == PONG


async def test_a_client_that_does_not_read_is_not_read_either(our_door: ServerDoor) -> None:
    pings = msgpack.packb([0, 1, "ping", []]) * 20_000
    async with connected(our_door.process) as deaf, connected(our_door.process) as other:
        # Answers wait until they are taken; the server goes on with everybody else.
        before = our_door.process.memory
        saying = asyncio.ensure_future(deaf.say(pings * 5))
        for _ in range(50):
            assert await other.call("ping") == PONG
        for _ in range(100_000):
            assert await deaf.answer() == PONG
        await saying
        assert our_door.process.memory - before < 50_000_000


# -- limits ---------------------------------------------------------------------------------


def until_it_answers(port: int) -> None:
    """The port of MessagePack-RPC may come a moment after that of HTTP."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.01)


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server of whose limits a test may reach the end."""
    directory = tmp_path_factory.mktemp("narrow")
    with ServerProcess("broadcast", directory) as process:
        until_it_answers(process.rpc_port)
        yield process
        process.assert_clean_log()


async def test_two_hundred_connections_are_served_and_more_refused(narrow: ServerProcess) -> None:
    async with asyncio.timeout(PATIENCE):
        clients = []
        for _ in range(200):
            reader, writer = await asyncio.open_connection("127.0.0.1", narrow.rpc_port)
            clients.append(Client(reader, writer))
        assert [await client.call("ping") for client in clients] == [PONG] * 200
        async with connected(narrow) as one_more:
            assert await one_more.is_closed()
        clients.pop().writer.close()
        while True:
            # Nothing tells when the server has noticed.
            async with connected(narrow) as next_one:
                try:
                    assert await next_one.call("ping") == PONG
                    break
                except ConnectionError:
                    await asyncio.sleep(0.01)
        for client in clients:
            client.writer.close()


async def test_random_bytes_do_not_kill_the_server(narrow: ServerProcess) -> None:
    chance = random.Random(5)
    for _ in range(200):
        async with connected(narrow) as client:
            await client.say(chance.randbytes(200))
            client.writer.write_eof()
            while not await client.is_closed():
                pass
    async with connected(narrow) as client:
        assert await client.call("ping") == PONG
