"""The segmenter: every split point, every container's odd parts, and bytes that are no video."""

from functools import partial
from itertools import cycle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest_django.fixtures import Settings

from broadcast.exceptions import BadRequest
from broadcast.media import Segmenter, content_type, mp4
from broadcast.media import webm as matroska
from broadcast.media.segments import LOOK_AHEAD, PART_BYTES, PARTS
from broadcast.media.steps import BYTES, MOST, STEPS
from broadcast.models import Recording
from broadcast.publications import Draft, Kind, Mark
from tests.rig import films
from tests.rig.films import (
    CONTENT_TYPES,
    CRC,
    DEPENDS,
    FILMS,
    LONG_UNKNOWN,
    PICTURE_TRACK,
    SOUND_TRACK,
    SYNC,
    UNKNOWN,
    VOID,
    assert_plays,
    block,
    box,
    cluster,
    cut,
    element,
    entries,
    film,
    group,
    joined,
    marked,
    moof,
    mp4_header,
    traf,
    trak,
    trex,
    trun,
    webm,
    words,
)

HEADER = int(Mark.HEADER | Mark.RESET)
ENTRY = int(Mark.ENTRY)
MDAT = box("mdat", b"samples")


def begins(data: bytes) -> list[int]:
    """Where the Clusters of a film made by hand begin."""
    at, found = data.find(b"\x1f\x43\xb6\x75"), []
    while at >= 0:
        found.append(at)
        at = data.find(b"\x1f\x43\xb6\x75", at + 1)
    return found


# -- films of ffmpeg -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILMS)
def test_a_film_is_cut_into_its_header_and_pieces_that_can_be_played_from(name: str) -> None:
    data = film(name)
    drafts = cut(data)
    assert joined(drafts) == data
    assert all(draft.kind == Kind.BINARY for draft in drafts)
    assert [marks for _, marks in marked(drafts)] == [HEADER, *[ENTRY] * len(entries(drafts))]
    assert len(entries(drafts)) >= 3
    for start in entries(drafts):
        assert_plays(drafts[0].payload + data[start:])


@pytest.mark.parametrize("name", FILMS)
def test_wherever_a_film_is_split_it_is_cut_at_the_same_places(name: str) -> None:
    data = film(name, 0.6)
    places = marked(cut(data))
    assert len(entries(cut(data))) == 2
    for split in range(1, len(data)):
        drafts = cut(data, split, len(data))
        assert joined(drafts) == data
        assert marked(drafts) == places, split


@pytest.mark.parametrize("name", FILMS)
def test_byte_for_byte_and_with_a_new_segmenter_for_each_byte_it_is_the_same(name: str) -> None:
    data = film(name)
    segmenter, drafts, held = Segmenter(), list[Draft](), b""
    for number in range(len(data)):
        drafts += segmenter.feed(data[number : number + 1])
        state, part, goes_on = segmenter.snapshot()
        held = held + part if goes_on else part
        segmenter = Segmenter.restore(state, held)
    drafts += segmenter.finish()
    assert joined(drafts) == data
    assert marked(drafts) == marked(cut(data))


