"""Publications of a stream: a draft before it has a position, a publication from then on.

A value means the same on every way in: a view, a shell, a task, a page's push, a room, another
program. `dump_json` decides its meaning where it is given, before it leaves the process, and a
value that `dump_json` refuses is refused everywhere. A published value, and any JSON of a client,
has at most `MAX_ITEMS` items: reading or writing it is one piece of work that nothing interrupts,
and takes time by their number.

Also how publications travel between processes: one MessagePack array of arrays, made and read
here and nowhere else.
"""

import json
from collections.abc import Iterable
from decimal import Decimal
from enum import IntEnum, IntFlag
from typing import Any, NamedTuple

import msgpack
from django.core.serializers.json import DjangoJSONEncoder

from .conf import conf
from .exceptions import BadRequest, TooLarge

#: The longest name of a stream, in characters.
MAX_NAME = 200
#: Characters of JSON whose items need not be counted: so few take no time.
UNCOUNTED = 1024


class Kind(IntEnum):
    TEXT = 0
    JSON = 1
    BINARY = 2


class Mark(IntFlag):
    """The part of a publication for newcomers. RESET: a new recording begins with it."""

    NONE = 0
    HEADER = 1
    ENTRY = 2
    RESET = 4


#: The marks by the names of the options that set them.
MARKS = {"header": Mark.HEADER, "entry": Mark.ENTRY, "reset": Mark.RESET}


class Position(NamedTuple):
    """Where a publication stands: the life of the stream's history, and its number in it."""

    epoch: str
    offset: int


class Draft(NamedTuple):
    """A publication without a position. `payload` is UTF-8 for text and JSON."""

    kind: Kind
    payload: bytes
    marks: int = 0

    @classmethod
    def of(cls, payload: Any, marks: int = 0) -> "Draft":
        """`str` is text, bytes are binary, anything else is JSON as Django writes it.

        What Django writes as a string (dates, `Decimal`, `UUID`, a lazy text) is that text.
        BadRequest: it is none of the three (NaN, a set, an unpaired surrogate, …). TooLarge: it has
        too many items.
        """
        if isinstance(payload, str):
            return cls(Kind.TEXT, encode_text(payload), marks)
        if isinstance(payload, bytes | bytearray | memoryview):
            return cls(Kind.BINARY, bytes(payload), marks)
        encoded = encode_json(payload)
        if encoded.startswith(b'"'):
            return cls(Kind.TEXT, encode_text(json.loads(encoded)), marks)
        if len(encoded) > UNCOUNTED:
            check_items(encoded.decode())
        return cls(Kind.JSON, encoded, marks)


class Publication:
    """One thing that was sent. `time` is in seconds since 1970; `payload` as in `Draft`."""

    __slots__ = ("kind", "marks", "offset", "payload", "time")

    def __init__(self, offset: int, kind: int, payload: bytes, marks: int, time: float) -> None:
        self.offset = offset
        self.kind = kind
        self.payload = payload
        self.marks = marks
        self.time = time

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Publication) and self.fields() == other.fields()

    def __repr__(self) -> str:
        return f"<Publication {self.offset} {Kind(self.kind).name} {len(self.payload)} bytes>"

    def fields(self) -> tuple[int, int, bytes, int, float]:
        return (self.offset, self.kind, self.payload, self.marks, self.time)

    @property
    def data(self) -> Any:
        """The published value: a `str`, `bytes`, or the value of the JSON."""
        if self.kind == Kind.BINARY:
            return self.payload
        return json.loads(self.payload) if self.kind == Kind.JSON else self.payload.decode()


def encode_text(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise BadRequest("the text is not valid Unicode") from None


class Encoder(DjangoJSONEncoder):
    """Django's, which would write a `Decimal` that is no number as text."""

    def default(self, o: Any) -> Any:
        if isinstance(o, Decimal) and not o.is_finite():
            raise ValueError(f"{o} is not JSON")
        return super().default(o)


def dump_json(value: Any, ensure_ascii: bool = False) -> str:
    """`value` as JSON, in one line. TypeError, ValueError, RecursionError: it cannot be."""
    return json.dumps(
        value,
        cls=Encoder,
        ensure_ascii=ensure_ascii,
        allow_nan=False,
        separators=(",", ":"),
    )


def encode_json(value: Any) -> bytes:
    """`value` as JSON. BadRequest: it cannot be, or is not valid Unicode."""
    try:
        text = dump_json(value)
    except (TypeError, ValueError, RecursionError) as error:
        # Newer versions of Python say behind a colon which value it is: all versions say the same.
        reason = str(error).partition(":")[0]
        raise BadRequest(f"not JSON: {reason}") from None
    return encode_text(text)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def decode_json(text: str | bytes) -> Any:
    """The value of `text`. BadRequest: it is no JSON, is nested too deeply, or says NaN.

    TooLarge: it has too many items.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode(json.detect_encoding(text), "surrogatepass")
        check_items(text)
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"not JSON: {error}") from None


def check_items(text: str) -> None:
    """TooLarge: this JSON has more items than a value may have. An empty one counts as two."""
    if len(text) <= UNCOUNTED or _count_signs(text) <= (most := conf.MAX_ITEMS):
        return
    # Strings may have such signs within them. `\"` does not end one, but the `"` of `\\"` does.
    pieces = text.replace(r"\\", "").replace(r"\"", "").split('"')
    if _count_signs("".join(pieces[::2])) > most:
        raise TooLarge(f"a value has at most {most} items")


def _count_signs(text: str) -> int:
    return sum(map(text.count, "[{,:"))


def pack(publications: Iterable[Publication]) -> bytes:
    """Publications as they cross the channel layer: bytes, which no layer copies deeply."""
    packed: bytes = msgpack.packb([publication.fields() for publication in publications])
    return packed


def unpack(packed: bytes) -> list[Publication]:
    return [Publication(*fields) for fields in msgpack.unpackb(packed, use_list=False)]
