"""What a publication becomes on the wire: checked with the parser of another implementation."""

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Frame
from websockets.streams import StreamReader

from broadcast.publications import Draft, Kind, Mark, Publication
from broadcast.wire.frames import (
    BINARY,
    PLAIN_FRAMES,
    PLAIN_MESSAGES,
    TEXT,
    V1_FRAMES,
    V1_MESSAGES,
    Encoding,
    Message,
    event,
    plain,
    to_frames,
    v1,
)
from broadcast.wire.sinks import as_asgi

#: Both sides of every border between two forms of a frame's length.
LENGTHS = [0, 1, 125, 126, 127, 65535, 65536, 65537]

TEXTS = [
    "",
    'quotes " and \\ backslashes',
    "lines\nand\r\ntabs\t, controls \x00\x1f\x7f",
    "emoji 🎥👩‍👩‍👧, umlauts äöü",
    "separators \u2028 and \u2029 that JavaScript once could not read",
    "</script><!-- & 'x'",
]

ENCODINGS = [(PLAIN_FRAMES, PLAIN_MESSAGES), (V1_FRAMES, V1_MESSAGES)]


def publication(
    payload: Any, offset: int = 1, marks: int = 0, kind: Kind | None = None
) -> Publication:
    draft = Draft.of(payload)
    return Publication(offset, draft.kind if kind is None else kind, draft.payload, marks, 0.0)


def parse(data: bytes) -> list[tuple[int, bytes]]:
    """Opcode and payload of each frame, all of which are final, unmasked and complete."""
    reader = StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    found = []
    while reader.buffer:
        parser = Frame.parse(reader.read_exact, mask=False)
        try:
            while True:
                next(parser)
        except StopIteration as stopped:
            frame = stopped.value
        assert frame.fin and not (frame.rsv1 or frame.rsv2 or frame.rsv3)
        found.append((int(frame.opcode), bytes(frame.data)))
    return found


def joined(messages: Iterable[Message]) -> list[tuple[int, bytes]]:
    return [(opcode, b"".join(parts)) for opcode, parts in messages]


def told(message: tuple[int, bytes]) -> dict[str, Any]:
    opcode, payload = message
    assert opcode == TEXT
    said: dict[str, Any] = json.loads(payload.decode())
    return said


@pytest.mark.parametrize("length", LENGTHS)
def test_a_frame_of_every_length_is_read_back_whole(length: int) -> None:
    payload = bytes(index % 251 for index in range(length))
    assert parse(to_frames([(BINARY, (payload,))])) == [(BINARY, payload)]


@pytest.mark.parametrize("length", LENGTHS)
def test_the_length_takes_the_shortest_form_there_is(length: int) -> None:
    header = len(to_frames([(TEXT, (b"x" * length,))])) - length
    assert header == (2 if length < 126 else 4 if length < 65536 else 10)


@pytest.mark.parametrize("length", LENGTHS)
def test_a_plain_listener_gets_the_very_bytes_that_were_published(length: int) -> None:
    payload = b"\xff" * length
    assert parse(PLAIN_FRAMES.publications([publication(payload)])) == [(BINARY, payload)]


@pytest.mark.parametrize("length", LENGTHS)
def test_the_offset_before_a_binary_payload_counts_for_the_length(length: int) -> None:
    payload = b"\xff" * length
    found = parse(V1_FRAMES.publications([publication(payload, offset=258)]))
    assert found == [(BINARY, b"\0\0\0\0\0\0\1\2" + payload)]


@pytest.mark.parametrize("offset", [1, 255, 256, 2**32, 2**53, 2**64 - 1])
def test_a_binary_offset_is_eight_bytes_big_endian(offset: int) -> None:
    [(_, payload)] = parse(V1_FRAMES.publications([publication(b"x", offset)]))
    assert int.from_bytes(payload[:8], "big") == offset and payload[8:] == b"x"


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_a_text_frame_of_itself_to_a_plain_listener(text: str) -> None:
    found = parse(PLAIN_FRAMES.publications([publication(text)]))
    assert found == [(TEXT, text.encode())]


@pytest.mark.parametrize("text", TEXTS)
def test_any_text_survives_the_json_of_the_subprotocol(text: str) -> None:
    [frame] = parse(V1_FRAMES.publications([publication(text, offset=7)]))
    assert told(frame) == {"event": "publication", "offset": 7, "data": text}


