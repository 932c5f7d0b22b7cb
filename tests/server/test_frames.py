"""The server's parser of what clients send: split anywhere, the application gets the same."""

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from daphne.http_protocol import HTTPFactory
from daphne.ws_protocol import WebSocketFactory
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from broadcast.conf import conf
from broadcast.exceptions import CloseCode
from broadcast.server import writing
from broadcast.server.inbound import INBOUND_COUNT, InboundQueue
from broadcast.server.server import Server
from broadcast.server.websocket import WebSocketProtocol
from broadcast.server.writing import CLOSE_SECONDS
from broadcast.wire.sinks import FrameSink, nothing
from tests.rig.clock import in_clock_loop
from tests.rig.raw import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    close_payload,
    frame,
    handshake,
)

Expected = list[dict[str, Any]]


class FakeTransport(StringTransport):
    """A TCP connection whose client takes everything at once."""

    connected = True
    disconnected = aborted = False
    dataBuffer = b""
    _tempDataBuffer: tuple[bytes, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        # The HTTP channel, which stays the producer after the upgrade.
        self.registerProducer(SimpleNamespace(requests=[], give_place=lambda: None), True)

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass

    def abortConnection(self) -> None:
        self.aborted = True

    def unregisterProducer(self) -> None:
        # Unlike a StringTransport, a real one takes it when there is none.
        if self.producer is not None:
            super().unregisterProducer()


class FakeServer(Server):
    """A server without a port; its applications take nothing unless a test does."""

    def __init__(self, max_frame: int) -> None:
        super().__init__(application=None, endpoints=["tcp:0"])
        self.connections = {}
        # As Daphne makes it, but for the timer that nothing here waits for.
        self.ws_factory = WebSocketFactory(self, server="test")
        self.ws_factory.setProtocolOptions(
            openHandshakeTimeout=0, maxFramePayloadSize=max_frame, maxMessagePayloadSize=max_frame
        )
        self.http_factory = HTTPFactory(self)
        self._ready()

    def create_application(self, protocol: WebSocketProtocol, scope: Any) -> InboundQueue:
        return InboundQueue(protocol)


class Connection:
    """An open WebSocket of the server; what its application would get is in `messages`."""

    def __init__(self, early: bytes = b"", max_frame: int = 1024 * 1024) -> None:
        self.transport = FakeTransport()
        self.protocol: Any = FakeServer(max_frame).ws_factory.buildProtocol(None)
        self.protocol._raw_query_string = b""
        self.protocol.makeConnection(self.transport)
        self.protocol.dataReceived(handshake("/") + early)
        self.queue: InboundQueue = self.protocol.application_queue
        assert self.queue.messages.pop(0) == {"type": "websocket.connect"}
        self.protocol.handle_reply({"type": "websocket.accept"})
        head, self.answer = self.transport.value().split(b"\r\n\r\n", 1)
        assert head.startswith(b"HTTP/1.1 101 ")
        self.transport.clear()

    def feed(self, *parts: bytes) -> None:
        for part in parts:
            self.protocol.dataReceived(part)

    @property
    def messages(self) -> Expected:
        """What came before its end."""
        last = -1 if self.queue.over else None
        messages = self.queue.messages[:last]
        for message in messages:
            assert message.pop("type") == "websocket.receive"
        return messages

    @property
    def end(self) -> int | None:
        """The code of the disconnect; None: there was none."""
        last = self.queue.messages[-1]
        return last["code"] if last.get("type") == "websocket.disconnect" else None

    def sent(self) -> list[tuple[int, bytes]]:
        """Opcode and payload of every frame that the server sent."""
        data, found = self.transport.value(), []
        while data:
            assert data[1] < 126, "control frames are short"
            found.append((data[0] & 0x0F, data[2 : 2 + data[1]]))
            data = data[2 + data[1] :]
        return found

    def close_code(self) -> int | None:
        codes = [int.from_bytes(payload[:2], "big") for op, payload in self.sent() if op == CLOSE]
        return codes[0] if codes else None


@pytest.fixture(autouse=True)
def options() -> Iterator[None]:
    """Options are shared by all connections of a process: leave them as they were."""
    before = dict(vars(WebSocketProtocol))
    yield
    for name in set(vars(WebSocketProtocol)) - set(before):
        delattr(WebSocketProtocol, name)


#: Frames, and the messages that an application gets of them.
SHORT: list[tuple[bytes, Expected]] = [
    (frame(TEXT, "ä🎥".encode()), [{"text": "ä🎥"}]),
    (frame(TEXT), [{"text": ""}]),
    (frame(BINARY), [{"bytes": b""}]),
    (frame(PING, b"are you there"), []),
    (frame(BINARY, b"\xff" * 125), [{"bytes": b"\xff" * 125}]),
    (frame(BINARY, b"\xfe" * 126), [{"bytes": b"\xfe" * 126}]),
    # A message in fragments, a control frame between them.
    (frame(TEXT, b"frag\xc3", fin=False), []),
    (frame(PONG), []),
    (frame(CONTINUATION, b"\xa4men", fin=False), []),
    (frame(CONTINUATION, b"ts"), [{"text": "fragäments"}]),
    (frame(BINARY, b"a", fin=False), []),
    (frame(CONTINUATION), [{"bytes": b"a"}]),
    (frame(TEXT, b"the last"), [{"text": "the last"}]),
]
LONG: list[tuple[bytes, Expected]] = [
    (frame(BINARY, b"a" * 65535), [{"bytes": b"a" * 65535}]),
    (frame(TEXT, b"b" * 65536), [{"text": "b" * 65536}]),
    (frame(TEXT, b"short"), [{"text": "short"}]),
]


def together(frames: list[tuple[bytes, Expected]]) -> tuple[bytes, Expected]:
    return b"".join(data for data, _ in frames), [one for _, got in frames for one in got]


async def test_frames_that_come_together_are_taken_together() -> None:
    data, expected = together(SHORT + LONG + SHORT)
    connection = Connection()
    connection.feed(data)
    assert connection.messages == expected
    assert connection.sent() == [(PONG, b"are you there")] * 2


async def test_frames_split_at_every_point_are_the_same() -> None:
    data, expected = together(SHORT)
    for at in range(1, len(data)):
        connection = Connection()
        connection.feed(data[:at], data[at:])
        assert connection.messages == expected, f"split at {at}"


async def test_frames_that_come_byte_by_byte_are_the_same() -> None:
    data, expected = together(SHORT)
    connection = Connection()
    connection.feed(*(bytes((byte,)) for byte in data))
    assert connection.messages == expected


async def test_short_frames_split_at_every_point_after_a_long_one_in_parts() -> None:
    long, expected_first = together(LONG[:1])
    short, expected = together(SHORT[:7])
    for at in range(1, len(short)):
        connection = Connection()
        connection.feed(long[:40_000], long[40_000:] + short[:at], short[at:])
        assert connection.messages == expected_first + expected, f"split at {at}"


async def test_long_frames_split_around_their_headers_are_the_same() -> None:
    data, expected = together(LONG)
    borders = [0]
    for frame_data, _ in LONG:
        borders.append(borders[-1] + len(frame_data))
    near = {border + step for border in borders for step in range(-3, 17)}
    for at in sorted(near & set(range(1, len(data)))):
        connection = Connection()
        connection.feed(data[:at], data[at:])
        assert connection.messages == expected, f"split at {at}"


@settings(deadline=None, max_examples=150, derandomize=True, database=None)
@given(
    st.lists(st.sampled_from(SHORT[:6] + LONG), min_size=1, max_size=5),
    st.lists(st.integers(0, 2**18), max_size=6),
    st.lists(st.integers(0, 20), max_size=6),
)
def test_frames_split_anywhere_are_the_same(
    frames: list[tuple[bytes, Expected]], anywhere: list[int], early: list[int]
) -> None:
    data, expected = together(frames)
    points = sorted({point % len(data) for point in anywhere + early})
    parts = [data[at:to] for at, to in zip([0, *points], [*points, len(data)], strict=True)]
    connection = in_loop(Connection)
    connection.feed(*parts)
    assert connection.messages == expected


def in_loop(make: Any) -> Any:
    """`make` what asks for a running event loop."""

    async def run() -> Any:
        return make()

    with asyncio.Runner() as runner:
        return runner.run(run())


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        pytest.param(frame(TEXT, b"\xff"), 1007, id="invalid-utf8"),
        pytest.param(frame(TEXT, b"\xed\xa0\x80"), 1007, id="surrogate"),
        pytest.param(frame(TEXT, "ä".encode()[:1]), 1007, id="half-a-character"),
        pytest.param(
            frame(TEXT, b"a", fin=False) + frame(CONTINUATION, b"\xff"), 1007, id="in-a-fragment"
        ),
        pytest.param(frame(TEXT, b"x", masked=False), 1002, id="unmasked"),
        pytest.param(frame(TEXT, b"x", rsv=4), 1002, id="rsv1"),
        pytest.param(frame(BINARY, b"x", rsv=2), 1002, id="rsv2"),
        pytest.param(frame(BINARY, b"x", rsv=1), 1002, id="rsv3"),
        pytest.param(frame(3, b"x"), 1002, id="reserved-opcode"),
        pytest.param(frame(11), 1002, id="reserved-control-opcode"),
        pytest.param(frame(CONTINUATION, b"x"), 1002, id="continues-nothing"),
        pytest.param(
            frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), 1002, id="message-in-a-message"
        ),
        pytest.param(frame(PING, b"x" * 126), 1002, id="long-ping"),
        pytest.param(frame(PING, b"x", fin=False), 1002, id="ping-in-fragments"),
        pytest.param(frame(BINARY, b"x" * 1001), 1009, id="too-large"),
        pytest.param(frame(BINARY, b"", length=2**40), 1009, id="much-too-large"),
        pytest.param(
            frame(BINARY, b"x" * 600, fin=False) + frame(CONTINUATION, b"x" * 600),
            1009,
            id="too-large-in-fragments",
        ),
        pytest.param(frame(BINARY, b"", length=2**63), 1002, id="negative-length"),
        pytest.param(frame(CLOSE, b"\x03"), 1002, id="half-a-close-code"),
        pytest.param(frame(CLOSE, close_payload(1005)), 1002, id="forbidden-close-code"),
    ],
)
async def test_what_breaks_the_protocol_ends_the_connection_with_its_code(
    bad: bytes, code: int
) -> None:
    good = frame(TEXT, b"before")
    for at in range(len(good) + min(len(bad), 20)):
        connection = Connection(max_frame=1000)
        data = good + bad + frame(TEXT, b"after")
        connection.feed(data[:at], data[at:])
        assert connection.close_code() == connection.end == code, f"split at {at}"
        assert connection.messages == [{"text": "before"}]


