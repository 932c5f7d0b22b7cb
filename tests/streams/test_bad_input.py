"""Paths, queries and frames that make no sense: each gets its error, and nobody else notices."""

from contextlib import suppress

import pytest

from tests.rig.doors import V1, Closed, Door, Frame, InProcessDoor, Refused, undisturbed

MIB = 2**20

SOCKETS = ("listener", "streamer")

# -- paths ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("socket", SOCKETS)
@pytest.mark.parametrize(
    "slug",
    [
        *("nowhere", "", "no%20slug", "%00", "%FF", "%C3%BC", "..", "%2E%2E", "Free-1", "free_1"),
        *("'%20OR%201=1--", "a" * 71, "a" * 4000, "%E2%80%AE", "%F0%9F%98%80", "%0A", "-"),
    ],
)
async def test_a_name_that_is_no_stream_is_closed_with_4504(
    door: Door, socket: str, slug: str
) -> None:
    opened = await door.connect(f"/ws/{socket}/{slug}/")
    assert await opened.rest() == ([], 4504)


@pytest.mark.parametrize(
    "path",
    [
        *("/ws/", "/ws/listener/", "/ws/listener/demo", "/ws/listener/demo/more/", "/nowhere/"),
        *("/ws/listener/a%2Fb/", "/ws/Listener/demo/", "/WS/listener/demo/"),
        *("/ws/streamer/", "/ws/streamers/demo/", "/ws/listener/demo/%0A", "/%FF%FE"),
    ],
)
async def test_a_path_without_a_socket_is_refused_in_the_handshake(door: Door, path: str) -> None:
    with pytest.raises(Refused) as refused:
        await door.connect(path)
    assert refused.value.status in (403, 404)


# -- queries -------------------------------------------------------------------------------------

BAD_NUMBERS = (
    *("", "abc", "-1", "1.5", "1e3", "0x10", "%2B1", "%201", "1%20", "1_000", "%00", "null", "NaN"),
    *("%D9%A1", "%EF%BC%91", "9" * 21, "9" * 4000, "%FF", "1%0A"),
)


@pytest.mark.parametrize(
    "query",
    [
        *(f"history={number}" for number in BAD_NUMBERS),
        *(f"epoch=x&since={number}" for number in BAD_NUMBERS),
        *("since=1", "epoch=x", "history=1&history=2", "epoch=x&since=1&since=1", "since&epoch"),
        *("epoch=%FF&since=1", "&".join(f"a{number}=1" for number in range(1000))),
    ],
)
async def test_a_listener_s_query_that_makes_no_sense_is_closed_with_4500(
    door: Door, query: str
) -> None:
    slug = await door.stream()
    opened = await door.connect(f"/ws/listener/{slug}/?{query}")
    assert await opened.rest() == ([], 4500)


@pytest.mark.parametrize(
    "query",
    [
        *(f"run={run}" for run in ("", "abc", "1", "%00", "%FF", "g" * 32, "a" * 31, "a" * 4000)),
        "run=0b3b1a4e-6a43-4a4e-8a3a-1f7b6f1d2c3d&run=0b3b1a4e-6a43-4a4e-8a3a-1f7b6f1d2c3d",
    ],
)
async def test_a_streamer_s_query_that_makes_no_sense_is_closed_with_4500(
    door: Door, query: str
) -> None:
    slug = await door.stream()
    streamer = await door.streamer(slug)
    opened = await door.connect(f"/ws/streamer/{slug}/?{query}")
    assert await opened.rest() == ([], 4500)
    await streamer.publish("who was there is there")
    await streamer.accepted(1)


@pytest.mark.parametrize("socket", SOCKETS)
@pytest.mark.parametrize("query", ["", "?", "?other=1", "?=", "?&&", "?utm_source=x&fbclid="])
async def test_a_query_that_says_something_else_does_no_harm(
    door: Door, socket: str, query: str
) -> None:
    slug = await door.stream()
    await (door.listener if socket == "listener" else door.streamer)(slug, query)


async def test_a_query_of_any_bytes_makes_no_sense(in_process: InProcessDoor) -> None:
    slug = await in_process.stream()
    opened = await in_process.connect(f"/ws/listener/{slug}/?history=\u00fc")
    assert await opened.rest() == ([], 4500)


# -- what a streamer says ------------------------------------------------------------------------

