"""Streams of kind `media` through every way in: what comes out of their sockets can be played."""

import asyncio
import itertools
import json
import uuid
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from broadcast.backends import MediaRun, get_backend
from broadcast.backends.memory import MemoryBackend
from broadcast.hub import bus
from tests.rig.doors import V1, Closed, Door, InProcessDoor, ServerDoor, Socket, undisturbed
from tests.rig.films import assert_plays, block, cluster, cut, element, entries, film, webm
from tests.rig.processes import Installation
from tests.rig.raw import BINARY, RawSocket
from tests.rig.viewers import bytes_of, hear

#: Frames that are no multiple of anything in a film.
FRAME = 501
#: A block that is of many frames.
LARGE_BLOCK = webm(cluster(block(key=True), block(content=bytes(range(256)) * 90)))


def frames_of(data: bytes) -> list[bytes]:
    return [data[start : start + FRAME] for start in range(0, len(data), FRAME)]


async def send(streamer: Socket, data: bytes) -> None:
    for frame in frames_of(data):
        await streamer.send(frame)


# -- cutting and joining -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vp8", "h264"])
async def test_who_was_there_gets_every_byte_and_who_comes_late_what_can_be_played(
    door: Door, name: str
) -> None:
    data = film(name)
    slug = await door.stream("film")
    listener = await door.listener(slug)
    plain = await door.plain_listener(slug)
    streamer = await door.plain_streamer(slug)
    await send(streamer, data)
    await streamer.close()
    publications, events = await hear(listener, data[-9:])
    assert bytes_of(publications) == data
    assert events == [("reset", {}), ("header", {"offset": 1})]
    heard = b""
    while heard != data:
        heard += bytes(await plain.receive())
    late = await door.plain_listener(slug)
    header = cut(data)[0].payload
    newest = data[entries(cut(data))[-1] :]
    heard = b""
    while len(heard) < len(header + newest):
        heard += bytes(await late.receive())
    assert heard == header + newest
    assert_plays(heard)


async def test_joined_says_what_the_header_says(in_process: Door) -> None:
    slug = await in_process.stream("film")
    assert (await in_process.listener(slug)).first["content_type"] is None
    streamer = await in_process.streamer(slug)
    await send(streamer, film("vp9"))
    await streamer.accepted(len(frames_of(film("vp9"))))
    listener = await in_process.listener(slug)
    assert listener.first["content_type"] == 'video/webm;codecs="vp9,opus"'


async def test_what_the_row_says_of_the_content_counts_more(in_process: Door) -> None:
    slug = await in_process.stream("media")
    streamer = await in_process.streamer(slug)
    await send(streamer, film("vp9"))
    await streamer.accepted(len(frames_of(film("vp9"))))
    assert (await in_process.listener(slug)).first["content_type"] == "video/webm"


async def test_a_block_goes_out_when_it_is_whole_not_when_its_cluster_is(in_process: Door) -> None:
    slug = await in_process.stream("film")
    listener = await in_process.listener(slug)
    streamer = await in_process.plain_streamer(slug)
    first, second, third = block(key=True), block(), block(content=b"third")
    stream = webm(cluster(first, second, third, size=b""))
    await streamer.send(stream.removesuffix(second + third))
    publications, _ = await hear(listener, first)
    await streamer.send(second + third[:3])
    assert await listener.told() == (publications[-1][0] + 1, second)
    await streamer.send(third[3:])
    assert await listener.told() == (publications[-1][0] + 2, third)


async def test_a_streamer_that_comes_begins_a_new_recording(in_process: Door) -> None:
    slug = await in_process.stream("film")
    listener = await in_process.listener(slug)
    for name in ("vp8", "vp9"):
        streamer = await in_process.plain_streamer(slug)
        # Not even its last block is whole.
        data = film(name)[:-3]
        await send(streamer, data)
        await streamer.close()
        publications, events = await hear(listener, data[-9:])
        assert bytes_of(publications) == data
        assert events == [("reset", {}), ("header", {"offset": publications[0][0]})]
    assert (await in_process.listener(slug)).first["content_type"] == 'video/webm;codecs="vp9,opus"'


async def test_a_reset_drops_what_was_not_whole(in_process: Door) -> None:
    slug = await in_process.stream("film")
    listener = await in_process.listener(slug)
    streamer = await in_process.streamer(slug)
    stream = webm(cluster(block(key=True)))
    await streamer.send(stream + block()[:-1])
    await streamer.tell("reset")
    await streamer.send(stream + block(content=b"last"))
    publications, events = await hear(listener, b"last")
    assert bytes_of(publications) == stream * 2 + block(content=b"last")
    assert [name for name, _ in events] == ["reset", "header"] * 2