async def test_a_frame_of_the_very_limit_is_taken() -> None:
    connection = Connection(max_frame=1000)
    connection.feed(frame(BINARY, b"x" * 1000), frame(TEXT, b"after"))
    assert connection.messages == [{"bytes": b"x" * 1000}, {"text": "after"}]


async def test_a_frame_too_large_is_refused_at_its_header() -> None:
    connection = Connection(max_frame=1000)
    connection.feed(frame(BINARY, b"", length=5_000_000))
    assert connection.close_code() == 1009


async def test_a_short_frame_that_is_not_masked_is_refused_at_its_second_byte() -> None:
    connection = Connection()
    connection.feed(frame(TEXT, b"x", masked=False)[:2])
    assert connection.close_code() == 1002


async def test_a_client_that_closes_is_answered() -> None:
    connection = Connection()
    connection.feed(frame(TEXT, b"bye") + frame(CLOSE, close_payload(1000)))
    assert connection.sent()[0][0] == CLOSE and connection.close_code() == connection.end == 1000
    assert connection.messages == [{"text": "bye"}]


async def test_of_a_close_the_application_hears_once_and_of_nothing_that_follows() -> None:
    connection = Connection()
    connection.feed(frame(TEXT, b"before"))
    connection.protocol.close_with(4501, "another streamer took over")
    connection.feed(frame(TEXT, b"after") + frame(CLOSE, close_payload(1000)))
    connection.protocol.onClose(True, 1000, "")
    assert connection.end == 4501
    assert connection.messages == [{"text": "before"}]


