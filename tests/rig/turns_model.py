"""A model of streamers in turn: made-up schedules over several processes, and what must hold then.

A `World` is one stream, one engine and one to three processes in one event loop, whose clock
stands still while anything can run. The code under test is the real one: consumers,
MessagePack-RPC, turns, publishing, relay, memory backend. Made up are the distances: each call of
the engine, each message of the channel layer and each message of a client takes a time of its own,
messages of the layer overtake each other and may be lost, and processes die.

What must hold is said in `broadcast.turns`; `World.check` looks for it in history and in what the
recorders were handed.
"""

import asyncio
import itertools
import json
import random
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import msgpack
import pytest
from channels.layers import channel_layers

from broadcast import backends
from broadcast.backends.memory import MemoryBackend
from broadcast.hub import appending, serving
from broadcast.hub.publishing import apublish
from broadcast.hub.relay import Relay
from broadcast.ingest.programs import Feeds
from broadcast.ingest.recorder import Recorder
from broadcast.loops import Rounds
from broadcast.models import Stream, rows
from broadcast.publications import Mark, Publication
from broadcast.rpc.server import Connection, Pace
from broadcast.streams.streamer import StreamerConsumer
from tests.rig.clock import ClockLoop
from tests.rig.films import VOID, block, cluster, element, webm

#: The process that the running task belongs to.
PROCESS: ContextVar["Process"] = ContextVar("PROCESS")
#: Modules that ask for the relay of their process.
ASKING = ("ingest.turns", "ingest.programs", "hub.joining", "streams.streamer", "access.guard")
#: How far apart things are, in seconds: clients and servers, servers and engine.
FAR, NEAR = 0.02, 0.01
#: How many messages of the layer are lost.
LOST = 0.03

Frame = str | bytes


class Process:
    """One server process: its relay, and its tasks."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.relay: Relay | None = None
        self.rounds: Rounds[str, Any] = Rounds(appending._append_all)
        self.dead = False
        #: What it says to the engine takes its turn.
        self.saying = asyncio.Lock()
        self.pace = Pace()
        self.tasks: set[asyncio.Task[Any]] = set()

    def run(self, work: Callable[[], Awaitable[Any]]) -> asyncio.Task[Any]:
        async def running() -> None:
            PROCESS.set(self)
            try:
                await work()
            except Exception as error:
                self.world.faults.append(error)

        task = asyncio.ensure_future(running())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def die(self) -> None:
        """As a process that is killed: nothing of it goes on, and nothing is cleaned up."""
        self.dead = True


def get_relay() -> Relay:
    process = PROCESS.get()
    if process.relay is None:
        process.relay = Relay()
    return process.relay


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


class Engine:
    """A backend that is far away: each call takes time before and after it is carried out."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.backend = MemoryBackend()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.backend, name)
        if not asyncio.iscoroutinefunction(found):
            return found

        async def far_away(*args: Any) -> Any:
            # What a process says arrives in its order.
            async with PROCESS.get().saying:
                await self.pass_by()
                answer = await found(*args)
            await self.pass_by()
            return answer

        return far_away

    async def pass_by(self) -> None:
        await asyncio.sleep(self.world.time(NEAR))
        if PROCESS.get().dead:
            await forever()


