"""MessagePack-RPC as bytes: where a message ends, and which call it is.

Nothing can interrupt the making of objects from a message, nor of JSON from these, and both take
time by the number of items. So the items are counted while the bytes come.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import msgpack

NO_CALL = "a message is [0, msgid, method, [params]] or [2, method, [params]]"

#: First bytes of arrays. Do not wait for the rest of anything else.
ARRAYS = frozenset((*range(0x90, 0xA0), 0xDC, 0xDD))
#: Bytes at the start of a message that hold the msgid of a request, however it is written, and the
#: name of any method of ours.
HEAD = 32

#: Bytes of an item by its first one, with what fixed number follows it, but without the items in
#: it. 0: they are in `LENGTHS`.
SIZES = bytes(
    (
        *([1] * 0xA0),
        *range(1, 33),
        *(1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 5, 9, 2, 3, 5, 9),
        *(2, 3, 5, 9, 3, 4, 6, 10, 18, 0, 0, 0, 3, 5, 3, 5),
        *([1] * 0x20),
    )
)
#: Items that give their length: the width of that number, and the bytes beside it.
LENGTHS = {
    **{0xC4: (1, 2), 0xC5: (2, 3), 0xC6: (4, 5)},
    **{0xC7: (1, 3), 0xC8: (2, 4), 0xC9: (4, 6)},
    **{0xD9: (1, 2), 0xDA: (2, 3), 0xDB: (4, 5)},
}


class Call(NamedTuple):
    """A request, or with `msgid` None a notification. `error`: it is not carried out, and why."""

    msgid: int | None
    method: str
    params: list[Any]
    error: str = ""


class Counter:
    """Counts the items of a message that comes in parts, up to the first that is too many.

    The items of an array or a map follow it, so all are in a row, however they are nested.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.begin()

    def begin(self) -> None:
        """The next message."""
        self.items = self._at = 0

    def is_beyond(self, message: bytearray, end: int) -> bool:
        """Whether what is there of a message, the bytes up to `end`, has more than `most` items."""
        items, at = self.items, self._at
        while at < end and items <= self.most:
            size = SIZES[message[at]]
            if not size:
                width, more = LENGTHS[message[at]]
                if at + 1 + width > end:
                    break
                size = more + int.from_bytes(message[at + 1 : at + 1 + width])
            at += size
            items += 1
        self.items, self._at = items, at
        return items > self.most


class Decoder:
    """Bytes in, calls out. ValueError: the rest of the connection makes no sense any more.

    A message becomes objects when it is whole, has at most `max_object` bytes, and at most
    `max_items` items, nested ones too: what a client declares costs nothing. A message with too
    many is a `Call` with an error. So is one that makes no sense, if it has a msgid; without one it
    is a ValueError.

    Clients that know only the old *raw* type send bytes as `str`, and some send names as `bin`:
    both are taken.
    """

    def __init__(self, max_object: int, max_items: int) -> None:
        self.max_object = max_object
        #: Bytes of the message that was given last.
        self.size = 0
        #: Finds where a message ends, and makes nothing of it.
        self._scanner = msgpack.Unpacker(max_buffer_size=0, read_size=HEAD)
        self._scanned = 0
        self._counter = Counter(max_items)
        self._is_beyond = False
        #: From the start of the message that is not whole yet.
        self._pending = bytearray()

    def feed(self, data: bytes) -> Iterator[Call]:
        self._scanner.feed(data)
        self._pending += data
        while True:
            try:
                packed = self._next()
            except ValueError as error:
                msgid = _find_msgid(self._pending)
                if msgid is not None:
                    yield Call(msgid, "", [], str(error))
                raise
            if not packed:
                return
            yield self._too_large(packed) if self._is_beyond else _call(packed)

    def _next(self) -> bytes:
        """The next whole message; empty: there is none yet. ValueError: nor will there be."""
        try:
            self._scanner.skip()
            self.size = self._scanner.tell() - self._scanned
        except msgpack.OutOfData:
            self.size = 0
        except (msgpack.UnpackException, ValueError) as error:
            raise ValueError(f"no MessagePack, or nested too deeply: {error!r}") from None
        if self._pending and self._pending[0] not in ARRAYS:
            raise ValueError("a message is an array")
        if (self.size or len(self._pending)) > self.max_object:
            raise ValueError(f"a message has at most {self.max_object} bytes")
        self._count()
        packed = bytes(self._pending[: self.size])
        del self._pending[: self.size]
        self._scanned += self.size
        return packed

    def _count(self) -> None:
        """Count the bytes of the message at once: none wait to be counted with later ones."""
        if not self.size:
            self._counter.is_beyond(self._pending, len(self._pending))
            return
        # A small one, which no item may be missing of, has no more of them than bytes.
        most = self._counter.most
        self._is_beyond = self.size > most and self._counter.is_beyond(self._pending, self.size)
        self._counter.begin()

    def _too_large(self, packed: bytes) -> Call:
        error = f"TooLarge: a message has at most {self._counter.most} items"
        match _find_head(packed):
            case [0, msgid] if _is_msgid(msgid):
                return Call(msgid, "", [], error)
            case [2, str() | bytes() as method]:
                return Call(None, decoded(method), [], error)
        raise ValueError(NO_CALL)


def _call(packed: bytes) -> Call:
    try:
        message = msgpack.unpackb(packed, strict_map_key=False, unicode_errors="surrogateescape")
    except (msgpack.UnpackException, ValueError, TypeError) as error:
        # TypeError: an array or a map as the key of a map.
        msgid = _find_msgid(packed)
        if msgid is None:
            raise ValueError(f"no MessagePack: {error!r}") from None
        return Call(msgid, "", [], f"no MessagePack: {error}")
    match message:
        case [0, msgid, str() | bytes() as method, list() as params] if _is_msgid(msgid):
            return Call(msgid, decoded(method), params)
        case [2, str() | bytes() as method, list() as params] if type(message[0]) is int:
            return Call(None, decoded(method), params)
        case [0, msgid, *_] if _is_msgid(msgid):
            return Call(msgid, "", [], "a request is [0, msgid, name of a method, [params]]")
    raise ValueError(NO_CALL)


def _is_msgid(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**32


def _find_msgid(message: bytes | bytearray) -> int | None:
    """The msgid of a request that cannot be read further; None: it is none, or has none."""
    match _find_head(message):
        case [0, msgid] if _is_msgid(msgid):
            return int(msgid)
    return None


def _find_head(message: bytes | bytearray) -> list[Any]:
    """The first two items of a message that is not read further, as far as they are there."""
    # Little is made of it, even if it declares much.
    head = msgpack.Unpacker(max_buffer_size=HEAD, unicode_errors="surrogateescape")
    head.feed(message[:HEAD])
    found: list[Any] = []
    with suppress(msgpack.UnpackException, ValueError, TypeError):
        head.read_array_header()
        found += [head.unpack()]
        found += [head.unpack()]
    return found


def decoded(value: str | bytes) -> str:
    """The text that a name or a `str` of any client is."""
    return value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")