async def test_what_was_sent_before_the_client_heard_that_the_server_goes_is_taken() -> None:
    connection = Connection()
    connection.protocol.close_with(4200, "the server is going down", hear_out=True)
    connection.feed(frame(TEXT, b"on its way"))
    assert not connection.queue.over
    connection.feed(frame(CLOSE, close_payload(4200)))
    connection.protocol.onClose(True, 4200, "")
    assert connection.messages == [{"text": "on its way"}]
    assert connection.end == 4200


async def test_the_answer_to_a_close_is_read_however_much_still_waits() -> None:
    connection = Connection()
    connection.feed(frame(TEXT) * INBOUND_COUNT)
    assert connection.transport.producerState == "paused"
    connection.protocol.close_with(4500, "enough")
    assert connection.transport.producerState == "producing"


@pytest.mark.parametrize("closes", [False, True])
async def test_of_very_many_control_frames_some_are_looked_at_in_a_turn(closes: bool) -> None:
    connection = Connection()
    looked: list[bytes] = []
    look = connection.protocol._dataReceived
    connection.protocol._dataReceived = lambda data: (looked.append(data), look(data))
    if closes:
        connection.protocol.close_with(4500, "enough")
    connection.feed(frame(PONG) * 1000 + frame(TEXT, b"behind") + frame(CLOSE))
    turns = [len(looked)]
    while connection.protocol.state != WebSocketProtocol.STATE_CLOSED:
        assert connection.transport.producerState == "paused"
        await asyncio.sleep(0)
        turns.append(len(looked) - sum(turns))
    assert turns == [256, 256, 256, 233]
    assert connection.messages == ([] if closes else [{"text": "behind"}])


