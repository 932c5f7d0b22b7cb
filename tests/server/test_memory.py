"""What our own server holds for clients that take nothing, or send faster than anybody takes."""

from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest

from tests.rig.doors import V1, ServerDoor, door_of, eventually
from tests.rig.floods import KIB, MIB, flood, never_reading
from tests.rig.processes import ServerProcess
from tests.rig.raw import BINARY, PING, TEXT, frame


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess("broadcast", tmp_path_factory.mktemp("memory")) as process:
        yield process


@pytest.fixture
def fresh_door(process: ServerProcess) -> Iterator[ServerDoor]:
    """A server that has started anew: it holds no memory that it once needed for something else."""
    process.stop()
    process.start()
    yield from door_of(process)


async def test_listeners_that_never_read_do_not_grow_the_server(fresh_door: ServerDoor) -> None:
    slug = await fresh_door.stream()
    listener = await fresh_door.listener(slug)
    streamer = await fresh_door.streamer(slug)
    await flood(streamer, listener, 1, 200)
    async with AsyncExitStack() as stack:
        for number in range(40):
            await never_reading(stack, fresh_door, slug, *((V1,) if number % 2 else ()))
        before = fresh_door.process.memory
        await flood(streamer, listener, 201, 1000)
        # Of 50 MiB that 40 listeners do not take, each holds a slice or two: 2 GiB otherwise.
        assert fresh_door.process.memory - before < 40 * 512 * KIB + 16 * MIB


async def test_a_streamer_that_never_reads_what_is_accepted_floods_without_harm(
    fresh_door: ServerDoor,
) -> None:
    slug = await fresh_door.stream()
    listener = await fresh_door.listener(slug)
    chunk, count = 20, 3000
    async with fresh_door.raw(receive_buffer=4096) as raw:
        await raw.open(f"/ws/streamer/{slug}/", V1)
        before = fresh_door.process.memory
        for start in range(1, chunk * count, chunk):
            small = (b"%d" % number for number in range(start, start + chunk - 1))
            frames = b"".join(frame(BINARY, data) for data in small)
            await raw.send(frames + frame(BINARY, bytes(16 * KIB)))
            assert await listener.told_many(chunk - 1) == [
                (number, b"%d" % number) for number in range(start, start + chunk - 1)
            ]
            assert await listener.told() == (start + chunk - 1, bytes(16 * KIB))
        # 48 MiB have passed through.
        assert fresh_door.process.memory - before < 24 * MIB


async def test_a_streamer_is_not_read_faster_than_it_is_published(fresh_door: ServerDoor) -> None:
    slug = await fresh_door.stream()
    async with fresh_door.raw() as raw:
        await raw.open(f"/ws/streamer/{slug}/")
        before = fresh_door.process.memory
        large = frame(BINARY, bytes(MIB))
        for _ in range(200):
            await raw.send(large)
        await raw.taken()
        assert fresh_door.process.memory - before < 48 * MIB
        await eventually(lambda: has_offset(fresh_door, slug, 200))


async def has_offset(door: ServerDoor, slug: str, offset: int) -> bool:
    return bool((await door.describe(slug))["position"]["offset"] == offset)


#: What is said, and how many thousand times: the answers are 12 MiB or more, of which the kernel
#: takes a few. The answer to nonsense is long, and takes longer: it is logged, too.
SPEECH = {
    "pings": (frame(PING, b"x" * 125), 200),
    "nonsense": (frame(TEXT, b"0"), 70),
}


@pytest.mark.parametrize(
    ("socket", "what"),
    [
        ("listener", "pings"),
        ("streamer", "pings"),
        ("streamer", "nonsense"),
    ],
)
async def test_who_asks_and_never_reads_the_answers_does_not_grow_the_server(
    fresh_door: ServerDoor, socket: str, what: str
) -> None:
    slug = await fresh_door.stream()
    async with fresh_door.raw(receive_buffer=4096) as raw:
        await raw.open(f"/ws/{socket}/{slug}/", V1)
        before = fresh_door.process.memory
        said, thousands = SPEECH[what]
        for _ in range(thousands):
            await raw.send(said * 1000)
        # The kernel holds most of it when the last is sent.
        await raw.taken(patience=90)
        assert fresh_door.process.memory - before < 6 * MIB
