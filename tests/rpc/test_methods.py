"""What can be called over MessagePack-RPC, at a real server."""

import json
import math
import time

import msgpack

from broadcast.rpc.methods import encode_answer
from tests.rig import documents
from tests.rig.doors import ServerDoor
from tests.rig.rpc import connected


async def test_json_of_a_client_that_knows_only_bin_is_text(our_door: ServerDoor) -> None:
    slug = await our_door.stream()
    listener = await our_door.listener(slug)
    async with connected(our_door.process) as client:
        sent = {b"a": [b"b", {b"c": None}], "d": 1}
        assert (await client.call(b"publish", slug.encode(), sent))[2] is None
    assert await listener.told() == (1, {"a": ["b", {"c": None}], "d": 1})


async def test_push_data_reaches_the_listeners_of_everyone(our_door: ServerDoor) -> None:
    listener = await our_door.listener("everyone")
    async with connected(our_door.process) as client:
        for offset, data in enumerate(("text", b"\xff", {"a": 1}), listener.first["offset"] + 1):
            assert await client.call("push_data", data) == [1, 1, None, None]
            assert await listener.told() == (offset, data)
        await client.say(msgpack.packb([2, "push_data", ["unanswered"]]))
        assert (await listener.told())[1] == "unanswered"


async def test_push_data_reaches_every_page_socket(our_door: ServerDoor) -> None:
    pages = [
        await our_door.connect(f"/{path}?socket_connection_id=0") for path in ("", "ws/socket/")
    ]
    for page in pages:
        await page.send(json.dumps({"id": 1, "action": "ping"}))
        assert json.loads(await page.receive())["body"] == "pong"
    async with connected(our_door.process) as client:
        assert await client.call("push_data", {"foo": "bar"}) == [1, 1, None, None]
    for page in pages:
        said = json.loads(await page.receive())
        assert said == {"payload": {"foo": "bar"}, "channel": "everyone"}


async def test_push_reaches_one_channel_or_each_of_a_list_once(our_door: ServerDoor) -> None:
    slugs = [await our_door.stream() for _ in range(2)]
    listeners = [await our_door.listener(slug) for slug in slugs]
    async with connected(our_door.process) as client:
        assert await client.call("push", slugs[0], "one") == [1, 1, None, 1]
        both = [slugs[0], slugs[1].encode(), slugs[0]]
        assert await client.call("push", both, b"both") == [1, 1, None, 2]
        assert await client.call("push", [], "none") == [1, 1, None, 0]
        for wrong in (["s", 5], [["s"]], {}, None, "", "news.*", ["s", "x" * 201], ["s"] + [""]):
            assert "BadRequest" in (await client.call("push", wrong, "x"))[2]
        assert "StreamClosed" in (await client.call("push", [slugs[0], "closed-1"], "x"))[2]
    assert await listeners[0].told_many(3) == [(1, "one"), (2, b"both"), (3, "x")]
    assert await listeners[1].told() == (1, b"both")


async def test_history_is_read_page_by_page_and_says_what_is_missing(our_door: ServerDoor) -> None:
    slug = await our_door.stream("short")
    async with connected(our_door.process) as client:
        _, _, _, nothing = await client.call("history", slug)
        assert (nothing["offset"], nothing["complete"], nothing["publications"]) == (0, True, [])
        payloads = [*range(9), "text", b"\xff", {"a": None}]
        for payload in payloads:
            epoch = (await client.call("publish", slug, payload))[3]["epoch"]
        _, _, _, said = await client.call("history", slug, 2)
        assert (said["epoch"], said["offset"], said["complete"]) == (epoch, 12, True)
        found = said["publications"]
        assert [(one["offset"], one["data"]) for one in found] == list(enumerate(payloads, 1))[2:]
        assert [one["kind"] for one in found[-3:]] == ["text", "binary", "json"]
        assert abs(found[-1]["time"] - time.time()) < 60
        _, _, _, first = await client.call("history", slug)
        assert first["complete"] is False and first["publications"] == found
        _, _, _, page = await client.call("history", slug, 5, 2)
        assert [one["offset"] for one in page["publications"]] == [6, 7]
        _, _, _, end = await client.call("history", slug.encode(), 12)
        assert end["complete"] is True and end["publications"] == []
        _, _, _, beyond = await client.call("history", slug, 13)
        assert beyond["complete"] is False and beyond["publications"] == []
        for wrong in ([slug, -1], [slug, "1"], [slug, 0, -1], [slug, 0, 1.5], [None], [""]):
            assert "BadRequest" in (await client.call("history", *wrong))[2]