async def test_a_client_that_closes_and_takes_nothing_is_cut_off_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    later = Clock()
    monkeypatch.setattr(writing, "reactor", later)
    connection = Connection()
    connection.transport.dataBuffer = b"nobody takes it"
    connection.feed(frame(CLOSE, close_payload(1000)))
    assert connection.transport.disconnecting and not connection.transport.aborted
    later.advance(connection.protocol.closeHandshakeTimeout)
    assert connection.transport.aborted


async def test_a_close_in_the_middle_of_a_frame_ends_cleanly() -> None:
    data = frame(BINARY, bytes(range(256)) * 4) + frame(CLOSE, close_payload(4501))
    for at in (1, 5, 10, 500):
        connection = Connection()
        connection.feed(data[:at])
        connection.protocol.close_with(4501, "another streamer took over")
        connection.feed(data[at:])
        assert connection.close_code() == 4501
        assert connection.protocol.wasClean, f"split at {at}"


async def test_frames_that_come_before_the_answer_are_taken_too() -> None:
    data, expected = together(SHORT)
    for at in (1, 5, len(data) - 3, len(data)):
        connection = Connection(early=data[:at])
        connection.feed(data[at:])
        assert connection.messages == expected, f"split at {at}"


async def test_a_flood_pauses_the_client_until_it_is_taken() -> None:
    connection = Connection()
    flood = frame(TEXT, b"x") * INBOUND_COUNT
    connection.feed(flood)
    assert connection.transport.producerState == "paused"
    for _ in range(INBOUND_COUNT):
        await connection.queue.get()
    assert connection.transport.producerState == "producing"
    assert connection.queue.size == 0


@pytest.mark.parametrize("who", ["server", "client"])
async def test_before_a_close_there_is_a_last_moment_to_write_something(who: str) -> None:
    connection = Connection()
    sink = FrameSink(connection.protocol)

    def say_the_last() -> None:
        sink.write(frame(TEXT, b"the last", masked=False))

    sink.on_close(say_the_last)
    if who == "server":
        connection.protocol.close_with(4200, "going")
    connection.feed(frame(CLOSE, close_payload(1000)))
    sink.answer_close()
    # Once, and nothing after it.
    assert [opcode for opcode, _ in connection.sent()] == [TEXT, CLOSE]


