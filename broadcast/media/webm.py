"""WebM and Matroska (RFC 8794, RFC 9559): where its parts stand, and what its tracks are.

An element is an id, a size and its content. A stream is an EBML header and a Segment; in that come
Info, Tracks and others, then one Cluster after the other with the blocks in them. Segments and
Clusters that are made live are of unknown size: they end where something begins that cannot be in
them. Only elements that may stand where they stand are taken, so a part that is missing is noticed
at once.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

from ..conf import conf
from ..exceptions import BadRequest
from . import codecs
from .roles import Head, Role
from .steps import Steps

#: The first bytes of every stream: the id of its EBML header.
FIRST = b"\x1a\x45\xdf\xa3"

EBML, SEGMENT, CLUSTER, TRACKS = 0x1A45DFA3, 0x18538067, 0x1F43B675, 0x1654AE6B
VOID, CRC = 0xEC, 0xBF
SIMPLE_BLOCK, BLOCK_GROUP, BLOCK, REFERENCE = 0xA3, 0xA0, 0xA1, 0xFB
SEEK_HEAD, INFO, CUES, CHAPTERS = 0x114D9B74, 0x1549A966, 0x1C53BB6B, 0x1043A770
TAGS, ATTACHMENTS = 0x1254C367, 0x1941A469
TIMESTAMP, POSITION, PREVIOUS_SIZE, SILENT, ENCRYPTED = 0xE7, 0xA7, 0xAB, 0x5854, 0xAF
DOC_TYPE, TRACK, NUMBER, TYPE, CODEC, PRIVATE = 0x4282, 0xAE, 0xD7, 0x83, 0x86, 0x63A2

GLOBAL = {VOID, CRC}
#: Elements that may stand beside the EBML header, in a Segment, in a Cluster.
TOP = {EBML, SEGMENT, *GLOBAL}
IN_SEGMENT = {SEEK_HEAD, INFO, TRACKS, CLUSTER, CUES, CHAPTERS, TAGS, ATTACHMENTS, *GLOBAL}
IN_CLUSTER = {TIMESTAMP, SIMPLE_BLOCK, BLOCK_GROUP, POSITION, PREVIOUS_SIZE, SILENT, ENCRYPTED}
IN_CLUSTER |= GLOBAL

#: The size of a parent that gives none, or where there is no parent.
UNKNOWN, OUTSIDE = -1, -2
VIDEO = 1
#: Tracks, and what else is in their element, that are looked at.
MOST_TRACKS = 128


def read_head(data: bytes | bytearray, start: int) -> Head | None:
    """The id and size of the element at `start`; the size is that of all of it, or UNKNOWN.

    None: too few bytes came to tell. BadRequest: no element begins so.
    """
    if start >= len(data):
        return None
    id_width = 9 - data[start].bit_length()
    if id_width > 4:
        raise BadRequest("this is no WebM: no element begins here")
    at = start + id_width
    if at >= len(data):
        return None
    size_width = 9 - data[at].bit_length()
    if size_width > 8:
        raise BadRequest("this is no WebM: an element has no size")
    if at + size_width > len(data):
        return None
    content = int.from_bytes(data[at : at + size_width]) & ((1 << 7 * size_width) - 1)
    opening = id_width + size_width
    is_unknown = content == (1 << 7 * size_width) - 1
    number = int.from_bytes(data[start:at])
    return Head(number, UNKNOWN if is_unknown else opening + content, opening)


def children(data: bytes, steps: Steps) -> Iterator[tuple[int, bytes]]:
    """Id and content of each element in `data`. BadRequest: they do not fill it, or are many."""
    start = 0
    while start < len(data):
        steps.make()
        head = read_head(data, start)
        if head is None or head.size == UNKNOWN or start + head.size > len(data):
            raise BadRequest("this is no WebM: an element is larger than what it is in")
        yield head.id, data[start + head.opening : start + head.size]
        start += head.size


class Track(NamedTuple):
    number: int
    type: int
    codec: str
    private: bytes


def read_tracks(content: bytes, steps: Steps) -> list[Track]:
    """The tracks in the content of a Tracks element."""
    found = islice(children(content, steps), MOST_TRACKS)
    entries = [dict(children(entry, steps)) for id, entry in found if id == TRACK]
    if any(len(entry.get(NUMBER, b"")) > 8 for entry in entries):
        raise BadRequest("this is no WebM: a number has more than 8 bytes")
    return [
        Track(
            int.from_bytes(entry.get(NUMBER, b"")),
            int.from_bytes(entry.get(TYPE, b"")),
            entry.get(CODEC, b"").rstrip(b"\0").decode("ascii", "replace"),
            entry.get(PRIVATE, b""),
        )
        for entry in entries
    ]


class WebM:
    """Where a stream stands, and which of its tracks is the video.

    `segment`, `cluster`: bytes that are left of the one we are in, UNKNOWN or OUTSIDE. `video`: the
    number of the first video track, 0 where there is none, -1 before the tracks were seen.
    """

    def __init__(self, segment: int = OUTSIDE, cluster: int = OUTSIDE, video: int = -1) -> None:
        self.segment = segment
        self.cluster = cluster
        self.video = video

    def state(self) -> list[Any]:
        return [self.segment, self.cluster, self.video]

    def peek(self, buffer: bytearray, start: int) -> Head | None:
        head = read_head(buffer, start)
        if head is None:
            return None
        parent = self._parent_of(head.id)
        if head.id in (SEGMENT, CLUSTER):
            fits = head.size if head.size != UNKNOWN else head.opening
            self._check_fits(fits, parent)
            # Its beginning alone: we go into it.
            return Head(head.id, head.opening, head.opening)
        if head.size == UNKNOWN:
            raise BadRequest("this is no WebM: an element has no size")
        self._check_fits(head.size, parent)
        is_block = parent == "cluster" or head.id == EBML
        if is_block and head.size > conf.MEDIA_BLOCK_BYTES:
            raise BadRequest(f"a block has more than {conf.MEDIA_BLOCK_BYTES} bytes")
        return Head(head.id, head.size, head.opening, streams=not is_block and self.video >= 0)

    def _parent_of(self, id: int) -> str:
        """The parent of an element, by its id: it may end the current one, if that has no size."""
        if self.cluster != OUTSIDE and id in IN_CLUSTER:
            return "cluster"
        if self.cluster in (OUTSIDE, UNKNOWN) and self.segment != OUTSIDE and id in IN_SEGMENT:
            return "segment"
        if self.cluster in (OUTSIDE, UNKNOWN) and self.segment in (OUTSIDE, UNKNOWN) and id in TOP:
            return "top"
        raise BadRequest(f"this is no WebM: the element {id:X} does not belong here")

    def _check_fits(self, size: int, parent: str) -> None:
        for name, left in (("cluster", self.cluster), ("segment", self.segment)):
            inside = parent == "cluster" or parent == name
            if inside and left >= 0 and size > left:
                raise BadRequest("this is no WebM: an element is larger than what it is in")

    def take(self, head: Head, part: bytes, steps: Steps) -> Role:
        parent = self._parent_of(head.id)
        if parent != "cluster":
            self.cluster = OUTSIDE
        if parent == "top":
            self.segment = OUTSIDE
        self._go_on(head.size)
        if head.id == EBML:
            self.video = -1
            return Role.NEW
        if head.id == SEGMENT:
            if self.video >= 0:
                raise BadRequest("this is no WebM: a second Segment has no header")
            self.segment = self._content_size(part)
        elif head.id == CLUSTER:
            return self._enter_cluster(part)
        elif head.id == TRACKS:
            self._note_tracks(part[head.opening :], steps)
        elif head.id == SIMPLE_BLOCK:
            return self._role_of_block(part[head.opening :], is_simple=True)
        elif head.id == BLOCK_GROUP:
            return self._role_of_group(part[head.opening :], steps)
        return Role.NONE

    def _go_on(self, size: int) -> None:
        """We are past so many bytes; what is used up, we are out of."""
        if self.cluster >= 0:
            self.cluster = self.cluster - size or OUTSIDE
        if self.segment >= 0:
            self.segment = self.segment - size or OUTSIDE
            if self.segment == OUTSIDE:
                self.cluster = OUTSIDE

    @staticmethod
    def _content_size(part: bytes) -> int:
        head = read_head(part, 0)
        assert head is not None
        return UNKNOWN if head.size == UNKNOWN else head.size - head.opening or OUTSIDE

    def _enter_cluster(self, part: bytes) -> Role:
        if self.video < 0:
            raise BadRequest("this is no WebM: a Cluster stands before the Tracks")
        self.cluster = self._content_size(part)
        return Role.START if self.video else Role.START | Role.ENTRY

    def _note_tracks(self, content: bytes, steps: Steps) -> None:
        if self.video >= 0:
            # Some muxers repeat them; they mean what they meant.
            return
        tracks = read_tracks(content, steps)
        if not tracks:
            raise BadRequest("this is no WebM: it has no tracks")
        self.video = next((track.number for track in tracks if track.type == VIDEO), 0)

    def _role_of_block(self, content: bytes, is_simple: bool, refers: bool = False) -> Role:
        """RFC 9559, section 10: the track's number, two bytes of time, flags."""
        width = 9 - content[0].bit_length() if content else 9
        if width > 8 or len(content) < width + 3:
            raise BadRequest("this is no WebM: a block has no beginning")
        number = int.from_bytes(content[:width]) & ((1 << 7 * width) - 1)
        if number != self.video or not self.video:
            return Role.NONE
        is_key = bool(content[width + 2] & 0x80) if is_simple else not refers
        return Role.ENTRY if is_key else Role.NO_ENTRY

    def _role_of_group(self, content: bytes, steps: Steps) -> Role:
        found = dict(children(content, steps))
        block = found.get(BLOCK, b"")
        return self._role_of_block(block, is_simple=False, refers=REFERENCE in found)


def describe(header: bytes, steps: Steps) -> tuple[str, list[str]]:
    """MIME type and codecs of a stream with this header. BadRequest: it is none."""
    doc_type, tracks = "", list[Track]()
    start = 0
    while head := read_head(header, start):
        steps.make()
        content = header[start + head.opening : start + head.size]
        if head.id == EBML:
            found = dict(children(content, steps)).get(DOC_TYPE, b"")
            doc_type = found.rstrip(b"\0").decode("latin-1")
        elif head.id == TRACKS:
            tracks = read_tracks(content, steps)
        if head.id == SEGMENT:
            start += head.opening
        elif head.size == UNKNOWN:
            break
        else:
            start += head.size
    if not tracks:
        raise BadRequest("this is no WebM: it has no tracks")
    kind = "video" if any(track.type == VIDEO for track in tracks) else "audio"
    subtype = "webm" if doc_type == "webm" else "x-matroska"
    names = [codecs.of_webm(track.codec, track.private) for track in tracks]
    return f"{kind}/{subtype}", [name for name in names if name]