async def test_a_program_that_reaches_the_port_reads_private_streams_too(
    our_door: ServerDoor,
) -> None:
    """As its page says: there are no users here. Where there are others, there is a secret."""
    slug = await our_door.stream("private")
    async with connected(our_door.process) as client:
        assert (await client.call("publish", slug, "for few"))[2] is None
        _, _, error, said = await client.call("history", slug)
        assert error is None and said["publications"][0]["data"] == "for few"
    assert "read any, private ones too" in documents.page("reference/rpc")


async def test_a_page_of_history_has_some_size_at_most(our_door: ServerDoor) -> None:
    slug = await our_door.stream("long")
    async with connected(our_door.process) as client:
        for number in range(12):
            await client.call("publish", slug, f"{number}" * 50_000)
        since = 0
        while page := (await client.call("history", slug, since))[3]["publications"]:
            assert sum(len(one["data"]) for one in page) <= 200_000
            since = page[-1]["offset"]
        assert since == 12


def test_what_messagepack_cannot_carry_is_an_error_of_the_call() -> None:
    kind, msgid, error, result = msgpack.unpackb(encode_answer(7, None, {"data": 2**64}))
    assert (kind, msgid, result) == (1, 7, None)
    assert "cannot carry" in error


async def test_numbers_that_messagepack_has_not_are_floats_in_history(our_door: ServerDoor) -> None:
    slug = await our_door.stream()
    async with connected(our_door.process) as client:
        said = [2**64, 2**64 - 1, -(2**63), -(2**63) - 1, 10**400]
        options = {"json": True}
        assert (await client.call("publish", slug, json.dumps(said), options))[2] is None
        (one,) = (await client.call("history", slug))[3]["publications"]
    assert one["data"] == [2.0**64, 2**64 - 1, -(2**63), -(2.0**63), math.inf]
    assert [type(number) for number in one["data"]] == [float, int, int, float, float]


async def test_a_payload_may_be_json_as_text(our_door: ServerDoor) -> None:
    slug = await our_door.stream()
    listener = await our_door.listener(slug)
    options = {"json": True}
    async with connected(our_door.process) as client:
        for payload in ('{"a": 1}', b"[2]", '"text"', "7"):
            assert (await client.call("publish", slug, payload, options))[2] is None
        for wrong in ("{", 7, None, "NaN", "1e999", b"\xff", '"\\ud800"'):
            said = (await client.call("publish", slug, wrong, options))[2]
            assert said.startswith("BadRequest: ")
    assert await listener.told_many(4) == [(1, {"a": 1}), (2, [2]), (3, "text"), (4, 7)]


async def test_streams_and_stats_say_how_things_stand(our_door: ServerDoor) -> None:
    slug = await our_door.stream()
    async with connected(our_door.process) as client:
        _, _, _, before = await client.call("stats")
        await our_door.plain_listener(slug)
        epoch = (await client.call("publish", slug, "x"))[3]["epoch"]
        await client.call("nonsense")
        _, _, _, after = await client.call("stats")
        assert after["listeners"] >= before["listeners"] + 1
        assert after["calls"] - before["calls"] >= 3
        assert after["errors"] - before["errors"] == 1
        assert after["connections"] >= 1 and after["streams"] >= 1
        assert after["pid"] == our_door.process.process.pid  # type: ignore[union-attr]
        assert 0 < before["uptime"] < after["uptime"]
        _, _, _, streams = await client.call("streams")
        [found] = [stream for stream in streams if stream["slug"] == slug]
        wanted = {"kind": "messages", "live": False, "listeners": 1, "epoch": epoch, "offset": 1}
        assert wanted.items() <= found.items() and found["title"]
        assert "closed-1" not in [stream["slug"] for stream in streams]


