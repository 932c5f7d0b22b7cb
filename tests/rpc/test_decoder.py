"""The decoder of MessagePack-RPC: bytes split anywhere, and bytes that make no sense."""

import itertools
import os
import random
import tracemalloc
from collections.abc import Iterable
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broadcast.conf import conf
from broadcast.rpc.decoder import Call, Decoder
from tests.rig.rpc import raw

LIMIT = 64 * 1024


PING = msgpack.packb([0, 1, "ping", []])
#: How many random inputs: many more of them, when a person has the time.
FUZZ = int(os.environ.get("BROADCAST_FUZZ", 10_000))


def decode(*parts: bytes) -> list[Call]:
    decoder = Decoder(LIMIT, LIMIT)
    return [call for part in parts for call in decoder.feed(part)]


CALLS = [
    Call(0, "ping", []),
    Call(None, "publish", ["s", "ä🎥", {"entry": True}]),
    Call(2**32 - 1, "publish", ["s", b"\x00\xff" * 200, None]),
    Call(1, "ä", [{"a": [1.5, None, -(2**63), 2**64 - 1]}, {1: 2}]),
]
BYTES = b"".join(
    msgpack.packb([2, call.method, call.params])
    if call.msgid is None
    else msgpack.packb([0, call.msgid, call.method, call.params])
    for call in CALLS
)


def test_calls_split_at_every_point_are_the_same() -> None:
    assert decode(BYTES) == CALLS
    for at in range(1, len(BYTES)):
        assert decode(BYTES[:at], BYTES[at:]) == CALLS, f"split at {at}"


def test_calls_that_come_byte_by_byte_are_the_same() -> None:
    assert decode(*(bytes((byte,)) for byte in BYTES)) == CALLS


@pytest.mark.parametrize("name", [msgpack.packb("ping"), msgpack.packb(b"ping"), raw(b"ping")])
def test_the_name_of_a_method_is_str_bin_or_raw(name: bytes) -> None:
    assert decode(b"\x94\x00\x01" + name + b"\x90") == [Call(1, "ping", [])]


def test_raw_bytes_that_are_no_utf8_do_not_end_the_connection() -> None:
    [call] = decode(b"\x93\x02" + raw(b"\xff\xfe") + b"\x91" + raw(b"\x80"))
    assert (call.msgid, call.error) == (None, "")
    assert call.method.encode("utf-8", "surrogateescape") == b"\xff\xfe"


@pytest.mark.parametrize(
    "call",
    [
        [0, 7, None, []],
        [0, 7, 5, []],
        [0, 7, ["m"], []],
        [0, 7, "m", None],
        [0, 7, "m", {}],
        [0, 7, "m", "params"],
        [0, 7],
        [0, 7, "m"],
        [0, 7, "m", [], 5],
        [0, 7, "m", [], *range(100)],
    ],
)
def test_a_call_that_makes_no_sense_is_to_be_answered(call: list[Any]) -> None:
    found, after = decode(msgpack.packb(call) + PING)
    assert found.msgid == 7 and found.error
    assert after == Call(1, "ping", [])


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x94\x00\x07\xa1m\x91\x81\x90\x01", id="array-as-key"),
        pytest.param(b"\x94\x00\x07\xa1m\x91\x81\x80\x01", id="map-as-key"),
        pytest.param(b"\x94\x00\x07\xa1m\x91\xc7\x03\xff\x00\x00\x00", id="bad-timestamp"),
    ],
)
def test_what_cannot_be_read_is_answered_and_what_follows_is_read(data: bytes) -> None:
    found, after = decode(data + PING)
    assert found.msgid == 7 and found.error
    assert after == Call(1, "ping", [])


