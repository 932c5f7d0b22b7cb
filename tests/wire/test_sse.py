"""Publications as Server-Sent Events: what a browser reads of them."""

import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcast.publications import Kind, Mark, Publication
from broadcast.wire import sse
from broadcast.wire.frames import event
from tests.rig.events import Event, Parser


def read(data: bytes) -> list[Event]:
    parser = Parser()
    events = parser.feed(data)
    assert parser.text == b"" and not parser.data
    return events


def text(payload: str, offset: int = 7, marks: int = 0) -> Publication:
    return Publication(offset, Kind.TEXT, payload.encode(), marks, 0.0)


def test_a_text_is_a_message_with_its_position() -> None:
    assert read(sse.publication(text("hello"), "e")) == [Event("message", "hello", "e:7")]


def test_json_is_a_message_with_its_text() -> None:
    publication = Publication(1, Kind.JSON, '{"a":"ä"}'.encode(), 0, 0.0)
    assert read(sse.publication(publication, "e")) == [Event("message", '{"a":"ä"}', "e:1")]


def test_binary_is_base64() -> None:
    publication = Publication(1, Kind.BINARY, b"\x00\r\n\xff", 0, 0.0)
    (heard,) = read(sse.publication(publication, "e"))
    assert heard == Event("binary", base64.b64encode(b"\x00\r\n\xff").decode(), "e:1")


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ("", ""),
        (" indented", " indented"),
        ("a\nb", "a\nb"),
        ("a\rb", "a\nb"),
        ("a\r\nb", "a\nb"),
        ("a\n\rb", "a\n\nb"),
        ("\n", "\n"),
        ("end\n", "end\n"),
        ("data: x\n\nid: 9\nevent: error", "data: x\n\nid: 9\nevent: error"),
        (":comment", ":comment"),
        ("\x00\u2028\x85\x0b", "\x00\u2028\x85\x0b"),
    ],
)
def test_lines_of_any_kind_stay_one_message(said: str, heard: str) -> None:
    assert read(sse.publication(text(said), "e")) == [Event("message", heard, "e:7")]


@given(st.lists(st.text(st.characters(codec="utf-8")), max_size=5), st.integers(1, 50))
def test_whatever_is_said_is_heard_however_it_is_cut(said: list[str], size: int) -> None:
    encoding = sse.encoding_of("e")
    (data,) = encoding.publications([text(one, number) for number, one in enumerate(said)])
    parser = Parser()
    heard = [one for at in range(0, len(data), size) for one in parser.feed(data[at : at + size])]
    expected = [re.sub("\r\n|\r", "\n", one) for one in said]
    assert [(one.data, one.id) for one in heard] == [
        (one, f"e:{number}") for number, one in enumerate(expected)
    ]


def test_a_header_and_a_new_recording_are_told_before() -> None:
    heard = read(sse.publication(text("head", marks=Mark.RESET | Mark.HEADER), "e"))
    assert [(one.name, one.data) for one in heard] == [
        *(("reset", "{}"), ("header", '{"offset": 7}'), ("message", "head"))
    ]
    assert heard[-1].id == "e:7"


def test_what_moves_the_position_has_an_id_and_nothing_else() -> None:
    joined = event("joined", offset=3, epoch="e")
    skipped = event("skipped", **{"from": 4, "to": 9})
    (data,) = (b"".join(one) for one in [sse.encoding_of("e").messages([joined, skipped])])
    assert [one.id for one in read(data)] == ["e:3", "e:9"]
    assert read(sse.told(event("live"), "e")) == [Event("live", "{}", "")]
    # A header that an earlier position has must not move a newcomer back.
    assert read(sse.publication(text("head"), "")) == [Event("message", "head", "")]


def test_all_who_hear_an_epoch_share_what_is_encoded() -> None:
    assert sse.encoding_of("a" * 16) is sse.encoding_of("a" * 16)
    assert sse.encoding_of("a" * 16) != sse.encoding_of("b" * 16)