class Layer:
    """A channel layer whose messages take their time, overtake each other, and may be lost."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.channels: dict[str, asyncio.Queue[Any]] = {}
        self.groups: dict[str, set[str]] = {}

    async def new_channel(self, prefix: str) -> str:
        name = f"{prefix}.{len(self.channels)}"
        self.channels[name] = asyncio.Queue()
        return name

    async def group_add(self, group: str, channel: str) -> None:
        await asyncio.sleep(self.world.time(NEAR))
        self.groups.setdefault(group, set()).add(channel)

    async def group_discard(self, group: str, channel: str) -> None:
        self.groups.get(group, set()).discard(channel)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        if PROCESS.get().dead:
            await forever()
        await asyncio.sleep(self.world.time(NEAR))
        for channel in sorted(self.groups.get(group, ())):
            await self.send(channel, message)

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        if self.world.random.random() >= LOST:
            loop = asyncio.get_running_loop()
            loop.call_later(self.world.time(NEAR), self.channels[channel].put_nowait, message)

    async def receive(self, channel: str) -> dict[str, Any]:
        message: dict[str, Any] = await self.channels[channel].get()
        return message


class Line:
    """What a client sends arrives in its order, some time later."""

    def __init__(self, world: "World", arrive: Callable[[Any], None]) -> None:
        self.world = world
        self.arrive = arrive
        self.last = 0.0

    def send(self, message: Any) -> None:
        loop = asyncio.get_running_loop()
        # Timers of the same time have no order.
        self.last = max(self.last + 1e-6, loop.time() + self.world.time(FAR))
        loop.call_at(self.last, self.arrive, message)


class Client:
    """Somebody who feeds the stream: opens, sends, and ends in some way."""

    #: Whether it feeds the stream, and so has to wait for those before it.
    takes_turns = True
    #: Whether its close is answered before all it sent is handled, as other servers than ours do.
    early = False

    def __init__(self, world: "World", number: int) -> None:
        self.world = world
        self.number = number
        self.process = world.processes[0]
        self.came = False
        # A header alone is nothing.
        counts = (0, 2, 3, 4, 5) if world.is_media else (0, 1, 2, 5)
        self.frames = [self.frame(n) for n in range(world.random.choice(counts))]
        #: How many of them it has sent.
        self.sent = 0
        self.dies = world.random.random() < 0.2
        #: It said that it goes; it is gone, and with this code; it will not come back.
        self.close_sent, self.answered, self.done = (
            asyncio.Event(),
            asyncio.Event(),
            asyncio.Event(),
        )
        self.code = 0

    def __repr__(self) -> str:
        at = self.world.processes.index(self.process)
        early = " early" if self.early else ""
        return (
            f"<{type(self).__name__} {self.number} at {at}{early}: {self.sent} sent, {self.code}>"
        )

    def frame(self, n: int) -> Frame:
        if not self.world.is_media:
            return f"{self.number}.{n}"
        tag = f"{self.number}.{n}".encode()
        if n == 0:
            return webm().replace(VOID, element(0xEC, tag.ljust(9, b"\0")))
        return cluster(block(key=True, content=tag), block(content=tag))

    @property
    def is_clean(self) -> bool:
        """Whether it may rely on all that it sent being published."""
        return self.code == 1000 and not (self.early and self.process.dead)

    async def live(self) -> None:
        await self.visit()
        self.done.set()

    async def visit(self) -> None:
        """Come, send all, and go."""
        self.process, self.came = self.world.random.choice(self.world.alive), True
        await self.unless_over(self.open())
        while self.sent < len(self.frames) and not self.answered.is_set():
            self.sent += 1
            await self.unless_over(self.send(self.frames[self.sent - 1]))
            if self.world.random.random() < 0.3:
                await asyncio.sleep(self.world.time(3 * FAR))
        await self.go()

    async def go(self) -> None:
        if self.dies:
            await self.cut()
        elif not self.answered.is_set():
            await self.close()
            self.close_sent.set()
        await self.answered.wait()

    async def unless_over(self, step: Coroutine[Any, Any, None]) -> None:
        """Take a step, unless it is gone before that is taken."""
        taking, over = asyncio.ensure_future(step), asyncio.ensure_future(self.answered.wait())
        await asyncio.wait({taking, over}, return_when=asyncio.FIRST_COMPLETED)
        over.cancel()
        if taking.done():
            taking.result()
        taking.cancel()

    async def open(self) -> None:
        """Return when it knows that it is connected."""
        raise NotImplementedError

    async def send(self, frame: Frame) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError

    async def cut(self) -> None:
        """Its line breaks, or it does."""
        raise NotImplementedError

    def end(self, code: int) -> None:
        if not self.answered.is_set():
            self.code = code
            self.answered.set()


class Transport:
    """The server's side of one connection, as our own server has it (`sinks.FrameTransport`)."""

    max_frame = 0

    def __init__(self, client: "SocketClient") -> None:
        self.client = client
        self.inbox: asyncio.Queue[Any] = asyncio.Queue()
        self.is_open = asyncio.Event()
        #: The client's close waits for an answer; nothing that it sends is taken any more.
        self.held = self.over = False

    async def send(self, message: dict[str, Any]) -> None:
        if message["type"] == "websocket.accept" and not self.client.process.dead:
            await asyncio.sleep(self.client.world.time(FAR))
            self.is_open.set()

    def arrive(self, message: Any) -> None:
        """What the client sent is here."""
        if self.over:
            return
        self.over = message["type"] == "websocket.disconnect"
        if message.get("code") == 1000:
            self.held = True
            if self.client.early:
                self.end(1000)
        self.inbox.put_nowait(message)

    def end(self, code: int) -> None:
        # It may have another connection by now.
        if self.client.transport is self:
            self.client.end(code)

    def write_frames(self, frames: bytes) -> bool:
        if self.client.transport is self:
            self.client.hear(frames)
        return True

    def attach(self, sink: Any) -> None:
        """Nothing is written past it."""

    def close_with(self, code: int, reason: str) -> None:
        self.end(int(code))
        if not self.over:
            self.arrive({"type": "websocket.disconnect", "code": int(code)})

    def answer_close(self) -> None:
        if self.held:
            self.end(1000)