@pytest.mark.parametrize("start", [b"\x94\x00\x07", b"\xdc\x00\x04\x00\xce\x00\x00\x00\x07"])
@pytest.mark.parametrize(
    "rest",
    [
        pytest.param(b"\xa1m" + b"\x91" * 100_000, id="deep-nesting"),
        pytest.param(b"\xa1m\xc1", id="no-messagepack"),
        pytest.param(b"\xa1m\xc6\xff\xff\xff\xff" + bytes(LIMIT), id="huge-bin"),
        pytest.param(b"\xa1m\xdd\xff\xff\xff\xff" + bytes(LIMIT), id="huge-array"),
        pytest.param(b"\xa1m\xdf\xff\xff\xff\xff" + bytes(LIMIT), id="huge-map"),
        pytest.param(msgpack.packb("m") + msgpack.packb([b"x" * LIMIT]), id="too-large"),
    ],
)
@pytest.mark.parametrize("step", [5, 1000, 10**9])
def test_before_the_end_a_request_is_answered(start: bytes, rest: bytes, step: int) -> None:
    data = start + rest
    decoder = Decoder(LIMIT, LIMIT)
    found = []
    with pytest.raises(ValueError, match="."):
        for at in range(0, len(data), step):
            found += decoder.feed(data[at : at + step])
    [call] = found
    assert call.msgid == 7 and call.error


def test_what_a_client_declares_takes_no_memory() -> None:
    tracemalloc.start()
    decoder = Decoder(LIMIT, LIMIT)
    try:
        assert list(decoder.feed(b"\x94\x00\x01\xa1m" + b"\xdd\x00\xff\xff\xff" * 900)) == []
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "data",
    [
        *(b"\xc1", b"\x00", b"\xc0", b"GET / HTTP/1.1\r\n\r\n", b"\x90", b"\x80"),
        *map(
            msgpack.packb,
            (
                *([0], [2, "m"], [2, "m", [], 1], [2, "m", {}], [2, 5, []], [2, None, []]),
                *([1, 1, None, None], [3, 1, "m", []], ["0", 1, "m", []], [None] * 4),
                *([0, -1, "m", []], [0, 2**32, "m", []], [0, "1", "m", []], [0, True, "m", []]),
                *([0, 1.0, "m", []], {"a": 1}, "text", [[0, 1, "m", []]]),
            ),
        ),
        pytest.param(b"\x91" * 100_000, id="deep-nesting"),
        pytest.param(b"\xc6\xff\xff\xff\xff" + bytes(LIMIT), id="huge-bin"),
        pytest.param(b"\xdb\xff\xff\xff\xff" + bytes(LIMIT), id="huge-str"),
        pytest.param(b"\xdd\xff\xff\xff\xff" + bytes(LIMIT), id="huge-array"),
        pytest.param(b"\xdf\xff\xff\xff\xff", id="huge-map"),
        pytest.param(b"\xc9\xff\xff\xff\xff\x01", id="huge-ext"),
        pytest.param(b"\x93\x02\xa1m\x91\x81\x90\x01", id="map-with-an-array-as-key"),
        pytest.param(b"\x93\x02\xa1m\x91\x81\x80\x01", id="map-with-a-map-as-key"),
        pytest.param(b"\x93\x02\xa1m\x91\xc7\x03\xff\x00\x00\x00", id="bad-timestamp"),
        pytest.param(b"\x93\x02\xa1m\xdd\xff\xff\xff\xff" + bytes(LIMIT), id="huge-inner-array"),
        pytest.param(b"\x93\xc2\xa1m\x90", id="false-is-no-request"),
        pytest.param(msgpack.packb([2, "m", [b"x" * LIMIT]]), id="too-large"),
        pytest.param(msgpack.packb([2, "m", [b"x" * LIMIT]])[: LIMIT + 10], id="partly-too-large"),
    ],
)
def test_what_is_no_call_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="."):
        decode(data)


def test_calls_before_one_that_makes_no_sense_are_given() -> None:
    decoder = Decoder(LIMIT, LIMIT)
    calls = decoder.feed(BYTES + b"\xc1" + BYTES)
    assert list(itertools.islice(calls, len(CALLS))) == CALLS
    with pytest.raises(ValueError, match="."):
        next(calls)


