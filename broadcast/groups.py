"""The channel-layer group of a stream: one per stream, with one member per process.

The prefix of the installation is in every name, since a layer may be shared by several.
"""

import hashlib
import re
from functools import lru_cache

from .installation import get_prefix

#: How the topic of one page is called; no stream has such a name.
PAGE_PREFIX = "page:"
#: How the streams are named that carry what is said in rooms: no slug has a colon.
ROOM = "room:"

#: With the longest prefix, a group's name stays under the 100 characters that layers allow.
GROUP_NAME = re.compile(r"[a-zA-Z0-9\-_.]{1,60}")


def everybody() -> str:
    """The group of all processes that have any socket."""
    return f"broadcast.{get_prefix()}.everybody"


def group_name(stream: str) -> str:
    """The group's name; streams whose names a layer refuses have theirs hashed."""
    return _group_name(get_prefix(), stream)


@lru_cache(4096)
def _group_name(prefix: str, stream: str) -> str:
    # Asked for with each publication.
    if GROUP_NAME.fullmatch(stream):
        return f"broadcast.{prefix}.stream.{stream}"
    digest = hashlib.sha256(stream.encode("utf-8", "surrogatepass")).hexdigest()
    return f"broadcast.{prefix}.hashed.{digest[:60]}"


def channel_start() -> str:
    """How the name of this process' own channel begins."""
    return f"broadcast.{get_prefix()}."


def room_stream(room: str) -> str:
    """The name of the stream that a room is."""
    return ROOM + room


def is_room(stream: str) -> bool:
    """Whether a stream is a room: who hears it is a member of that, not a listener."""
    return stream.startswith(ROOM)


def room_of(stream: str) -> str:
    """The id of the room that a stream is."""
    return stream.removeprefix(ROOM)