@pytest.mark.parametrize(
    "value", [None, True, 0, 1.5, [], {}, {"a": [1, {"b": None}]}, ["\u2028", "🎥", '"']]
)
def test_json_is_told_as_its_value_and_to_a_plain_listener_as_its_text(value: Any) -> None:
    [frame] = parse(V1_FRAMES.publications([publication(value)]))
    assert told(frame) == {"event": "publication", "offset": 1, "data": value}
    [(opcode, payload)] = parse(PLAIN_FRAMES.publications([publication(value)]))
    assert opcode == TEXT and json.loads(payload) == value


@pytest.mark.parametrize(
    ("marks", "events"),
    [
        (Mark.NONE, []),
        (Mark.ENTRY, []),
        (Mark.HEADER, [{"event": "header", "offset": 3}]),
        (Mark.HEADER | Mark.ENTRY, [{"event": "header", "offset": 3}]),
        (Mark.RESET, [{"event": "reset"}]),
        (Mark.RESET | Mark.HEADER, [{"event": "reset"}, {"event": "header", "offset": 3}]),
    ],
)
def test_reset_and_header_are_told_just_before_the_publication(
    marks: Mark, events: list[dict[str, Any]]
) -> None:
    *before, last = parse(V1_FRAMES.publications([publication(b"x", 3, marks)]))
    assert [told(frame) for frame in before] == events
    assert last == (BINARY, (3).to_bytes(8, "big") + b"x")


def test_marks_mean_nothing_to_a_plain_listener() -> None:
    marked = publication("x", 3, Mark.RESET | Mark.HEADER | Mark.ENTRY)
    assert parse(PLAIN_FRAMES.publications([marked])) == [(TEXT, b"x")]


def test_an_event_is_one_compact_json_object_in_a_text_frame() -> None:
    message = event("joined", stream="näws", live=True, content_type=None)
    assert joined([message]) == [
        (TEXT, '{"event":"joined","stream":"näws","live":true,"content_type":null}'.encode())
    ]


def test_only_the_subprotocol_tells_events() -> None:
    assert [encoding.tells for pair in ENCODINGS for encoding in pair] == [
        *(False, False),
        *(True, True),
    ]


publications = st.lists(
    st.builds(
        publication,
        st.text(max_size=200)
        | st.binary(max_size=200)
        | st.sampled_from([b"x" * length for length in LENGTHS])
        | st.lists(st.integers()),
        st.integers(1, 2**64 - 1),
        st.integers(0, 7),
    ),
    max_size=6,
)


@pytest.mark.parametrize(("frames", "messages"), ENCODINGS)
@settings(deadline=None, max_examples=100, derandomize=True)
@given(given_publications=publications)
def test_frames_and_messages_say_the_same(
    frames: Encoding, messages: Encoding, given_publications: list[Publication]
) -> None:
    found = parse(frames.publications(given_publications))
    assert found == joined(messages.publications(given_publications))


@settings(deadline=None, max_examples=100, derandomize=True)
@given(publications)
def test_the_fast_plain_frames_are_those_of_the_plain_messages(
    given_publications: list[Publication],
) -> None:
    expected = to_frames(message for one in given_publications for message in plain(one))
    assert PLAIN_FRAMES.publications(given_publications) == expected


@pytest.mark.parametrize("encoding", [encoding for pair in ENCODINGS for encoding in pair])
def test_an_encoding_reads_its_input_once(encoding: Encoding) -> None:
    given_publications = [publication("a", 1), publication(b"b", 2), publication([3], 3)]
    expected = encoding.publications(given_publications)
    assert encoding.publications(iter(given_publications)) == expected
    events = [event("live"), event("idle")]
    assert encoding.messages(iter(events)) == encoding.messages(events)


def test_nothing_is_made_of_nothing() -> None:
    assert PLAIN_FRAMES.publications([]) == V1_FRAMES.publications([]) == b""
    assert PLAIN_MESSAGES.publications([]) == V1_MESSAGES.publications([]) == []


def test_other_servers_get_the_same_text_and_bytes() -> None:
    messages = [*v1(publication("ä\u2028", 2)), *v1(publication(b"\xff", 3))]
    assert [as_asgi(message) for message in messages] == [
        {
            "type": "websocket.send",
            "text": '{"event":"publication","offset":2,"data":"ä\u2028"}',
        },
        {"type": "websocket.send", "bytes": b"\0\0\0\0\0\0\0\3\xff"},
    ]


def test_empty_payloads_are_empty_frames() -> None:
    found = parse(PLAIN_FRAMES.publications([publication(""), publication(b"")]))
    assert found == [(TEXT, b""), (BINARY, b"")]
    assert [as_asgi(message) for message in plain(publication(""))] == [
        {"type": "websocket.send", "text": ""}
    ]
    assert [as_asgi(message) for message in plain(publication(b""))] == [
        {"type": "websocket.send", "bytes": b""}
    ]
