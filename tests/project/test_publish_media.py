"""`manage.py publish` on a media stream: ffmpeg's output and files, in a real installation."""

import asyncio
import signal
import subprocess
import sys
from asyncio import StreamWriter
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from tqdm import tqdm

from broadcast.exceptions import BadRequest
from broadcast.management.commands.publish import segments
from broadcast.publications import Mark
from tests.rig.documents import blocks, page
from tests.rig.doors import ServerDoor, Socket, door_of, eventually
from tests.rig.films import assert_plays, block, cluster, cut, film, webm
from tests.rig.processes import ROOT, ServerProcess
from tests.rig.viewers import bytes_of, hear, recordings_on

#: A header and its first segment, and one more.
KEY = cluster(block(key=True), block(), block(track=2))
STREAM = webm(KEY)

PUBLISH = [sys.executable, "manage.py", "publish"]


def examples() -> list[str]:
    """The lines of the documentation, shorter and without waiting."""
    (found,) = (one for one in blocks(page("how-to/video"), "sh") if "ffmpeg" in one)
    changes = {".venv/bin/python": sys.executable, "-re ": "", "-t 5": "-t 2"}
    for old, new in changes.items():
        assert old in found
        found = found.replace(old, new)
    return found.splitlines()


# The command of the documentation plays five seconds of film, at the pace of a camera.
async def test_what_ffmpeg_writes_into_a_pipe_is_broadcast(our_door: ServerDoor) -> None:
    make, broadcast = examples()
    await shell(our_door, make)
    listener = await our_door.listener("cam")
    said = await shell(our_door, broadcast)
    offset = int(said.strip().partition(":")[2])
    heard = [said for said in await listener.told_many(2 + offset) if isinstance(said[0], int)]
    assert [number for number, _ in heard] == list(range(1, offset + 1))
    assert_plays(bytes_of(heard))
    late = await our_door.listener("cam")
    assert late.first["content_type"] == 'video/webm;codecs="vp8"'
    assert await late.told_many(2) == [("reset", {}), ("header", {"offset": 1})]
    (_, header), (first, entry) = await late.told(), await late.told()
    # There is a key frame each second.
    assert first > 2
    rest = b"".join(payload for number, payload in heard if number > first)
    assert_plays(header + entry + rest)


