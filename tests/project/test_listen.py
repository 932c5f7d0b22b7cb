"""What `manage.py listen` makes of what it meets where its server was, or should be."""

import base64
import hashlib
import json
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from threading import Thread
from types import SimpleNamespace

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from broadcast.consumers import SUBPROTOCOL
from broadcast.management.commands import listen as command
from tests.rig.raw import CLOSE, TEXT, close_payload, frame

#: What a handshake is answered with, and then the connection is closed. None: it is cut.
FAULTS: dict[str, bytes] = {
    "a proxy without a server": b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\nbad",
    "a server that is busy": b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n\r\n",
    "too many requests": b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n",
    "a redirect": b"HTTP/1.1 301 Moved Permanently\r\nLocation: http://127.0.0.1/\r\n\r\n",
    "a page": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    "a fault of the server": b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
    "a cut before the answer": b"",
    "a cut in the answer": b"HTTP/1.1 101 Switching Proto",
    "something that is no HTTP": b"\x00\x01\x02 what?\r\n\r\n",
}


def event(name: str, **fields: object) -> bytes:
    return frame(TEXT, json.dumps({"event": name, **fields}).encode(), masked=False)


def closed(code: int, reason: str = "") -> bytes:
    return frame(CLOSE, close_payload(code, reason), masked=False)


JOINED = event("joined", epoch="e", offset=0, recovered=True)
LAST = JOINED + event("publication", offset=1, data="at last")


class Upgraded(bytes):
    """What follows a handshake that is answered as it should be; without `protocol` it is not."""

    protocol = SUBPROTOCOL


def without_protocol(frames: bytes) -> Upgraded:
    answer = Upgraded(frames)
    answer.protocol = ""
    return answer


class Played(SimpleNamespace):
    address: str
    requests: list[str]


@contextmanager
def played(*answers: bytes) -> Iterator[Played]:
    """A server that answers one connection after another so."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        play = Played(address=f"ws://127.0.0.1:{server.getsockname()[1]}", requests=[])
        thread = Thread(target=answer_all, args=(server, answers, play.requests))
        thread.start()
        yield play
        thread.join(30)
        assert not thread.is_alive()


def answer_all(server: socket.socket, answers: tuple[bytes, ...], requests: list[str]) -> None:
    for answer in answers:
        connection, _ = server.accept()
        with connection:
            request = b""
            while b"\r\n\r\n" not in request:
                request += connection.recv(65536)
            requests.append(request.split(b" ")[1].decode())
            connection.sendall(upgrade(request, answer) if isinstance(answer, Upgraded) else answer)
            connection.shutdown(socket.SHUT_WR)
            # Closed with something unread, it would take the answer along.
            while connection.recv(65536):
                pass


def upgrade(request: bytes, answer: Upgraded) -> bytes:
    found = re.search(rb"(?i)sec-websocket-key: (\S+)", request)
    assert found
    digest = hashlib.sha1(found[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    head = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {base64.b64encode(digest).decode()}",
        *([f"Sec-WebSocket-Protocol: {answer.protocol}"] if answer.protocol else []),
    ]
    return "\r\n".join([*head, "", ""]).encode() + answer


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds it would have waited, at most, before each further attempt."""
    waits: list[float] = []
    monkeypatch.setattr(command, "time", SimpleNamespace(sleep=waits.append))
    monkeypatch.setattr(command, "random", SimpleNamespace(uniform=max))
    return waits


def listen(address: str, count: int = 1) -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    call_command("listen", "demo", url=address, count=count, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def test_once_joined_it_comes_back_whatever_it_meets(waits: list[float]) -> None:
    cut = Upgraded(JOINED)
    with played(cut, *FAULTS.values(), without_protocol(JOINED), Upgraded(LAST)) as play:
        out, err = listen(play.address)
    assert (out, err) == ("at last\n", "")
    # The connection that was lost, each fault, and the server that speaks something else.
    assert len(waits) == 1 + len(FAULTS) + 1
    assert waits[0] == 1 and max(waits) == 30
    assert play.requests[0] == "/ws/listener/demo/?history=0"
    assert set(play.requests[1:]) == {"/ws/listener/demo/?epoch=e&since=0"}


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
def test_where_there_are_too_many_it_waits_longer(waits: list[float], status: str) -> None:
    busy = f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()
    with played(Upgraded(JOINED), busy, busy, Upgraded(LAST)) as play:
        listen(play.address)
    assert waits == [1, 8, 16]


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1008, 1009, 1011, 3000, 4200, 4408, 4499])
def test_it_comes_back_after_any_close_that_is_no_verdict(waits: list[float], code: int) -> None:
    with played(Upgraded(JOINED + closed(code)), Upgraded(LAST)) as play:
        assert listen(play.address)[0] == "at last\n"


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_status_that_is_a_verdict_ends_it(waits: list[float], status: int) -> None:
    verdict = f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode()
    with played(Upgraded(JOINED), verdict) as play, pytest.raises(CommandError, match=str(status)):
        listen(play.address)


@pytest.mark.parametrize("code", [4500, 4503, 4504, 4510, 4999])
def test_a_close_code_that_is_a_verdict_ends_it(waits: list[float], code: int) -> None:
    verdict = Upgraded(JOINED + closed(code, "the reason"))
    with (
        played(Upgraded(JOINED), verdict) as play,
        pytest.raises(CommandError, match=rf"^the reason \({code}\)$"),
    ):
        listen(play.address)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_before_it_has_joined_anything_ends_it_with_one_line(
    waits: list[float], fault: bytes
) -> None:
    with played(fault) as play, pytest.raises(CommandError) as caught:
        listen(play.address)
    assert len(str(caught.value).splitlines()) == 1
    assert not waits


def test_a_server_that_speaks_something_else_is_named(waits: list[float]) -> None:
    with (
        played(without_protocol(b"")) as play,
        pytest.raises(CommandError, match="does not speak broadcast.v1"),
    ):
        listen(play.address)
