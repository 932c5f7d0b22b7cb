"""The live edge with clients that inflate: each gets everything, in order, whenever it comes."""

import gc
import random

import pytest
from django.contrib.auth.models import User
from pytest_django.fixtures import Settings

from broadcast.exceptions import CloseCode
from broadcast.hub.edge import Deflated
from broadcast.hub.listeners import Listener
from broadcast.hub.relay import get_relay
from broadcast.hub.topics import Topic
from broadcast.models import Stream as Row
from broadcast.publications import Draft, Publication
from broadcast.wire.frames import INFLATING, PLAIN_FRAMES, V1_FRAMES
from tests.rig.doors import InProcessDoor, eventually
from tests.rig.inflating import Client
from tests.rig.publications import published, quotes


class InflatingSink:
    """A socket whose client inflates; `is_full`: it says so at the next write."""

    def __init__(self) -> None:
        self.client = Client()
        self.is_full = False
        self.size = 0

    def write(self, data: bytes) -> bool:
        self.client.read(data)
        self.size += len(data)
        return not self.is_full

    def close(self, code: CloseCode, reason: str) -> None:
        raise AssertionError(reason)


class Stream:
    """A topic that hears publications at a pace of its own, without a loop's timers."""

    def __init__(self, said: list[Publication]) -> None:
        self.topic = Topic("s", "e", 0)
        self.said = said
        self.at = 0

    def go_on(self, number: int) -> None:
        self.topic.append(self.said[self.at : self.at + number])
        self.topic.flush()
        self.at += number

    def join(self, encoding: object = INFLATING[PLAIN_FRAMES]) -> tuple[Listener, InflatingSink]:
        sink = InflatingSink()
        listener = Listener(self.topic, sink, encoding, self.topic.offset)  # type: ignore[arg-type]
        self.topic.add(listener)
        return listener, sink

    def deflates(self) -> int:
        """How many are sent deflated messages."""
        here = self.topic.edge.by_encoding
        known = (PLAIN_FRAMES, V1_FRAMES, *INFLATING.values())
        return sum(len(edge) for encoding, edge in here.items() if encoding not in known)


async def test_from_enough_listeners_on_publications_are_deflated(settings: Settings) -> None:
    settings.BROADCAST_COMPRESS_LISTENERS = 5
    stream = Stream(quotes(400))
    few = [stream.join() for _ in range(4)]
    stream.go_on(100)
    assert stream.deflates() == 0
    last = stream.join()
    stream.go_on(100)
    assert stream.deflates() == 5
    stream.go_on(100)
    sizes = [sink.size for _, sink in few]
    stream.go_on(100)
    plain = sum(len(one.payload) for one in stream.said[300:])
    assert all(
        sink.size - before < 0.5 * plain for (_, sink), before in zip(few, sizes, strict=True)
    )
    assert last[1].client.heard == [one.payload for one in stream.said[100:]]
    # Below the half it ends.
    for listener, _ in few[:3]:
        stream.topic.remove(listener)
    stream.topic.edge.flushed(0)
    assert stream.deflates() == 0


@pytest.mark.parametrize("least", [0, 1000])
async def test_without_enough_listeners_nothing_is_deflated(settings: Settings, least: int) -> None:
    settings.BROADCAST_COMPRESS_LISTENERS = least
    stream = Stream(quotes(100))
    listeners = [stream.join() for _ in range(20)]
    for _ in range(10):
        stream.go_on(10)
    assert stream.deflates() == 0
    assert all(sink.client.heard == [one.payload for one in stream.said] for _, sink in listeners)


