"""What our server does where an application does not what it should."""

import asyncio
from typing import Any

import pytest

from broadcast.server.sockets import LOOKS
from tests.rig.open_sockets import OpenSocket, open_socket, portless_server
from tests.rig.raw import PING, TEXT, frame


def answer(opened: OpenSocket) -> bytes:
    return bytes(opened.connection.socket.sent).partition(b"\r\n")[0]


def fails_at_once(scope: Any, receive: Any, send: Any) -> Any:
    raise RuntimeError("before it began")


async def fails(scope: Any, receive: Any, send: Any) -> None:
    raise RuntimeError("while it looked")


async def ends(scope: Any, receive: Any, send: Any) -> None:
    return None


@pytest.mark.parametrize("application", [fails_at_once, fails, ends])
async def test_a_handshake_is_refused_if_the_application_ends_before_its_answer(
    caplog: pytest.LogCaptureFixture, application: Any
) -> None:
    server = portless_server(1000)
    server.application = application
    opened = OpenSocket(server)
    if opened.socket.task:
        while not opened.connection.is_closing:  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert answer(opened) == b"HTTP/1.1 500 Internal Server Error"
    assert opened.connection.is_closing
    opened.connection.lose()
    assert not server.leaving and not list(server.sockets)


async def test_a_handshake_is_refused_that_is_not_answered_in_time() -> None:
    opened = OpenSocket(portless_server(1000))
    (part,) = [part for part in opened.socket.server.sockets._parts if part]
    for _ in range(LOOKS):
        assert not opened.connection.is_closing
        opened.socket.server.sockets._look_at(part)
    assert answer(opened) == b"HTTP/1.1 503 Service Unavailable"
    assert opened.connection.is_closing and opened.end is not None


async def test_a_silent_client_is_pinged_and_cut_off_in_the_end() -> None:
    opened = await open_socket()
    (part,) = [part for part in opened.socket.server.sockets._parts if part]
    looks = 0
    while not opened.connection.is_aborted:
        opened.socket.server.sockets._look_at(part)
        looks += 1
        assert bool(opened.sent()) == (looks >= LOOKS)
    # 20 seconds until the ping, 30 for the answer.
    assert looks * 10 == 50
    assert [opcode for opcode, _ in opened.sent()] == [PING]


async def test_a_client_that_says_anything_is_not_silent() -> None:
    opened = await open_socket()
    (part,) = [part for part in opened.socket.server.sockets._parts if part]
    for _ in range(20):
        opened.socket.server.sockets._look_at(part)
        opened.feed(frame(TEXT, b"x"))
    assert not opened.connection.is_aborted and opened.sent() == []
