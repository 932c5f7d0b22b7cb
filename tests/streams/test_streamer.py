"""The socket that feeds a stream, through every way in."""

import json
import time
from contextlib import suppress
from typing import Any

import pytest

from broadcast.backends import new_streamer
from broadcast.hub import bus
from tests.rig.doors import V1, Closed, Door, Frame, InProcessDoor, undisturbed

MIB = 2**20
#: A stream's kind, and the largest frame its streamer may send.
LIMITS = [("free", MIB), ("media", 4 * MIB)]

VALUES = [
    *("", "hello", "null", "ü 😀 \u2028 \x00", '{"event":"reset"}'),
    *(None, True, False, 0, -1, 1.5, 2**64, [], {}, [""], {"event": "reset"}),
    {"nested": [{"text": "ü"}, None]},
]


# -- plain ---------------------------------------------------------------------------------------


async def test_plain_frames_are_publications_of_their_kind_in_order(door: Door) -> None:
    frames: list[Frame] = ["text", b"binary", "", b"", '{"event":"reset"}', "ü😀", b"\x00\xff"]
    slug = await door.stream()
    listener = await door.listener(slug)
    streamer = await door.plain_streamer(slug)
    for frame in frames:
        await streamer.send(frame)
    assert await listener.told_many(len(frames)) == list(enumerate(frames, 1))


async def test_a_plain_streamer_is_sent_nothing(door: Door) -> None:
    slug = await door.stream()
    listener = await door.listener(slug)
    streamer = await door.plain_streamer(slug)
    await streamer.send("one")
    await listener.told()
    await door.streamer(slug)
    assert await streamer.rest() == ([], 4501)


# -- broadcast.v1 --------------------------------------------------------------------------------


async def test_the_sub_protocol_is_chosen_when_it_is_offered(door: Door) -> None:
    slug = await door.stream()
    for path in (f"/ws/streamer/{slug}/", f"/ws/listener/{slug}/"):
        assert (await door.connect(path)).subprotocol is None
        assert (await door.connect(path, "other")).subprotocol is None
        assert (await door.connect(path, "other", V1)).subprotocol == V1


async def test_ready_comes_first_with_the_position(door: Door) -> None:
    slug = await door.stream()
    listener = await door.listener(slug)
    former = await door.streamer(slug)
    epoch = listener.first["epoch"]
    ready = {"event": "ready", "stream": slug, "epoch": epoch}
    assert epoch
    assert former.first == {**ready, "offset": 0, "accepted": 0}
    for number in range(3):
        await former.publish(number)
    await former.accepted(3)
    assert (await door.streamer(slug)).first == {**ready, "offset": 3, "accepted": 0}


@pytest.mark.parametrize("value", VALUES, ids=repr)
async def test_a_publication_is_any_json(door: Door, value: Any) -> None:
    slug = await door.stream()
    listener = await door.listener(slug)
    plain = await door.plain_listener(slug)
    streamer = await door.streamer(slug)
    await streamer.publish(value)
    said = await listener.told()
    assert said == (1, value)
    assert type(said[1]) is type(value)
    frame = await plain.receive()
    assert (frame if isinstance(value, str) else json.loads(frame)) == value


async def test_a_binary_frame_is_a_publication(door: Door) -> None:
    slug = await door.stream()
    listener = await door.listener(slug)
    streamer = await door.streamer(slug)
    for payload in (b"\x00\x01", b"", b'{"event":"reset"}'):
        await streamer.publish(payload)
    assert await listener.told_many(3) == [(1, b"\x00\x01"), (2, b""), (3, b'{"event":"reset"}')]


async def test_accepted_is_coalesced_and_rises_to_the_last(door: Door) -> None:
    slug = await door.stream()
    streamer = await door.streamer(slug)
    for number in range(500):
        await streamer.publish(number)
    counts: list[int] = []
    while not counts or counts[-1] < 500:
        said = await streamer.event()
        assert said == {"event": "accepted", "accepted": said["accepted"], "offset": said["offset"]}
        assert said["accepted"] == said["offset"]
        counts.append(said["accepted"])
    assert counts == sorted(counts)


async def test_nothing_is_accepted_twice(door: Door) -> None:
    slug = await door.stream()
    streamer = await door.streamer(slug)
    for count in range(1, 6):
        await streamer.publish("x")
        await streamer.send("nonsense")
        # Whatever is told of the publication is told before or right after the error, once.
        said = [await streamer.event(), await streamer.event()]
        assert sorted(one["event"] for one in said) == ["accepted", "error"], said
        assert {"event": "accepted", "accepted": count, "offset": count} in said