async def test_a_process_has_so_many_contexts_and_no_more(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    gc.collect()
    monkeypatch.setattr("broadcast.hub.edge.MOST_CONTEXTS", len(Deflated.all) + 2)
    settings.BROADCAST_COMPRESS_LISTENERS = 1

    def heard() -> Stream:
        stream = Stream(quotes(10))
        _, sink = stream.join()
        for _ in stream.said:
            stream.go_on(1)
        assert sink.client.heard == [one.payload for one in stream.said]
        return stream

    streams = [heard() for _ in range(4)]
    assert [stream.deflates() for stream in streams] == [1, 1, 0, 0]
    # A topic that is gone has none any more.
    del streams[0]
    gc.collect()
    assert heard().deflates() == 1


async def test_texts_that_do_not_shrink_are_heard_as_well(settings: Settings) -> None:
    settings.BROADCAST_COMPRESS_LISTENERS = 1
    numbers = random.Random(5)
    noise = ["".join(chr(numbers.randrange(0x4E00, 0x9FFF)) for _ in range(30)) for _ in range(50)]
    stream = Stream(published([Draft.of(text) for text in noise]))
    _, sink = stream.join()
    for _ in noise:
        stream.go_on(1)
    assert sink.client.heard == [text.encode() for text in noise]
    assert sink.size > sum(map(len, sink.client.heard))


async def test_what_may_not_be_deflated_any_more_goes_as_it_is_at_once(settings: Settings) -> None:
    settings.BROADCAST_COMPRESS_LISTENERS = 2
    stream = Stream(quotes(300))
    sinks = [stream.join()[1] for _ in range(3)]
    for _ in range(10):
        stream.go_on(10)
    assert stream.deflates() == 3
    stream.topic.edge.allow(False)
    assert stream.deflates() == 0
    before = sinks[0].size
    for _ in range(10):
        stream.go_on(10)
    assert sinks[0].size - before > sum(len(one.payload) for one in stream.said[100:200])
    stream.topic.edge.allow(True)
    for _ in range(10):
        stream.go_on(10)
    assert stream.deflates() == 3
    assert all(sink.client.heard == [one.payload for one in stream.said] for sink in sinks)


async def test_a_stream_that_is_made_private_is_compressed_only_if_its_row_says_so(
    in_process: InProcessDoor,
) -> None:
    slug = await in_process.stream()
    in_process.user = await User.objects.acreate(username="staff", is_staff=True)
    await in_process.listener(slug)
    edge, row = get_relay().topics[slug].edge, await Row.objects.aget(slug=slug)

    async def is_allowed() -> bool:
        return edge.allows

    async def is_forbidden() -> bool:
        return not edge.allows

    row.visibility = Row.Visibility.PRIVATE
    await row.asave()
    await eventually(is_forbidden)
    row.compress = True
    await row.asave()
    await eventually(is_allowed)


async def test_a_client_that_does_not_inflate_is_sent_plain_frames(settings: Settings) -> None:
    settings.BROADCAST_COMPRESS_LISTENERS = 1
    stream = Stream(quotes(100))
    _, plain = stream.join(PLAIN_FRAMES)
    stream.join()
    stream.go_on(50)
    stream.go_on(50)
    assert stream.deflates() == 1
    assert plain.size > sum(len(one.payload) for one in stream.said)


@pytest.mark.parametrize("seed", range(20))
async def test_listeners_that_come_go_or_are_slow_each_hear_everything(
    settings: Settings, seed: int
) -> None:
    settings.BROADCAST_COMPRESS_LISTENERS = 4
    numbers = random.Random(seed)
    stream = Stream(quotes(2000, seed))
    here: list[tuple[Listener, InflatingSink, int]] = []
    most = 0
    while stream.at < 2000:
        action = numbers.random()
        if action < 0.1 and len(here) < 20:
            since = stream.topic.offset
            encoding = numbers.choice([*INFLATING.values()])
            here.append((*stream.join(encoding), since))
        elif action < 0.15 and here:
            numbers.choice(here)[1].is_full = True
        elif action < 0.25:
            for listener, sink, _ in here:
                if listener.full_since:
                    sink.is_full = False
                    listener.resume()
        elif action < 0.3 and here:
            listener, sink, since = here.pop(numbers.randrange(len(here)))
            stream.topic.remove(listener)
        stream.go_on(min(numbers.randrange(1, 8), 2000 - stream.at))
        most = max(most, stream.deflates())
    assert most >= 4
    for listener, sink, since in here:
        if listener.full_since:
            sink.is_full = False
            listener.resume()
        said = stream.said[since:]
        heard = [b"".join(payload) for _, payload in listener.encoding.each(said)]
        assert sink.client.heard == heard
