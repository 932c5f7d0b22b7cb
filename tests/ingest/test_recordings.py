"""Recordings: files that players open, whatever happens to the server, disk and streamer."""

import asyncio
import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from channels.db import database_sync_to_async
from django.core.exceptions import ValidationError
from django.core.files.storage import InMemoryStorage
from django.core.management import call_command
from django.db import InterfaceError
from django.test import AsyncClient, Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from broadcast.backends import HistoryLimits, get_backend, new_streamer
from broadcast.hub.appending import append
from broadcast.hub.relay import get_relay
from broadcast.ingest import recorder
from broadcast.ingest.files import RecordingFile
from broadcast.ingest.programs import feeding
from broadcast.ingest.turns import Turn
from broadcast.models import Recording, Stream
from broadcast.models.recordings import local_path
from broadcast.publications import Draft, Kind, Mark
from broadcast.streams.playback import asked_range
from tests.rig.doors import InProcessDoor, ServerDoor, Socket, eventually
from tests.rig.films import (
    PICTURE_TRACK,
    assert_plays,
    block,
    cluster,
    cut,
    entries,
    film,
    frames_of,
    webm,
)
from tests.rig.processes import ServerProcess, prepared_database
from tests.rig.viewers import recordings_on

#: Whole segments of a film made by hand.
KEY = cluster(block(key=True), block(), block(track=2))
HEADER = webm()


@pytest.fixture
def directory(settings: Settings, tmp_path: Path) -> Path:
    """Where recordings are kept."""
    location = tmp_path / "recordings"
    settings.STORAGES = {
        **settings.STORAGES,
        "recordings": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": location},
        },
    }
    return location


async def ended(stream: str, count: int = 1) -> list[Recording]:
    """So many recordings of the stream that have ended, the oldest first."""
    found: list[Recording] = []

    async def are_there() -> bool:
        query = Recording.objects.filter(stream__slug=stream).ended().order_by("started_at")
        found[:] = await database_sync_to_async(list)(query)
        return len(found) >= count

    await eventually(are_there)
    return found


def content(recording: Recording) -> bytes:
    with recording.open() as file:
        data: bytes = file.read()
    return data


