"""A publication as WebSocket messages and frames, per encoding. Pure functions.

What a listener is told of a publication depends on its sub-protocol: `plain` (exactly the frame
that was published), `v1` (`broadcast.v1`), or what a page is told (`page_message`). What it is made
into depends on the server: bytes of whole frames, ready to be written (RFC 6455, section 5.2:
unmasked, unfragmented), or messages for `websocket.send`. An `Encoding` is one of each. The parts
of a message are joined once, at the very end, so that a large payload is copied once per flush and
no more.
"""

import base64
import json
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, NamedTuple

from ..publications import Kind, Mark, Publication

TEXT = 1
BINARY = 2
CLOSE = 8

#: (opcode, parts of the payload)
Message = tuple[int, tuple[bytes, ...]]


def plain(publication: Publication) -> list[Message]:
    """The frame that was published, and nothing else."""
    return [(BINARY if publication.kind == Kind.BINARY else TEXT, (publication.payload,))]


def v1(publication: Publication) -> list[Message]:
    """What `broadcast.v1` says of a publication, its reset and header events before it."""
    messages: list[Message] = []
    if publication.marks:
        if publication.marks & Mark.RESET:
            messages.append(event("reset"))
        if publication.marks & Mark.HEADER:
            messages.append(event("header", offset=publication.offset))
    if publication.kind == Kind.BINARY:
        offset = publication.offset.to_bytes(8, "big")
        messages.append((BINARY, (offset, publication.payload)))
    else:
        opening = b'{"event":"publication","offset":%d,"data":' % publication.offset
        messages.append((TEXT, (opening, _json(publication), b"}")))
    return messages


def _json(publication: Publication) -> bytes:
    if publication.kind == Kind.JSON:
        return publication.payload
    return json.dumps(publication.payload.decode(), ensure_ascii=False).encode()


def event(name: str, **fields: Any) -> Message:
    """An event of the sub-protocol: a JSON object in a text frame."""
    return (TEXT, (_encode({"event": name, **fields}).encode(),))


#: Made once: it takes as long as what it encodes.
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def frame_header(opcode: int, length: int) -> bytes:
    """The first bytes of an unmasked, final frame."""
    if length < 126:
        return bytes((0x80 | opcode, length))
    if length < 65536:
        return bytes((0x80 | opcode, 126)) + length.to_bytes(2, "big")
    return bytes((0x80 | opcode, 127)) + length.to_bytes(8, "big")


def to_frames(messages: Iterable[Message]) -> bytes:
    """Messages as frames, one after another, ready to be written."""
    parts: list[bytes] = []
    for opcode, payload in messages:
        parts.append(frame_header(opcode, sum(map(len, payload))))
        parts.extend(payload)
    return b"".join(parts)


def _plain_frames(publications: Iterable[Publication]) -> bytes:
    # What to_frames() makes of plain(), without a list and two tuples per publication: a third of
    # the time, on the busiest path there is.
    parts: list[bytes] = []
    for publication in publications:
        opcode = BINARY if publication.kind == Kind.BINARY else TEXT
        parts.append(frame_header(opcode, len(publication.payload)))
        parts.append(publication.payload)
    return b"".join(parts)


def _v1_frames(publications: Iterable[Publication]) -> bytes:
    return to_frames(message for publication in publications for message in v1(publication))


def _plain_messages(publications: Iterable[Publication]) -> list[Message]:
    return [message for publication in publications for message in plain(publication)]


def _v1_messages(publications: Iterable[Publication]) -> list[Message]:
    return [message for publication in publications for message in v1(publication)]


class Encoding(NamedTuple):
    """How one kind of listener gets publications and events.

    Both functions answer what the `write` of that listener's sink takes: `bytes` of frames, or a
    list of messages. `tells`: events can be told; a plain listener never gets any. `gathers`: its
    sockets hear many topics, and are written to once for all of them (`hub.page_writes`).
    `inflates`: its client inflates, so that frames may be deflated for it; of what, says `each`.
    """

    publications: Callable[[Iterable[Publication]], Any]
    messages: Callable[[Iterable[Message]], Any]
    tells: bool
    gathers: bool = False
    inflates: bool = False
    each: Callable[[Iterable[Publication]], list[Message]] = _plain_messages


PLAIN_FRAMES = Encoding(_plain_frames, to_frames, tells=False, each=_plain_messages)
V1_FRAMES = Encoding(_v1_frames, to_frames, tells=True, each=_v1_messages)
INFLATING = {one: one._replace(inflates=True) for one in (PLAIN_FRAMES, V1_FRAMES)}
PLAIN_MESSAGES = Encoding(_plain_messages, list, tells=False)
V1_MESSAGES = Encoding(_v1_messages, list, tells=True)


def page_message(publication: Publication, channel: str, epoch: str) -> Message:
    """What pages are told of a publication: `{"payload":…,"channel":…}`.

    With an `epoch` also its position: `"offset"` and `"epoch"`. On the topic of one page (`channel`
    "") a publication is such a message already, and its position is that of the page.
    """
    parts = _for_page(publication, channel)
    if epoch:
        page = b"" if channel else b',"page":true'
        parts += (b',"offset":%d,"epoch":%s' % (publication.offset, _dump(epoch)), page)
    return (TEXT, (*parts, b"}"))


def _for_page(publication: Publication, channel: str) -> tuple[bytes, ...]:
    """The message but for its last brace."""
    if not channel:
        return (publication.payload[:-1],)
    end = b',"channel":' + _dump(channel)
    if publication.kind == Kind.BINARY:
        return b'{"payload":{"base64":"', base64.b64encode(publication.payload), b'"}', end
    return b'{"payload":', _json(publication), end


def _dump(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


@lru_cache(maxsize=10_000)
def page_encoding(
    channel: str, epoch: str, frames: Callable[[Iterable[Message]], bytes] | None
) -> Encoding:
    """The encoding of all pages that hear `channel`, so that each frame is made once for them.

    `epoch`: that of the topic, for pages that are told positions, else "". `frames`: makes frames
    of messages; None: they are taken as messages.
    """

    def messages(publications: Iterable[Publication]) -> Iterable[Message]:
        return (page_message(publication, channel, epoch) for publication in publications)

    if frames:
        return Encoding(
            lambda publications: frames(messages(publications)), to_frames, False, gathers=True
        )
    return Encoding(lambda publications: list(messages(publications)), list, tells=False)
