"""A topic with a history behind it, and sinks that note what is written to them."""

import json
from typing import Any

from broadcast.backends import HistoryLimits, get_backend
from broadcast.exceptions import CloseCode
from broadcast.hub.listeners import Listener
from broadcast.hub.topics import Topic
from broadcast.publications import Draft, Publication
from broadcast.wire.frames import V1_MESSAGES, Encoding, Message
from tests.rig.clock import clock

WIDE = HistoryLimits(100_000, 2**30, 3600)


class FakeSink:
    """Takes `space` writes and is full then, until the test lets it drain; -1: is never full.

    A write takes `seconds` of the loop's clock.
    """

    def __init__(self, space: int = -1, seconds: float = 0.0) -> None:
        self.space = space
        self.seconds = seconds
        self.full = False
        self.writes: list[list[Message]] = []
        self.times: list[float] = []
        self.closed: CloseCode | None = None
        self.listener: Listener

    def write(self, data: list[Message]) -> bool:
        assert self.closed is None, "written to after the close"
        assert not self.full, "written to while full"
        self.writes.append(data)
        self.times.append(clock().time())
        clock().now += self.seconds
        self.space -= 1
        self.full = self.space == 0
        return not self.full

    def close(self, code: CloseCode, reason: str) -> None:
        assert reason
        self.closed = self.closed or code

    def drain(self, space: int = -1) -> None:
        self.full = False
        self.space = space
        self.listener.resume()

    @property
    def heard(self) -> list[Any]:
        """Data of publications, and what else was told as tuples."""
        return [said for data in self.writes for said in map(told, data)]

    def sizes(self) -> list[int]:
        """Bytes of publications in each write."""
        return [len(b"".join(part for _, parts in data for part in parts)) for data in self.writes]


def told(message: Message) -> Any:
    text = b"".join(message[1]).decode()
    if not text.startswith('{"event"'):
        return text
    said = json.loads(text)
    if said["event"] == "publication":
        return said["data"]
    if said["event"] == "skipped":
        return ("skipped", said["from"], said["to"])
    return (said["event"],)


class House:
    """A topic with the history behind it. Publications are their own offsets, as text."""

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self.backend = get_backend()

    @classmethod
    async def build(cls) -> "House":
        state = await get_backend().state("s")
        return cls(Topic("s", state.epoch, state.offset, ""))

    async def keep(
        self, count: int, pad: int = 0, limits: HistoryLimits = WIDE
    ) -> list[Publication]:
        """Put publications into history, which the topic does not hear of."""
        offset = (await self.backend.state("s")).offset
        drafts = [Draft.of(f"{offset + n:0{pad}}") for n in range(1, count + 1)]
        return (await self.backend.append("s", drafts, limits)).publications

    async def publish(self, count: int, pad: int = 0, limits: HistoryLimits = WIDE) -> None:
        self.topic.append(await self.keep(count, pad, limits))

    def listen(
        self,
        space: int = -1,
        encoding: Encoding = V1_MESSAGES,
        cursor: int | None = None,
        opening: Publication | None = None,
        seconds: float = 0.0,
    ) -> FakeSink:
        sink = FakeSink(space, seconds)
        start = self.topic.offset if cursor is None else cursor
        sink.listener = Listener(self.topic, sink, encoding, start, opening)
        self.topic.add(sink.listener)
        return sink


def numbers(first: int, last: int, pad: int = 0) -> list[str]:
    return [f"{n:0{pad}}" for n in range(first, last + 1)]