class SocketClient(Client):
    """Plain. `early`: its server answers closes by itself, as others than ours do."""

    protocols: tuple[str, ...] = ()
    query = b""
    transport: Transport

    def __init__(self, world: "World", number: int) -> None:
        super().__init__(world, number)
        self.early = world.random.random() < 0.3

    async def open(self) -> None:
        transport = self.transport = Transport(self)
        self.line = Line(self.world, transport.arrive)
        scope = {
            "type": "websocket",
            "path": f"/ws/streamer/{self.world.slug}/",
            "query_string": self.query,
            "headers": [],
            "subprotocols": list(self.protocols),
            "client": ("127.0.0.1", 1),
            "url_route": {"kwargs": {"slug": self.world.slug}},
            "extensions": {"broadcast.frames": transport},
        }
        self.line.send({"type": "websocket.connect"})
        consumer = StreamerConsumer.as_asgi()
        self.process.run(lambda: consumer(scope, transport.inbox.get, transport.send))
        await transport.is_open.wait()

    def hear(self, frames: bytes) -> None:
        """What the server says."""

    async def send(self, frame: Frame) -> None:
        key = "text" if isinstance(frame, str) else "bytes"
        self.line.send({"type": "websocket.receive", key: frame})

    async def close(self) -> None:
        self.line.send({"type": "websocket.disconnect", "code": 1000})

    async def cut(self) -> None:
        self.line.send({"type": "websocket.disconnect", "code": 1006})
        self.end(1006)


class V1Client(SocketClient):
    protocols = ("broadcast.v1",)

    async def send(self, frame: Frame) -> None:
        if isinstance(frame, str):
            frame = json.dumps({"event": "publication", "data": frame})
        await super().send(frame)


class RunClient(V1Client):
    """Counts its frames, and comes back until all are in or it was sent away."""

    def __init__(self, world: "World", number: int) -> None:
        super().__init__(world, number)
        self.query = f"run={uuid.UUID(int=world.random.getrandbits(128))}".encode()
        self.ready: asyncio.Future[int]

    def hear(self, frames: bytes) -> None:
        if b'"ready"' in frames and not self.ready.done():
            said = json.loads(frames[frames.index(b"{") : frames.index(b"}") + 1])
            self.ready.set_result(said["accepted"])

    async def live(self) -> None:
        await self.visit()
        while self.code not in (1000, 4501):
            self.answered.clear()
            self.dies = self.world.random.random() < 0.3
            await self.visit()
        self.done.set()

    async def visit(self) -> None:
        self.process, self.came = self.world.random.choice(self.world.alive), True
        self.ready = asyncio.get_running_loop().create_future()
        await self.unless_over(self.open())
        await self.unless_over(self.is_ready())
        if self.answered.is_set():
            return
        if self.world.is_media and self.sent and not self.ready.result():
            # Another recording began meanwhile: nothing can go on with the old one.
            self.frames = self.frames[: self.sent]
            await self.cut()
            self.code = 4501
            return
        for number in range(self.ready.result(), len(self.frames)):
            self.sent = max(self.sent, number + 1)
            await self.send(self.frames[number])
        await self.go()

    async def is_ready(self) -> None:
        await self.ready


class HTTPClient(Client):
    """Publishes one after the other, and is answered each."""

    takes_turns = False

    async def open(self) -> None:
        await asyncio.sleep(self.world.time(FAR))

    async def send(self, frame: Frame) -> None:
        async def request() -> None:
            await asyncio.sleep(self.world.time(FAR))
            await apublish(self.world.slug, frame)

        await self.process.run(request)

    async def close(self) -> None:
        self.end(1000)

    async def cut(self) -> None:
        self.end(1006)


