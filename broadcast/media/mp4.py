"""Fragmented MP4 (ISO/IEC 14496-12): where its parts stand, and what its tracks are.

A box is a size, a type and its content. A stream is `ftyp` and `moov`, then fragments: `styp`,
`sidx`, `emsg`, `prft` as it likes, a `moof` that says what the samples are, and an `mdat` that has
them. Whether the first sample of the video is a sync sample say the flags in the `moof`, or the
defaults in the `moov`.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from ..conf import conf
from ..exceptions import BadRequest
from . import codecs
from .roles import Head, Role
from .steps import Steps

#: Types of the first box of a stream.
FIRST = {b"ftyp", b"moov"}
#: Boxes that may stand before the `moof` of a fragment.
BEFORE = {b"styp", b"sidx", b"ssix", b"emsg", b"prft", b"free", b"skip", b"uuid"}
#: A box of this size, which no stream has in bytes, goes on to the end.
TO_THE_END = 1 << 62
#: The flag of a sample that is no sync sample (section 8.8.3.1).
NON_SYNC = 0x10000
#: Types that are not made of letters and digits alone.
ODD_NAMES = {b"\xa9nam", b"url ", b"urn ", b"ac-3", b"ec-3", b".mp3"}
FRAGMENT_IT = "(ffmpeg: -movflags frag_keyframe+empty_moov+default_base_moof)"


def read_head(data: bytes | bytearray, start: int) -> Head | None:
    """Type, as a number, and size of the box at `start`.

    None: too few bytes came to tell. BadRequest: no box begins so.
    """
    if start + 8 > len(data):
        return None
    name = bytes(data[start + 4 : start + 8])
    size, opening = int.from_bytes(data[start : start + 4]), 8
    if not name.isalnum() and name not in ODD_NAMES:
        raise BadRequest("this is no MP4: no box begins here")
    if size == 1:
        if start + 16 > len(data):
            return None
        size, opening = int.from_bytes(data[start + 8 : start + 16]), 16
    elif size == 0:
        size = TO_THE_END
    if size < opening:
        raise BadRequest("this is no MP4: a box is smaller than its beginning")
    return Head(int.from_bytes(name), size, opening)


def boxes(data: bytes, steps: Steps, start: int = 0) -> Iterator[tuple[bytes, bytes]]:
    """Type and content of each box in `data`. BadRequest: they do not fill it, or are many."""
    while start < len(data):
        steps.make()
        head = read_head(data, start)
        size = min(head.size, len(data) - start) if head and head.size == TO_THE_END else 0
        if head is None or start + (size or head.size) > len(data):
            raise BadRequest("this is no MP4: a box is larger than what it is in")
        end = start + (size or head.size)
        yield type_of(head), data[start + head.opening : end]
        start = end


def type_of(head: Head) -> bytes:
    return head.id.to_bytes(4)


def within(data: bytes, steps: Steps, *path: bytes) -> Iterator[bytes]:
    """The contents of all boxes on this path."""
    for name, content in boxes(data, steps):
        if name == path[0]:
            if len(path) > 1:
                yield from within(content, steps, *path[1:])
            else:
                yield content


def number(data: bytes, start: int, width: int = 4) -> int:
    """The big-endian number at `start`. BadRequest: the box ends before it does."""
    if start + width > len(data):
        raise BadRequest("this is no MP4: a box ends too early")
    return int.from_bytes(data[start : start + width])


class Track(NamedTuple):
    id: int
    #: "vide", "soun", …
    handler: str
    #: The type of its sample entry, and all of that entry.
    entry: str
    sample: bytes


def read_tracks(moov: bytes, steps: Steps) -> list[Track]:
    """The tracks in the content of a `moov`."""
    return [_read_track(content, steps) for content in within(moov, steps, b"trak")]


def _read_track(content: bytes, steps: Steps) -> Track:
    header = next(within(content, steps, b"tkhd"), b"")
    handler = next(within(content, steps, b"mdia", b"hdlr"), b"")
    samples = next(within(content, steps, b"mdia", b"minf", b"stbl", b"stsd"), b"")
    name, sample = next(boxes(samples, steps, 8), (b"", b""))
    id = number(header, 20 if header[:1] == b"\1" else 12)
    return Track(id, handler[8:12].decode("latin-1"), name.decode("latin-1"), sample)


def defaults(moov: bytes, track: int, steps: Steps) -> int:
    """The flags that samples of the track have unless their fragment says otherwise."""
    for content in within(moov, steps, b"mvex", b"trex"):
        if number(content, 4) == track:
            return number(content, 20)
    return 0


def first_flags(moof: bytes, track: int, default: int, steps: Steps) -> int | None:
    """The flags of the track's first sample in a fragment; None: it has none there."""
    for fragment in within(moof, steps, b"traf"):
        header = next(within(fragment, steps, b"tfhd"), b"")
        if number(header, 4) != track:
            continue
        for run in within(fragment, steps, b"trun"):
            if number(run, 4):
                return _first_flags_of_run(run, _default_of_fragment(header, default))
    return None