@pytest.mark.parametrize("nested", [1, 50, 400])
def test_nesting_within_reason_is_taken(nested: int) -> None:
    data = b"\x93\x02\xa1m" + b"\x91" * nested + b"\x90"
    assert len(decode(data)) == 1


def outcome(data: bytes, cuts: Iterable[int] = ()) -> tuple[list[Call], bool]:
    """The calls in it when it is cut there, and whether it ended with a ValueError."""
    decoder = Decoder(LIMIT, LIMIT)
    calls: list[Call] = []
    try:
        for start, end in itertools.pairwise([0, *sorted(cuts), len(data)]):
            for call in decoder.feed(data[start:end]):
                calls.append(call)
    except ValueError:
        return calls, True
    return calls, False


def assert_sound(data: bytes, cuts: Iterable[int]) -> None:
    """Bytes are calls or a ValueError, and the same ones wherever they are cut."""
    found = outcome(data)
    # As text: NaN is not NaN.
    assert repr(outcome(data, cuts)) == repr(found)
    for call in found[0]:
        assert call.msgid is None or 0 <= call.msgid < 2**32
        assert isinstance(call.method, str) and isinstance(call.params, list)
        # Of a notification that makes no sense nobody could be told.
        assert call.msgid is not None or not call.error


@settings(deadline=None, max_examples=FUZZ // 5, derandomize="BROADCAST_FUZZ" not in os.environ)
@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=4))
def test_garbage_is_calls_or_a_value_error(data: bytes, cuts: list[int]) -> None:
    assert_sound(data, [cut for cut in cuts if cut <= len(data)])


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.binary(max_size=9)
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.binary(max_size=3), inner),
    max_leaves=8,
)