class Writer:
    """A connection's way back."""

    def __init__(self, client: "ProgramClient") -> None:
        self.client = client
        self.transport = self

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes) -> None:
        unpacker = msgpack.Unpacker()
        unpacker.feed(data)
        for _, number, error, _ in unpacker:
            if error:
                self.client.errors.append(error)
            if number == 0:
                self.client.is_fed.set()

    def write_eof(self) -> None:
        """The client reads no further."""

    def close(self) -> None:
        self.client.end(4501 if self.client.errors else 1000)

    def abort(self) -> None:
        self.client.end(1006)

    async def wait_closed(self) -> None:
        """It is."""


class ProgramClient(Client):
    """Another program, through MessagePack-RPC: `feed`, then requests that it does not wait for."""

    async def open(self) -> None:
        self.errors: list[str] = []
        self.reader = asyncio.StreamReader()
        self.numbers = itertools.count()
        self.is_fed = asyncio.Event()
        self.line = Line(self.world, self._arrive)
        writer: Any = Writer(self)
        connection = Connection(self.reader, writer, self.process.pace)
        assert isinstance(connection.feeds, Feeds)

        async def run() -> None:
            connection.life = asyncio.current_task()
            await connection.run()

        self.process.run(run)
        self.call("feed", self.world.slug)
        await self.is_fed.wait()

    def _arrive(self, data: bytes) -> None:
        if data:
            self.reader.feed_data(data)
        else:
            self.reader.feed_eof()

    def call(self, method: str, *params: Any) -> None:
        self.line.send(msgpack.packb([0, next(self.numbers), method, params]))

    async def send(self, frame: Frame) -> None:
        options = {"header" if frame == self.frames[0] else "entry": True}
        self.call("publish", self.world.slug, frame, options if self.world.is_media else {})

    async def close(self) -> None:
        self.line.send(b"")

    async def cut(self) -> None:
        self.line.send(b"")
        self.end(1006)