NONSENSE = {
    **{text: text for text in ("", " ", "nonsense", "null", "1", "true", '"publication"', "[]")},
    **{text: text for text in ("{}", "{", '{"event":null}', '{"event":1}', '{"event":["mark"]}')},
    **{text: text for text in ('{"event":{}}', '{"event":"Publication","data":1}')},
    **{text: text for text in ('{"event":"publication"}', '{"event":"joined"}', "\ufeff{}")},
    **{text: text for text in ('{"event":"mark"}', '{"event":"mark","as":"both"}')},
    **{f"mark {value}": f'{{"event":"mark","as":{value}}}' for value in ("null", "[]", "{}", "1")},
    **{
        f"publication of {value}": f'{{"event":"publication","data":{value}}}'
        for value in ("NaN", "Infinity", "-Infinity", "1e999", r'"\ud800"', r'["\udfff"]', "'x'")
    },
    "a key that is no Unicode": r'{"event":"publication","data":{"\ud800":1}}',
    "deeply nested": '{"event":"publication","data":' + "[" * 100_000 + "]" * 100_000 + "}",
    "deeply nested and open": "[" * 500_000,
    "a number of 100,000 digits": '{"event":"publication","data":' + "9" * 100_000 + "}",
    "two values": '{"event":"reset"}{"event":"reset"}',
}


@pytest.mark.parametrize("said", NONSENSE.values(), ids=NONSENSE.keys())
async def test_a_text_that_makes_no_sense_is_an_error_and_nothing_more(
    door: Door, said: str
) -> None:
    slug = await door.stream()
    listener = await door.listener(slug)
    streamer = await door.streamer(slug)
    await streamer.until("listeners")
    async with undisturbed(door):
        await streamer.publish("before")
        await streamer.send(said)
        assert (await streamer.until("error"))["message"]
        await streamer.publish("after")
        await streamer.accepted(2)
    assert await listener.told_many(2) == [(1, "before"), (2, "after")]


async def test_json_is_taken_as_it_is_written(door: Door) -> None:
    slug = await door.stream()
    listener = await door.listener(slug)
    streamer = await door.streamer(slug)
    await streamer.send(' {"data" : 1 , "more":2,\n"event":"publication"} ')
    await streamer.send('{"event":"reset","event":"publication","data":"\\u00fc\\ud83d\\ude00"}')
    assert await listener.told_many(2) == [(1, 1), (2, "ü😀")]


# -- what a listener says ------------------------------------------------------------------------

SPEECH: list[Frame] = ["", b"", "hello", b"hello", "{}", '{"event":"publication","data":1}', "[]"]


@pytest.mark.parametrize("said", [*SPEECH, "x" * MIB, b"x" * MIB], ids=lambda said: repr(said)[:20])
@pytest.mark.parametrize("protocols", [(), (V1,)], ids=["plain", "v1"])
async def test_a_listener_has_nothing_to_say(
    door: Door, protocols: tuple[str, ...], said: Frame
) -> None:
    slug = await door.stream()
    async with undisturbed(door):
        listener = await door.connect(f"/ws/listener/{slug}/", *protocols)
        await listener.send(said)
        assert await listener.closed() == 4500
    await door.until_listeners(slug, 0)


@pytest.mark.parametrize("said", ["x" * (MIB + 1), b"x" * (3 * MIB)], ids=["text", "binary"])
async def test_a_listener_that_sends_megabytes_is_closed(door: Door, said: Frame) -> None:
    slug = await door.stream()
    async with undisturbed(door):
        listener = await door.connect(f"/ws/listener/{slug}/")
        with suppress(Closed):
            for _ in range(5):
                await listener.send(said)
        assert await listener.closed() in (1009, 4500)


async def test_sockets_that_may_not_come_in_may_say_what_they_like(door: Door) -> None:
    async with undisturbed(door):
        for socket in SOCKETS:
            opened = await door.connect(f"/ws/{socket}/nowhere/", V1)
            with suppress(Closed):
                for _ in range(100):
                    await opened.send("hello")
                    await opened.send(b"x" * 1000)
            assert await opened.closed() == 4504


# -- clients that go -----------------------------------------------------------------------------


@pytest.mark.parametrize("socket", SOCKETS)
@pytest.mark.parametrize("protocols", [(), (V1,)], ids=["plain", "v1"])
async def test_a_client_may_go_right_after_the_handshake(
    door: Door, socket: str, protocols: tuple[str, ...]
) -> None:
    slug = await door.stream()
    async with undisturbed(door):
        for number in range(20):
            opened = await door.connect(f"/ws/{socket}/{slug}/", *protocols)
            await (opened.leave if number % 2 else opened.close)()
        await door.until_listeners(slug, 0)
    listener = await door.listener(slug)
    assert listener.first["offset"] == 0
    while listener.first["live"]:
        listener.first["live"] = (await listener.event())["event"] != "idle"


async def test_what_a_streamer_sent_before_it_went_is_published(door: Door) -> None:
    slug = await door.stream()
    listener = await door.listener(slug)
    streamer = await door.plain_streamer(slug)
    for number in range(500):
        await streamer.send(str(number))
    await streamer.close()
    assert await listener.told_many(500) == [(n + 1, str(n)) for n in range(500)]