async def test_a_connection_that_feeds_a_stream_is_its_streamer_until_it_ends(
    our_door: ServerDoor,
) -> None:
    slug = await our_door.stream()
    listener = await our_door.listener(slug)
    async with connected(our_door.process) as client:
        for _ in range(2):
            assert await client.call("feed", slug) == [1, 1, None, None]
        assert await listener.event() == {"event": "live"}
        assert (await client.call("publish", slug, "one"))[2] is None
        assert (await client.call("publish", slug, "two", {"idempotency_key": "k"}))[2] is None
        assert await listener.told_many(2) == [(1, "one"), (2, "two")]
    assert await listener.event() == {"event": "idle"}


async def test_a_connection_whose_stream_another_one_feeds_is_told(our_door: ServerDoor) -> None:
    slug = await our_door.stream()
    async with connected(our_door.process) as client, connected(our_door.process) as other:
        for one in (client, other):
            assert await one.call("feed", slug) == [1, 1, None, None]
            assert (await one.call("publish", slug, "text"))[2] is None
        error = (await client.call("publish", slug, "text"))[2]
        assert error == "Replaced: another streamer took over"
        assert (await other.call("publish", slug, "text"))[2] is None
    assert (await our_door.describe(slug))["position"]["offset"] == 3


async def test_a_connection_that_says_to_feed_again_takes_over_again(our_door: ServerDoor) -> None:
    slug = await our_door.stream()
    async with connected(our_door.process) as client, connected(our_door.process) as other:
        for one in (client, other, client):
            assert await one.call("feed", slug) == [1, 1, None, None]
            assert (await one.call("publish", slug, "text"))[2] is None
        assert (await other.call("publish", slug, "text"))[2].startswith("Replaced: ")


async def test_what_is_too_large_does_not_end_what_a_connection_feeds(our_door: ServerDoor) -> None:
    slug = await our_door.stream()
    async with connected(our_door.process) as client:
        await client.call("feed", slug)
        for data, error in (("one", None), (bytes(1024 * 1024 + 1), "TooLarge"), ("two", None)):
            said = (await client.call("publish", slug, data))[2]
            assert (said and said.partition(":")[0]) == error


async def test_what_is_said_behind_feed_is_fed(our_door: ServerDoor) -> None:
    """Calls may be pipelined: with its header before it is the streamer, nothing is recorded."""
    slug = await our_door.stream()
    async with connected(our_door.process) as client, connected(our_door.process) as other:
        said = [[0, 1, "feed", [slug]], [0, 2, "publish", [slug, "one"]]]
        await client.say(b"".join(map(msgpack.packb, said)))
        for _ in said:
            assert (await client.answer())[2] is None
        assert (await other.call("publish", slug, "x", {"header": True}))[2] is None
        # What it had appended was its own, and another recording has begun.
        assert (await client.call("publish", slug, "two"))[2].startswith("Replaced: ")


async def test_what_cannot_be_fed_is_refused(our_door: ServerDoor) -> None:
    async with connected(our_door.process) as client:
        closed = await our_door.stream("closed")
        assert (await client.call("feed", "nowhere"))[2].startswith("NoSuchStream: ")
        assert (await client.call("feed", closed))[2].startswith("StreamClosed: ")
        assert (await client.call("feed", "room:x"))[2].startswith("BadRequest: ")
        assert "it takes 1" in (await client.call("feed"))[2]