def _default_of_fragment(header: bytes, default: int) -> int:
    """Section 8.8.7: before the flags stand what the bits of the header's own flags say."""
    flags = number(header, 0)
    if not flags & 0x20:
        return default
    return number(header, 8 + 8 * bool(flags & 1) + sum(4 for bit in (2, 8, 16) if flags & bit))


def _first_flags_of_run(run: bytes, default: int) -> int:
    """Section 8.8.8: those of the first sample alone, of each sample, or the default."""
    flags = number(run, 0)
    at = 8 + 4 * bool(flags & 1)
    if flags & 4:
        return number(run, at)
    if flags & 0x400:
        return number(run, at + 4 * bool(flags & 0x100) + 4 * bool(flags & 0x200))
    return default


class MP4:
    """Where a stream stands, and which of its tracks is the video.

    `video`: the id of the first video track, 0 where there is none, -1 before the `moov` was seen.
    `default`: the flags of its samples. `place`: "header", "before" a `moof`, "after" one.
    """

    def __init__(self, video: int = -1, default: int = 0, place: str = "header") -> None:
        self.video = video
        self.default = default
        self.place = place

    def state(self) -> list[Any]:
        return [self.video, self.default, self.place]

    def peek(self, buffer: bytearray, start: int) -> Head | None:
        head = read_head(buffer, start)
        if head is None:
            return None
        name = type_of(head)
        if name == b"mdat":
            if self.place != "after":
                raise BadRequest(f"this MP4 is not fragmented {FRAGMENT_IT}")
            return head._replace(streams=True)
        if head.size > conf.MEDIA_BLOCK_BYTES:
            raise BadRequest(f"a box has more than {conf.MEDIA_BLOCK_BYTES} bytes")
        if name == b"moof" and self.video < 0:
            raise BadRequest("this is no MP4: a fragment stands before the moov")
        return head

    def take(self, head: Head, part: bytes, steps: Steps) -> Role:
        name, content = type_of(head), part[head.opening :]
        if name == b"ftyp" or name == b"moov" and self.place != "header":
            self.place, self.video = "header", -1
            role = Role.NEW
        else:
            role = Role.NONE
        if name == b"moov":
            self._note_tracks(content, steps)
        elif name == b"moof":
            role = self._enter_fragment(content, steps)
        elif self.video >= 0 and self.place != "before" and name in BEFORE:
            self.place, role = "before", Role.START
        return role

    def _note_tracks(self, moov: bytes, steps: Steps) -> None:
        if not any(within(moov, steps, b"mvex")):
            raise BadRequest(f"this MP4 is not fragmented {FRAGMENT_IT}")
        videos = [track.id for track in read_tracks(moov, steps) if track.handler == "vide"]
        self.video = videos[0] if videos else 0
        self.default = defaults(moov, self.video, steps)

    def _enter_fragment(self, moof: bytes, steps: Steps) -> Role:
        start = Role.NONE if self.place == "before" else Role.START
        self.place = "after"
        if not self.video:
            return start | Role.ENTRY
        flags = first_flags(moof, self.video, self.default, steps)
        is_entry = flags is not None and not flags & NON_SYNC
        return start | (Role.ENTRY if is_entry else Role.NO_ENTRY)


#: Bytes of a sample entry before the boxes in it (section 12).
ENTRY_BYTES = {"vide": 78, "soun": 28}


def describe(header: bytes, steps: Steps) -> tuple[str, list[str]]:
    """MIME type and codecs of a stream with this header. BadRequest: it is none."""
    moov = next(within(header, steps, b"moov"), b"")
    tracks = [track for track in read_tracks(moov, steps) if track.handler in ENTRY_BYTES]
    if not tracks:
        raise BadRequest("this is no MP4: it has no tracks")
    kind = "video" if any(track.handler == "vide" for track in tracks) else "audio"
    names = [codecs.of_mp4(track.entry, _configuration(track, steps)) for track in tracks]
    return f"{kind}/mp4", [name for name in names if name]


def _configuration(track: Track, steps: Steps) -> bytes:
    name = codecs.CONFIGURED.get(track.entry, "").encode()
    return next(within(track.sample[ENTRY_BYTES[track.handler] :], steps, name), b"")
