"""The socket that hears a stream, through every way in."""

import asyncio
from contextlib import suppress

import pytest
from django.test import override_settings

from broadcast.exceptions import CloseCode
from broadcast.streams.listener import BURST, TOO_MANY
from tests.rig.doors import V1, Closed, Door, Frame, InProcessDoor, Refused, Socket
from tests.rig.streamers import published

#: Text and binary, one after another; small, so that a slow machine's listener keeps up.
MIXED: list[Frame] = [
    f"{n}" if n % 3 else n.to_bytes(4, "big") + b"\x00" * (n % 40) for n in range(1, 20_001)
]


# -- plain ---------------------------------------------------------------------------------------


async def test_a_plain_listener_gets_exactly_what_was_published_and_nothing_else(
    door: Door,
) -> None:
    slug = await door.stream()
    listener = await door.plain_listener(slug)
    # Marks, resets, and streamers that come and go are not told.
    streamer = await published(
        door,
        slug,
        "text",
        {"a": [1, "ü"]},
        b"\x00binary",
        "",
        b"",
        ("header", b"h"),
        ("entry", b"e"),
    )
    await streamer.tell("reset")
    await streamer.publish(None)
    await streamer.accepted(8)
    await streamer.close()
    again = await door.plain_streamer(slug)
    await again.send('{"event":"publication","data":1}')
    frames = await listener.receive_many(9)
    assert frames[0] == "text"
    assert frames[1] in ('{"a":[1,"ü"]}', '{"a": [1, "ü"]}')
    assert frames[2:7] == [b"\x00binary", "", b"", b"h", b"e"]
    assert frames[7:] == ["null", '{"event":"publication","data":1}']
    # Whatever ends it: there is nothing more.
    await listener.send("a listener has nothing to say")
    assert await listener.rest() == ([], 4500)


# -- joined, positions, live and idle ------------------------------------------------------------


async def test_joined_comes_first_and_once(door: Door) -> None:
    slug = await door.stream()
    listener = await door.listener(slug)
    assert listener.first.pop("epoch")
    assert not listener.first.pop("content_type")
    assert listener.first == {
        **{"event": "joined", "stream": slug, "offset": 0},
        **{"live": False, "recovered": False},
    }
    await published(door, slug, "a", b"b")
    assert await listener.told_many(2) == [(1, "a"), (2, b"b")]


async def test_joined_says_what_the_content_is(door: Door) -> None:
    listener = await door.listener(await door.stream("media"))
    assert listener.first["content_type"] == "video/webm"


async def test_joined_says_whether_the_stream_is_live(door: Door) -> None:
    slug = await door.stream()
    streamer = await published(door, slug, "x")
    assert (await door.listener(slug)).first["live"] is True
    listener = await door.listener(slug)
    await streamer.close()
    await listener.until("idle")
    assert (await door.listener(slug)).first["live"] is False


async def test_listeners_are_told_when_a_streamer_comes_and_goes(door: Door) -> None:
    slug = await door.stream()
    listener = await door.listener(slug)
    for _ in range(3):
        streamer = await door.plain_streamer(slug)
        assert await listener.event() == {"event": "live"}
        await streamer.leave()
        assert await listener.event() == {"event": "idle"}


async def test_publications_have_their_offsets(door: Door) -> None:
    slug = await door.stream()
    listener = await door.listener(slug)
    streamer = await door.streamer(slug)
    assert await listener.event() == {"event": "live"}
    await streamer.publish("text")
    assert await listener.event() == {"event": "publication", "offset": 1, "data": "text"}
    await streamer.publish({"a": None})
    assert await listener.event() == {"event": "publication", "offset": 2, "data": {"a": None}}
    await streamer.publish(b"binary")
    assert await listener.receive() == b"\0\0\0\0\0\0\0\x03binary"
    await streamer.publish(b"")
    assert await listener.receive() == b"\0\0\0\0\0\0\0\x04"


async def test_all_listeners_of_a_stream_share_epoch_and_offsets(door: Door) -> None:
    slug = await door.stream()
    await published(door, slug, "a", "b")
    first = (await door.listener(slug)).first
    assert first["offset"] == 2
    assert (await door.listener(slug)).first == first


async def test_streams_do_not_hear_each_other(door: Door) -> None:
    slugs = [await door.stream() for _ in range(3)]
    listeners = [await door.listener(slug) for slug in slugs]
    streamers = [await door.streamer(slug) for slug in slugs]
    for slug, streamer in zip(slugs, streamers, strict=True):
        await streamer.publish(slug)
    for slug, listener in zip(slugs, listeners, strict=True):
        assert await listener.told() == (1, slug)
    assert len({listener.first["epoch"] for listener in listeners}) == 3


# -- where a newcomer starts ---------------------------------------------------------------------


