"""Clients that come back, as the close codes ask them to, and hold the servers to their promise.

A `ResumingListener` comes back with its position, a `CountedStreamer` with its run. Each is a
context manager: it has come in when the block begins, and goes when it ends. What is wrong with
anything it is told ends it, and fails the test that waits for it next.
"""

import asyncio
import itertools
import json
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Self

from websockets.exceptions import InvalidHandshake

from tests.rig.doors import V1, Closed, Frame, ServerDoor, ServerSocket, Socket

#: Seconds within which what is waited for must be so, a fault's end and a busy machine included.
PATIENCE = 40.0
#: Seconds before a client tries the next door.
PAUSE = 0.1
#: What a connection that was lost or could not be made is closed with.
LOST = 1006


class Client:
    """A socket of `broadcast.v1` that comes back, at one of `doors` after the other."""

    def __init__(self, doors: Sequence[ServerDoor], slug: str) -> None:
        self.doors = itertools.cycle(doors)
        self.slug = slug
        #: What its sockets were closed with.
        self.codes: list[int] = []
        #: What it was told that went wrong.
        self.errors: list[str] = []
        #: The first events of its sockets: `joined` or `ready`.
        self.firsts: list[dict[str, Any]] = []

    def path(self) -> str:
        """Where it goes next."""
        raise NotImplementedError

    async def hear(self, socket: Socket, frame: Frame) -> None:
        """A frame came."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        self.task = asyncio.create_task(self._stay())
        await self.until(lambda: bool(self.firsts))
        return self

    async def __aexit__(self, *error: object) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])
        if not self.task.cancelled():
            self.task.result()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds, for as long as it comes back."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not condition():
                    if self.task.done():
                        self.task.result()
                        raise AssertionError(f"it does not come back: {self}")
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"waited in vain: {self}") from None

    async def _stay(self) -> None:
        for door in self.doors:
            self.codes.append(await self._visit(door))
            if self.codes[-1] != LOST and not 4000 <= self.codes[-1] < 4500:
                return
            await asyncio.sleep(PAUSE)

    async def _visit(self, door: ServerDoor) -> int:
        """Stay until the socket is closed; answers with what."""
        try:
            socket = await door.connect(self.path(), V1)
        except (OSError, InvalidHandshake):
            return LOST
        try:
            while True:
                with suppress(TimeoutError):  # Nothing came for a while.
                    await self.hear(socket, await socket.receive())
        except Closed as closed:
            return closed.code
        finally:
            await self.left()
            await socket.leave()

    async def left(self) -> None:
        """Its socket is gone."""


class ResumingListener(Client):
    """A listener that comes back with its position.

    It takes only what the interface promises: offsets one after the other, or a `skipped` that
    names what is missing; a recovered start at its position; a history that never goes back.
    """

    def __init__(self, doors: Sequence[ServerDoor], slug: str) -> None:
        super().__init__(doors, slug)
        self.epoch = ""
        self.offset = 0
        #: What was heard of each epoch, in the order of both.
        self.heard: dict[str, list[Any]] = {}
        #: What it was told will not come: epoch, first and last offset.
        self.skipped: list[tuple[str, int, int]] = []
        self.live = False

    def __str__(self) -> str:
        heard = {epoch: (len(data), data[-1:]) for epoch, data in self.heard.items()}
        return f"at {self.epoch}:{self.offset}, {self.codes=}, {self.errors=}, {heard=}"

    @property
    def everything(self) -> list[Any]:
        """All that it heard, through all epochs."""
        return list(itertools.chain.from_iterable(self.heard.values()))

    @property
    def newest(self) -> Any:
        """The last that it heard of the epoch it is in; -1: nothing yet."""
        return self.heard[self.epoch][-1] if self.heard[self.epoch] else -1

    async def until_heard(self, data: Any) -> None:
        """Until `data` is the newest that it heard."""
        await self.until(lambda: self.newest == data)

    async def until_past(self, number: int) -> None:
        """Until it heard so high a number, where numbers flow."""
        await self.until(lambda: self.newest >= number)

    def path(self) -> str:
        query = f"?epoch={self.epoch}&since={self.offset}" if self.epoch else ""
        return f"/ws/listener/{self.slug}/{query}"

    async def hear(self, socket: Socket, frame: Frame) -> None:
        if isinstance(frame, bytes):
            self._take(int.from_bytes(frame[:8], "big"), frame[8:])
            return
        said = json.loads(frame)
        match said["event"]:
            case "publication":
                self._take(said["offset"], said["data"])
            case "joined":
                self._join(said)
            case "skipped":
                assert self.offset + 1 == said["from"] <= said["to"], f"{said} {self}"
                self.skipped.append((self.epoch, said["from"], said["to"]))
                self.offset = said["to"]
            case "live" | "idle":
                self.live = said["event"] == "live"
            case "error":
                self.errors.append(said["message"])
            case other:
                assert other == "shutdown", said

    def _take(self, offset: int, data: Any) -> None:
        assert offset == self.offset + 1, f"{offset} came: {self}"
        self.offset = offset
        self.heard[self.epoch].append(data)

    def _join(self, said: dict[str, Any]) -> None:
        epoch, offset = said["epoch"], said["offset"]
        if said["recovered"]:
            assert (epoch, offset) == (self.epoch, self.offset), f"{said} {self}"
        elif epoch == self.epoch:
            assert offset > self.offset, f"what is there was not recovered: {said} {self}"
        else:
            assert epoch not in self.heard, f"an old epoch is back: {said} {self}"
        self.epoch, self.offset = epoch, offset
        self.heard.setdefault(epoch, [])
        self.live = said["live"]
        self.firsts.append(said)


class CountedStreamer(Client):
    """A streamer with a run, that comes back and sends again what is not in.

    Where the server knows fewer than it had accepted, history was lost. What was lost with it stays
    lost: the streamer goes on with the rest.
    """

    def __init__(self, doors: Sequence[ServerDoor], slug: str) -> None:
        super().__init__(doors, slug)
        self.run = str(uuid.uuid4())
        #: All it was to publish, in order, and how many of them are known to be in.
        self.published: list[Any] = []
        self.accepted = 0
        #: How many listeners it was last told of.
        self.listeners = 0
        #: Where in `published` the run begins that the server counts.
        self.base = 0
        self._sent = 0
        self._more = asyncio.Event()
        self._sending: asyncio.Task[None] | None = None

    def __str__(self) -> str:
        state = f"{self.accepted} of {len(self.published)} are in"
        return f"{state}, {self.codes=}, {self.errors=}, {self.firsts[-1:]=}"

    def publish(self, data: Any) -> None:
        self.published.append(data)
        self._more.set()

    def path(self) -> str:
        return f"/ws/streamer/{self.slug}/?run={self.run}"

    async def hear(self, socket: Socket, frame: Frame) -> None:
        said = json.loads(frame)
        match said["event"]:
            case "ready":
                self.firsts.append(said)
                if self.base + said["accepted"] < self.accepted:
                    self.base = self.accepted - said["accepted"]
                self._note(said["accepted"])
                self._sending = asyncio.create_task(self._send(socket, self.accepted))
            case "accepted":
                self._note(said["accepted"])
            case "listeners":
                self.listeners = said["count"]
            case other:
                assert other == "error", said
                self.errors.append(said["message"])

    def _note(self, accepted: int) -> None:
        assert self.accepted <= self.base + accepted <= self._sent, f"{accepted} are in: {self}"
        self.accepted = self.base + accepted

    async def _send(self, socket: Socket, index: int) -> None:
        """Send everything from `index` on, and what is published meanwhile."""
        assert isinstance(socket, ServerSocket)
        try:
            while True:
                self._more.clear()
                for data in self.published[index:]:
                    index += 1
                    self._sent = max(self._sent, index)
                    await socket.publish(data)
                await self._more.wait()
        except (Closed, TimeoutError):
            socket.cut()

    async def left(self) -> None:
        if self._sending:
            self._sending.cancel()
            await asyncio.wait([self._sending])


class Flow:
    """Consecutive numbers on their way from one streamer to many listeners."""

    def __init__(self, streamer: CountedStreamer, listeners: list[ResumingListener]) -> None:
        self.streamer = streamer
        self.listeners = listeners

    async def publish(self, per_second: int) -> None:
        while True:
            for _ in range(per_second // 20):
                self.streamer.publish(len(self.streamer.published))
            await asyncio.sleep(0.05)

    async def goes_on(self, count: int = 50) -> None:
        """Until everybody has heard so many numbers more than are published by now."""
        number = len(self.streamer.published) + count
        for listener in self.listeners:
            await listener.until_past(number)

    async def stands_still(self) -> None:
        """Until the streamer was sent away, and may not come in again."""
        codes = len(self.streamer.codes)
        await self.streamer.until(lambda: len(self.streamer.codes) > codes)

    async def arrives(self) -> None:
        """Until everything is in, and everybody has heard the last of it."""
        await self.streamer.until(lambda: self.streamer.accepted == len(self.streamer.published))
        for listener in self.listeners:
            await listener.until_heard(self.streamer.published[-1])

    def assert_nothing_lost(self) -> None:
        """Everybody has heard everything, exactly once and in order."""
        for listener in self.listeners:
            assert listener.everything == self.streamer.published
            assert len(listener.heard) == 1, f"another epoch: {listener}"
            assert not listener.skipped
            assert all(joined["recovered"] for joined in listener.firsts[1:]), listener


@asynccontextmanager
async def flowing(
    doors: Sequence[ServerDoor], slug: str, listeners: int = 3, per_second: int = 500
) -> AsyncIterator[Flow]:
    """Numbers flow meanwhile, to listeners that begin at all the doors; at the end all arrive."""
    async with AsyncExitStack() as stack:
        come = []
        for number in range(listeners):
            turn = number % len(doors)
            listener = ResumingListener([*doors[turn:], *doors[:turn]], slug)
            come.append(await stack.enter_async_context(listener))
        streamer = await stack.enter_async_context(CountedStreamer(doors, slug))
        flow = Flow(streamer, come)
        publishing = asyncio.create_task(flow.publish(per_second))
        try:
            yield flow
        finally:
            publishing.cancel()
        await flow.arrives()


def assert_honest(flow: Flow, histories: int) -> None:
    """Everybody came into so many histories, and heard a part of each without a gap."""
    published = flow.streamer.published
    epochs = {tuple(listener.heard) for listener in flow.listeners}
    assert len(epochs) == 1, "not everybody was in the same histories, in the same order"
    assert len(epochs.pop()) == histories
    for listener in flow.listeners:
        assert not listener.skipped
        for heard in listener.heard.values():
            assert heard == published[heard[0] : heard[-1] + 1]
        assert listener.newest == published[-1]