@settings(deadline=None, max_examples=FUZZ // 20, derandomize="BROADCAST_FUZZ" not in os.environ)
@given(st.lists(values, max_size=5), st.integers(0, 40), st.binary(max_size=3))
def test_damaged_calls_are_calls_or_a_value_error(
    message: list[Any], at: int, damage: bytes
) -> None:
    data = bytearray(msgpack.packb([0, 1, "m", message]) + msgpack.packb(message))
    data[at : at + len(damage)] = damage
    assert_sound(bytes(data), [min(at, len(data))])


def mutated(chance: random.Random) -> bytes:
    """Calls of all kinds with some damage: changed, lost, doubled and inserted bytes."""
    data = bytearray(BYTES if chance.random() < 0.5 else BYTES[chance.randrange(len(BYTES)) :])
    for _ in range(chance.randrange(1, 6)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(5):
            case 0:
                data[at : at + 1] = chance.randbytes(1)
            case 1:
                del data[at : at + chance.randrange(1, 20)]
            case 2:
                data[at:at] = data[at : at + chance.randrange(1, 40)]
            case 3:
                data[at:at] = chance.choice(FORMATS)
            case 4:
                data[at:at] = chance.randbytes(chance.randrange(1, 9))
    return bytes(data)


#: First bytes of every kind of object, with lengths.
FORMATS = [
    *(bytes((first,)) for first in range(0x80, 0xE0)),
    *(bytes((first, 0xFF, 0xFF, 0xFF, 0xFF)) for first in range(0xC4, 0xE0)),
]


def test_mutated_calls_are_calls_or_a_value_error() -> None:
    chance = random.Random(None if "BROADCAST_FUZZ" in os.environ else 5)
    for _ in range(FUZZ):
        data = mutated(chance)
        assert_sound(data, [chance.randrange(len(data) + 1) for _ in range(3)])


# -- how many items -----------------------------------------------------------------------------


def items(value: Any) -> int:
    """The items of a value, and itself."""
    if isinstance(value, dict):
        return 1 + sum(items(key) + items(inner) for key, inner in value.items())
    return 1 + (sum(map(items, value)) if isinstance(value, list) else 0)


def in_parts(data: bytes, most: int, *sizes: int) -> list[Call]:
    """The calls in it, when it comes in parts of these sizes, and then in one of the rest."""
    decoder, found, start = Decoder(1 << 24, most), list[Call](), 0
    for size in (*sizes, len(data)):
        found += decoder.feed(data[start : start + size])
        start += size
    return found


#: An item of every kind, with each width of its length.
KINDS: list[Any] = [
    *(None, True, 0, -1, 200, -100, 2**12, -(2**12), 2**20, -(2**20), 2**40, -(2**40), 1.5),
    *("x" * length for length in (0, 31, 32, 255, 256, 65536)),
    *(b"x" * length for length in (0, 255, 256, 65536)),
    *(msgpack.ExtType(5, bytes(length)) for length in (1, 2, 4, 8, 16, 3, 255, 256, 65536)),
    *([None] * length for length in (0, 15, 16, 65536)),
    *({str(key): key for key in range(length)} for length in (0, 15, 16, 65536)),
    msgpack.Timestamp(0, 1),
    [[[{"a": [{}, []]}]], [1, [2, [3]]]],
]


@pytest.mark.parametrize("kind", range(len(KINDS)))
def test_items_of_every_kind_are_counted(kind: int) -> None:
    message = [0, 7, "m", [KINDS[kind], KINDS[kind], [1.5, "end", {"a": [2]}]]]
    data, count = msgpack.packb(message), items(message)
    for part in (len(data), 5000):
        [taken] = in_parts(data, count, *[part] * (len(data) // part))
        assert not taken.error and len(taken.params) == 3
        [refused] = in_parts(data, count - 1, *[part] * (len(data) // part))
        assert refused == Call(7, "", [], f"TooLarge: a message has at most {count - 1} items")


MANY = msgpack.packb([0, 7, "publish", ["s", [[], {}, {"a": [0, 200, 1.5]}, "ä" * 20, b"x" * 30]]])
NOTICE = msgpack.packb([2, "publish", ["s", [[]] * 20]])


@pytest.mark.parametrize("message", [MANY, NOTICE])
def test_too_many_items_are_the_error_of_that_call_wherever_it_is_split(message: bytes) -> None:
    data = PING + message + PING
    error = "TooLarge: a message has at most 15 items"
    [before, found, after] = in_parts(data, 15)
    assert before == after == Call(1, "ping", [])
    assert found == (
        Call(7, "", [], error) if message is MANY else Call(None, "publish", [], error)
    )
    for at in range(1, len(data)):
        assert in_parts(data, 15, at) == [before, found, after], f"split at {at}"
    assert in_parts(data, 15, *[1] * len(data)) == [before, found, after]


def test_too_many_items_of_no_call_end_the_connection() -> None:
    with pytest.raises(ValueError, match="a message is"):
        in_parts(msgpack.packb([1, 1, None, [[]] * 100]), 50)


def test_of_too_many_items_nothing_is_made_and_few_are_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[bytes] = []
    monkeypatch.setattr(msgpack, "unpackb", lambda packed, **kwargs: made.append(packed))
    data = msgpack.packb([0, 7, "publish", ["s", [[]] * 60_000]])
    decoder = Decoder(LIMIT, 30_000)
    looked_at, found = [0], list[Call]()
    for start in range(0, len(data), 1000):
        found += decoder.feed(data[start : start + 1000])
        looked_at.append(decoder._counter.items)
    [call] = found
    assert call.error and not made
    # Each part is counted when it comes, and nothing after the first item that is too many.
    assert max(after - before for before, after in itertools.pairwise(looked_at)) <= 1000
    assert max(looked_at) == 30_001


def test_a_hundred_thousand_numbers_are_taken() -> None:
    data = msgpack.packb([0, 7, "publish", ["s", [1.5] * 100_000]])
    [call] = Decoder(conf.RPC_MAX_OBJECT, conf.MAX_ITEMS).feed(data)
    assert not call.error and len(call.params[1]) == 100_000
