"""`permessage-deflate` (RFC 7692): what is agreed on, and messages deflated once for many sockets.

A socket's inflater keeps the last 32 KiB that it inflated, and a message may refer to them. So
sockets share a deflated message only if each of them inflated the same before, as far back as the
message may refer. Two kinds of frames do:

* `Context`: the messages of one stream, each of which may refer to those before it. Now and then
  it refers no further back than to the start of a message (a full flush). At such a moment sockets
  may enter, whatever they inflated before. Others get what they can use at any time: the same
  messages as they are, which the extension allows for each message.
* `alone`: a message that refers to nothing but itself, for sockets that hear several streams.

What is small or compressed already goes as it is.
"""

import zlib
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from websockets.exceptions import InvalidHeaderFormat, NegotiationError
from websockets.extensions.permessage_deflate import (
    PerMessageDeflate,
    ServerPerMessageDeflateFactory,
)
from websockets.headers import build_extension, parse_extension
from websockets.typing import ExtensionName

from ..publications import Publication
from .frames import BINARY, Message, frame_header

#: The bit that says that a message is deflated.
DEFLATED = 0x40
#: What ends each flush, and is left out of a message (RFC 7692, section 7.2.1).
TAIL = b"\x00\x00\xff\xff"
#: Of the levels of zlib, the next one saved 0.2 to 1.3 % of the bytes of prices, states of a
#: match and a chat, and took 13 to 40 % more time; the last one takes two to three times as long.
LEVEL = 5
#: Of zlib's sizes of what it gathers: a context takes 150 KB instead of 260, and loses nothing.
MEMORY = 5
#: Bytes of a message from which on deflating it pays: in a context, and alone.
LEAST, LEAST_ALONE = 24, 192
#: Binary messages are tried with so many of their first bytes: deflated, they must have shrunk to
#: this part.
SAMPLE, SHRUNK = 512, 0.8

_NAME = "permessage-deflate"
_FACTORY = ServerPerMessageDeflateFactory(client_no_context_takeover=True)


@lru_cache(maxsize=256)
def agree(offered: str) -> str:
    """The extension that is agreed on, of those that a client offers; "": none.

    Each message that the client deflates stands by itself, so that nothing is kept for it. One that
    needs a smaller window of the server's, or none, is declined: its messages could not be those of
    everybody. So is an offer that makes no sense.
    """
    try:
        offers = parse_extension(offered) if offered else []
    except InvalidHeaderFormat:
        return ""
    for name, parameters in offers:
        if name != _NAME:
            continue
        try:
            answer, extension = _FACTORY.process_request_params(parameters, [])
        except NegotiationError:
            continue
        assert isinstance(extension, PerMessageDeflate)
        if extension.local_max_window_bits == 15 and not extension.local_no_context_takeover:
            return build_extension([(ExtensionName(_NAME), answer)])
    return ""


class Context:
    """Deflates the messages of one stream. `plain` makes the messages of publications."""

    def __init__(self, plain: Callable[[Iterable[Publication]], list[Message]]) -> None:
        self._plain = plain
        self._deflater = _deflater()
        #: Whether a socket that comes now can inflate what follows.
        self.is_open = True
        #: Whether the next flush is to be a full one.
        self.opens = False
        #: Bytes of messages since the last full flush; and how many were saved, in all.
        self.taken = self.saved = 0

    def frames(self, publications: Iterable[Publication]) -> bytes:
        """All of them as frames, for the sockets that are in."""
        parts: list[bytes] = []
        messages = self._plain(publications)
        for number, (opcode, payload) in enumerate(messages, 1):
            data = b"".join(payload)
            if not _pays(opcode, data, LEAST):
                parts += (frame_header(opcode, len(data)), data)
                continue
            deflated = self._deflate(data, is_last=number == len(messages))
            parts += (frame_header(opcode | DEFLATED, len(deflated)), deflated)
        return b"".join(parts)

    def _deflate(self, data: bytes, is_last: bool) -> bytes:
        self.is_open = is_last and self.opens
        mode = zlib.Z_FULL_FLUSH if self.is_open else zlib.Z_SYNC_FLUSH
        deflated = self._deflater.compress(data) + self._deflater.flush(mode)
        if self.is_open:
            self.opens = False
            self.taken = 0
        self.taken += len(data)
        self.saved += len(data) - len(deflated)
        whole: bytes = deflated.removesuffix(TAIL)
        return whole


def alone(messages: Iterable[Message]) -> bytes:
    """Messages as frames, of which the long ones are deflated each by itself."""
    parts: list[bytes] = []
    for opcode, payload in messages:
        data = b"".join(payload)
        if _pays(opcode, data, LEAST_ALONE):
            deflater = _deflater()
            data = (deflater.compress(data) + deflater.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL)
            opcode |= DEFLATED
        parts += (frame_header(opcode, len(data)), data)
    return b"".join(parts)


def _deflater() -> Any:
    return zlib.compressobj(LEVEL, zlib.DEFLATED, -15, MEMORY)


def _pays(opcode: int, data: bytes, least: int) -> bool:
    if len(data) < least:
        return False
    if opcode != BINARY:
        return True
    sample = data[:SAMPLE]
    return len(zlib.compress(sample, 1)) < SHRUNK * len(sample)