class World:
    """One schedule, made up by `seed`."""

    slug = "s"

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.seed = seed
        self.is_media = self.random.random() < 0.4
        self.processes = [Process(self) for _ in range(self.random.randint(1, 3))]
        self.mortal = len(self.processes) > 1 and self.random.random() < 0.2
        self.recorded: list[list[Publication]] = []
        #: What ended a task of a process, where nothing should.
        self.faults: list[Exception] = []
        kinds: list[type[Client]] = [SocketClient, V1Client, RunClient, ProgramClient]
        if not self.is_media:
            kinds.append(HTTPClient)
        count = self.random.randint(2, 6)
        self.clients = [self.random.choice(kinds)(self, number) for number in range(count)]
        #: (former, later): the later one was opened when the former had sent its close.
        self.order: list[tuple[Client, Client]] = []

    @property
    def alive(self) -> list[Process]:
        return [process for process in self.processes if not process.dead]

    def time(self, most: float) -> float:
        """Often none, rarely much."""
        return most * self.random.random() ** 3 if self.random.random() < 0.7 else 0.0

    async def run(self) -> None:
        token = PROCESS.set(self.processes[0])
        with self.in_place():
            try:
                async with asyncio.timeout(600), asyncio.TaskGroup() as tasks:
                    for client in self.clients:
                        tasks.create_task(self.come(client))
                    if self.mortal:
                        tasks.create_task(self.kill())
                await self.settle()
                self.check()
            except TimeoutError:
                raise AssertionError(f"somebody never ends: {self.story([])}") from None
            finally:
                await self.clean_up()
                PROCESS.reset(token)

    async def come(self, client: Client) -> None:
        """Open it at a time of its own, or behind another one's close."""
        formers = self.clients[max(client.number - 2, 0) : client.number]
        if formers and self.random.random() < 0.8:
            former = self.random.choice(formers)
            if (
                isinstance(former, RunClient)
                or not client.takes_turns
                or self.random.random() < 0.6
            ):
                await former.done.wait()
            else:
                events = (former.close_sent, former.done)
                tasks = [asyncio.ensure_future(event.wait()) for event in events]
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if client.takes_turns or not former.early:
                self.order.append((former, client))
        else:
            await asyncio.sleep(self.time(10 * FAR))
        await client.live()

    async def kill(self) -> None:
        await asyncio.sleep(self.time(10 * FAR))
        process = self.random.choice(self.processes)
        process.die()
        for client in self.clients:
            if client.came and client.process is process:
                client.end(1006)

    async def clean_up(self) -> None:
        """End what goes on for ever; some of it ends something else first."""
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for other in others:
                other.cancel()
            await asyncio.wait(others, timeout=1)

    async def settle(self) -> None:
        """Until all that is left over is done."""
        left = {task for process in self.alive for task in process.tasks}
        if left:
            _, left = await asyncio.wait(left, timeout=60)
        assert not left, self.story([])
        await asyncio.sleep(2 * NEAR)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Broadcast is in this world meanwhile."""
        row = Stream(
            slug=self.slug,
            visibility="unlisted",
            publishing="anyone",
            kind="media" if self.is_media else "messages",
            record=self.is_media,
            history_count=1000,
        )
        self.engine = Engine(self)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(backends, "_backend", self.engine)
            patch.setattr(channel_layers, "backends", {"broadcast": Layer(self)})
            patch.setattr(appending, "get_rounds", lambda: PROCESS.get().rounds)
            patch.setattr(backends, "_serving", True)
            patch.setattr(serving, "_loop", None)
            patch.setattr(rows, "_rows", {(Stream, self.slug): (float("inf"), row)})
            patch.setattr(Recorder, "start", self.start_recorder)
            patch.setattr("broadcast.access.guard.rows_of", lambda names: {self.slug: row})
            for module in ASKING:
                patch.setattr(f"broadcast.{module}.get_relay", get_relay)
            yield

    def start_recorder(self, stream: Stream, header: Publication | None = None) -> "Handed":
        recorder = Handed([header] if header else [])
        self.recorded.append(recorder.publications)
        return recorder

    # -- what must hold ---------------------------------------------------------------------

    def check(self) -> None:
        assert not self.faults, (self.faults, self.story([]))
        history = self.engine.backend.histories.get(self.slug)
        found = list(history.publications) if history else []
        sent = {client: self.of(client, found) for client in self.clients}
        assert sum(map(len, sent.values())) == len(found), self.story(found)
        for client, places in sent.items():
            expected = [as_bytes(frame) for frame in client.frames[: client.sent]]
            published = b"".join(found[at].payload for at in places)
            whole = b"".join(expected)
            assert whole.startswith(published), (client, self.story(found))
            if client.is_clean:
                assert published == whole, (client, self.story(found))
        for former, later in self.order:
            if former.is_clean and sent[former] and sent[later]:
                assert sent[former][-1] < sent[later][0], (former, later, self.story(found))
        self.check_recordings(found)
        assert not self.engine.backend.leaving or self.mortal
        assert not self.engine.backend.streamers or self.mortal

    def check_recordings(self, found: list[Publication]) -> None:
        if not self.is_media:
            return
        sections: list[list[Publication]] = []
        for publication in found:
            if publication.marks & Mark.HEADER:
                sections.append([])
            sections[-1].append(publication)
        dead = any(process.dead for process in self.processes)
        handed = [list(one) for one in self.recorded if one]
        for section in sections:
            # A run that goes on over several connections has as many recordings, with its header.
            parts = [one for one in handed if one[0] == section[0]]
            joined = [one for part in parts for one in part[0 if part is parts[0] else 1 :]]
            assert joined == section or dead, self.story(found)
        assert sum(map(bool, handed)) >= len(sections) or dead

    def of(self, client: Client, found: list[Publication]) -> list[int]:
        """Where what it sent stands in history."""
        if not self.is_media:
            start = f"{client.number}."
            return [at for at, one in enumerate(found) if one.payload.decode().startswith(start)]
        places, is_its = [], False
        for at, one in enumerate(found):
            if one.marks & Mark.HEADER:
                is_its = bool(client.frames) and one.payload == client.frames[0]
            if is_its:
                places.append(at)
        return places

    def story(self, found: list[Publication]) -> str:
        said = [(one.marks, one.payload[:40]) for one in found]
        return f"seed {self.seed}: {self.clients} {self.order} {said}"


class Handed:
    """What a recorder would record."""

    def __init__(self, publications: list[Publication]) -> None:
        self.publications = publications

    def take(self, publications: list[Publication]) -> None:
        self.publications.extend(publications)

    def end(self) -> None:
        """Nothing more comes."""

    async def finish(self) -> None:
        """There is nothing to wait for."""


def as_bytes(frame: Frame) -> bytes:
    return frame.encode() if isinstance(frame, str) else frame


def run(seed: int) -> None:
    """One schedule. AssertionError: what must hold does not."""
    with asyncio.Runner(loop_factory=ClockLoop) as runner:
        runner.run(World(seed).run())