async def test_text_goes_between_as_it_is(in_process: Door) -> None:
    slug = await in_process.stream("film")
    listener = await in_process.listener(slug)
    streamer = await in_process.streamer(slug)
    stream = webm(cluster(block(key=True)))
    await streamer.send(stream)
    await streamer.publish("Good evening")
    await streamer.publish({"scene": 2})
    await streamer.send(block())
    await streamer.accepted(4)
    heard = [said for said in await listener.told_many(7) if isinstance(said[0], int)]
    assert [data for _, data in heard[-3:]] == ["Good evening", {"scene": 2}, block()]


async def test_who_marks_from_the_first_frame_on_is_not_looked_into(in_process: Door) -> None:
    slug = await in_process.stream("film")
    run = uuid.uuid4()
    streamer = await in_process.streamer(slug, f"?run={run}")
    await streamer.tell("mark", **{"as": "header"})
    await streamer.publish(b"my own header")
    await streamer.publish(b"not an entry")
    await streamer.accepted(2)
    await streamer.leave()
    streamer = await in_process.streamer(slug, f"?run={run}")
    assert streamer.first["accepted"] == 2
    await streamer.publish(b"the rest")
    await streamer.tell("mark", **{"as": "entry"})
    await streamer.publish(b"an entry")
    await streamer.accepted(4)
    newcomer = await in_process.listener(slug)
    assert newcomer.first["content_type"] is None
    assert await newcomer.told_many(3) == [
        ("header", {"offset": 1}),
        (1, b"my own header"),
        (4, b"an entry"),
    ]


async def test_a_mark_that_comes_later_is_not_understood(in_process: Door) -> None:
    slug = await in_process.stream("film")
    streamer = await in_process.streamer(slug)
    await streamer.send(webm(cluster(block(key=True))))
    await streamer.tell("mark", **{"as": "entry"})
    assert "the server marks these" in (await streamer.until("error"))["message"]
    await streamer.send(block())
    await streamer.accepted(2)


# -- what is no video ----------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["plain", "v1"])
async def test_what_is_no_video_is_refused_and_not_relayed(in_process: Door, way: str) -> None:
    slug = await in_process.stream("film")
    listener = await in_process.listener(slug)
    async with undisturbed(in_process):
        open_socket = in_process.plain_streamer if way == "plain" else in_process.streamer
        streamer = await open_socket(slug)
        await streamer.send(b"this is no video at all")
        frames, code = await streamer.rest()
        assert code == 4500
        if way == "v1":
            said = [json.loads(frame) for frame in frames]
            message = "the first bytes are neither WebM nor fragmented MP4"
            assert {"event": "error", "message": message} in said
    another = await in_process.plain_streamer(slug)
    await another.send(webm(cluster(block(key=True))))
    assert await listener.told_many(2) == [("reset", {}), ("header", {"offset": 1})]


async def test_a_track_whose_number_has_9_bytes_is_refused(in_process: Door) -> None:
    slug = await in_process.stream("film")
    picture = element(0xAE, element(0xD7, b"\x7f" * 9), element(0x83, b"\1"))
    streamer = await in_process.streamer(slug, f"?run={uuid.uuid4()}")
    await streamer.send(webm(cluster(block(key=True)), tracks=picture))
    frames, code = await streamer.rest()
    assert code == 4500
    message = "this is no WebM: a number has more than 8 bytes"
    assert {"event": "error", "message": message} in [json.loads(frame) for frame in frames]


async def test_what_came_before_nonsense_is_published_and_nothing_of_it(in_process: Door) -> None:
    slug = await in_process.stream("film")
    listener = await in_process.listener(slug)
    streamer = await in_process.plain_streamer(slug)
    stream = webm(cluster(block(key=True)))
    await streamer.send(stream)
    await streamer.send(block()[:4])
    publications, _ = await hear(listener, stream[-9:])
    await streamer.send(bytes(500))
    assert await streamer.closed() == 4500
    another = await in_process.plain_streamer(slug)
    await another.send(stream)
    assert await listener.told_many(2) == [
        ("reset", {}),
        ("header", {"offset": publications[-1][0] + 1}),
    ]


# -- runs ----------------------------------------------------------------------------------------