@pytest.mark.parametrize("protocols", [(), (V1,)], ids=["plain", "v1"])
async def test_a_newcomer_starts_live(door: Door, protocols: tuple[str, ...]) -> None:
    slug = await door.stream()
    streamer = await published(door, slug, "old", "older")
    newcomer = await (door.listener if protocols else door.plain_listener)(slug)
    await streamer.publish("new")
    if protocols:
        assert newcomer.first["offset"] == 2
        assert await newcomer.told() == (3, "new")
    else:
        assert await newcomer.receive() == "new"


async def test_a_newcomer_gets_the_newest_header_first(door: Door) -> None:
    slug = await door.stream()
    plain = await door.plain_listener(slug)
    streamer = await published(door, slug, ("header", "old"), "a", ("header", {"new": 1}), "b", "c")
    newcomer = await door.listener(slug)
    plain_newcomer = await door.plain_listener(slug)
    assert newcomer.first["offset"] == 5
    await streamer.publish("d")
    assert await newcomer.told_many(3) == [("header", {"offset": 3}), (3, {"new": 1}), (6, "d")]
    assert await plain_newcomer.receive_many(2) == ['{"new":1}', "d"]
    assert await plain.receive_many(6) == ["old", "a", '{"new":1}', "b", "c", "d"]


async def test_a_newcomer_starts_at_the_newest_entry_point_after_the_header(door: Door) -> None:
    slug = await door.stream()
    streamer = await published(
        door, slug, ("header", b"h"), ("entry", b"1"), b"2", ("entry", b"3"), b"4"
    )
    newcomer = await door.listener(slug)
    plain = await door.plain_listener(slug)
    assert newcomer.first["offset"] == 3
    await streamer.publish(b"5")
    assert await newcomer.told_many(5) == [
        ("header", {"offset": 1}),
        *[(1, b"h"), (4, b"3"), (5, b"4"), (6, b"5")],
    ]
    assert await plain.receive_many(4) == [b"h", b"3", b"4", b"5"]


async def test_entry_points_need_no_header(door: Door) -> None:
    slug = await door.stream()
    await published(door, slug, "a", ("entry", "b"), "c")
    newcomer = await door.listener(slug)
    assert newcomer.first["offset"] == 1
    assert await newcomer.told_many(2) == [(2, "b"), (3, "c")]


async def test_a_header_outlives_history_and_an_entry_point_does_not(door: Door) -> None:
    slug = await door.stream("short")
    streamer = await published(door, slug, ("header", "h"), ("entry", "e"), *range(10))
    newcomer = await door.listener(slug)
    assert newcomer.first["offset"] == 12
    await streamer.publish("new")
    assert await newcomer.told_many(3) == [("header", {"offset": 1}), (1, "h"), (13, "new")]


async def test_those_who_are_there_are_told_of_a_reset_and_the_new_header(door: Door) -> None:
    slug = await door.stream()
    listener = await door.listener(slug)
    plain = await door.plain_listener(slug)
    streamer = await published(door, slug, ("header", b"1"), b"2")
    await streamer.tell("reset")
    await streamer.tell("mark", **{"as": "header"})
    await streamer.publish(b"3")
    assert await listener.told_many(6) == [
        *[("header", {"offset": 1}), (1, b"1"), (2, b"2")],
        *[("reset", {}), ("header", {"offset": 3}), (3, b"3")],
    ]
    assert await plain.receive_many(3) == [b"1", b"2", b"3"]


@pytest.mark.parametrize(
    ("asked", "first"), [(0, 6), (1, 5), (3, 3), (5, 1), (6, 1), (100, 1), (10**6, 1)]
)
async def test_history_replays_the_last_publications(door: Door, asked: int, first: int) -> None:
    slug = await door.stream()
    streamer = await published(door, slug, 1, 2, 3, 4, 5)
    listener = await door.listener(slug, f"?history={asked}")
    plain = await door.plain_listener(slug, f"?history={asked}")
    await streamer.publish(6)
    assert listener.first["offset"] == first - 1
    assert listener.first["recovered"] is False
    assert await listener.told_many(7 - first) == [(n, n) for n in range(first, 7)]
    assert await plain.receive_many(7 - first) == [str(n) for n in range(first, 7)]


async def test_history_replays_no_more_than_the_stream_keeps(door: Door) -> None:
    slug = await door.stream("short")
    await published(door, slug, *range(1, 21))
    listener = await door.listener(slug, "?history=15")
    assert listener.first["offset"] == 10
    assert await listener.told_many(10) == [(n, n) for n in range(11, 21)]