@pytest.mark.parametrize("size", [1, 7, 64])
def test_of_what_is_held_back_snapshots_have_each_byte_once(size: int) -> None:
    data = webm(cluster(block(key=True), block(content=bytes(20_000)), block()))
    segmenter, held, snapped = Segmenter(), b"", 0
    for start in range(0, len(data), size):
        segmenter.feed(data[start : start + size])
        state, part, goes_on = segmenter.snapshot()
        held = held + part if goes_on else part
        snapped += len(state) + len(part)
        assert Segmenter.restore(state, held).buffer == segmenter.buffer
    assert snapped < len(data) + 60 * (len(data) // size + 1)


@pytest.mark.parametrize("name", FILMS)
def test_what_it_is_stands_in_the_header(name: str) -> None:
    header = cut(film(name))[0].payload
    assert content_type(header) == CONTENT_TYPES[name]
    assert content_type(header[: len(header) // 2]) == ""


@pytest.mark.parametrize("header", [b"", b"x", b"nonsense", b"\x1a\x45\xdf\xa3", bytes(100)])
def test_of_what_is_no_header_nothing_is_said(header: bytes) -> None:
    assert content_type(header) == ""


@pytest.mark.parametrize(
    ("few", "many", "container"),
    [
        (webm(tracks=SOUND_TRACK * 30), webm(tracks=SOUND_TRACK * 100), "audio/webm"),
        (
            mp4_header(*[trak(1, "vide", "vp08")] * 30),
            mp4_header(*[trak(1, "vide", "vp08")] * 100),
            "video/mp4",
        ),
    ],
    ids=["WebM", "MP4"],
)
def test_where_codecs_are_too_many_to_be_kept_the_container_alone_is_told(
    few: bytes, many: bytes, container: str
) -> None:
    longest = Recording._meta.get_field("content_type").max_length
    assert longest is not None
    assert container + ";codecs=" in content_type(few) and len(content_type(few)) <= longest
    assert content_type(many) == container


def test_few_headers_are_kept_in_memory() -> None:
    for name in CONTENT_TYPES:
        content_type(cut(film(name))[0].payload)
    assert content_type.cache_info().currsize <= 4


@pytest.mark.parametrize("name", ["vp8", "h264"])
def test_a_second_header_begins_a_new_recording(name: str) -> None:
    first, second = film(name), film("sound" if name == "vp8" else "aac")
    drafts = cut(first + second, 777)
    assert joined(drafts) == first + second
    moved = [(at + len(first), marks) for at, marks in marked(cut(second))]
    assert marked(drafts) == marked(cut(first)) + moved


# -- WebM ----------------------------------------------------------------------------------------


def test_a_piece_goes_out_as_soon_as_its_blocks_are_whole() -> None:
    stream = webm(cluster(block(key=True), block(), block()))
    segmenter, sizes = Segmenter(), []
    for number in range(len(stream)):
        sizes += [len(draft.payload) for draft in segmenter.feed(stream[number : number + 1])]
    # Each of the two blocks that follow is published by itself.
    assert sizes[-2:] == [len(block())] * 2
    assert segmenter.finish() == []


@pytest.mark.parametrize("size", [UNKNOWN, LONG_UNKNOWN, b""], ids=["unknown", "long", "known"])
@pytest.mark.parametrize("whole", [UNKNOWN, LONG_UNKNOWN, b""], ids=["unknown", "long", "known"])
def test_sizes_may_be_unknown(size: bytes, whole: bytes) -> None:
    parts = [cluster(block(key=True), block(), size=size), cluster(block(key=True), size=size)]
    stream = webm(*parts, size=whole)
    drafts = cut(stream, 5)
    assert joined(drafts) == stream
    assert entries(drafts) == begins(stream)


def test_an_entry_is_a_cluster_whose_first_block_of_video_is_a_key_frame() -> None:
    stream = webm(
        cluster(block(key=True)),
        # As Chrome does with each slice of time.
        cluster(block(), block(key=True)),
        cluster(block(track=2, key=True), block(key=True)),
        cluster(block(track=2, key=True), block(track=2, key=True)),
        cluster(VOID, CRC, group()),
        cluster(group(refers=True), group()),
        cluster(block(key=True)),
    )
    clusters = begins(stream)
    assert entries(cut(stream)) == [clusters[number] for number in (0, 2, 4, 6)]


def test_what_stands_before_the_first_block_of_video_is_waited_for_only_so_long() -> None:
    sound = [block(track=2, key=True)] * (LOOK_AHEAD - 2)
    stream = webm(cluster(*sound, block(key=True)), cluster(*sound * 2, block(key=True)))
    assert entries(cut(stream)) == begins(stream)[:1]
    held = Segmenter()
    most = 0
    for number in range(len(stream)):
        held.feed(stream[number : number + 1])
        most = max(most, len(held.buffer))
    assert most < len(webm()) + (LOOK_AHEAD + 3) * len(sound[0])


@pytest.mark.parametrize("lacing", [0x02, 0x04, 0x06], ids=["Xiph", "fixed", "EBML"])
def test_laced_blocks_are_looked_into_no_further(lacing: int) -> None:
    stream = webm(cluster(block(key=True, flags=lacing, content=b"\x01\x05frameframe")))
    assert entries(cut(stream)) == begins(stream)


def test_without_video_any_cluster_is_an_entry() -> None:
    sound = block(track=2, key=True)
    stream = webm(cluster(sound), cluster(sound, sound), cluster(), tracks=SOUND_TRACK)
    assert entries(cut(stream, 3)) == begins(stream)


def test_the_first_of_two_videos_says_where_an_entry_is() -> None:
    other = films.track(3, 1, "V_VP9")
    stream = webm(
        cluster(block(track=3, key=True), block(key=True)),
        cluster(block(track=3, key=True), block()),
        tracks=PICTURE_TRACK + other,
    )
    assert entries(cut(stream)) == begins(stream)[:1]


def test_cues_tags_and_voids_stand_anywhere_between_clusters() -> None:
    tags, cues = element(0x1254C367, VOID), element(0x1C53BB6B, bytes(100_000))
    stream = webm(tags, VOID, cluster(block(key=True)), cues, VOID, cluster(block(key=True)), tags)
    drafts = cut(stream, 1000)
    assert joined(drafts) == stream
    assert entries(drafts) == begins(stream)
    # What is long and no block is not waited for.
    assert max(len(draft.payload) for draft in drafts) < 70_000


@pytest.mark.parametrize(
    "stream",
    {
        "no element": webm(cluster(block(key=True))) + bytes(20),
        "a block without a beginning": webm(cluster(element(0xA3, b"\x81\0"))),
        "a block of no track": webm(cluster(element(0xA3, b"\0\0\0\0\0"))),
        "an id that is none": webm(b"\x01nonsense"),
        "a Cluster before the tracks": element(0x1A45DFA3) + element(0x18538067, cluster()),
        "no tracks": webm(cluster(), tracks=b""),
        "a number of 9 bytes": webm(cluster(), tracks=element(0xAE, element(0xD7, b"\x7f" * 9))),
        "a block in no Cluster": webm(block()),
        "tracks in a Cluster": webm(cluster(webm(), size=b"")),
        "an element larger than its Cluster": webm(cluster(block()[:-2], size=b"\x85")),
        "a block of unknown size": webm(cluster(element(0xA3, b"abcd", size=UNKNOWN))),
        "a group that is torn": webm(cluster(element(0xA0, b"\xa1\x99torn"))),
        "a second Segment": webm(cluster(block(key=True))) + element(0x18538067, size=UNKNOWN),
        "text": b"hello, everybody",
        "JSON": b'{"event":"publication"}',
        "Ogg": b"OggS\0\2\0\0\0\0\0\0\0\0\0\0",
        "MPEG-TS": b"G@\x11\x10" + bytes(184),
    }.items(),
    ids=lambda item: item[0],
)
def test_what_is_no_webm_is_refused(stream: tuple[str, bytes]) -> None:
    with pytest.raises(BadRequest, match="no WebM|neither WebM nor"):
        cut(stream[1])
    with pytest.raises(BadRequest, match="no WebM|neither WebM nor"):
        cut(stream[1], 1)


def test_a_missing_piece_is_noticed() -> None:
    data = film("vp8")
    for start in range(2000, 4000, 97):
        with pytest.raises(BadRequest):
            cut(data[:start] + data[start + 50 :])


# -- MP4 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fragment", "is_entry"),
    {
        "the first sample's": (traf(trun(first=SYNC)), True),
        "the first sample's, before the default": (traf(trun(first=DEPENDS), flags=SYNC), False),
        "each sample's": (traf(trun(each=SYNC)), True),
        "each sample's, no sync": (traf(trun(each=DEPENDS), flags=SYNC), False),
        "the fragment's": (traf(trun(), flags=SYNC), True),
        "the fragment's, no sync": (traf(trun(), flags=DEPENDS), False),
        "the track's": (traf(trun()), False),
        "an empty run first": (traf(trun(count=0), trun(first=SYNC)), True),
        "of another track": (traf(trun(first=SYNC), track=2), False),
        "none": (b"", False),
    }.values(),
    ids=str,
)
def test_the_flags_of_the_first_sample_say_whether_it_is_an_entry(
    fragment: bytes, is_entry: bool
) -> None:
    header = mp4_header(extends=trex(1, DEPENDS) + trex(2))
    stream = header + moof(fragment) + MDAT
    for size in (1, len(stream)):
        drafts = cut(stream, size)
        assert joined(drafts) == stream
        assert entries(drafts) == ([len(header)] if is_entry else [])


def test_a_fragment_begins_with_the_boxes_before_its_moof() -> None:
    before = box("styp", b"msdh") + box("sidx", bytes(24)) + box("emsg", b"") + box("prft", b"")
    fragment = moof(traf(trun(first=SYNC)))
    header = mp4_header()
    stream = header + before + fragment + MDAT + before + fragment + MDAT + fragment + MDAT
    drafts = cut(stream, 7)
    assert joined(drafts) == stream
    length = len(before + fragment + MDAT)
    assert entries(drafts) == [len(header) + length * number for number in range(3)]


def test_boxes_may_have_64_bits_of_size_or_go_on_to_the_end() -> None:
    fragment = moof(traf(trun(first=SYNC)))
    header = mp4_header()
    stream = header + fragment + box("mdat", b"x" * 99, wide=True) + fragment
    endless = stream + box("mdat", b"x" * 200_000, to_the_end=True)
    drafts = cut(endless, 10_000)
    assert joined(drafts) == endless
    assert entries(drafts) == [len(header), len(stream) - len(fragment)]
    assert max(len(draft.payload) for draft in drafts) < 80_000


def test_sound_alone_is_entered_at_any_fragment() -> None:
    header = mp4_header(trak(1, "soun", "mp4a"))
    stream = header + (moof(traf(trun())) + MDAT) * 3
    assert len(entries(cut(stream, 11))) == 3


@pytest.mark.parametrize(
    "stream",
    {
        "no fragments": mp4_header(fragmented=False) + MDAT,
        "mdat before moov": box("ftyp", b"isom") + MDAT,
        "moof before moov": box("ftyp", b"isom") + moof(),
        "a box that is too small": mp4_header() + words(7) + b"moof",
        "no box": mp4_header() + b"\0\0\0\x10\xff\xff\xff\xffnonsense",
        "a torn moof": mp4_header() + box("moof", words(99) + b"traf"),
        "a torn trun": mp4_header() + moof(box("traf", box("tfhd", words(0, 1)), box("trun"))),
        "a torn moov": box("ftyp", b"isom") + box("moov", words(4000) + b"trak"),
    }.values(),
    ids=str,
)
def test_what_is_no_fragmented_mp4_is_refused(stream: bytes) -> None:
    for size in (1, len(stream)):
        with pytest.raises(BadRequest, match="MP4"):
            cut(stream, size)


def count_looks(monkeypatch: pytest.MonkeyPatch, segmenter: Segmenter) -> list[int]:
    """Where the segmenter looks at a part from now on, once for each time."""
    assert segmenter.container
    peek, looks = segmenter.container.peek, list[int]()
    monkeypatch.setattr(segmenter.container, "peek", lambda *at: looks.append(at[1]) or peek(*at))
    return looks


def count_heads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Where the beginning of a part is read from now on, however it is within others."""
    looks = list[int]()
    for module in (matroska, mp4):
        read = module.read_head
        counted = partial(read_counted, read, looks)
        monkeypatch.setattr(module, "read_head", counted)
    return looks


def read_counted(read: Any, looks: list[int], data: bytes, start: int) -> Any:
    looks.append(start)
    return read(data, start)


# -- limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize("filler", [element(0x1254C367, bytes(2000)), VOID * 200])
def test_a_header_over_the_limit_is_refused(settings: Settings, filler: bytes) -> None:
    settings.BROADCAST_MEDIA_HEADER_BYTES = 2000
    with pytest.raises(BadRequest, match="the header has more than 2000 bytes"):
        cut(webm(filler, cluster(block(key=True))), 50)
    assert cut(webm(filler[:0], cluster(block(key=True))), 50)


def test_blocks_and_boxes_over_the_limit_are_refused_before_they_came(settings: Settings) -> None:
    settings.BROADCAST_MEDIA_BLOCK_BYTES = 10_000
    large = element(0xA3, b"\x81\0\0\x80", bytes(10_000))
    with pytest.raises(BadRequest, match="a block has more than 10000 bytes"):
        cut(webm(cluster(large))[:150])
    with pytest.raises(BadRequest, match="a box has more than 10000 bytes"):
        cut((mp4_header() + moof(box("free", bytes(10_000))))[:500])


def test_boxes_before_a_moof_that_never_comes_are_not_held(settings: Settings) -> None:
    settings.BROADCAST_MEDIA_BLOCK_BYTES = 10_000
    segmenter = Segmenter()
    segmenter.feed(mp4_header())
    for _ in range(100):
        segmenter.feed(box("emsg", bytes(5000)))
        assert len(segmenter.buffer) < 30_000


@pytest.mark.parametrize(
    ("stream", "part"),
    [(webm(cluster(block(key=True))), element(0xEC)), (mp4_header(), box("free"))],
    ids=["WebM", "MP4"],
)
def test_of_very_many_parts_without_content_few_are_looked_at(
    monkeypatch: pytest.MonkeyPatch, stream: bytes, part: bytes
) -> None:
    segmenter = Segmenter()
    segmenter.feed(stream)
    looks = count_looks(monkeypatch, segmenter)
    data = part * 250_000
    with pytest.raises(BadRequest, match="its parts are too small"):
        segmenter.feed(data)
    assert len(looks) <= PARTS + len(data) // PART_BYTES + 1


def test_small_parts_with_content_are_taken() -> None:
    sound = block(track=2, content=bytes(PART_BYTES))
    stream = webm(cluster(block(key=True), *[sound] * 20_000))
    assert joined(cut(stream)) == stream


def test_of_very_many_tracks_few_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = count_heads(monkeypatch)
    header = webm(tracks=PICTURE_TRACK + element(0xAE) * 100_000)
    assert content_type(header) == 'video/webm;codecs="vp8"'
    assert len(looks) < 2 * matroska.MOST_TRACKS


def test_silence_may_come_in_large_frames() -> None:
    silence = block(track=2, content=b"\xf8\xff\xfe")
    assert len(silence) <= 10
    drafts = cut(webm(cluster(block(key=True), *[silence] * 12_000)), 128 * 1024)
    assert entries(drafts)


EMPTY, FREE, TKHD = element(0xEC), box("free"), box("tkhd", words(0, 0, 0, 1))
#: Parts that have a megabyte of others in them, and what stands before them.
FULL: dict[str, tuple[bytes, bytes]] = {
    "a block's group": (webm(cluster(block(key=True))), element(0xA0, EMPTY * 500_000)),
    "a track": (b"", webm(tracks=element(0xAE, EMPTY * 250_000))),
    "a fragment": (mp4_header(), moof(FREE * 130_000)),
    "tracks of a fragment": (mp4_header(), moof(*[traf(FREE * 300)] * 300)),
    "runs of a fragment": (mp4_header(), moof(traf(*[trun(0)] * 50_000))),
    "a moov": (b"", mp4_header(FREE * 120_000)),
    "tracks of a moov": (b"", mp4_header(*[box("trak", TKHD, FREE * 300)] * 300)),
    "media of a moov": (b"", mp4_header(box("trak", *[box("mdia", FREE * 300)] * 300))),
}


@pytest.mark.parametrize("name", FULL)
def test_of_very_many_parts_in_one_few_are_looked_at(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    before, part = FULL[name]
    looks = count_heads(monkeypatch)
    segmenter = Segmenter()
    segmenter.feed(before)
    with pytest.raises(BadRequest, match="its parts are too small"):
        segmenter.feed(part)
    assert len(looks) <= STEPS + MOST + 50


@pytest.mark.parametrize("name", ["a track", "a moov", "tracks of a moov", "media of a moov"])
def test_of_a_header_full_of_parts_few_are_looked_at(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    looks = count_heads(monkeypatch)
    assert content_type(b"".join(FULL[name])) == ""
    assert len(looks) <= STEPS + MOST + 50


def test_of_many_parts_that_are_full_of_others_few_are_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = count_heads(monkeypatch)
    data = webm(cluster(block(key=True), *[element(0xA0, group()[2:], EMPTY * 40)] * 5000))
    with pytest.raises(BadRequest, match="its parts are too small"):
        cut(data)
    assert len(looks) <= PARTS + STEPS + len(data) // PART_BYTES + len(data) // BYTES


def test_groups_of_sound_and_very_many_tracks_are_taken() -> None:
    duration = element(0x9B, b"\x14")
    sound = element(0xA1, b"\x82\0\0\0", bytes(40))
    groups = [element(0xA0, sound, duration, element(0xFB, b"\1"))] * 20_000
    stream = webm(cluster(block(key=True), *groups))
    assert joined(cut(stream)) == stream
    assert joined(cut(stream, 65536)) == stream
    tracks = [trak(number, "soun", "Opus") for number in range(1, 101)]
    stream = mp4_header(*tracks) + moof(traf(trun(each=SYNC))) + box("mdat", b"sound")
    assert joined(cut(stream)) == stream
    assert content_type(cut(stream)[0].payload).startswith("audio/mp4")


# -- anything ------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_whatever_comes_it_is_cut_or_refused_and_little_is_held(data: st.DataObject) -> None:
    stream = bytearray(film(data.draw(st.sampled_from(list(FILMS)))))
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(stream) - 1))
        if data.draw(st.booleans()):
            stream[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
        else:
            stream[at] = data.draw(st.integers(0, 255))
    # All at once: for each single draw hypothesis goes through all those before.
    sizes = cycle(data.draw(st.lists(st.integers(1, 3000), min_size=1)))
    segmenter, found, start = Segmenter(), b"", 0
    try:
        while start < len(stream):
            size = next(sizes)
            found += joined(segmenter.feed(bytes(stream[start : start + size])))
            start += size
            assert found + segmenter.buffer == stream[:start]
        found += joined(segmenter.finish())
        assert segmenter.in_header or found == stream
    except BadRequest:
        assert stream.startswith(found)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([b"", webm(), mp4_header(), b"\x1a\x45\xdf\xa3"]))
def test_nonsense_is_refused_and_nothing_else_happens(nonsense: bytes, before: bytes) -> None:
    try:
        cut(before + nonsense, 13)
    except BadRequest as error:
        assert str(error)
    content_type(before + nonsense)


def test_what_is_looked_through_once_is_not_looked_at_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    segmenter = Segmenter()
    data = film("vp8")
    segmenter.feed(data[:1000])
    looks = count_looks(monkeypatch, segmenter)
    cuts = range(1000, len(data), 10)
    for start in cuts:
        segmenter.feed(data[start : start + 10])
    blocks = len(data) // 20
    assert len(looks) <= len(cuts) + blocks