async def test_a_close_is_answered_when_the_application_has_handled_what_came_before() -> None:
    connection = Connection()
    sink = FrameSink(connection.protocol)
    connection.feed(frame(TEXT, b"x") + frame(CLOSE, close_payload(1001)) + frame(TEXT, b"y"))
    connection.feed(frame(TEXT, b"z"))
    assert connection.queue.messages == [
        {"type": "websocket.receive", "text": "x"},
        {"type": "websocket.disconnect", "code": 1001},
    ]
    assert connection.sent() == []
    sink.answer_close()
    sink.answer_close()
    assert connection.sent() == [(CLOSE, (1001).to_bytes(2, "big"))]
    assert connection.transport.disconnecting


async def test_what_could_not_be_handled_is_said_in_the_answer_to_a_close() -> None:
    connection = Connection()
    sink = FrameSink(connection.protocol)
    connection.feed(frame(CLOSE, close_payload(1000)))
    sink.close(CloseCode.SHUTDOWN, "no engine")
    sink.answer_close()
    assert connection.sent() == [(CLOSE, (4200).to_bytes(2, "big") + b"no engine")]
    assert connection.transport.disconnecting


async def test_a_server_that_goes_lets_a_close_be_answered_while_there_is_time() -> None:
    connection = Connection()
    sink, server = FrameSink(connection.protocol), connection.protocol.server
    loop = asyncio.get_running_loop()
    server.connections = {connection.protocol: {}}
    server.rpc, server.drain_until = loop.create_future(), loop.time() + 5
    connection.feed(frame(TEXT, b"x") + frame(CLOSE, close_payload(1000)))
    assert not server._close_some(2) and connection.sent() == []
    sink.answer_close()
    assert connection.close_code() == 1000
    late = Connection()
    FrameSink(late.protocol)
    late.feed(frame(CLOSE, close_payload(1000)))
    server.connections = {late.protocol: {}}
    server._close_some(1)
    assert late.close_code() == 4200


def test_a_close_is_answered_in_time_whatever_the_application_does() -> None:
    async def close() -> None:
        connection = Connection()
        FrameSink(connection.protocol)
        connection.feed(frame(CLOSE, close_payload(1000)))
        await asyncio.sleep(CLOSE_SECONDS - 0.1)
        assert connection.sent() == []
        await asyncio.sleep(0.2)
        assert connection.close_code() == 4200

    in_clock_loop(close)()


async def test_what_belongs_to_a_socket_that_ended_does_not_hold_it() -> None:
    connection = Connection()
    sink = FrameSink(connection.protocol)
    sink.on_space(connection.feed)
    sink.on_close(lambda: None)
    connection.feed(frame(CLOSE, close_payload(1000)))
    sink.answer_close()
    connection.protocol.connectionLost(Failure(ConnectionDone()))
    sink.forget()
    # Of each of these one side held the other, so both waited for the garbage collector.
    assert connection.protocol.sink is connection.protocol.is_closed is None
    assert connection.queue.protocol is None
    assert sink.has_space is sink.closing is nothing


async def test_what_ended_sockets_leave_is_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    collected: list[float] = []
    monkeypatch.setattr("broadcast.server.process.gc.collect", lambda: collected.append(1))
    monkeypatch.setattr("broadcast.server.process.COLLECT_AFTER", 10)
    server = FakeServer(1000)
    server.connections = {number: {} for number in range(20)}
    for number in range(20):
        assert not collected
        server.protocol_disconnected(number)
        await asyncio.sleep(0)
    assert collected == [1]


async def test_the_default_limit_is_the_one_of_the_settings() -> None:
    connection = Connection(max_frame=conf.MAX_FRAME)
    connection.feed(frame(BINARY, b"x" * conf.MAX_FRAME))
    assert [len(message["bytes"]) for message in connection.messages] == [conf.MAX_FRAME]
