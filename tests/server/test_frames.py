"""The server's parser of what clients send: split anywhere, the application gets the same."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broadcast.conf import conf
from broadcast.exceptions import CloseCode
from broadcast.server.inbound import INBOUND_COUNT
from broadcast.server.unusual import MOST_FRAGMENTS
from broadcast.server.websocket import (
    SMALL_BURST,
    SMALL_BYTES,
    SMALL_RATE,
    TURN_FRAMES,
    UNUSUAL_FRAMES,
)
from broadcast.server.writing import ANSWER_SECONDS, CLOSE_SECONDS, State
from broadcast.wire.sinks import FrameSink, nothing
from tests.rig.clock import in_clock_loop
from tests.rig.open_sockets import Expected, OpenSocket, open_socket, portless_server
from tests.rig.raw import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    close_payload,
    frame,
)

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
    connection = await open_socket()
    connection.feed(data)
    assert connection.messages == expected
    assert connection.sent() == [(PONG, b"are you there")]


async def test_frames_split_at_every_point_are_the_same() -> None:
    data, expected = together(SHORT)
    for at in range(1, len(data)):
        connection = await open_socket()
        connection.feed(data[:at], data[at:])
        assert connection.messages == expected, f"split at {at}"


async def test_frames_that_come_byte_by_byte_are_the_same() -> None:
    data, expected = together(SHORT)
    connection = await open_socket()
    connection.feed(*(bytes((byte,)) for byte in data))
    assert connection.messages == expected


async def test_short_frames_split_at_every_point_after_a_long_one_in_parts() -> None:
    long, expected_first = together(LONG[:1])
    short, expected = together(SHORT[:7])
    for at in range(1, len(short)):
        connection = await open_socket()
        connection.feed(long[:40_000], long[40_000:] + short[:at], short[at:])
        assert connection.messages == expected_first + expected, f"split at {at}"


async def test_long_frames_split_around_their_headers_are_the_same() -> None:
    data, expected = together(LONG)
    borders = [0]
    for frame_data, _ in LONG:
        borders.append(borders[-1] + len(frame_data))
    near = {border + step for border in borders for step in range(-3, 17)}
    for at in sorted(near & set(range(1, len(data)))):
        connection = await open_socket()
        connection.feed(data[:at], data[at:])
        assert connection.messages == expected, f"split at {at}"


@settings(max_examples=150, database=None)
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

    async def come() -> None:
        connection = await open_socket()
        connection.feed(*parts)
        assert connection.messages == expected

    asyncio.run(come())


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
        connection = await open_socket(max_frame=1000)
        data = good + bad + frame(TEXT, b"after")
        connection.feed(data[:at], data[at:])
        assert connection.close_code() == connection.end == code, f"split at {at}"
        assert connection.messages == [{"text": "before"}]


async def test_a_frame_of_the_very_limit_is_taken() -> None:
    connection = await open_socket(max_frame=1000)
    connection.feed(frame(BINARY, b"x" * 1000), frame(TEXT, b"after"))
    assert connection.messages == [{"bytes": b"x" * 1000}, {"text": "after"}]


async def test_a_frame_too_large_is_refused_at_its_header() -> None:
    connection = await open_socket(max_frame=1000)
    connection.feed(frame(BINARY, b"", length=5_000_000))
    assert connection.close_code() == 1009


async def test_a_short_frame_that_is_not_masked_is_refused_at_its_second_byte() -> None:
    connection = await open_socket()
    connection.feed(frame(TEXT, b"x", masked=False)[:2])
    assert connection.close_code() == 1002


async def test_a_client_that_closes_is_answered() -> None:
    connection = await open_socket()
    connection.feed(frame(TEXT, b"bye") + frame(CLOSE, close_payload(1000)))
    assert connection.sent()[0][0] == CLOSE and connection.close_code() == connection.end == 1000
    assert connection.messages == [{"text": "bye"}]


async def test_of_a_close_the_application_hears_once_and_of_nothing_that_follows() -> None:
    connection = await open_socket()
    connection.feed(frame(TEXT, b"before"))
    connection.socket.close_with(4501, "another streamer took over")
    connection.feed(frame(TEXT, b"after") + frame(CLOSE, close_payload(1000)))
    connection.connection.lose()
    assert connection.end == 4501
    assert connection.messages == [{"text": "before"}]


async def test_what_was_sent_before_the_client_heard_that_the_server_goes_is_taken() -> None:
    connection = await open_socket()
    connection.socket.close_with(4200, "the server is going down", hear_out=True)
    connection.feed(frame(TEXT, b"on its way"))
    assert not connection.queue.over
    connection.feed(frame(CLOSE, close_payload(4200)))
    connection.connection.lose()
    assert connection.messages == [{"text": "on its way"}]
    assert connection.end == 4200


async def test_the_answer_to_a_close_is_read_however_much_still_waits() -> None:
    connection = await open_socket()
    connection.feed(frame(TEXT) * INBOUND_COUNT)
    assert not connection.connection.is_reading
    connection.socket.close_with(4500, "enough")
    await connection.turns()
    connection.feed(frame(CLOSE, close_payload(4500)))
    assert connection.connection.is_closing


@pytest.mark.parametrize("closes", [False, True])
async def test_of_very_many_frames_some_are_looked_at_in_a_turn(closes: bool) -> None:
    connection = await open_socket()
    if closes:
        connection.socket.close_with(4500, "enough")
    number = 3 * TURN_FRAMES + 100
    connection.feed(frame(PONG) * number + frame(TEXT, b"behind") + frame(CLOSE))
    for _ in range(3):
        assert not connection.connection.is_reading
        assert connection.messages == []
        await asyncio.sleep(0)
    assert connection.connection.is_closing
    assert connection.messages == ([] if closes else [{"text": "behind"}])


async def test_fragments_cost_more_of_a_turn() -> None:
    connection = await open_socket()
    number = 2 * TURN_FRAMES // (1 + UNUSUAL_FRAMES)
    many = frame(TEXT, fin=False) + frame(CONTINUATION, fin=False) * (number - 1)
    connection.feed(many + frame(CONTINUATION, b"end"))
    for _ in range(2):
        assert connection.messages == [] and not connection.connection.is_reading
        await asyncio.sleep(0)
    assert connection.messages == [{"text": "end"}]


async def test_of_the_pings_of_a_turn_the_newest_is_answered() -> None:
    connection = await open_socket()
    pings = b"".join(frame(PING, b"%d" % number) for number in range(2 * TURN_FRAMES))
    connection.feed(pings)
    await connection.turns()
    assert connection.sent() == [(PONG, b"%d" % (n * TURN_FRAMES - 1)) for n in (1, 2)]


async def test_who_reads_nothing_gets_no_pongs() -> None:
    connection = await open_socket()
    connection.connection.socket.takes = 4
    connection.feed(*[frame(PING, b"x") for _ in range(100)])
    connection.connection.take()
    connection.feed(frame(PING, b"y"))
    assert connection.sent() == [(PONG, b"x"), (PONG, b"x"), (PONG, b"y")]


@pytest.mark.parametrize(
    "small",
    [
        pytest.param(frame(PING), id="pings"),
        pytest.param(frame(PONG, b"x" * 125), id="pongs"),
        pytest.param(frame(CONTINUATION, fin=False), id="empty-fragments"),
        pytest.param(frame(CONTINUATION, b"x" * (SMALL_BYTES - 1), fin=False), id="fragments"),
    ],
)
def test_of_what_costs_its_sender_nothing_so_much_comes_at_once_and_the_rest_at_a_rate(
    small: bytes,
) -> None:
    async def come() -> None:
        connection = await open_socket(frame(BINARY, fin=False), max_frame=2**21)
        await connection.turns()
        connection.feed(*[small] * (SMALL_BURST - 1))
        await asyncio.sleep(5)
        connection.feed(*[small] * int(5 * SMALL_RATE))
        assert connection.close_code() is None
        connection.feed(small)
        assert connection.close_code() == connection.end == 1008

    in_clock_loop(come)()


async def test_a_message_has_so_many_fragments() -> None:
    for more, code in ((0, None), (1, 1008)):
        connection = await open_socket()
        large = frame(CONTINUATION, bytes(SMALL_BYTES), fin=False)
        parts = [frame(BINARY, fin=False), *[large] * (MOST_FRAGMENTS - 2 + more)]
        connection.socket.max_frame = SMALL_BYTES * MOST_FRAGMENTS
        connection.feed(*parts, frame(CONTINUATION))
        assert connection.close_code() == code
        assert len(connection.messages) == (not more)


def test_a_client_that_closes_and_stays_has_so_long_for_its_end() -> None:
    async def close() -> None:
        connection = await open_socket()
        connection.feed(frame(CLOSE, close_payload(1000)))
        assert connection.connection.is_closing and not connection.connection.is_aborted
        assert connection.connection.within == CLOSE_SECONDS

    in_clock_loop(close)()


def test_a_client_that_does_not_answer_a_close_is_cut_off() -> None:
    async def close() -> None:
        connection = await open_socket()
        connection.socket.close_with(4500, "enough")
        await asyncio.sleep(CLOSE_SECONDS - 0.1)
        assert not connection.connection.is_aborted
        await asyncio.sleep(0.2)
        assert connection.connection.is_aborted

    in_clock_loop(close)()


async def test_after_a_violation_nothing_is_heard() -> None:
    connection = await open_socket()
    connection.feed(frame(3))
    assert connection.connection.is_given_up
    # The client may not have heard of that yet: it is read on, up to its end.
    assert connection.connection.is_closing and connection.connection.is_reading
    assert connection.connection.within == CLOSE_SECONDS and not connection.connection.is_aborted


async def test_a_close_in_the_middle_of_a_frame_ends_cleanly() -> None:
    data = frame(BINARY, bytes(range(256)) * 4) + frame(CLOSE, close_payload(4501))
    for at in (1, 5, 10, 500):
        connection = await open_socket()
        connection.feed(data[:at])
        connection.socket.close_with(4501, "another streamer took over")
        connection.feed(data[at:])
        assert connection.sent() == [(CLOSE, close_payload(4501, "another streamer took over"))]
        assert connection.socket.state == State.CLOSED, f"split at {at}"


async def test_frames_that_come_before_the_answer_are_taken_too() -> None:
    data, expected = together(SHORT)
    for at in (1, 5, len(data) - 3, len(data)):
        connection = await open_socket(early=data[:at])
        assert connection.messages == []
        await connection.turns()
        connection.feed(data[at:])
        assert connection.messages == expected, f"split at {at}"


async def test_a_client_that_does_not_wait_for_the_answer_is_read_no_more_until_then() -> None:
    connection = OpenSocket(portless_server(1000), early=frame(TEXT, b"early"))
    assert not connection.connection.is_reading
    await connection.accept()
    await connection.turns()
    assert connection.messages == [{"text": "early"}]


async def test_a_flood_pauses_the_client_until_it_is_taken() -> None:
    connection = await open_socket()
    flood = frame(TEXT, b"x") * INBOUND_COUNT
    connection.feed(flood)
    assert not connection.connection.is_reading
    for _ in range(INBOUND_COUNT):
        await connection.queue.get()
    await connection.turns()
    assert connection.connection.is_reading
    assert connection.queue.size == 0


@pytest.mark.parametrize("who", ["server", "client"])
async def test_before_a_close_there_is_a_last_moment_to_write_something(who: str) -> None:
    connection = await open_socket()
    sink = FrameSink(connection.socket)

    def say_the_last() -> None:
        sink.write(frame(TEXT, b"the last", masked=False))

    sink.on_close(say_the_last)
    if who == "server":
        connection.socket.close_with(4200, "going")
    connection.feed(frame(CLOSE, close_payload(1000)))
    sink.answer_close()
    # Once, and nothing after it.
    assert [opcode for opcode, _ in connection.sent()] == [TEXT, CLOSE]


async def test_a_close_is_answered_when_the_application_has_handled_what_came_before() -> None:
    connection = await open_socket()
    sink = FrameSink(connection.socket)
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
    assert connection.connection.is_closing


async def test_what_could_not_be_handled_is_said_in_the_answer_to_a_close() -> None:
    connection = await open_socket()
    sink = FrameSink(connection.socket)
    connection.feed(frame(CLOSE, close_payload(1000)))
    sink.close(CloseCode.SHUTDOWN, "no engine")
    sink.answer_close()
    assert connection.sent() == [(CLOSE, (4200).to_bytes(2, "big") + b"no engine")]
    assert connection.connection.is_closing


async def test_a_server_that_goes_lets_a_close_be_answered_while_there_is_time() -> None:
    server, loop = portless_server(1000), asyncio.get_running_loop()
    server.rpc, server.drain_until = loop.create_future(), loop.time() + 5
    connection = await OpenSocket(server).accept()
    sink = FrameSink(connection.socket)
    connection.feed(frame(TEXT, b"x") + frame(CLOSE, close_payload(1000)))
    assert not server._close_some(2) and connection.sent() == []
    sink.answer_close()
    assert connection.close_code() == 1000
    late = await OpenSocket(server).accept()
    FrameSink(late.socket)
    late.feed(frame(CLOSE, close_payload(1000)))
    server._close_some(1)
    assert late.close_code() == 4200


def test_a_close_is_answered_in_time_whatever_the_application_does() -> None:
    async def close() -> None:
        connection = await open_socket()
        FrameSink(connection.socket)
        connection.feed(frame(CLOSE, close_payload(1000)))
        await asyncio.sleep(ANSWER_SECONDS - 0.1)
        assert connection.sent() == []
        await asyncio.sleep(0.2)
        assert connection.close_code() == 4200

    in_clock_loop(close)()


async def test_what_belongs_to_a_socket_that_ended_does_not_hold_it() -> None:
    connection = await open_socket()
    sink = FrameSink(connection.socket)
    sink.on_space(connection.feed)
    sink.on_close(lambda: None)
    connection.feed(frame(CLOSE, close_payload(1000)))
    sink.answer_close()
    connection.connection.lose()
    sink.forget()
    # Of each of these one side held the other, so both waited for the garbage collector.
    assert connection.socket.sink is None
    assert connection.queue.protocol is None
    assert sink.has_space is sink.closing is nothing


async def test_what_ended_sockets_leave_is_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    collected: list[float] = []
    monkeypatch.setattr("broadcast.server.process.gc.collect", lambda: collected.append(1))
    monkeypatch.setattr("broadcast.server.process.COLLECT_AFTER", 10)
    server = portless_server(1000)
    connections = [OpenSocket(server).connection for _ in range(40)]
    # As soon as as many are gone as are still there.
    for connection in connections[:20]:
        assert not collected
        connection.lose()
        await asyncio.sleep(0)
    assert collected == [1]


async def test_the_default_limit_is_the_one_of_the_settings() -> None:
    connection = await open_socket(max_frame=conf.MAX_FRAME)
    connection.feed(frame(BINARY, b"x" * conf.MAX_FRAME))
    assert [len(message["bytes"]) for message in connection.messages] == [conf.MAX_FRAME]
