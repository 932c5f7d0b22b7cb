"""Video and sound for tests: short films that ffmpeg makes, and containers built by hand."""

import subprocess
from collections.abc import Sequence
from functools import cache

from broadcast.media import Segmenter
from broadcast.publications import Draft, Mark

PICTURE = ("-f", "lavfi", "-i", "testsrc=size=32x32:rate=10")
SOUND = ("-f", "lavfi", "-i", "sine=sample_rate=48000")
VP8 = ("-c:v", "libvpx", "-deadline", "realtime", "-g", "5", "-b:v", "20k")
VP9 = ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-g", "5", "-b:v", "20k")
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "5")
OPUS = ("-c:a", "libopus", "-b:a", "8k")
AAC = ("-c:a", "aac", "-b:a", "16k")
FRAGMENTS = ("-movflags", "frag_keyframe+empty_moov+default_base_moof", "-f", "mp4")
#: Of some codecs only their frames say what they are: the header waits for the first.
LATE_FRAGMENTS = ("-movflags", "frag_keyframe+delay_moov+default_base_moof", "-f", "mp4")
#: A Cluster ends just before a key frame comes, with or without a block of sound between.
WEBM = ("-cluster_time_limit", "490", "-f", "webm")

#: What ffmpeg is told, by the name of the film.
FILMS: dict[str, Sequence[str]] = {
    "vp8": (*PICTURE, *SOUND, *VP8, *OPUS, *WEBM),
    "vp9": (*PICTURE, *SOUND, *VP9, *OPUS, *WEBM),
    "live": (*PICTURE, *SOUND, *VP8, *OPUS, "-live", "1", *WEBM),
    "picture": (*PICTURE, *VP9, *WEBM),
    "sound": (*SOUND, *OPUS, *WEBM),
    "matroska": (*PICTURE, *SOUND, *H264, *AAC, "-cluster_time_limit", "490", "-f", "matroska"),
    "h264": (*PICTURE, *SOUND, *H264, *AAC, *FRAGMENTS),
    "dash": (*PICTURE, *H264, "-movflags", "dash+frag_keyframe+empty_moov", "-f", "mp4"),
    "aac": (*SOUND, *AAC, "-frag_duration", "400000", *FRAGMENTS),
    "opus in mp4": (*PICTURE, *SOUND, *VP9, *OPUS, *FRAGMENTS),
    "ac3": (*PICTURE, *SOUND, *H264, "-c:a", "ac3", *LATE_FRAGMENTS),
}

#: What is told of each.
CONTENT_TYPES = {
    "vp8": 'video/webm;codecs="vp8,opus"',
    "vp9": 'video/webm;codecs="vp9,opus"',
    "live": 'video/webm;codecs="vp8,opus"',
    "picture": 'video/webm;codecs="vp9"',
    "sound": 'audio/webm;codecs="opus"',
    "matroska": 'video/x-matroska;codecs="avc1.42C00A,mp4a.40.2"',
    "h264": 'video/mp4;codecs="avc1.42C00A,mp4a.40.2"',
    "dash": 'video/mp4;codecs="avc1.42C00A"',
    "aac": 'audio/mp4;codecs="mp4a.40.2"',
    "opus in mp4": 'video/mp4;codecs="vp09.01.10.08,opus"',
    "ac3": 'video/mp4;codecs="avc1.42C00A,ac-3"',
}


@cache
def film(name: str, seconds: float = 1.5) -> bytes:
    """The film, as ffmpeg writes it into a pipe."""
    return ffmpeg(*FILMS[name][:-2], "-t", str(seconds), *FILMS[name][-2:], "-")


def ffmpeg(*arguments: str, data: bytes = b"") -> bytes:
    """What ffmpeg writes; it has nothing to complain of."""
    command = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-threads", "1", *arguments]
    done = subprocess.run(command, input=data, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr.decode()) == (0, ""), arguments
    return done.stdout


def assert_plays(data: bytes) -> None:
    """ffmpeg decodes all of it without a complaint."""
    ffmpeg("-i", "-", "-f", "null", "-", data=data)


def frames_of(data: bytes) -> list[str]:
    """The pictures and sounds that ffprobe finds in it, which may end in the middle."""
    command = ["ffprobe", "-v", "fatal", "-show_entries", "frame=media_type", "-of", "csv=p=0", "-"]
    done = subprocess.run(command, input=data, capture_output=True, timeout=60, check=True)
    return done.stdout.decode().split()


def cut(data: bytes, *sizes: int) -> list[Draft]:
    """What a segmenter makes of `data`, which comes in cuts of these sizes, the last repeated."""
    segmenter, found, start = Segmenter(), list[Draft](), 0
    left = list(sizes or (len(data),))
    while start < len(data):
        size = left.pop(0) if len(left) > 1 else left[0]
        found += segmenter.feed(data[start : start + size])
        start += size
    return found + segmenter.finish()


