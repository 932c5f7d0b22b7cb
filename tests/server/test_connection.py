"""Connections of our server, without a network: `HTTPConnection`."""

from typing import Any

from pytest_django.fixtures import Settings
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.http import Request

from broadcast.access.limits import get_limits
from broadcast.server.connection import HTTPConnection

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class FullTransport(StringTransport):  # type: ignore[misc]
    """Its client takes nothing of what is written until it is told to."""

    def write(self, data: bytes) -> None:
        super().write(data)
        self.producer.pauseProducing()

    def take(self) -> bytes:
        said: bytes = self.value()
        self.clear()
        self.producer.resumeProducing()
        return said


class Answered(Request):  # type: ignore[misc]
    def process(self) -> None:
        self.write(self.uri)
        self.finish()


def open_channel(request: type[Request] = Answered) -> Any:
    channel = HTTPConnection()
    channel.unasked = {}
    channel.requestFactory = request
    channel.makeConnection(FullTransport())
    return channel


def lose(channel: HTTPConnection) -> None:
    channel.connectionLost(Failure(ConnectionDone()))
    assert (channel.late, get_limits().connections) == (None, 0)


async def test_a_request_waits_until_its_client_took_the_answer_before() -> None:
    channel = open_channel()
    channel.dataReceived(b"".join(GET.replace(b"/ ", b"/%d " % number) for number in range(5)))
    for number in range(5):
        said = channel.transport.take()
        assert said.count(b"HTTP/1.1 200") == 1 and b"/%d\r\n" % number in said, said
    assert channel.transport.take() == b""
    lose(channel)


async def test_who_takes_no_answer_and_goes_leaves_nothing_behind() -> None:
    lost: list[str] = []

    class Told(Answered):
        def connectionLost(self, reason: Any) -> None:
            lost.append("told")

    channel = open_channel(Told)
    channel.dataReceived(GET * 5)
    lose(channel)
    # It was answered, and is no request any more.
    assert (lost, channel.requests) == ([], [])


async def test_one_too_many_has_no_more_time_for_a_body(settings: Settings) -> None:
    settings.BROADCAST_MAX_CONNECTIONS = 0
    channel = open_channel()
    ends = channel.late.when()
    channel.dataReceived(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nx")
    assert channel.late.when() == ends
    lose(channel)
