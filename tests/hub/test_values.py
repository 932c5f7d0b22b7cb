"""A value is the same publication, or refused for the same reason, on every way in."""

import asyncio
import json
import math
import uuid
from collections import OrderedDict, namedtuple
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone
from django.utils.functional import lazystr
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy, override
from pytest_django.fixtures import Settings

from broadcast import apublish, backends, publications, publish
from broadcast.backends import get_backend
from broadcast.exceptions import BadRequest, RoomError, TooLarge
from broadcast.models import Subscription
from broadcast.pages import handlers
from broadcast.pages.actions import Actions
from broadcast.pages.calls import encode as form
from broadcast.pages.subscriptions import PageSocket, topic_of
from broadcast.publications import Draft, Kind, Position, decode_json, dump_json
from broadcast.rooms.messages import encode
from tests.rig.backends import redis_backend
from tests.rig.clock import Clock
from tests.rig.doors import ServerDoor
from tests.rig.processes import ServerProcess

Point = namedtuple("Point", "x y")


class Colour(StrEnum):
    RED = "red"


class Number(IntEnum):
    ONE = 1


class Plain(Enum):
    ONE = 1


class Shout(str):
    pass


class Chunk(bytes):
    pass


@dataclass
class Order:
    item: str


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


#: Values, and what is heard of them: `str` is text, bytes are binary, anything else JSON.
VALUES: dict[str, tuple[Any, Any]] = {
    "a decimal": (Decimal("1.20"), "1.20"),
    "a time": (datetime(2024, 2, 29, 12, 30, 15, 123456, UTC), "2024-02-29T12:30:15.123Z"),
    "a date": (date(2024, 2, 29), "2024-02-29"),
    "a time of day": (time(12, 30), "12:30:00"),
    "a duration": (timedelta(days=1, seconds=1.5), "P1DT00H00M01.500000S"),
    "a uuid": (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    "a lazy text": (lazystr("später"), "später"),
    "a translation": (gettext_lazy("Yes"), "Ja"),
    "a safe text": (mark_safe("<b>x</b>"), "<b>x</b>"),
    "a subclass of text": (Shout("HO"), "HO"),
    "a member of a StrEnum": (Colour.RED, "red"),
    "a member of an IntEnum": (Number.ONE, 1),
    "a number beyond 64 bits": (2**64, 2**64),
    "one below": (-(2**63) - 1, -(2**63) - 1),
    "a number of 400 digits": ([10**400], [10**400]),
    "a float": (1.0, 1.0),
    "a tuple": ((1, "a"), [1, "a"]),
    "a named tuple": (Point(1, 2), [1, 2]),
    "an ordered dict": (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
    "keys that are no text": ({1: 2, None: 3, 1.5: 5}, {"1": 2, "null": 3, "1.5": 5}),
    "all of these within": (
        {"at": datetime(2024, 1, 1), "by": [uuid.UUID(int=2), Decimal("0.1"), lazystr("wer")]},
        {"at": "2024-01-01T00:00:00", "by": [str(uuid.UUID(int=2)), "0.1", "wer"]},
    ),
    "deeply nested": (nested(600), nested(600)),
    "many numbers": ([1.5] * 100_000, [1.5] * 100_000),
    "bytes": (b"\xff", b"\xff"),
    "a subclass of bytes": (Chunk(b"\xfe"), b"\xfe"),
    "a bytearray": (bytearray(b"\xfd"), b"\xfd"),
    "a view of memory": (memoryview(b"a-b-")[::2], b"ab"),
}

#: What is no publication, and what is said of it.
REFUSED: dict[str, tuple[Any, str]] = {
    "no number": (math.nan, "not JSON: Out of range float values are not JSON compliant"),
    "infinity": ([-math.inf], "not JSON: Out of range float values are not JSON compliant"),
    "a decimal that is no number": (Decimal("NaN"), "not JSON: NaN is not JSON"),
    "an infinite one within": ({"a": Decimal("-Infinity")}, "not JSON: -Infinity is not JSON"),
    "a signalling one": (Decimal("sNaN"), "not JSON: sNaN is not JSON"),
    "an object": (Order("tea"), "not JSON: Object of type Order is not JSON serializable"),
    "a member of an enum": (Plain.ONE, "not JSON: Object of type Plain is not JSON serializable"),
    "a set": ({1}, "not JSON: Object of type set is not JSON serializable"),
    "a generator": (iter([1]), "not JSON: Object of type list_iterator is not JSON serializable"),
    "a number as a key": (
        {uuid.UUID(int=1): 1},
        "not JSON: keys must be str, int, float, bool or None, not UUID",
    ),
    "a time of day with a zone": (
        time(12, tzinfo=UTC),
        "not JSON: JSON can't represent timezone-aware times.",
    ),
    "half a character": ("\ud800", "the text is not valid Unicode"),
}

Way = Callable[[Any], Awaitable[Any]]


async def newest(stream: str) -> Any:
    """What was published last."""
    state = await get_backend().state(stream)
    _, found = await get_backend().read(stream, state.offset - 1, 1, 1 << 30)
    return found[0].data


async def in_a_task(value: Any) -> Any:
    await apublish("s", value)
    return await newest("s")


async def in_a_view(value: Any) -> Any:
    await sync_to_async(publish)("s", value)
    return await newest("s")


async def of_a_page(value: Any) -> Any:
    request = SimpleNamespace(session={})
    await PageSocket(request).apush(value, "s")
    return await newest("s")


def expect(outcomes: dict[str, Any]) -> None:
    """Each value is what it is, and each that is none is refused with its reason."""
    wanted = {name: data for name, (_, data) in VALUES.items()}
    wanted |= {name: reason for name, (_, reason) in REFUSED.items()}
    # 1, 1.0 and True are equal.
    assert list(map(repr, outcomes.items())) == list(map(repr, wanted.items()))


async def outcomes_of(way: Way) -> dict[str, Any]:
    outcomes = {}
    with override("de"):
        for name, (value, _) in {**VALUES, **REFUSED}.items():
            try:
                outcomes[name] = await way(value)
            except BadRequest as error:
                outcomes[name] = str(error)
    return outcomes


WAYS: dict[str, Way] = {"task": in_a_task, "view": in_a_view, "page": of_a_page}


@pytest.mark.parametrize("backend", ["memory", "redis"])
@pytest.mark.parametrize("way", WAYS)
async def test_in_a_server(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
    db: None,
    backend: str,
    way: str,
) -> None:
    if backend == "redis":
        settings.BROADCAST_REDIS_URLS = [request.getfixturevalue("redis_url")]
        monkeypatch.setattr(backends, "_backend", redis_backend(Clock()))
    expect(await outcomes_of(WAYS[way]))


async def test_in_another_process(
    servers: Callable[[str], ServerProcess],
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
) -> None:
    process = servers("broadcast")
    monkeypatch.setattr(backends, "_serving", False)
    settings.BROADCAST_RPC_PORT = process.rpc_port
    slug = process.unused_stream("long")
    door = ServerDoor(process)
    listener = await door.listener(slug)

    async def in_a_shell(value: Any) -> Any:
        await sync_to_async(publish)(slug, value)
        return (await listener.told())[1]

    expect(await outcomes_of(in_a_shell))
    await door.aclose()


async def test_to_one_page(db: None) -> None:
    digest = "0" * 64
    await sync_to_async(Subscription.objects.subscribe)(
        digest, {"s": Position("", 0)}, timezone.now(), is_open=True
    )

    async def to_a_page(value: Any) -> Any:
        await PageSocket(SimpleNamespace(session={})).apush_to(digest, value, "s")
        said = await newest(topic_of(digest))
        assert said["channel"] == "s"
        return said["payload"]

    outcomes = await outcomes_of(to_a_page)
    for name, (_, data) in VALUES.items():
        if isinstance(data, bytes):
            assert "base64" in outcomes[name]
            outcomes[name] = data
    expect(outcomes)


async def test_of_a_handler_of_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: asyncio.Queue[Any] = asyncio.Queue()
    page: Any = SimpleNamespace(connection_id="", digest="", caller={"headers": []})
    page.present = sync_to_async(lambda: None)
    page.answer = lambda payload: answers.put_nowait(json.loads(payload))
    given: list[Any] = []

    async def answer(*arguments: Any) -> Any:
        return given[-1] if isinstance(given[-1], str) else {"body": given[-1]}

    monkeypatch.setitem(handlers._handlers, "value", answer)
    actions = Actions(page)
    for value, data in VALUES.values():
        given.append(value)
        with override("de"):
            await actions.take('{"id": 1, "action": "value"}')
        said = await answers.get()
        # Bytes are no answer.
        status, body = (500, "the call failed") if isinstance(data, bytes) else (200, data)
        assert (said["status"], said["body"]) == (status, body)
    for value, _ in REFUSED.values():
        given.append(value)
        await actions.take('{"id": 1, "action": "value"}')
        assert (await answers.get())["status"] == 500


def test_of_an_event_of_rooms() -> None:
    with override("de"):
        for value, data in VALUES.values():
            if not isinstance(data, bytes):
                assert json.loads(encode({"event": "e", "data": value})) == {
                    "event": "e",
                    "data": data,
                }
    for value, reason in REFUSED.values():
        if isinstance(value, str):
            assert encode({"data": value}) == b'{"data":"\\ud800"}'
        elif "serializable" in reason or "keys" in reason:
            # No client can say it: a fault of the app, which is logged.
            with pytest.raises(TypeError, match=reason.removeprefix("not JSON: ")):
                encode({"data": value})
        else:
            with pytest.raises(RoomError, match="invalid message"):
                encode({"data": value})


async def test_a_lazy_text_is_in_the_language_of_who_publishes_it(db: None) -> None:
    def in_german() -> Position:
        with override("de"):
            return publish("s", {"text": gettext_lazy("Yes")})

    await sync_to_async(in_german)()
    assert await newest("s") == {"text": "Ja"}


@pytest.mark.parametrize("key", [uuid.UUID(int=5), 7, Shout("k"), lazystr("k")])
async def test_a_key_is_the_text_of_what_is_given(db: None, key: Any) -> None:
    first = await apublish("s", 1, idempotency_key=key)
    assert await apublish("s", 2, idempotency_key=str(key)) == first
    assert await apublish("s", 3, idempotency_key="") != first


def test_a_number_that_is_none_is_no_input_of_a_call() -> None:
    with pytest.raises(BadRequest, match="not JSON"):
        form({"a": [1e999]})


def test_a_string_is_text_however_it_is_said() -> None:
    assert Draft.of(lazystr('"')) == Draft(Kind.TEXT, b'"')


# -- how many items -----------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
async def test_too_many_items_are_refused_on_every_way(db: None, way: str) -> None:
    with pytest.raises(TooLarge, match="a value has at most 130000 items"):
        await WAYS[way]([{}] * 65_001)


def items(value: Any) -> int:
    """The items of a value, and itself."""
    if isinstance(value, dict):
        return 1 + len(value) + sum(map(items, value.values()))
    return 1 + (sum(map(items, value)) if isinstance(value, list) else 0)


@pytest.mark.parametrize(
    "value",
    [
        [1, 2, 3],
        [[[[0]]]],
        {"a": 1, "b": {"c": [None]}},
        [{"": 0}, {"": [0]}],
        ['[,,,"{:', "\\", '\\"', '","', {'\\\\":"': '[\\""'}, "ä" * 9, "\x00,,\n"],
        # Long enough to be looked at, and of one item.
        [",[{:" * 100],
    ],
)
def test_items_are_counted_and_not_what_strings_say(
    value: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publications, "UNCOUNTED", 0)
    # Of the whole value one less is said: nothing separates it from another.
    settings.BROADCAST_MAX_ITEMS = items(value) - 1
    text = dump_json(value)
    assert decode_json(text) == decode_json(text.encode()) == value
    assert decode_json(text.encode("utf-16")) == value
    assert Draft.of(value).payload == text.encode()
    settings.BROADCAST_MAX_ITEMS -= 1
    for refused in (text, text.encode(), text.encode("utf-16")):
        with pytest.raises(TooLarge, match="at most"):
            decode_json(refused)
    with pytest.raises(TooLarge, match="at most"):
        Draft.of(value)


def test_json_of_too_many_items_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr(json, "loads", lambda text, **kwargs: read.append(text))
    for text in ("[" + "[]," * 300_000, "[" + '"",' * 300_000, '{"a":[' + "{}," * 300_000):
        with pytest.raises(TooLarge, match="at most"):
            decode_json(text)
    assert not read
