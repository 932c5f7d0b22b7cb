"""A publication as Server-Sent Events (HTML Standard, section 9.2). Pure functions.

What a plain socket hears comes as events of the type `message`: text as it is, JSON as its text.
A binary publication is of the type `binary`, in Base64. Their `id` is their position,
`<epoch>:<offset>`, which a browser sends back when it comes again. What `broadcast.v1` tells as
events (`joined`, `live`, …) is of a type of that name, with the rest of it as JSON.

A line ends with CR, LF or both here, and the client joins `data` of several lines with LF: so CR
and CR LF in a text become LF.
"""

import base64
import json
import re
from collections.abc import Iterable
from functools import lru_cache, partial

from ..publications import Kind, Mark, Publication
from .frames import Encoding, Message, event

#: A comment for quiet streams, so that no proxy takes the connection for dead.
COMMENT = b":\n\n"

_LINE_END = re.compile(rb"\r\n|\r|\n")


def block(data: bytes, name: str = "", id: str = "") -> bytes:
    """One event of the type `name`; without one it is a `message`."""
    lines = [f"id: {id}".encode()] if id else []
    if name:
        lines.append(f"event: {name}".encode())
    lines += [b"data: " + line for line in _LINE_END.split(data)]
    return b"\n".join(lines) + b"\n\n"


def retry(milliseconds: int) -> bytes:
    """How long a browser waits before it comes again."""
    return b"retry: %d\n\n" % milliseconds


def publication(publication: Publication, epoch: str) -> bytes:
    """A publication, its reset and header events before it.

    Without an epoch it has no `id`: it is a header from before the position of who hears it.
    """
    id = f"{epoch}:{publication.offset}" if epoch else ""
    parts = []
    if publication.marks & Mark.RESET:
        parts.append(told(event("reset"), epoch))
    if publication.marks & Mark.HEADER:
        parts.append(told(event("header", offset=publication.offset), epoch))
    if publication.kind == Kind.BINARY:
        parts.append(block(base64.b64encode(publication.payload), "binary", id))
    else:
        parts.append(block(publication.payload, id=id))
    return b"".join(parts)


def told(message: Message, epoch: str) -> bytes:
    """An event of `broadcast.v1`. With a position of its own it moves the hearer's."""
    fields = json.loads(b"".join(message[1]))
    name = fields.pop("event")
    offset = {"joined": "offset", "skipped": "to"}.get(name)
    id = f"{epoch}:{fields[offset]}" if offset else ""
    return block(json.dumps(fields, ensure_ascii=False).encode(), name, id)


def _publications(epoch: str, publications: Iterable[Publication]) -> list[bytes]:
    return [b"".join([publication(one, epoch) for one in publications])]


def _messages(epoch: str, messages: Iterable[Message]) -> list[bytes]:
    return [told(message, epoch) for message in messages]


@lru_cache(maxsize=1000)
def encoding_of(epoch: str) -> Encoding:
    """The encoding of all who hear a stream in this epoch: one, so that each is encoded once."""
    return Encoding(partial(_publications, epoch), partial(_messages, epoch), tells=True)
