"""The parts of a container, and their meaning for cutting it."""

from enum import IntFlag
from typing import NamedTuple


class Head(NamedTuple):
    """A part of a stream: a whole block or box, or the beginning of what others are in."""

    id: int
    #: Bytes of it, those of its own beginning included.
    size: int
    #: Bytes before its content.
    opening: int
    #: Whether it may be passed on before it is whole.
    streams: bool = False


class Role(IntFlag):
    """The meaning of a part for the place where it stands."""

    NONE = 0
    #: A header begins with it: the stream's first, or that of a further recording.
    NEW = 1
    #: A Cluster or fragment begins with it, and so the header, if it was one, is at its end.
    START = 2
    #: The last Cluster or fragment that began is an entry point.
    ENTRY = 4
    #: It is none.
    NO_ENTRY = 8
