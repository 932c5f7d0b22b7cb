"""What a flood of what costs its sender nothing does to others: they wait a little, at most.

A delay is measured by the time for which the server has a processor meanwhile: that is what one has
to wait where the server has a core for itself, and does not depend on what else the machine does.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.rig.doors import ServerDoor, door_of
from tests.rig.launcher import ROOT
from tests.rig.processes import ServerProcess
from tests.rig.raw import PING, TEXT, RawSocket, frame

#: Publications whose delays are measured, and seconds between two of them.
COUNT, PAUSE = 100, 0.005
#: Seconds for the slowest hundredth, by the number of sockets that flood, and for a request.
LIMITS = {1: 0.05, 10: 0.15}
REQUEST = 1.0
GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Delays(NamedTuple):
    """In seconds: the slowest hundredth of publications, and the slowest request."""

    publication: float
    request: float

    def __str__(self) -> str:
        return f"{1000 * self.publication:.1f} ms, {1000 * self.request:.0f} ms for a request"


class Bystander:
    """A stream of its own, and a connection for requests."""

    def __init__(
        self, pid: int, listener: RawSocket, streamer: RawSocket, client: RawSocket
    ) -> None:
        self.listener, self.streamer, self.client = listener, streamer, client
        self.schedule = Path(f"/proc/{pid}/schedstat")

    def now(self) -> float:
        """Seconds for which the server had a processor."""
        return int(self.schedule.read_text().split()[0]) / 1e9

    async def delays(self) -> Delays:
        now = self.now
        found, requests = [], []
        for number in range(COUNT):
            payload, began = b"%d" % number, now()
            await self.streamer.send(frame(TEXT, payload))
            while (heard := await self.listener.frame())[0] == PING:
                pass
            assert heard == (TEXT, payload)
            found.append(now() - began)
            if number % 20 == 0:
                began = now()
                await self.client.send(GET)
                assert (await self.client.answer())[0] == 200
                requests.append(now() - began)
            await asyncio.sleep(PAUSE)
        return Delays(sorted(found)[COUNT * 99 // 100 - 1], max(requests))


@asynccontextmanager
async def bystander(door: ServerDoor) -> AsyncIterator[Bystander]:
    slug = await door.stream()
    async with door.raw() as listener, door.raw() as streamer, door.raw() as client:
        await listener.open(f"/ws/listener/{slug}/")
        await door.until_listeners(slug, 1)
        await streamer.open(f"/ws/streamer/{slug}/")
        yield Bystander(door.process.process.pid, listener, streamer, client)


@asynccontextmanager
async def flood(kind: str, door: ServerDoor, number: int) -> AsyncIterator[None]:
    """So many sockets flood meanwhile, each a stream of its own."""
    pool = "media" if "media" in kind else "free"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.rig.flooding"),
        *(kind, str(door.process.port)),
        *[await door.stream(pool) for _ in range(number)],
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdin and process.stdout
    try:
        assert await process.stdout.readline() == b"begins\n"
        yield
        process.stdin.close()
        assert int(await process.stdout.readline()) >= number
    finally:
        process.kill()
        await process.wait()


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server of this module's own: others need not wait for what a flood leaves."""
    with ServerProcess("broadcast", tmp_path_factory.mktemp("floods")) as process:
        yield process


@pytest.fixture
def door(process: ServerProcess) -> Iterator[ServerDoor]:
    yield from door_of(process)


@pytest.mark.parametrize("number", LIMITS)
@pytest.mark.parametrize("kind", ["pings", "fragments", "media", "small media"])
async def test_others_wait_only_a_little_while_somebody_floods(
    door: ServerDoor, kind: str, number: int
) -> None:
    async with bystander(door) as one:
        quiet = await one.delays()
        async with flood(kind, door, number):
            delays = await one.delays()
        # What is seen of it with `pytest -s`.
        print(f"{number} × {kind}: {quiet} before, {delays} meanwhile")
    assert delays.publication - quiet.publication < LIMITS[number]
    assert delays.request < REQUEST
