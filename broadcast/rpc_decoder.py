"""MessagePack-RPC as bytes: where a message ends, and which call it is."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgpack

REQUEST, RESPONSE, NOTIFICATION = 0, 1, 2

#: First bytes of arrays. Anything else needs not be waited for.
ARRAYS = frozenset((*range(0x90, 0xA0), 0xDC, 0xDD))
#: Bytes at the start of a message that hold the msgid of a request, however it is written.
HEAD = 16


class Call(NamedTuple):
    """A request, or with `msgid` None a notification. `error`: it makes no sense, and why."""

    msgid: int | None
    method: str
    params: list[Any]
    error: str = ""


class Decoder:
    """Bytes in, calls out. ValueError: what follows on the connection makes no sense any more.

    A message becomes objects when it is whole, and has at most `max_object` bytes: what a client
    declares costs nothing. One that makes no sense is a `Call` with an error where it has a msgid,
    else a ValueError.

    Clients that know only the old *raw* type send bytes as `str`, and some send names as `bin`:
    both are taken.
    """

    def __init__(self, max_object: int) -> None:
        self.max_object = max_object
        #: Bytes of the message that was given last.
        self.size = 0
        #: Finds where a message ends, and makes nothing of it.
        self._scanner = msgpack.Unpacker(max_buffer_size=0, read_size=HEAD)
        self._scanned = 0
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
            yield _call(packed)

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
        packed = bytes(self._pending[: self.size])
        del self._pending[: self.size]
        self._scanned += self.size
        return packed


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
    raise ValueError("a message is [0, msgid, method, [params]] or [2, method, [params]]")


def _is_msgid(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**32


def _find_msgid(message: bytes | bytearray) -> int | None:
    """The msgid of a request that cannot be read further; None: it is none, or has none."""
    # Whatever it declares, little is made of it.
    head = msgpack.Unpacker(max_buffer_size=HEAD)
    head.feed(message[:HEAD])
    try:
        head.read_array_header()
        kind, msgid = head.unpack(), head.unpack()
    except (msgpack.UnpackException, ValueError, TypeError):
        return None
    return msgid if kind == REQUEST and _is_msgid(msgid) else None


def decoded(value: str | bytes) -> str:
    """The text that a name or a `str` of any client is."""
    return value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")