def files_in(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


async def record(door: InProcessDoor, *parts: bytes) -> bytes:
    """What is in the recording of these frames."""
    return await record_on(door, await door.stream("recorded"), *parts)


async def record_on(door: InProcessDoor, slug: str, *parts: bytes) -> bytes:
    """What is in the one recording of the stream after these frames."""
    streamer = await door.streamer(slug)
    for part in parts:
        await streamer.send(part)
    await streamer.accepted(len(parts))
    await streamer.close()
    (recording,) = await ended(slug)
    assert recording.size == len(content(recording))
    return content(recording)


# -- what is in the file -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vp8", "h264", "sound"])
async def test_a_recording_is_what_was_broadcast(
    in_process: InProcessDoor, directory: Path, name: str
) -> None:
    data = film(name)
    found = await record(in_process, *[data[at : at + 700] for at in range(0, len(data), 700)])
    assert found == data
    assert_plays(found)


async def test_text_is_not_in_it_and_what_is_before_the_first_key_frame(
    in_process: InProcessDoor, directory: Path
) -> None:
    slug = await in_process.stream("recorded")
    streamer = await in_process.streamer(slug)
    await streamer.send(webm(cluster(block(), block())))
    await streamer.publish("not a picture")
    await streamer.send(KEY)
    await streamer.accepted(3)
    await streamer.close()
    (recording,) = await ended(slug)
    assert content(recording) == HEADER + KEY
    assert recording.content_type == 'video/webm;codecs="vp8,opus"'
    assert recording.ended_at and recording.started_at <= recording.ended_at


async def test_each_header_begins_a_file(in_process: InProcessDoor, directory: Path) -> None:
    slug = await in_process.stream("recorded")
    streamer = await in_process.streamer(slug)
    await streamer.send(HEADER + KEY)
    await streamer.tell("reset")
    await streamer.send(HEADER + KEY + KEY)
    await streamer.accepted(2)
    await streamer.close()
    first, second = await ended(slug, 2)
    assert (content(first), content(second)) == (HEADER + KEY, HEADER + KEY * 2)


async def test_a_run_that_goes_on_begins_a_file_with_the_header_it_had(
    in_process: InProcessDoor, directory: Path
) -> None:
    slug = await in_process.stream("recorded")
    run = "?run=6f1c9a52-5ad1-4d0c-9a3e-111111111111"
    streamer = await in_process.streamer(slug, run)
    await streamer.send(HEADER + KEY + block())
    await streamer.accepted(1)
    await streamer.leave()
    streamer = await in_process.streamer(slug, run)
    await streamer.send(block())
    await streamer.send(KEY)
    await streamer.accepted(3)
    await streamer.close()
    first, second = await ended(slug, 2)
    assert (content(first), content(second)) == (HEADER + KEY + block(), HEADER + KEY)


async def test_who_marks_its_own_frames_and_comes_back_goes_on_being_recorded(
    in_process: InProcessDoor, directory: Path
) -> None:
    slug = await in_process.stream("recorded")
    run = "?run=6f1c9a52-5ad1-4d0c-9a3e-222222222222"
    streamer = await in_process.streamer(slug, run)
    await streamer.tell("mark", **{"as": "header"})
    await streamer.send(HEADER)
    await send_entry(streamer)
    await streamer.accepted(2)
    await streamer.leave()
    streamer = await in_process.streamer(slug, run)
    await send_entry(streamer)
    await send_entry(streamer)
    await streamer.accepted(4)
    await streamer.close()
    first, second = await ended(slug, 2)
    assert (content(first), content(second)) == (HEADER + KEY, HEADER + KEY * 2)


async def send_entry(streamer: Socket) -> None:
    await streamer.tell("mark", **{"as": "entry"})
    await streamer.send(KEY)


async def test_what_others_publish_meanwhile_is_not_in_it(
    in_process: InProcessDoor, directory: Path
) -> None:
    slug = await in_process.stream("recorded")
    streamer = await in_process.streamer(slug)
    await streamer.send(HEADER + KEY)
    await streamer.accepted(1)
    # Another header, a segment, and the middle of one; the layer says nothing of the last.
    other = webm(tracks=PICTURE_TRACK)
    marks = [(other, Mark.HEADER | Mark.RESET), (KEY, Mark.ENTRY), (block(), 0)]
    drafts = [Draft(Kind.BINARY, payload, int(mark)) for payload, mark in marks]
    await append(slug, drafts[:2])
    await get_backend().append(slug, drafts[2:], HistoryLimits(100, 100_000, 3600))
    await streamer.close()
    (recording,) = await ended(slug)
    assert content(recording) == HEADER + KEY


@pytest.mark.parametrize("begins", ["goes on with its run", "begins anew"])
async def test_what_comes_when_a_streamer_was_replaced_is_recorded_once(
    in_process: InProcessDoor, directory: Path, begins: str
) -> None:
    slug = await in_process.stream("recorded")
    goes_on = begins == "goes on with its run"
    run = "?run=6f1c9a52-5ad1-4d0c-9a3e-333333333333" if goes_on else ""
    # Its line is lost, and nobody notices before long.
    lost = await in_process.streamer(slug, run)
    await lost.send(HEADER + KEY)
    await lost.accepted(1)
    streamer = await in_process.streamer(slug, run)
    await streamer.send(KEY if goes_on else HEADER + KEY)
    await streamer.send(KEY)
    await streamer.accepted(2 + goes_on)
    await lost.leave()
    await streamer.send(KEY)
    await streamer.accepted(3 + goes_on)
    await streamer.close()
    first, second = await ended(slug, 2)
    assert (content(first), content(second)) == (HEADER + KEY, HEADER + KEY * 3)


async def test_what_another_streamer_sends_is_not_recorded_before_word_of_it_comes(
    in_process: InProcessDoor, directory: Path
) -> None:
    slug = await in_process.stream("recorded")
    listener = await in_process.listener(slug)
    streamer = await in_process.streamer(slug)
    await streamer.send(HEADER + KEY)
    await streamer.accepted(1)
    await append(slug, [Draft(Kind.TEXT, b"said meanwhile")])
    await streamer.send(KEY)
    await streamer.accepted(2)
    marks = [(HEADER, Mark.HEADER | Mark.RESET), (KEY, Mark.ENTRY)]
    await append(slug, [Draft(Kind.BINARY, payload, int(mark)) for payload, mark in marks])
    await hear_bytes(listener, 5)
    await streamer.close()
    (recording,) = await ended(slug)
    assert content(recording) == HEADER + KEY * 2


async def test_what_was_sent_before_a_recorder_came_is_not_in_its_file(
    in_process: InProcessDoor, directory: Path
) -> None:
    slug = await in_process.stream("recorded")
    run = "?run=6f1c9a52-5ad1-4d0c-9a3e-444444444444"
    streamer = await in_process.streamer(slug, run)
    await streamer.send(HEADER + KEY)
    await streamer.accepted(1)
    # Of this the channel layer says nothing, so this process hears of it late.
    stray = Draft(Kind.BINARY, cluster(block(key=True), block(content=b"stray")), int(Mark.ENTRY))
    await get_backend().append(slug, [stray], HistoryLimits(100, 100_000, 3600))
    await streamer.leave()
    streamer = await in_process.streamer(slug, run)
    await streamer.send(KEY)
    await streamer.accepted(2)
    await streamer.close()
    first, second = await ended(slug, 2)
    assert (content(first), content(second)) == (HEADER + KEY, HEADER + KEY)


async def test_who_leaves_while_something_is_under_way_has_it_recorded(
    in_process: InProcessDoor, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slug = await in_process.stream("recorded")
    backend = get_backend()
    append, is_held, goes_on = backend.append, asyncio.Event(), asyncio.Event()

    async def append_later(*args: Any) -> Any:
        is_held.set()
        await goes_on.wait()
        return await append(*args)

    async with feeding(slug) as program:
        await program.append(cut(HEADER + KEY, 65536))
        monkeypatch.setattr(backend, "append", append_later)
        last = asyncio.ensure_future(program.append([Draft(Kind.BINARY, KEY, int(Mark.ENTRY))]))
        await is_held.wait()
        asyncio.get_running_loop().call_later(0.1, goes_on.set)
    await last
    (recording,) = await ended(slug)
    assert content(recording) == HEADER + KEY * 2


async def test_a_header_alone_makes_no_file(in_process: InProcessDoor, directory: Path) -> None:
    slug = await in_process.stream("recorded")
    streamer = await in_process.streamer(slug)
    await streamer.send(HEADER + cluster(block()))
    await streamer.accepted(1)
    await streamer.close()
    assert await Recording.objects.acount() == 0
    assert not files_in(directory)


async def test_who_records_is_no_listener(in_process: InProcessDoor, directory: Path) -> None:
    slug = await in_process.stream("recorded")
    streamer = await in_process.streamer(slug)
    await streamer.send(HEADER + KEY)
    await streamer.accepted(1)
    assert await in_process.listeners(slug) == 0
    await in_process.listener(slug)
    await streamer.until("listeners", count=1)
    await streamer.close()
    await ended(slug)


# -- disks ---------------------------------------------------------------------------------------


class SlowDisk:
    """Takes nothing before it is let."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free = threading.Event()
        self.asked = threading.Event()
        write = RecordingFile.write

        def slowly(file: RecordingFile, segments: Any) -> None:
            self.asked.set()
            assert self.free.wait(20)
            write(file, segments)

        monkeypatch.setattr(RecordingFile, "write", slowly)

    async def is_asked(self) -> bool:
        return self.asked.is_set()


async def test_a_slow_disk_costs_whole_segments_and_nobody_waits_for_it(
    in_process: InProcessDoor,
    directory: Path,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings.BROADCAST_RECORDING_QUEUE_BYTES = 10_000
    disk = SlowDisk(monkeypatch)
    slug = await in_process.stream("recorded")
    listener = await in_process.listener(slug)
    streamer = await in_process.streamer(slug)
    large = block(content=bytes(3000))
    first = cluster(block(key=True)) + large
    await streamer.send(HEADER + first)
    await eventually(disk.is_asked)
    # Of the first segment a part is with the disk already; the second never gets there.
    lost = [large] * 4 + [cluster(block(key=True)), large, large, large]
    for part in lost:
        await streamer.send(part)
    await streamer.accepted(1 + len(lost))
    heard = b"".join(payload for _, payload in await hear_bytes(listener, 10))
    assert heard == HEADER + first + b"".join(lost)
    disk.free.set()
    await until_written(slug)
    await streamer.send(KEY * 2)
    await streamer.accepted(2 + len(lost))
    await streamer.close()
    (recording,) = await ended(slug)
    assert content(recording).startswith(HEADER + b"\x1f\x43\xb6\x75")
    assert content(recording).endswith(KEY * 2)
    assert large not in content(recording)
    said = [one.getMessage() for one in caplog.records if "leaves out" in one.getMessage()]
    assert said == [f"The recording of {slug!r} leaves out a segment: the disk is slow"]


async def hear_bytes(listener: Socket, count: int) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    while len(found) < count:
        said = await listener.told()
        if isinstance(said[0], int):
            found.append((said[0], said[1]))
    return found


def recorder_of(slug: str) -> Any:
    """Who records the stream in this process."""
    (turn,) = get_relay().topics[slug].streamers.here.values()
    assert isinstance(turn, Turn)
    return turn.recorder


async def until_written(slug: str) -> None:
    """Until nothing waits for the disk."""
    recorder = recorder_of(slug)

    async def is_written() -> bool:
        return not recorder.backlog.size

    await eventually(is_written)


async def test_a_full_disk_ends_a_recording_and_nothing_else(
    in_process: InProcessDoor,
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    write = RecordingFile.write

    def fail_later(file: RecordingFile, segments: Any) -> None:
        if file.size:
            raise OSError(28, "No space left on device")
        write(file, segments)

    monkeypatch.setattr(RecordingFile, "write", fail_later)
    slug = await in_process.stream("recorded")
    listener = await in_process.listener(slug)
    streamer = await in_process.streamer(slug)
    await streamer.send(HEADER + KEY)
    await hear_bytes(listener, 2)
    for _ in range(3):
        await streamer.send(KEY)
        await hear_bytes(listener, 1)
    (recording,) = await ended(slug)
    assert content(recording).startswith(HEADER)
    await streamer.close()
    said = [one.getMessage() for one in caplog.records if one.name == "broadcast.ingest.recorder"]
    assert said == [f"The recording of {slug!r} stops: [Errno 28] No space left on device"]


class SmallDisk:
    """A file on a disk that is full after so many bytes: of the last write it takes a part."""

    def __init__(self, file: Any, size: int) -> None:
        self.file, self.left = file, size

    def write(self, data: memoryview) -> int:
        if not self.left:
            raise OSError(28, "No space left on device")
        written: int = self.file.write(data[: self.left])
        self.left -= written
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


async def test_of_what_a_full_disk_took_a_part_of_nothing_stays(
    in_process: InProcessDoor, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = RecordingFile.__init__

    def begin_on_a_small_disk(file: RecordingFile, path: Path) -> None:
        begin(file, path)
        file.file = SmallDisk(file.file, len(HEADER + KEY) + len(KEY) // 2)  # type: ignore[assignment]

    monkeypatch.setattr(RecordingFile, "__init__", begin_on_a_small_disk)
    assert await record(in_process, HEADER + KEY, KEY, KEY) == HEADER + KEY


async def test_a_recording_ends_when_it_has_its_bytes(
    in_process: InProcessDoor, directory: Path, settings: Settings
) -> None:
    settings.BROADCAST_MAX_RECORDING_BYTES = len(HEADER + KEY) + 1
    found = await record(in_process, HEADER + KEY, KEY, KEY)
    assert found in (HEADER + KEY * 2, HEADER + KEY * 3)


QUOTAS = ("BROADCAST_MAX_RECORDINGS_BYTES", "BROADCAST_MAX_STREAM_RECORDINGS_BYTES")


@pytest.mark.parametrize("quota", QUOTAS)
async def test_a_recording_ends_at_the_quota_and_no_other_begins_until_one_is_deleted(
    in_process: InProcessDoor,
    directory: Path,
    settings: Settings,
    quota: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    film = HEADER + KEY
    setattr(settings, quota, len(film))
    slug = await in_process.stream("recorded")
    recorded = await record_on(in_process, slug, film, KEY, KEY)
    assert recorded in (film + KEY, film + 2 * KEY)
    first = await Recording.objects.aget()
    assert (first.state, first.size > len(film)) == (Recording.State.ENDED, True)
    await record_on(in_process, slug, film, KEY)
    assert await Recording.objects.aget() == first
    said = [one.message for one in caplog.records if "quota" in one.message]
    assert said == [
        f"The recording of {slug!r} ends: the quota is full",
        f"{slug!r} is not recorded: the quota is full",
    ]
    await first.adelete()
    assert await record_on(in_process, slug, film) == film


async def test_the_quota_of_one_stream_is_no_other_one_s(
    in_process: InProcessDoor, directory: Path, settings: Settings
) -> None:
    settings.BROADCAST_MAX_STREAM_RECORDINGS_BYTES = len(HEADER + KEY)
    one, other = [await in_process.stream("recorded") for _ in range(2)]
    await record_on(in_process, one, HEADER + KEY, KEY)
    assert await record_on(in_process, other, HEADER + KEY) == HEADER + KEY


def test_the_admin_shows_how_much_of_the_quota_is_used(
    admin_client: Client, settings: Settings
) -> None:
    stream = Stream.objects.create(slug="s", kind=Stream.Kind.MEDIA)
    for number, size in enumerate((1024, 2048)):
        Recording.objects.create(
            stream=stream, name=f"s/{number}.webm", started_at=timezone.now(), size=size
        )
    for most, shown in ((4096, "3.0\xa0KB of 4.0\xa0KB used"), (None, "3.0\xa0KB used")):
        settings.BROADCAST_MAX_RECORDINGS_BYTES = most
        assert shown in admin_client.get("/admin/broadcast/recording/").content.decode()


async def test_a_recording_says_on_the_way_how_large_it_is(
    in_process: InProcessDoor,
    directory: Path,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So that others which run beside it count it, too."""
    monkeypatch.setattr(recorder, "COUNT_BYTES", 1)
    spaces: list[int] = []
    space = Recording.objects.get_queryset().__class__.space

    def told(rows: Any, stream: Any) -> int | None:
        spaces.append(Recording.objects.bytes())
        return space(rows, stream)

    monkeypatch.setattr(Recording.objects.get_queryset().__class__, "space", told)
    await record(in_process, HEADER + KEY, KEY)
    assert spaces[-1] >= len(HEADER + KEY)


async def test_a_recording_goes_on_while_the_database_is_away_that_counts_it(
    in_process: InProcessDoor,
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(recorder, "COUNT_BYTES", 1)
    rows = Recording.objects.get_queryset().__class__
    space, calls = rows.space, itertools.count()

    def fail_later(of: Any, stream: Any) -> int | None:
        if next(calls):
            raise InterfaceError("connection already closed")
        return space(of, stream)

    monkeypatch.setattr(rows, "space", fail_later)
    assert await record(in_process, HEADER + KEY, KEY, KEY) == HEADER + KEY * 3
    assert "goes on uncounted" in caplog.text


async def test_a_storage_that_is_no_file_system_is_handed_the_file_at_the_end(
    in_process: InProcessDoor, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    memory = {"BACKEND": "django.core.files.storage.InMemoryStorage"}
    settings.STORAGES = {**settings.STORAGES, "recordings": memory}
    assert await record(in_process, HEADER + KEY, KEY) == HEADER + KEY * 2
    assert not files_in(tmp_path)


class CloudError(Exception):
    """As libraries of clouds have them: no OSError."""


class Cloud(InMemoryStorage):
    """Takes no small files, and says so in a way of its own."""

    def _save(self, name: str, content: Any) -> str:
        if content.size <= len(HEADER + KEY):
            raise CloudError("slow down")
        saved: str = super()._save(name, content)
        return saved


@pytest.fixture
def cloud(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recordings are kept in a `Cloud`."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    backend = {"BACKEND": "tests.ingest.test_recordings.Cloud"}
    settings.STORAGES = {**settings.STORAGES, "recordings": backend}


async def test_a_storage_that_fails_in_its_own_way_costs_one_recording(
    in_process: InProcessDoor, cloud: None, caplog: pytest.LogCaptureFixture
) -> None:
    slug = await in_process.stream("recorded")
    streamer = await in_process.streamer(slug)
    await streamer.send(HEADER + KEY)
    await streamer.tell("reset")
    await streamer.send(HEADER + KEY * 2)
    await streamer.accepted(2)
    await streamer.close()
    (recording,) = await ended(slug)
    assert content(recording) == HEADER + KEY * 2
    refused = await Recording.objects.aget(state=Recording.State.RUNNING)
    assert local_path(refused.name).read_bytes() == HEADER + KEY
    assert [
        one.getMessage() for one in caplog.records if one.name == "broadcast.ingest.recorder"
    ] == [f"The recording of {slug!r} could not be ended: CloudError('slow down')"]


def test_what_a_storage_does_not_take_keeps_no_other_from_being_ended(
    db: None, cloud: None, caplog: pytest.LogCaptureFixture
) -> None:
    stream = Stream.objects.create(slug="s", kind=Stream.Kind.MEDIA, record=True)
    for name in ("s/old.webm", "s/small.webm", "s/new.webm"):
        Recording.objects.create(stream=stream, name=name, started_at=timezone.now())
        file = RecordingFile(local_path(name))
        file._write(HEADER + KEY * (1 if "small" in name else 2))
        file.close()
    assert Recording.objects.end_lost() == 2
    refused = Recording.objects.get(state=Recording.State.RUNNING)
    assert refused.name == "s/small.webm"
    assert [one.getMessage() for one in caplog.records] == [
        f"The recording {refused.pk} could not be ended: CloudError('slow down')"
    ]


async def test_without_a_storage_nothing_is_recorded_and_it_is_said(
    in_process: InProcessDoor, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.BROADCAST_RECORDINGS_STORAGE = "nowhere"
    slug = await in_process.stream("recorded")
    streamer = await in_process.streamer(slug)
    await streamer.send(HEADER + KEY)
    await streamer.accepted(1)
    await streamer.close()
    assert await Recording.objects.acount() == 0
    assert [
        one.getMessage() for one in caplog.records if one.name == "broadcast.ingest.recorder"
    ] == [
        f"The recording of {slug!r} stops: "
        "Could not find config for 'nowhere' in settings.STORAGES."
    ]


# -- a server that is killed ---------------------------------------------------------------------


async def test_a_killed_server_leaves_a_file_that_plays_and_the_next_start_ends_it(
    tmp_path: Path,
) -> None:
    data = film("live")
    drafts = cut(data)
    (tmp_path / "db.sqlite3").write_bytes(prepared_database())
    process = ServerProcess("broadcast", tmp_path)
    with killed_at_the_end(process):
        slug = process.unused_stream("recorded")
        streamer = await ServerDoor(process).streamer(slug)
        await streamer.send(data[: len(data) - 700])
        await streamer.accepted(1)
        path = await written(tmp_path / "recordings" / slug, entries(drafts)[-1])
        # Nobody else ends what is being written.
        assert "Ended" not in process.manage("prune").stdout
        process.kill()
        await streamer.leave()
        found = path.read_bytes()
        assert data.startswith(found) and len(found) > entries(drafts)[-1]
        # All the pictures and sounds that were in it are to be had.
        assert len(frames_of(found)) > 0.9 * len(frames_of(data)) * len(found) / len(data)
        process.start()
        assert recordings_on(process, slug) == [found]


@contextmanager
def killed_at_the_end(process: ServerProcess) -> Iterator[None]:
    process.start()
    try:
        yield
    finally:
        process.kill()


async def written(directory: Path, size: int) -> Path:
    """The file in the directory, when it has so many bytes."""

    async def is_there() -> bool:
        return any(path.stat().st_size > size for path in files_in(directory))

    await eventually(is_there)
    (path,) = files_in(directory)
    return path


def test_prune_ends_what_nobody_writes_and_leaves_what_somebody_does(
    db: None, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = Stream.objects.create(slug="s", kind=Stream.Kind.MEDIA, record=True)
    names = ("s/lost.webm", "s/running.webm", "s/elsewhere.webm")
    for name in names:
        Recording.objects.create(stream=stream, name=name, started_at=timezone.now())
    lost, running = (RecordingFile(local_path(name)) for name in names[:2])
    lost._write(b"what is there")
    lost.close()
    call_command("prune")
    assert "Ended 1 recordings" in capsys.readouterr().out
    assert {one.name: (one.state, one.size) for one in Recording.objects.all()} == {
        "s/lost.webm": ("ended", 13),
        "s/running.webm": ("running", 0),
        # A file of another machine.
        "s/elsewhere.webm": ("running", 0),
    }
    running.close()


def test_prune_gives_up_what_a_machine_wrote_that_went_away(
    db: None,
    directory: Path,
    settings: Settings,
    redis_url: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings.BROADCAST_REDIS_URLS = [redis_url]
    settings.BROADCAST_BACKEND = "broadcast.backends.redis.RedisBackend"
    now, long_ago = timezone.now(), timezone.now() - timedelta(days=2)
    names = {"gone": long_ago, "live": long_ago, "new": now, "here": long_ago}
    for slug, started in names.items():
        stream = Stream.objects.create(slug=slug, kind=Stream.Kind.MEDIA, record=True)
        Recording.objects.create(stream=stream, name=f"{slug}/a.webm", started_at=started)
    file = RecordingFile(local_path("here/a.webm"))
    async_to_sync(get_backend().enter)("live", new_streamer(now.timestamp()))
    call_command("prune")
    assert "Gave up 1 recordings" in capsys.readouterr().out
    (gone,) = Recording.objects.given_up()
    assert gone.stream.slug == "gone"
    assert not Recording.objects.ended()
    file.close()
    # Its machine comes back.
    back = RecordingFile(local_path("gone/a.webm"))
    back._write(b"what is there")
    back.close()
    assert Recording.objects.filter(pk=gone.pk).end_lost() == 1
    assert Recording.objects.ended().get(pk=gone.pk).size == 13


async def test_a_streamer_whose_stream_is_deleted_is_sent_away_and_leaves_no_file(
    in_process: InProcessDoor, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    slug = await in_process.stream("recorded")
    streamer = await in_process.streamer(slug)
    await streamer.send(HEADER + KEY)
    await streamer.accepted(1)
    await until_written(slug)
    assert files_in(directory)
    await (await Stream.objects.aget(slug=slug)).adelete()
    assert await streamer.closed() == 4504

    async def is_gone() -> bool:
        return not files_in(directory)

    await eventually(is_gone)
    assert not [one for one in caplog.records if one.name == "broadcast.ingest.recorder"]


def test_of_a_recording_that_was_deleted_with_its_stream_no_file_stays(
    db: None, directory: Path, django_capture_on_commit_callbacks: Any
) -> None:
    stream = Stream.objects.create(slug="s", kind=Stream.Kind.MEDIA, record=True)
    now = timezone.now()
    names = ["s/here.webm", "s/elsewhere.webm"]
    rows = [Recording.objects.create(stream=stream, name=one, started_at=now) for one in names]
    files = [RecordingFile(local_path(one.name)) for one in rows]
    elsewhere = files[1].path.rename(directory / "elsewhere.webm")
    with django_capture_on_commit_callbacks(execute=True):
        stream.delete()
    elsewhere.rename(files[1].path)
    for row, file in zip(rows, files, strict=True):
        file._write(b"what came later")
        row.end(now)
        file.close()
    assert not files_in(directory)
    assert not Recording.objects.exists()


@pytest.mark.parametrize("whose", ["anybody's", "a link"])
def test_nothing_is_written_where_somebody_else_can_get_at_it(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    memory = {"BACKEND": "django.core.files.storage.InMemoryStorage"}
    settings.STORAGES = {**settings.STORAGES, "recordings": memory}
    path = local_path("s/x.webm").parent.parent
    assert (path.stat().st_mode & 0o777, path.parent) == (0o700, tmp_path)
    path.rmdir()
    if whose == "a link":
        path.symlink_to(tmp_path)
    else:
        path.mkdir()
        path.chmod(0o777)
    with pytest.raises(PermissionError, match="not a directory of this user's alone"):
        RecordingFile(local_path("s/x.webm"))
    assert not files_in(tmp_path)


# -- who may have it -----------------------------------------------------------------------------


@pytest.fixture
def recording(db: None, directory: Path) -> Recording:
    """An ended recording of a public stream: 1000 bytes."""
    stream = Stream.objects.create(slug="cam", title="Cam", kind=Stream.Kind.MEDIA, record=True)
    now = timezone.now()
    made = Recording(stream=stream, name="cam/x.webm", started_at=now, content_type="video/webm")
    made.save()
    file = RecordingFile(local_path(made.name))
    file._write(bytes(range(250)) * 4)
    made.end(now)
    file.close()
    return made


async def get(recording: Recording, query: str = "", method: str = "GET", **headers: str) -> Any:
    return await AsyncClient().generic(
        method, recording.get_absolute_url() + query, headers=headers
    )


async def body(response: Any) -> bytes:
    return b"".join([piece async for piece in response.streaming_content])


async def test_a_recording_is_served_as_what_it_is(recording: Recording) -> None:
    response = await get(recording)
    assert response.status_code == 200
    # It may become private.
    assert response.headers["Cache-Control"] == "private, no-cache"
    assert await body(response) == bytes(range(250)) * 4
    assert response.headers["Content-Type"] == "video/webm"
    assert response.headers["Content-Length"] == "1000"
    assert response.headers["Accept-Ranges"] == "bytes"
    assert response.headers["Content-Disposition"].startswith('inline; filename="cam-')
    assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("asked", "expected"),
    {
        "bytes=0-": (0, 1000),
        "bytes=10-19": (10, 20),
        "bytes=990-5000": (990, 1000),
        "bytes=-10": (990, 1000),
        "bytes=-5000": (0, 1000),
        "bytes=999-999": (999, 1000),
    }.items(),
)
async def test_a_part_of_it_is_had(
    recording: Recording, asked: str, expected: tuple[int, int]
) -> None:
    response = await get(recording, Range=asked)
    start, end = expected
    assert response.status_code == 206
    assert response.headers["Content-Range"] == f"bytes {start}-{end - 1}/1000"
    assert await body(response) == (bytes(range(250)) * 4)[start:end]


@pytest.mark.parametrize("asked", ["bytes=1000-", "bytes=5000-6000", "bytes=-0"])
async def test_a_part_behind_the_end_is_416(recording: Recording, asked: str) -> None:
    response = await get(recording, Range=asked)
    assert response.status_code == 416
    assert response.headers["Content-Range"] == "bytes */1000"


@pytest.mark.parametrize(
    "asked", ["", "bytes", "bytes=", "bytes=-", "bytes=5-2", "lines=1-2", "bytes=1-2,4-5"]
)
def test_what_is_no_range_is_not_looked_at(asked: str) -> None:
    assert asked_range(asked, 1000) is None


async def test_a_part_of_another_file_is_not_had(recording: Recording) -> None:
    tag = recording.entity_tag
    assert tag
    date = "Sat, 21 Nov 2026 22:00:00 GMT"
    for if_range, status in ((tag, 206), ('"other"', 200), (f"W/{tag}", 200), (date, 200)):
        response = await get(recording, **{"Range": "bytes=10-19", "If-Range": if_range})
        assert (response.status_code, response.headers["ETag"]) == (status, tag), if_range
        assert len(await body(response)) == (10 if status == 206 else 1000)
    # Nor is it an error that the part is behind the end.
    response = await get(recording, **{"Range": "bytes=5000-", "If-Range": '"other"'})
    assert (response.status_code, len(await body(response))) == (200, 1000)
    await Recording.objects.filter(pk=recording.pk).aupdate(ended_at=timezone.now())
    response = await get(recording, **{"Range": "bytes=10-19", "If-Range": tag})
    assert (response.status_code, response.headers["ETag"] == tag) == (200, False)
    assert len(await body(response)) == 1000


async def test_what_still_grows_has_no_tag(recording: Recording) -> None:
    running = Recording.State.RUNNING
    await Recording.objects.filter(pk=recording.pk).aupdate(state=running, ended_at=None)
    for if_range, status in (({}, 206), ({"If-Range": ""}, 200), ({"If-Range": "None"}, 200)):
        response = await get(recording, Range="bytes=10-19", **if_range)
        assert (response.status_code, response.headers.get("ETag")) == (status, None)
        assert len(await body(response)) == (10 if status == 206 else 1000)


async def test_a_head_has_no_body(recording: Recording) -> None:
    response = await get(recording, method="HEAD", Range="bytes=0-9")
    assert (response.status_code, response.content) == (206, b"")
    assert response.headers["Content-Length"] == "10"
    assert (await get(recording, method="POST")).status_code == 405


async def test_what_is_private_is_for_those_who_may_listen(recording: Recording) -> None:
    stream = recording.stream
    stream.visibility = Stream.Visibility.PRIVATE
    await stream.asave()
    response = await get(recording)
    assert response.status_code == 302 and response.url.startswith("/admin/login/")
    response = await get(recording, f"?token={stream.make_token('publish')}")
    assert response.status_code == 403
    response = await get(recording, f"?token={stream.make_token('listen')}")
    assert response.status_code == 200
    assert len(await body(response)) == 1000
    assert "no-store" in response.headers["Cache-Control"]
    assert response.headers["Referrer-Policy"] == "no-referrer"


async def test_a_recording_is_at_its_own_stream_alone(recording: Recording) -> None:
    await Stream.objects.acreate(slug="other")
    client = AsyncClient()
    assert (await client.get(f"/streams/other/recordings/{recording.pk}/")).status_code == 404
    assert (await client.get("/streams/cam/recordings/4711/")).status_code == 404


async def test_a_file_that_is_gone_is_404(recording: Recording) -> None:
    local_path(recording.name).unlink()
    assert (await get(recording)).status_code == 404


def test_nobody_else_on_the_machine_reads_the_file(recording: Recording) -> None:
    assert local_path(recording.name).stat().st_mode & 0o077 == 0


def test_the_page_of_the_stream_lists_what_has_ended(recording: Recording, client: Client) -> None:
    running = Recording.objects.create(
        stream=recording.stream, name="cam/y.webm", started_at=timezone.now()
    )
    page = client.get("/streams/cam/?token=abc").content.decode()
    assert f'href="{recording.get_absolute_url()}?token=abc"' in page
    assert running.get_absolute_url() not in page
    recording.stream.recordings.all().delete()
    assert "Recordings" not in client.get("/streams/cam/").content.decode()


# -- in the admin --------------------------------------------------------------------------------


def test_the_admin_lists_recordings_and_deletes_them_with_their_files(
    recording: Recording,
    admin_client: Client,
    django_capture_on_commit_callbacks: Any,
) -> None:
    page = admin_client.get("/admin/broadcast/recording/").content.decode()
    assert recording.get_absolute_url() in page and "1000" in page
    assert admin_client.get("/admin/broadcast/recording/add/").status_code == 403
    change = admin_client.get(f"/admin/broadcast/recording/{recording.pk}/change/")
    assert recording.name in change.content.decode()
    with django_capture_on_commit_callbacks(execute=True):
        admin_client.post(f"/admin/broadcast/recording/{recording.pk}/delete/", {"post": "yes"})
    assert not Recording.objects.exists()
    assert not local_path(recording.name).exists()


def test_the_admin_deletes_no_recording_that_is_running(
    recording: Recording, admin_client: Client, django_capture_on_commit_callbacks: Any
) -> None:
    running = Recording.objects.create(
        stream=recording.stream, name="cam/y.webm", started_at=timezone.now()
    )
    chosen = [recording.pk, running.pk]
    of_all = {"action": "delete_selected", "_selected_action": chosen, "post": "yes"}
    for path, said in (
        (f"/admin/broadcast/recording/{running.pk}/delete/", {"post": "yes"}),
        ("/admin/broadcast/recording/", of_all),
    ):
        page = admin_client.post(path, said).content.decode()
        assert f"{running} is being recorded: it can be deleted when it has ended" in page
    assert Recording.objects.count() == 2
    running.state = Recording.State.ENDED
    running.save()
    with django_capture_on_commit_callbacks(execute=True):
        admin_client.post("/admin/broadcast/recording/", of_all)
    assert not Recording.objects.exists()


def test_files_go_with_their_stream(
    recording: Recording, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        recording.stream.delete()
    assert not local_path(recording.name).exists()


def test_only_media_streams_are_recorded(db: None) -> None:
    Stream(slug="a", kind=Stream.Kind.MEDIA, record=True).full_clean(exclude=["title", "owner"])
    with pytest.raises(ValidationError, match="Only streams of kind media are recorded"):
        Stream(slug="b", record=True).full_clean(exclude=["title", "owner"])