async def feed_run(doors: list[Door], slug: str, data: bytes, each: int) -> int:
    """Stream `data` in a run that is cut after `each` frames again and again; how often it was."""
    frames, run, known = frames_of(data), uuid.uuid4(), 0
    for visit, door in enumerate(itertools.cycle(doors)):
        streamer = await door.streamer(slug, f"?run={run}")
        assert streamer.first["accepted"] >= known, "what was accepted is forgotten"
        known = streamer.first["accepted"]
        if known == len(frames):
            # It is done: what was held back goes out.
            await streamer.close()
            return visit
        with suppress(Closed):
            for frame in frames[known : known + each]:
                await streamer.send(frame)
            # Of some it waits for the answer; of others nobody knows what came. What the former
            # connection sent may come in late: then this one is told to come back.
            if visit % 2:
                known = min(known + each, len(frames))
                await streamer.accepted(known)
        known = min(known, streamer.first["accepted"])
        await streamer.leave()
    raise AssertionError("doors have no end")


@pytest.mark.parametrize("name", ["vp8"])
async def test_a_run_that_is_cut_again_and_again_is_whole(door: Door, name: str) -> None:
    data = film(name)
    slug = await door.stream("film")
    listener = await door.listener(slug)
    assert await feed_run([door], slug, data, 3) > 4
    whole = cut(data)
    publications, events = await hear(listener, whole[-1].payload[-9:])
    assert bytes_of(publications) == data
    assert events == [("reset", {}), ("header", {"offset": 1})]
    newcomer = await door.listener(slug)
    first, second = [said for said in await newcomer.told_many(4) if isinstance(said[0], int)]
    assert first[1] == whole[0].payload
    assert data[entries(whole)[-1] :].startswith(second[1])


async def test_a_run_that_is_cut_within_a_large_block_is_whole(door: Door) -> None:
    data = LARGE_BLOCK
    slug = await door.stream("film")
    listener = await door.listener(slug)
    assert await feed_run([door], slug, data, 9) > 4
    publications, _ = await hear(listener, data[-9:])
    assert bytes_of(publications) == data