async def test_the_accepted_offset_is_the_one_of_the_stream(door: Door) -> None:
    slug = await door.stream()
    former = await door.streamer(slug)
    await former.publish("a")
    await former.publish("b")
    await former.accepted(2)
    streamer = await door.streamer(slug)
    await streamer.publish("c")
    assert await streamer.accepted(1) == {"event": "accepted", "accepted": 1, "offset": 3}


async def test_listeners_are_counted_plain_ones_too(door: Door) -> None:
    slug = await door.stream()
    streamer = await door.streamer(slug)
    first = await door.listener(slug)
    assert await streamer.until("listeners") == {"event": "listeners", "count": 1}
    second = await door.plain_listener(slug)
    assert await streamer.until("listeners") == {"event": "listeners", "count": 2}
    await first.close()
    await second.leave()
    await streamer.until("listeners", count=0)


async def test_a_streamer_that_comes_later_is_told_how_many_listen(door: Door) -> None:
    slug = await door.stream()
    await door.listener(slug)
    await door.listener(slug)
    streamer = await door.streamer(slug)
    await streamer.until("listeners", count=2)


async def test_listeners_are_told_at_most_once_a_second(door: Door) -> None:
    slug = await door.stream()
    await door.listener(slug)
    started = time.monotonic()
    streamer = await door.streamer(slug)
    for _ in range(5):
        await door.listener(slug)
    told = []
    while 6 not in told:
        told.append((await streamer.until("listeners"))["count"])
    # What was told in time may be read late, but not early.
    assert len(told) - 1 <= time.monotonic() - started, told


async def test_the_same_count_is_not_told_again(door: Door) -> None:
    slug = await door.stream()
    streamer = await door.streamer(slug)
    await door.listener(slug)
    counts = [(await streamer.until("listeners"))["count"]]
    leaving = await door.listener(slug)
    await leaving.close()
    await door.until_listeners(slug, 1)
    await door.listener(slug)
    while counts[-1] != 2:
        counts.append((await streamer.until("listeners"))["count"])
    assert all(one != other for one, other in zip(counts, counts[1:], strict=False)), counts


# -- marks ---------------------------------------------------------------------------------------


async def test_a_mark_is_for_the_next_publication_alone(door: Door) -> None:
    slug = await door.stream()
    streamer = await door.streamer(slug)
    await streamer.tell("mark", **{"as": "header"})
    await streamer.publish(b"header")
    await streamer.publish(b"no header")
    await streamer.tell("mark", **{"as": "entry"})
    await streamer.publish(b"entry")
    await streamer.publish(b"no entry")
    await streamer.accepted(4)
    newcomer = await door.listener(slug)
    assert newcomer.first["offset"] == 2
    assert await newcomer.told_many(4) == [
        ("header", {"offset": 1}),
        (1, b"header"),
        (3, b"entry"),
        (4, b"no entry"),
    ]


async def test_a_mark_waits_while_a_frame_makes_no_sense(door: Door) -> None:
    slug = await door.stream()
    streamer = await door.streamer(slug)
    await streamer.tell("mark", **{"as": "header"})
    await streamer.send("nonsense")
    await streamer.publish("header")
    await streamer.accepted(1)
    newcomer = await door.listener(slug)
    assert await newcomer.told_many(2) == [("header", {"offset": 1}), (1, "header")]


async def test_a_publication_may_be_header_and_entry(door: Door) -> None:
    slug = await door.stream()
    streamer = await door.streamer(slug)
    await streamer.tell("mark", **{"as": "header"})
    await streamer.tell("mark", **{"as": "entry"})
    await streamer.publish(b"both")
    await streamer.publish(b"next")
    await streamer.accepted(2)
    newcomer = await door.listener(slug)
    assert await newcomer.told_many(3) == [("header", {"offset": 1}), (1, b"both"), (2, b"next")]


async def test_a_reset_forgets_header_and_entry_points(door: Door) -> None:
    slug = await door.stream()
    streamer = await door.streamer(slug)
    for mark in ("header", "entry"):
        await streamer.tell("mark", **{"as": mark})
        await streamer.publish(mark)
    await streamer.tell("reset")
    await streamer.publish("new")
    await streamer.accepted(3)
    newcomer = await door.listener(slug)
    assert newcomer.first["offset"] == 3
    await streamer.publish("next")
    assert await newcomer.told() == (4, "next")


# -- one streamer per stream ---------------------------------------------------------------------


