"""The channel-layer group of a stream: one per stream, with one member per process."""

import hashlib
import re

#: The group of all processes that have any socket.
EVERYBODY = "broadcast.everybody"

GROUP_NAME = re.compile(r"[a-zA-Z0-9\-_.]{1,70}")


def group_name(stream: str) -> str:
    """The group's name; streams whose names a layer refuses have theirs hashed."""
    if GROUP_NAME.fullmatch(stream):
        return f"broadcast.stream.{stream}"
    digest = hashlib.sha256(stream.encode("utf-8", "surrogatepass")).hexdigest()
    return f"broadcast.hashed.{digest}"