async def test_of_a_block_that_comes_in_small_frames_each_byte_is_kept_once(
    in_process: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    slug = await in_process.stream("film")
    appended: list[MediaRun] = []
    append = MemoryBackend.append

    async def spy(backend: MemoryBackend, *args: Any) -> Any:
        appended.append(args[3])
        return await append(backend, *args)

    monkeypatch.setattr(MemoryBackend, "append", spy)
    streamer = await in_process.streamer(slug, f"?run={uuid.uuid4()}")
    large = block(content=bytes(200 * 64))
    stream = webm(cluster(block(key=True)))
    await streamer.send(stream)
    for count, start in enumerate(range(0, len(large), 64), 2):
        await streamer.send(large[start : start + 64])
        # What it is told is in, is in.
        await streamer.accepted(count)
        assert (await get_backend().recording(slug, appended[-1].id))[0] == count
    assert len(appended) > 200
    assert sum(len(one.held) for one in appended) < len(stream + large)
    assert sum(len(one.state) for one in appended) < 100 * len(appended)


async def test_a_run_is_over_when_its_client_says_goodbye(door: Door) -> None:
    slug = await door.stream("film")
    listener = await door.listener(slug)
    run = uuid.uuid4()
    stream = webm(cluster(block(key=True)))
    streamer = await door.streamer(slug, f"?run={run}")
    await streamer.send(stream + block()[:-1])
    await streamer.accepted(1)
    await streamer.close()
    publications, _ = await hear(listener, block()[:-1])
    assert bytes_of(publications) == stream + block()[:-1]
    again = await door.streamer(slug, f"?run={run}")
    assert again.first["accepted"] == 0


async def test_a_run_is_forgotten_when_another_recording_has_begun(in_process: Door) -> None:
    slug = await in_process.stream("film")
    stream = webm(cluster(block(key=True)))
    run = uuid.uuid4()
    streamer = await in_process.streamer(slug, f"?run={run}")
    await streamer.send(stream)
    await streamer.accepted(1)
    await streamer.leave()
    other = await in_process.streamer(slug)
    await other.send(stream)
    await other.accepted(1)
    again = await in_process.streamer(slug, f"?run={run}")
    assert again.first["accepted"] == 0
    await again.send(stream)
    await again.accepted(1)


async def test_a_header_of_somebody_else_ends_a_recording(our_door: ServerDoor) -> None:
    slug = await our_door.stream("film")
    streamer = await our_door.streamer(slug)
    stream = webm(cluster(block(key=True)))
    await streamer.send(stream)
    await streamer.accepted(1)
    code = f"from broadcast import publish; publish({slug!r}, b'a header', header=True)"
    done = await asyncio.to_thread(our_door.process.manage, "shell", "-c", code)
    assert done.returncode == 0, done.stderr
    await streamer.send(block())
    # It comes back, and begins anew: a torn recording is worse.
    assert await streamer.closed() == 4200


# -- several server processes --------------------------------------------------------------------


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with Installation(tmp_path_factory.mktemp("installation"), servers=2) as installation:
        yield installation


@pytest.mark.parametrize("name", ["film", "large block"])
async def test_a_run_goes_on_at_another_process(
    here: ServerDoor, there: ServerDoor, installation: Installation, name: str
) -> None:
    data = film("vp8") if name == "film" else LARGE_BLOCK
    slug = installation.unused_stream("film")
    listener = await there.listener(slug)
    assert await feed_run([here, there], slug, data, 4) > 3
    publications, events = await hear(listener, data[-9:])
    assert bytes_of(publications) == data
    assert len(events) == 2
    for socket_door in (here, there):
        newcomer = await socket_door.listener(slug)
        assert newcomer.first["content_type"] == 'video/webm;codecs="vp8,opus"'
    await here.aclose()
    await there.aclose()


# -- listeners that are behind -------------------------------------------------------------------

#: A block of video of tests that fill buffers, and how many of them are between two key frames.
SIZE, GROUP = 64 * 1024, 5


def clusters(count: int) -> Iterator[bytes]:
    """Clusters of GROUP blocks, their numbers in them."""
    for number in range(count):
        blocks = [
            block(key=not at, content=number.to_bytes(4) * (SIZE // 4)) for at in range(GROUP)
        ]
        yield cluster(*blocks)


async def never_reading(
    stack: AsyncExitStack, door: ServerDoor, slug: str, *protocols: str
) -> RawSocket:
    before = await door.listeners(slug)
    raw = await stack.enter_async_context(door.raw(receive_buffer=4096))
    await raw.open(f"/ws/listener/{slug}/", *protocols)
    await door.until_listeners(slug, before + 1)
    return raw


async def test_who_was_overtaken_goes_on_at_a_key_frame(our_door: ServerDoor) -> None:
    slug = await our_door.stream("film")
    async with AsyncExitStack() as stack:
        slow = await never_reading(stack, our_door, slug, V1)
        plain = await never_reading(stack, our_door, slug)
        streamer = await our_door.streamer(slug)
        sent = 1
        await streamer.send(webm())
        for part in clusters(100):
            await streamer.send(part)
            sent += 1
        await streamer.accepted(sent)
        heard, skips = await heard_by(slow, b"".join(clusters(100))[-40:])
        assert len(skips) == 1
        assert heard[0][1] == webm()
        at = next(number for number, one in enumerate(heard) if one[0] == skips[0]["to"] + 1)
        # Without a gap before and after; and where it goes on, a Cluster begins.
        assert skips[0]["from"] == heard[at - 1][0] + 1
        assert heard[at][1].startswith(b"\x1f\x43\xb6\x75")
        whole = webm() + b"".join(clusters(100))
        assert whole.startswith(bytes_of(heard[:at]))
        assert whole.endswith(bytes_of(heard[at:]))
        # It cannot be told.
        assert await plain.ended() == 4408


async def heard_by(raw: RawSocket, until: bytes) -> tuple[list[tuple[int, bytes]], list[Any]]:
    publications, skips = [], []
    while True:
        opcode, data = await raw.frame()
        if opcode == BINARY:
            publications.append((int.from_bytes(data[:8]), data[8:]))
            if data.endswith(until):
                return publications, skips
        elif b'"skipped"' in data:
            skips.append(json.loads(data))


async def test_who_finds_another_recording_before_word_of_it_comes_does_not_come_back(
    in_process: InProcessDoor, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.BROADCAST_WATCH_SECONDS = 3600
    slug = await in_process.stream("film")
    stream = webm(cluster(block(key=True)))
    former = await in_process.streamer(slug)
    await former.send(stream)
    await former.accepted(1)
    # What the layer should say of the newcomer is lost.
    monkeypatch.setattr(bus, "tell_stream", nothing)
    newcomer = await in_process.streamer(slug)
    await newcomer.send(stream)
    await newcomer.accepted(1)
    await former.send(block())
    assert await former.closed() == 4501
    await newcomer.send(block())
    await newcomer.accepted(2)


async def nothing(message: bus.Message) -> None:
    """Tell nobody."""