@pytest.mark.parametrize(
    ("asked", "offsets"), [(2, [2, 4, 5]), (4, [2, 3, 4, 5]), (9, [2, 3, 4, 5])]
)
async def test_history_comes_after_the_header_and_never_begins_before_it(
    door: Door, asked: int, offsets: list[int]
) -> None:
    slug = await door.stream()
    await published(door, slug, 1, ("header", 2), 3, ("entry", 4), 5)
    listener = await door.listener(slug, f"?history={asked}")
    told = await listener.told_many(len(offsets) + 1)
    assert told == [("header", {"offset": 2}), *[(n, n) for n in offsets]]


# -- order, and nothing lost ---------------------------------------------------------------------


@pytest.mark.slow
async def test_everybody_gets_every_frame_in_order(door: Door) -> None:
    slug = await door.stream()
    streamer = await door.plain_streamer(slug)
    expected = list(enumerate(MIXED, 1))
    heard: dict[Socket, int] = {}
    advanced = asyncio.Event()

    async def hear(listener: Socket, start: int = 0) -> None:
        for offset, frame in expected[start:]:
            if listener.subprotocol:
                assert await listener.told() == (offset, frame)
            else:
                assert await listener.receive() == frame
            heard[listener] = offset
            advanced.set()

    async def join_in_the_middle() -> None:
        listener = await door.listener(slug)
        assert 1000 <= listener.first["offset"] < len(MIXED)
        await hear(listener, listener.first["offset"])

    async with asyncio.TaskGroup() as tasks:
        for _ in range(2):
            for listener in (await door.listener(slug), await door.plain_listener(slug)):
                heard[listener] = 0
                tasks.create_task(hear(listener))
        for number, frame in enumerate(MIXED):
            if number == 3000:
                tasks.create_task(join_in_the_middle())
            # On a busy machine, too, nobody falls behind further than the ring reaches.
            while number - min(heard.values()) >= 2000:
                advanced.clear()
                await advanced.wait()
            await streamer.send(frame)


async def test_a_listener_that_goes_is_not_missed(door: Door) -> None:
    slug = await door.stream()
    staying = await door.listener(slug)
    streamer = await door.streamer(slug)
    for offset in range(1, 51):
        leaving = await door.listener(slug)
        await streamer.publish(offset)
        await leaving.leave()
        assert await staying.told() == (offset, offset)


async def test_a_listener_that_says_too_much_is_sent_away(door: Door) -> None:
    slug = await door.stream()
    other, listener = await door.listener(slug), await door.listener(slug)
    for _ in range(BURST):
        await listener.tell("ping")
        assert await listener.told() == ("pong", {})
    with suppress(Closed):
        # However slow the machine is.
        for _ in range(20 * BURST):
            await listener.tell("ping")
    said, code = await listener.rest()
    assert code == CloseCode.TOO_MANY
    assert TOO_MANY in str(said[-1])
    await other.tell("ping")
    assert await other.told() == ("pong", {})


async def test_a_burst_larger_than_history_reaches_who_is_there(in_process: InProcessDoor) -> None:
    """What is on its way through the channel layer is not lost, though history has let go of it."""
    slug = await in_process.stream("short")
    with override_settings(BROADCAST_WATCH_SECONDS=0.05):
        listener = await in_process.listener(slug)
        streamer = await in_process.plain_streamer(slug)
        for start in range(1, 20_000, 500):
            for number in range(start, start + 500):
                await streamer.send(str(number))
            expected = [(number, str(number)) for number in range(start, start + 500)]
            assert await listener.told_many(500) == expected


# -- Origin --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origin", "statuses"),
    [
        ("https://evil.example", {403}),
        ("http://evil.example:8000", {403}),
        ("http://localhost.evil.example", {403}),
        ("http://127.0.0.1@evil.example", {403}),
        ("null", {403}),
        ("file://", {403}),
        # No origins at all: Daphne says that they make no sense.
        ("localhost", {400, 403}),
        ("http://[::1", {400, 403}),
        ("", {400, 403}),
    ],
)
@pytest.mark.parametrize("socket", ["streamer", "listener"])
async def test_another_site_is_refused_in_the_handshake(
    door: Door, origin: str, statuses: set[int], socket: str
) -> None:
    slug = await door.stream()
    with pytest.raises(Refused) as refused:
        await door.connect(f"/ws/{socket}/{slug}/", headers={"Origin": origin})
    assert refused.value.status in statuses


@pytest.mark.parametrize(
    "origin",
    ["http://localhost", "https://127.0.0.1:8000", "http://LOCALHOST:1", "http://[::1]:80"],
)
async def test_this_site_comes_in(door: Door, origin: str) -> None:
    slug = await door.stream()
    listener = await door.listener(slug, headers={"Origin": origin})
    streamer = await door.streamer(slug, headers={"Origin": origin})
    await streamer.publish("x")
    assert await listener.told() == (1, "x")