def joined(drafts: Sequence[Draft]) -> bytes:
    return b"".join(draft.payload for draft in drafts)


def marked(drafts: Sequence[Draft]) -> list[tuple[int, int]]:
    """Where marks stand, in bytes, and which they are."""
    places, at = [], 0
    for draft in drafts:
        if draft.marks:
            places.append((at, int(draft.marks)))
        at += len(draft.payload)
    return places


def entries(drafts: Sequence[Draft]) -> list[int]:
    """Where newcomers can start, in bytes."""
    return [at for at, marks in marked(drafts) if marks & Mark.ENTRY]


# -- WebM by hand --------------------------------------------------------------------------------


def size_of(number: int, width: int = 0) -> bytes:
    width = width or next(w for w in range(1, 9) if number < (1 << 7 * w) - 1)
    return ((1 << 7 * width) | number).to_bytes(width)


UNKNOWN = b"\xff"
LONG_UNKNOWN = b"\x01" + 7 * b"\xff"


def element(id: int, *content: bytes, size: bytes = b"") -> bytes:
    payload = b"".join(content)
    return id.to_bytes((id.bit_length() + 7) // 8) + (size or size_of(len(payload))) + payload


VOID = element(0xEC, b"\0" * 9)
CRC = element(0xBF, b"1234")


def track(number: int, kind: int, codec: str) -> bytes:
    return element(
        0xAE,
        element(0xD7, bytes([number])),
        element(0x83, bytes([kind])),
        element(0x86, codec.encode()),
    )


PICTURE_TRACK, SOUND_TRACK = track(1, 1, "V_VP8"), track(2, 2, "A_OPUS")


def webm(
    *content: bytes, tracks: bytes = PICTURE_TRACK + SOUND_TRACK, size: bytes = UNKNOWN
) -> bytes:
    """A stream with these Clusters in a Segment of this size, after Info and Tracks."""
    head = element(0x1A45DFA3, element(0x4282, b"webm"))
    parts = (element(0x1549A966, VOID), element(0x1654AE6B, tracks), *content)
    return head + element(0x18538067, *parts, size=size)


def cluster(*blocks: bytes, size: bytes = UNKNOWN) -> bytes:
    return element(0x1F43B675, element(0xE7, b"\0"), *blocks, size=size)


def block(track: int = 1, key: bool = False, flags: int = 0, content: bytes = b"frame") -> bytes:
    return element(0xA3, bytes([0x80 | track, 0, 0, flags | (0x80 if key else 0)]), content)


def group(track: int = 1, refers: bool = False) -> bytes:
    reference = element(0xFB, b"\x01") if refers else b""
    return element(0xA0, element(0xA1, bytes([0x80 | track, 0, 0, 0]), b"frame"), reference)


# -- MP4 by hand ---------------------------------------------------------------------------------


def box(name: str, *content: bytes, wide: bool = False, to_the_end: bool = False) -> bytes:
    payload = b"".join(content)
    if to_the_end:
        return bytes(4) + name.encode() + payload
    if wide:
        return (1).to_bytes(4) + name.encode() + (16 + len(payload)).to_bytes(8) + payload
    return (8 + len(payload)).to_bytes(4) + name.encode() + payload


def words(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(4) for number in numbers)


def trak(id: int, handler: str, entry: str) -> bytes:
    samples = box("stsd", words(0, 1), box(entry, bytes(78 if handler == "vide" else 28)))
    media = box("minf", box("stbl", samples))
    head = box("hdlr", words(0, 0), handler.encode(), bytes(12))
    return box("trak", box("tkhd", words(0, 0, 0, id)), box("mdia", head, media))


def trex(id: int, flags: int = 0) -> bytes:
    return box("trex", words(0, id, 1, 0, 0, flags))


def mp4_header(*traks: bytes, extends: bytes = trex(1), fragmented: bool = True) -> bytes:
    tracks = traks or (trak(1, "vide", "vp08"),)
    mvex = box("mvex", extends) if fragmented else b""
    return box("ftyp", b"iso5", words(0)) + box("moov", *tracks, mvex)


#: No sync sample; a sync sample.
DEPENDS, SYNC = 0x01010000, 0x02000000


def moof(*trafs: bytes) -> bytes:
    return box("moof", box("mfhd", words(0, 1)), *trafs)


def traf(*runs: bytes, track: int = 1, flags: int | None = None) -> bytes:
    default = words(0x20, track, flags) if flags is not None else words(0, track)
    return box("traf", box("tfhd", default), *runs)


def trun(count: int = 2, first: int | None = None, each: int | None = None) -> bytes:
    """A run of samples whose flags are told of the first alone, of each one, or not at all."""
    flags = 0x301 | (4 if first is not None else 0) | (0x400 if each is not None else 0)
    content = words(flags, count, 0)
    if first is not None:
        content += words(first)
    sample = words(1, 1) + (words(each) if each is not None else b"")
    return box("trun", content, sample * count)
