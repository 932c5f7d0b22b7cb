"""The channel-layer group of a stream: one per stream, with one member per process."""

import hashlib
import re

#: The group of all processes that have any socket.
EVERYBODY = "broadcast.everybody"

#: How the topic of one page is called; no stream has such a name.
PAGE_PREFIX = "page:"
#: How the streams are named that carry what is said in rooms: no slug has a colon.
ROOM = "room:"

GROUP_NAME = re.compile(r"[a-zA-Z0-9\-_.]{1,70}")


def group_name(stream: str) -> str:
    """The group's name; streams whose names a layer refuses have theirs hashed."""
    if GROUP_NAME.fullmatch(stream):
        return f"broadcast.stream.{stream}"
    digest = hashlib.sha256(stream.encode("utf-8", "surrogatepass")).hexdigest()
    return f"broadcast.hashed.{digest}"


def room_stream(room: str) -> str:
    """The name of the stream that a room is."""
    return ROOM + room


def is_room(stream: str) -> bool:
    """Whether a stream is a room: who hears it is a member of that, not a listener."""
    return stream.startswith(ROOM)


def room_of(stream: str) -> str:
    """The id of the room that a stream is."""
    return stream.removeprefix(ROOM)