async def test_a_newcomer_replaces_the_streamer_that_was_there(door: Door) -> None:
    slug = await door.stream()
    listener = await door.listener(slug)
    former = await door.streamer(slug)
    await former.publish("former")
    await former.accepted(1)
    newcomer = await door.streamer(slug)
    assert await former.closed() == 4501
    await newcomer.publish("newcomer")
    assert await listener.told_many(2) == [(1, "former"), (2, "newcomer")]


async def test_a_stream_stays_live_while_its_streamer_is_replaced(door: Door) -> None:
    slug = await door.stream()
    listener = await door.listener(slug)
    former = await door.plain_streamer(slug)
    assert await listener.event() == {"event": "live"}
    newcomer = await door.plain_streamer(slug)
    assert await former.closed() == 4501
    await newcomer.send("x")
    assert await listener.event() == {"event": "publication", "offset": 1, "data": "x"}
    await newcomer.close()
    assert await listener.event() == {"event": "idle"}


async def test_what_a_former_streamer_said_late_replaces_nobody(
    in_process: InProcessDoor,
) -> None:
    slug = await in_process.stream()
    listener = await in_process.listener(slug)
    streamer = await in_process.streamer(slug)
    assert await listener.event() == {"event": "live"}
    former = new_streamer(time.time() - 1)
    for said in (former, ""):
        await bus.tell_stream(bus.StreamerCame(slug, said))
    await streamer.publish("x")
    await streamer.accepted(1)
    # It came behind what was announced, and nothing came between.
    assert await listener.event() == {"event": "publication", "offset": 1, "data": "x"}
    await streamer.tell("ping")
    assert await streamer.event() == {"event": "pong"}


async def test_the_last_of_many_streamers_stays(door: Door) -> None:
    slug = await door.stream()
    streamers = [await door.streamer(slug) for _ in range(10)]
    assert [await streamer.closed() for streamer in streamers[:-1]] == [4501] * 9
    await streamers[-1].publish("x")
    await streamers[-1].accepted(1)


# -- limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pool", "limit"), LIMITS)
@pytest.mark.parametrize("unit", ["x", "é", b"x"], ids=["text", "two bytes each", "binary"])
async def test_a_frame_of_exactly_the_limit_is_published(
    door: Door, pool: str, limit: int, unit: Frame
) -> None:
    slug = await door.stream(pool)
    listener = await door.listener(slug)
    if pool == "media" and isinstance(unit, bytes):
        # Who marks a frame may send anything.
        streamer = await door.streamer(slug)
        await streamer.tell("mark", **{"as": "entry"})
    else:
        streamer = await door.plain_streamer(slug)
    frame = unit * (limit // (len(unit.encode()) if isinstance(unit, str) else 1))
    await streamer.send(frame)
    assert await listener.told() == (1, frame)


@pytest.mark.parametrize(("pool", "limit"), LIMITS)
@pytest.mark.parametrize("unit", ["x", b"x"], ids=["text", "binary"])
async def test_a_larger_frame_closes_the_socket_with_1009(
    door: Door, pool: str, limit: int, unit: Frame
) -> None:
    slug = await door.stream(pool)
    listener = await door.listener(slug)
    streamer = await door.plain_streamer(slug)
    async with undisturbed(door):
        await streamer.send("before")
        with suppress(Closed):
            await streamer.send(unit * (limit + 1))
            await streamer.send("after")
        assert await streamer.closed() == 1009
    # What came before is in; what came after is not, as the socket had ended by then.
    another = await door.plain_streamer(slug)
    await another.send("another")
    assert await listener.told_many(2) == [(1, "before"), (2, "another")]


async def test_an_event_of_exactly_the_limit_is_published(door: Door) -> None:
    slug = await door.stream()
    listener = await door.listener(slug)
    streamer = await door.streamer(slug)
    opening, end = '{"event":"publication","data":"', '"}'
    text = "x" * (MIB - len(opening) - len(end))
    await streamer.send(opening + text + end)
    assert await listener.told() == (1, text)


async def test_numbers_that_grow_when_they_are_written_again_are_published(door: Door) -> None:
    slug = await door.stream()
    listener = await door.listener(slug)
    streamer = await door.streamer(slug)
    count = 100_000
    numbers = ",".join(["1e9"] * count)
    await streamer.publish("before")
    await streamer.send(f'{{"event":"publication","data":[{numbers}]}}')
    await streamer.publish("after")
    assert await listener.told_many(3) == [(1, "before"), (2, [1e9] * count), (3, "after")]
