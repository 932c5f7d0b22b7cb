"""The client of the running server's MessagePack-RPC port, beside a server that the test plays."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import msgpack
import pytest
from pytest_django.fixtures import Settings

from broadcast.backends import remote
from broadcast.exceptions import BadRequest, StreamClosed, TooLarge, Unavailable
from broadcast.management.commands.serve import is_ours
from broadcast.publications import Draft
from tests.rig.processes import PATIENCE, PREFIX, free_port

Answers = Callable[[list[Any]], list[Any]]


@pytest.fixture
def plays(settings: Settings) -> Iterator[Callable[[int, Answers], None]]:
    """Names its installation, takes so many requests, answers as a function says, and closes."""
    threads = []

    def serve(count: int, answers: Answers) -> None:
        connection, _ = server.accept()
        with closing(connection):
            unpacker = msgpack.Unpacker()
            unpacker.feed(connection.recv(65536))
            [request] = unpacker
            assert request == [0, 1, "installation", []]
            connection.sendall(msgpack.packb([1, 1, None, PREFIX]))
            requests: list[Any] = []
            while len(requests) < count:
                unpacker.feed(connection.recv(65536))
                requests += unpacker
            connection.sendall(b"".join(map(msgpack.packb, answers(requests))))

    def play(count: int, answers: Answers) -> None:
        threads.append(threading.Thread(target=serve, args=(count, answers)))
        threads[0].start()

    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        settings.BROADCAST_RPC_PORT = server.getsockname()[1]
        yield play
        threads[0].join(PATIENCE)


def test_answers_in_any_order_are_received_in_that_of_the_calls(plays: Any) -> None:
    plays(4, lambda requests: [[1, one[1], None, one[3][0]] for one in reversed(requests)])
    with remote.connected() as client:
        # They begin again at 0.
        client.sent = client.received = 2**32 - 3
        client.send("echo", ["a"], ["b"])
        client.send("echo", ["c"], ["d"])
        assert client.under_way == 4
        assert [client.receive() for _ in range(4)] == ["a", "b", "c", "d"]
        assert client.under_way == 0


def test_of_several_errors_the_first_is_told_when_all_is_answered(plays: Any) -> None:
    errors = [None, "TooLarge: 5", "StreamClosed: it was closed", None]
    plays(4, lambda requests: [
        [1, one[1], error, None] for one, error in reversed([*zip(requests, errors, strict=True)])
    ])  # fmt: skip
    with remote.connected() as client:
        client.send("publish", *([] for _ in errors))
        with pytest.raises(TooLarge, match="^5$"):
            client.receive_all()
        assert client.under_way == 0


def test_the_end_of_the_connection_is_told_instead_of_answers_that_will_not_come(
    plays: Any,
) -> None:
    plays(3, lambda requests: [[1, requests[0][1], "StreamClosed: x", None]])
    with remote.connected() as client:
        client.send("publish", [], [], [])
        with pytest.raises(StreamClosed):
            client.receive_all()
        with pytest.raises(Unavailable):
            client.receive_all()


def test_what_stands_before_a_call_that_cannot_be_carried_is_sent(plays: Any) -> None:
    plays(2, lambda requests: [[1, one[1], None, one[3][0]] for one in requests])
    with remote.connected() as client:
        with pytest.raises(BadRequest):
            client.send("echo", ["a"], ["b"], [2**64], ["c"])
        assert client.under_way == 2
        assert client.receive_all() == "b"


def test_the_secret_of_the_settings_is_said_first(plays: Any, settings: Settings) -> None:
    settings.BROADCAST_RPC_SECRET = "sécret"
    said: list[Any] = []
    plays(1, lambda requests: said.extend(requests) or [[1, 2, None, None]])
    with remote.connected():
        assert said == [[0, 2, "authenticate", ["sécret"]]]


# -- whose port it is -----------------------------------------------------------------------


@pytest.fixture
def answers_first(settings: Settings) -> Iterator[Callable[[bytes], list[bytes]]]:
    """Whatever comes first is answered so; the list has all that came, when its client is gone."""
    settings.BROADCAST_RPC_SECRET = "sécret"
    came: list[bytes] = []

    def serve(answer: bytes) -> None:
        connection, _ = server.accept()
        with closing(connection):
            came.append(connection.recv(65536))
            connection.sendall(answer)
            while answer and (data := connection.recv(65536)):
                came.append(data)

    def answer_first(answer: bytes) -> list[bytes]:
        threading.Thread(target=serve, args=(answer,), daemon=True).start()
        return came

    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        settings.BROADCAST_RPC_PORT = server.getsockname()[1]
        yield answer_first


OTHERS = {
    "another installation": msgpack.packb([1, 1, None, "other"]),
    "an earlier version": msgpack.packb([1, 1, "method `installation' is not accepted", None]),
    "an earlier version that wants a secret": msgpack.packb([1, 1, "Forbidden: the secret", None]),
    "another program of MessagePack-RPC": msgpack.packb([1, 1, None, {"prefix": "tests"}]),
    "another protocol": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "nobody any more": b"",
}


@pytest.mark.parametrize("other", OTHERS)
def test_who_is_not_of_this_installation_is_told_nothing(answers_first: Any, other: str) -> None:
    came = answers_first(OTHERS[other])
    with pytest.raises(Unavailable) as caught:
        remote.publish("news", Draft.of("for our pages"), "key")
    assert came == [msgpack.packb([0, 1, "installation", []])]
    if other == "another installation":
        assert "another installation ('other'" in str(caught.value)
        assert "BROADCAST_RPC_PORT" in str(caught.value)
    elif "earlier version" in other:
        assert "restart it" in str(caught.value)


@pytest.mark.parametrize("other", OTHERS)
def test_no_other_is_announced_as_the_port_of_this_installation(
    answers_first: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    monkeypatch.setattr(remote, "OWNER_SECONDS", 0.1)
    answers_first(OTHERS[other])
    assert not is_ours("127.0.0.1", settings.BROADCAST_RPC_PORT)


def test_a_server_of_this_installation_is_announced(answers_first: Any, settings: Settings) -> None:
    answers_first(msgpack.packb([1, 1, None, PREFIX]))
    assert is_ours("127.0.0.1", settings.BROADCAST_RPC_PORT)
    assert not is_ours("127.0.0.1", free_port())