async def shell(door: ServerDoor, line: str) -> str:
    """What the line says, which works."""
    done = await asyncio.to_thread(
        subprocess.run,
        *(line,),
        shell=True,
        cwd=ROOT,
        env=door.process.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def door_of_ours(servers: Callable[[str], ServerProcess]) -> Iterator[ServerDoor]:
    """Our server with all in its memory: publications go through its MessagePack-RPC port."""
    yield from door_of(servers("broadcast"))


async def test_a_file_is_broadcast(door_of_ours: ServerDoor, tmp_path: Path) -> None:
    our_door, name = door_of_ours, "h264"
    path = tmp_path / "film"
    path.write_bytes(film(name))
    slug = await our_door.stream("film")
    listener = await our_door.listener(slug)
    command = ("publish", slug, "--file", str(path))
    done = await asyncio.to_thread(our_door.process.manage, *command)
    assert done.returncode == 0, done.stderr
    publications, events = await hear(listener, film(name)[-9:])
    assert bytes_of(publications) == film(name)
    assert events == [("reset", {}), ("header", {"offset": 1})]
    late = await our_door.listener(slug)
    assert late.first["offset"] + 1 == publications[-1][0] - offset_of_newest(name)


def offset_of_newest(name: str) -> int:
    """How many publications stand after the newest entry point."""
    drafts = cut(film(name), 65536)
    return next(at for at, draft in enumerate(reversed(drafts)) if draft.marks & Mark.ENTRY)


@asynccontextmanager
async def publishing(
    door: ServerDoor, slug: str, *first: bytes
) -> AsyncIterator[tuple[Process, StreamWriter]]:
    """A `publish` that reads a pipe with these bytes in it, which is still open."""
    process = await asyncio.create_subprocess_exec(
        *(*PUBLISH, slug, "-"),
        cwd=ROOT,
        env=door.process.environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        # What a shell has in the background ignores interrupts, and so would what it starts.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdin
    process.stdin.write(b"".join(first))
    try:
        yield process, process.stdin
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def is_live(door: ServerDoor, slug: str, live: bool = True) -> None:
    """Wait until it is, or is not."""
    # The process takes its time to start.
    async with asyncio.timeout(40):
        while (await door.describe(slug))["live"] != live:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_who_publishes_is_the_streamer(our_door: ServerDoor) -> None:
    slug = await our_door.stream("recorded")
    listener = await our_door.listener(slug)
    assert listener.first["live"] is False
    async with publishing(our_door, slug, STREAM, KEY) as (process, pipe):
        await is_live(our_door, slug)
        assert (await listener.event())["event"] == "live"
        await hear(listener, KEY[-9:])
        pipe.write(KEY)
        # It is while nothing comes, too.
        await hear(listener, KEY[-9:])
        assert (await our_door.describe(slug))["live"]
        pipe.close()
        assert await process.wait() == 0
    assert (await listener.until("idle")) == {"event": "idle"}
    assert await recorded(our_door, slug) == [STREAM + KEY * 2]


async def recorded(door: ServerDoor, slug: str, count: int = 1) -> list[bytes]:
    """What is in the recordings that have ended, when there are so many; the newest first."""
    found: list[bytes] = []

    async def are_there() -> bool:
        found[:] = await asyncio.to_thread(recordings_on, door.process, slug)
        return len(found) >= count

    await eventually(are_there)
    return found


async def test_a_streamer_that_comes_takes_over_from_a_program(our_door: ServerDoor) -> None:
    slug = await our_door.stream("recorded")
    async with publishing(our_door, slug, STREAM, KEY) as (process, pipe):
        await is_live(our_door, slug)
        await until_position(our_door, slug, 3)
        streamer = await our_door.streamer(slug)
        await streamer.send(STREAM)
        await streamer.accepted(1)
        pipe.write(KEY)
        assert process.stderr
        async with asyncio.timeout(30):
            said = await process.stderr.read()
            assert await process.wait() == 1
        assert said.decode().splitlines() == ["CommandError: another streamer took over"]
    await streamer.send(KEY)
    await streamer.accepted(2)
    assert (await our_door.describe(slug))["live"]
    await streamer.close()
    assert await recorded(our_door, slug, 2) == [STREAM + KEY, STREAM + KEY]


async def until_position(door: ServerDoor, slug: str, offset: int) -> None:
    async def is_there() -> bool:
        return bool((await door.describe(slug))["position"]["offset"] >= offset)

    await eventually(is_there)


async def test_a_program_takes_over_from_a_streamer(our_door: ServerDoor) -> None:
    slug = await our_door.stream("film")
    streamer = await our_door.streamer(slug)
    await streamer.send(STREAM)
    await streamer.accepted(1)
    async with publishing(our_door, slug, STREAM) as (process, pipe):
        async with asyncio.timeout(40):
            while (code := await code_of(streamer)) is None:
                pass
        assert code == 4501
        pipe.close()
        assert await process.wait() == 0
    await is_live(our_door, slug, live=False)


async def code_of(socket: Socket) -> int | None:
    """What it is closed with; None: nothing yet."""
    try:
        return await socket.closed()
    except TimeoutError:
        return None


async def test_a_program_that_is_killed_leaves_its_stream(door_of_ours: ServerDoor) -> None:
    slug = await door_of_ours.stream("recorded")
    async with publishing(door_of_ours, slug, STREAM, KEY) as (process, _):
        await is_live(door_of_ours, slug)
        await until_position(door_of_ours, slug, 3)
        process.kill()
    await is_live(door_of_ours, slug, live=False)
    assert await recorded(door_of_ours, slug) == [STREAM + KEY]


async def test_an_interrupt_ends_it_while_nothing_comes(our_door: ServerDoor) -> None:
    slug = await our_door.stream("recorded")
    async with publishing(our_door, slug, STREAM, KEY) as (process, _):
        await is_live(our_door, slug)
        await until_position(our_door, slug, 3)
        process.send_signal(signal.SIGINT)
        assert process.stderr
        async with asyncio.timeout(30):
            said = await process.stderr.read()
            assert await process.wait() == 130
        assert said.decode().splitlines() == ["CommandError: interrupted"]
    await is_live(our_door, slug, live=False)
    assert await recorded(our_door, slug) == [STREAM + KEY]


async def test_it_goes_out_as_it_comes(our_door: ServerDoor) -> None:
    slug = await our_door.stream("film")
    listener = await our_door.listener(slug)
    async with publishing(our_door, slug, webm(cluster(block(key=True)))) as (process, pipe):
        await goes_out_as_it_comes(listener, process, pipe)


async def goes_out_as_it_comes(listener: Socket, process: Process, pipe: StreamWriter) -> None:
    # The process takes its time to start.
    async with asyncio.timeout(40):
        while not (told := await patiently(listener)):
            pass
    assert told == ("reset", {})
    publications, _ = await hear(listener, block(key=True)[-5:])
    pipe.write(block(content=b"later"))
    assert await listener.told() == (publications[-1][0] + 1, block(content=b"later"))
    pipe.close()
    assert await process.wait() == 0


async def patiently(listener: Socket) -> tuple[Any, ...] | None:
    """What it is told next; None: nothing yet."""
    try:
        return await listener.told()
    except TimeoutError:
        return None


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (webm()[:30], "there is no video in it, and no sound"),
        (webm(cluster(block(key=True))) + bytes(99), "this is no WebM"),
    ],
)
def test_what_is_no_video_or_only_the_beginning_of_one_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(BadRequest, match=reason):
        list(segments(BytesIO(data), 10, tqdm(disable=True)))


async def test_text_is_refused_in_one_line_and_json_is_json(door_of_ours: ServerDoor) -> None:
    slug = await door_of_ours.stream("film")
    listener = await door_of_ours.listener(slug)
    command = ("publish", slug, "-")
    done = await asyncio.to_thread(door_of_ours.process.manage, *command, input="some text\n")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "neither WebM nor fragmented MP4" in line
    command = (*command, "--json")
    done = await asyncio.to_thread(door_of_ours.process.manage, *command, input='{"scene": 2}\n')
    assert done.returncode == 0, done.stderr
    assert await listener.told() == (1, {"scene": 2})
