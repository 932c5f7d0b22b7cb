"""What may be published, what it becomes, and how it crosses between processes."""

import datetime
import decimal
import json
import math
import uuid
from typing import Any

import pytest
from django.core.serializers.json import DjangoJSONEncoder
from django.utils.translation import gettext_lazy
from hypothesis import given, settings
from hypothesis import strategies as st

from broadcast.exceptions import BadRequest
from broadcast.publications import (
    Draft,
    Kind,
    Mark,
    Publication,
    decode_json,
    encode_json,
    pack,
    unpack,
)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # No lone surrogates: those are refused.
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda values: (
        st.lists(values)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), values)
    ),
    max_leaves=10,
)


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def cycle() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize("text", ["", "a", 'ä"\n\u2028🎥', "\x00"])
def test_str_is_text_in_utf8(text: str) -> None:
    assert Draft.of(text) == Draft(Kind.TEXT, text.encode(), 0)


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xff", bytearray(b"ab"), memoryview(b"ab"), memoryview(b"a-b-")[::2]],
)
def test_bytes_of_every_kind_are_binary_and_copied(payload: Any) -> None:
    draft = Draft.of(payload)
    assert draft == Draft(Kind.BINARY, bytes(payload), 0)
    assert type(draft.payload) is bytes


@pytest.mark.parametrize("value", [None, False, 0, 1.5, [], {}, {"a": [None, "ä"]}, (1, 2)])
def test_anything_else_is_compact_json(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    assert Draft.of(value) == Draft(Kind.JSON, text.encode(), 0)


def test_marks_are_kept() -> None:
    assert Draft.of("x", Mark.HEADER | Mark.ENTRY).marks == 3


@settings(deadline=None, max_examples=100, derandomize=True)
@given(json_values)
def test_the_value_of_a_json_publication_is_what_was_published(value: Any) -> None:
    draft = Draft.of({"value": value})
    found = Publication(1, draft.kind, draft.payload, 0, 0.0)
    assert found.data == {"value": value}


def test_data_of_text_and_binary_is_what_was_published() -> None:
    for payload in ("ä", b"\xff"):
        draft = Draft.of(payload)
        assert Publication(1, draft.kind, draft.payload, 0, 0.0).data == payload


@pytest.mark.parametrize(
    "value",
    [
        datetime.datetime(2024, 2, 29, 12, 30, 15, 123456),
        datetime.datetime(2024, 2, 29, 12, 30, tzinfo=datetime.UTC),
        datetime.date(2024, 2, 29),
        datetime.time(12, 30),
        datetime.timedelta(days=1, seconds=1.5),
        decimal.Decimal("1.10"),
        uuid.UUID(int=1),
        gettext_lazy("a lazy text"),
    ],
)
def test_dates_and_their_like_are_written_as_django_writes_them(value: Any) -> None:
    assert json.loads(Draft.of([value]).payload) == json.loads(
        json.dumps([value], cls=DjangoJSONEncoder)
    )


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(math.nan, id="nan"),
        pytest.param([math.inf], id="infinity"),
        pytest.param({math.nan: 1}, id="nan-key"),
        pytest.param({1, 2}, id="set"),
        pytest.param({"a": b"bytes"}, id="nested-bytes"),
        pytest.param({(1, 2): 3}, id="tuple-key"),
        pytest.param(object(), id="object"),
        pytest.param(1j, id="complex"),
        pytest.param("\ud800", id="lone-surrogate"),
        pytest.param({"a": "\udfff"}, id="lone-surrogate-in-json"),
        pytest.param({"\ud800": 1}, id="lone-surrogate-as-key"),
        pytest.param(nested(100_000), id="deep-nesting"),
        pytest.param(cycle(), id="cycle"),
        pytest.param(10**5000, id="more-digits-than-python-writes"),
        pytest.param(datetime.time(12, tzinfo=datetime.UTC), id="aware-time"),
    ],
)
def test_what_is_no_publication_is_a_bad_request(value: Any) -> None:
    with pytest.raises(BadRequest) as caught:
        Draft.of(value)
    # Nothing of the machinery hangs on an error that a person reads.
    assert str(caught.value) and caught.value.__suppress_context__


def test_a_huge_integer_is_written_digit_by_digit() -> None:
    assert Draft.of(10**400).payload == b"1" + b"0" * 400


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "{", "nope", "[1,]", "{'a':1}", '"\n"', "1 2", "NaN", "[Infinity]"),
        *('{"a":-Infinity}', "[" * 100_000, "1" * 5000, b"\xff", b'"\xc3"'),
    ],
)
def test_what_is_no_json_is_a_bad_request(text: str | bytes) -> None:
    with pytest.raises(BadRequest):
        decode_json(text)


def test_json_that_says_infinity_in_digits_is_no_json_either() -> None:
    with pytest.raises(BadRequest):
        encode_json(decode_json("1e999"))


def test_a_lone_surrogate_may_be_read_but_not_published() -> None:
    with pytest.raises(BadRequest):
        Draft.of(decode_json(r'{"a":"\ud800"}'))


@settings(deadline=None, max_examples=100, derandomize=True)
@given(json_values)
def test_json_comes_back_as_it_went(value: Any) -> None:
    assert decode_json(encode_json(value)) == value


publications = st.lists(
    st.builds(
        Publication,
        st.integers(1, 2**64 - 1),
        st.sampled_from(Kind),
        st.binary(max_size=300),
        st.integers(0, 7).map(Mark) | st.integers(0, 7),
        st.floats(0, 4e9),
    ),
    max_size=5,
)


@settings(deadline=None, max_examples=100, derandomize=True)
@given(publications)
def test_publications_cross_between_processes_unchanged(given_ones: list[Publication]) -> None:
    packed = pack(given_ones)
    assert type(packed) is bytes
    assert unpack(packed) == given_ones


def test_publications_are_equal_when_all_their_fields_are() -> None:
    one = Publication(1, Kind.TEXT, b"x", 0, 5.0)
    assert one == Publication(1, Kind.TEXT, b"x", 0, 5.0)
    for other in (
        Publication(2, Kind.TEXT, b"x", 0, 5.0),
        Publication(1, Kind.BINARY, b"x", 0, 5.0),
        Publication(1, Kind.TEXT, b"y", 0, 5.0),
        Publication(1, Kind.TEXT, b"x", Mark.ENTRY, 5.0),
        Publication(1, Kind.TEXT, b"x", 0, 6.0),
        "x",
    ):
        assert one != other


def test_a_publication_names_itself_without_its_payload() -> None:
    [crossed] = unpack(pack([Publication(3, Kind.JSON, b"[1]", 0, 0.0)]))
    assert repr(crossed) == "<Publication 3 JSON 3 bytes>"
