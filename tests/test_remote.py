"""The client of the running server's MessagePack-RPC port, beside a server that the test plays."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import msgpack
import pytest
from pytest_django.fixtures import Settings

from broadcast import remote
from broadcast.exceptions import BadRequest, StreamClosed, TooLarge, Unavailable
from tests.processes import PATIENCE

Answers = Callable[[list[Any]], list[Any]]


@pytest.fixture
def plays(settings: Settings) -> Iterator[Callable[[int, Answers], None]]:
    """Takes so many requests, says what a function of them answers, and closes."""
    threads = []

    def serve(count: int, answers: Answers) -> None:
        connection, _ = server.accept()
        with closing(connection):
            unpacker = msgpack.Unpacker()
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
    plays(1, lambda requests: said.extend(requests) or [[1, 1, None, None]])
    with remote.connected():
        assert said == [[0, 1, "authenticate", ["sécret"]]]
