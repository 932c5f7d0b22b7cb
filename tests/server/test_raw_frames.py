"""What goes over the wire when nobody minds the protocol: RFC 6455, and the HTTP before it."""

import pytest

from tests.rig.doors import ServerDoor, undisturbed
from tests.rig.films import block, cluster, webm
from tests.rig.raw import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Gone,
    RawSocket,
    close_payload,
    frame,
    handshake,
)

MIB = 2**20
EURO = "€".encode()

#: What a client sends on an open socket, and what its connection ends with.
WRONG: dict[str, tuple[bytes, int]] = {
    "unmasked text": (frame(TEXT, b"x", masked=False), 1002),
    "unmasked, long": (frame(BINARY, b"x" * 70_000, masked=False), 1002),
    "reserved bit 1": (frame(TEXT, b"x", rsv=4), 1002),
    "reserved bit 2": (frame(BINARY, b"x", rsv=2), 1002),
    "reserved bit 3, not the last": (frame(TEXT, b"x", rsv=1, fin=False), 1002),
    "reserved opcode 3": (frame(3, b"x"), 1002),
    "reserved opcode 11": (frame(11, b"x"), 1002),
    "a ping in fragments": (frame(PING, b"x", fin=False), 1002),
    "a ping that is too long": (frame(PING, b"x" * 126), 1002),
    "a continuation of nothing": (frame(CONTINUATION, b"x"), 1002),
    "a message within a message": (frame(TEXT, b"x", fin=False) + frame(TEXT, b"x"), 1002),
    "binary within text": (frame(TEXT, b"x", fin=False) + frame(BINARY, b"x"), 1002),
    "text that is no UTF-8": (frame(TEXT, b"\xff"), 1007),
    "text that ends within a character": (frame(TEXT, EURO[:2]), 1007),
    "a surrogate in UTF-8": (frame(TEXT, b"\xed\xa0\x80"), 1007),
    "no UTF-8 in the second fragment": (
        frame(TEXT, EURO[:1], fin=False) + frame(CONTINUATION, b"x"),
        1007,
    ),
    "one byte over the limit": (frame(BINARY, b"x" * (MIB + 1)), 1009),
    "a length of 2^62": (frame(BINARY, length=2**62), 1009),
    "a length of 2^63, which has a bit too many": (frame(BINARY, length=2**63), 1002),
    "fragments over the limit": (
        frame(BINARY, b"x" * MIB, fin=False) + frame(CONTINUATION, b"x"),
        1009,
    ),
    "many fragments over the limit": (
        frame(TEXT, fin=False) + frame(CONTINUATION, b"x" * 65_000, fin=False) * 20,
        1009,
    ),
}

#: Closes that make no sense, from a client that is going anyway.
WRONG_CLOSES = {
    "one byte": b"x",
    "a code that nobody may send": close_payload(1005),
    "a code that is none": close_payload(0),
    "a reason that is no UTF-8": close_payload(1000) + b"\xff",
}

#: Frames that are one message, however they are cut.
WHOLE: dict[str, tuple[bytes, tuple[int, bytes]]] = {
    "two fragments": (
        frame(TEXT, b"a", fin=False) + frame(CONTINUATION, b"b"),
        (TEXT, b"ab"),
    ),
    "a character in three fragments": (
        frame(TEXT, EURO[:1], fin=False)
        + frame(CONTINUATION, EURO[1:2], fin=False)
        + frame(CONTINUATION, EURO[2:]),
        (TEXT, EURO),
    ),
    "empty fragments": (
        frame(BINARY, fin=False)
        + frame(CONTINUATION, fin=False)
        + frame(CONTINUATION, b"x", fin=False)
        + frame(CONTINUATION),
        (BINARY, b"x"),
    ),
    "control frames between fragments": (
        frame(TEXT, b"a", fin=False)
        + frame(PING, b"ping")
        + frame(CONTINUATION, b"b", fin=False)
        + frame(PONG, b"nobody asked")
        + frame(CONTINUATION, b"c"),
        (TEXT, b"abc"),
    ),
    "fragments of all lengths": (
        frame(BINARY, b"a" * 125, fin=False)
        + frame(CONTINUATION, b"b" * 126, fin=False)
        + frame(CONTINUATION, b"c" * 65535, fin=False)
        + frame(CONTINUATION, b"d" * 65536),
        (BINARY, b"a" * 125 + b"b" * 126 + b"c" * 65535 + b"d" * 65536),
    ),
    "fragments of exactly the limit": (
        frame(BINARY, b"x" * (MIB - 1), fin=False) + frame(CONTINUATION, b"y"),
        (BINARY, b"x" * (MIB - 1) + b"y"),
    ),
    "a length written longer than needed": (
        bytes((0x82, 0xFF)) + (3).to_bytes(8, "big") + b"\0\0\0\0abc",
        (BINARY, b"abc"),
    ),
}


@pytest.mark.parametrize(("data", "code"), WRONG.values(), ids=WRONG.keys())
async def test_a_frame_that_breaks_the_protocol_ends_its_own_connection(
    our_door: ServerDoor, data: bytes, code: int
) -> None:
    slug = await our_door.stream()
    listener = await our_door.listener(slug)
    async with undisturbed(our_door), our_door.raw() as raw:
        await raw.open(f"/ws/streamer/{slug}/")
        await raw.send(frame(TEXT, b"before"))
        await raw.try_send(data + frame(TEXT, b"after"))
        assert await raw.ended() == code
    streamer = await our_door.streamer(slug)
    await streamer.publish("another")
    assert await listener.told_many(2) == [(1, "before"), (2, "another")]


@pytest.mark.parametrize("payload", WRONG_CLOSES.values(), ids=WRONG_CLOSES.keys())
async def test_a_close_that_makes_no_sense_closes(server_door: ServerDoor, payload: bytes) -> None:
    slug = await server_door.stream()
    async with undisturbed(server_door), server_door.raw() as raw:
        await raw.open(f"/ws/streamer/{slug}/")
        await raw.send(frame(CLOSE, payload) + frame(TEXT, b"after the close"))
        assert await raw.ended() in (1002, 1007, None)
    assert (await server_door.listener(slug)).first["offset"] == 0


@pytest.mark.parametrize(("data", "message"), WHOLE.values(), ids=WHOLE.keys())
async def test_a_message_is_put_together(
    server_door: ServerDoor, data: bytes, message: tuple[int, bytes]
) -> None:
    slug = await server_door.stream()
    async with server_door.raw() as listener, server_door.raw() as streamer:
        await listener.open(f"/ws/listener/{slug}/")
        await server_door.until_listeners(slug, 1)
        await streamer.open(f"/ws/streamer/{slug}/")
        await streamer.send(frame(TEXT, b"before") + data + frame(BINARY, b"after"))
        assert [await listener.frame() for _ in range(3)] == [
            *[(TEXT, b"before"), message, (BINARY, b"after")]
        ]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 11, 130])
async def test_frames_may_be_cut_anywhere(server_door: ServerDoor, size: int) -> None:
    slug = await server_door.stream()
    listener = await server_door.listener(slug)
    payloads = [bytes(length) for length in (300, 0, 1, 126, 2, 125, 127, 3)]
    data = b"".join(frame(BINARY, payload) for payload in payloads)
    data += frame(TEXT, b"frag", fin=False) + frame(PING, b"p") + frame(CONTINUATION, b"ment")
    data += frame(TEXT)
    async with server_door.raw() as raw, server_door.raw() as turns:
        await turns.open(f"/ws/listener/{slug}/")
        await raw.open(f"/ws/streamer/{slug}/")
        for start in range(0, len(data), size):
            # Without a turn of the server between them it would read many pieces as one.
            await raw.send(data[start : start + size])
            await turns.send(frame(PING, b"turn"))
            while await turns.frame() != (PONG, b"turn"):
                pass
        everything = [*payloads, "fragment", ""]
        assert await listener.told_many(len(everything)) == list(enumerate(everything, 1))
        assert await raw.frame() == (PONG, b"p")


async def test_a_small_frame_does_not_wait_behind_a_large_one(server_door: ServerDoor) -> None:
    slug = await server_door.stream()
    listener = await server_door.listener(slug)
    large, small = frame(BINARY, bytes(MIB)), frame(TEXT, b"small")
    async with server_door.raw() as raw, server_door.raw() as turns:
        await turns.open(f"/ws/listener/{await server_door.stream()}/")
        await raw.open(f"/ws/streamer/{slug}/")
        for piece in (large[:-1], large[-1:] + small[:1], small[1:]):
            await raw.send(piece)
            await turns.heard()
        assert await listener.told_many(2) == [(1, bytes(MIB)), (2, "small")]


async def test_thousands_of_frames_may_come_in_one_segment(server_door: ServerDoor) -> None:
    slug = await server_door.stream()
    listener = await server_door.listener(slug)
    # No more than the ring holds: nobody reads while all of it is sent.
    count = 4000
    async with undisturbed(server_door), server_door.raw() as raw:
        await raw.open(f"/ws/streamer/{slug}/")
        await raw.send(b"".join(frame(TEXT, b"%d" % number) for number in range(count)))
        assert await listener.told_many(count) == [(n + 1, str(n)) for n in range(count)]


async def test_the_first_frame_of_a_media_streamer_may_be_as_large_as_any(
    server_door: ServerDoor,
) -> None:
    blocks = [block(key=True, content=bytes(3 * MIB // 2))] * 2
    rest = 4 * MIB - len(webm(cluster(*blocks))) - len(block(content=bytes(MIB // 2))) + MIB // 2
    data = webm(cluster(*blocks, block(content=bytes(rest))))
    assert len(data) == 4 * MIB
    for _ in range(5):
        slug = await server_door.stream("media")
        listener = await server_door.listener(slug)
        async with server_door.raw() as raw:
            # With the answer to the handshake, before the server knows what stream it is.
            await raw.open(f"/ws/streamer/{slug}/")
            await raw.send(frame(BINARY, data))
            heard = b""
            while len(heard) < len(data):
                said = await listener.told()
                heard += said[1] if isinstance(said[1], bytes) else b""
            assert heard == data


@pytest.mark.parametrize("cut", [1, 5, 40])
async def test_frames_that_come_with_the_handshake_are_taken_or_end_the_connection(
    server_door: ServerDoor, cut: int
) -> None:
    """A client must wait for the answer. One that does not must not be misunderstood."""
    slug = await server_door.stream()
    listener = await server_door.listener(slug)
    early = frame(TEXT, b"early" * 10) + frame(TEXT, b"second")
    async with server_door.raw() as raw:
        await raw.send(handshake(f"/ws/streamer/{slug}/") + early[:cut])
        try:
            await raw.head()
            await raw.try_send(early[cut:] + frame(TEXT, b"third"))
            await raw.try_send(frame(CLOSE, close_payload(1000)))
            await raw.ended()
        except Gone:
            pass
    await (await server_door.streamer(slug)).publish("end")
    told = [(await listener.told())[1]]
    while told[-1] != "end":
        told.append((await listener.told())[1])
    assert told in (["end"], ["early" * 10, "second", "third", "end"])


# -- before the handshake ------------------------------------------------------------------------

OPENING = handshake("/ws/listener/demo/")

#: What a client opens with, and the statuses it may be answered with; None: it is cut off.
NO_HANDSHAKE: dict[str, tuple[bytes, set[int | None]]] = {
    "no key": (handshake("/ws/listener/demo/", leave_out="Sec-WebSocket-Key"), {400, 426}),
    "no version": (handshake("/ws/listener/demo/", leave_out="Sec-WebSocket-Version"), {400, 426}),
    "no upgrade": (handshake("/ws/listener/demo/", leave_out="Upgrade"), {400, 404, 426}),
    "an old version": (OPENING.replace(b": 13", b": 12"), {400, 426}),
    "a version that is none": (OPENING.replace(b": 13", b": x"), {400, 426}),
    "a path of any bytes": (OPENING.replace(b"demo", b"\xff\xfe"), {400}),
    "a header of any bytes": (OPENING.replace(b"Host: ", b"\xff\xfe: x\r\nHost: "), {400, None}),
    "no HTTP": (b"GARBAGE\r\n\r\n", {400, None}),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00" * 50 + b"\r\n\r\n", {400, None}),
    "another HTTP": (b"GET / HTTP/9.9\r\n\r\n", {400, 505, None}),
    "an endless path": (OPENING.replace(b"demo", b"a" * 100_000), {400, 414, 431, None}),
    "an endless header": (
        OPENING.replace(b"Host: ", b"X: " + b"x" * 100_000 + b"\r\nHost: "),
        {400, 431, None},
    ),
}


@pytest.mark.parametrize(("request_", "statuses"), NO_HANDSHAKE.values(), ids=NO_HANDSHAKE.keys())
async def test_a_handshake_that_makes_no_sense_is_refused(
    our_door: ServerDoor, request_: bytes, statuses: set[int | None]
) -> None:
    async with undisturbed(our_door), our_door.raw() as raw:
        await raw.try_send(request_)
        try:
            status: int | None = int((await raw.head()).split()[1])
        except Gone:
            status = None
        assert status in statuses


@pytest.mark.parametrize(
    "data",
    [b"", b"G", OPENING[:60], OPENING[:-2], OPENING],
    ids=["nothing", "a byte", "half a handshake", "all but the end", "all of it"],
)
async def test_a_client_may_go_at_any_time_of_the_handshake(
    server_door: ServerDoor, data: bytes
) -> None:
    async with undisturbed(server_door):
        for _ in range(10):
            async with server_door.raw() as raw:
                await raw.send(data)
                raw.cut()
            async with server_door.raw() as raw:
                await raw.send(data)


@pytest.mark.parametrize("protocols", [(), ("broadcast.v1",)], ids=["plain", "v1"])
@pytest.mark.parametrize("socket", ["streamer", "listener"])
@pytest.mark.parametrize(
    "data",
    [
        frame(BINARY, b"x" * 1000)[:500],
        frame(BINARY, b"x" * 1000)[:1],
        frame(TEXT, b"x", fin=False),
        frame(CLOSE, close_payload(1000)),
        frame(CLOSE),
        frame(CLOSE, close_payload(1000))[:3],
        frame(CLOSE, close_payload(1000)) * 3 + frame(TEXT, b"after the close"),
        frame(PING, b"x") * 100,
    ],
    ids=[
        *("half a frame", "a byte", "a fragment", "a close", "a close without a code"),
        *("half a close", "three closes", "pings"),
    ],
)
async def test_a_client_may_go_in_the_middle_of_everything(
    server_door: ServerDoor, data: bytes, socket: str, protocols: tuple[str, ...]
) -> None:
    slug = await server_door.stream()
    async with undisturbed(server_door):
        for leave in (RawSocket.cut, lambda raw: raw.socket.close()):
            async with server_door.raw() as raw:
                await raw.open(f"/ws/{socket}/{slug}/", *protocols)
                await raw.send(data)
                leave(raw)
        await server_door.until_listeners(slug, 0)
    listener = await server_door.listener(slug)
    assert listener.first["offset"] == 0


async def test_a_close_is_answered_and_what_follows_is_not_heard(server_door: ServerDoor) -> None:
    slug = await server_door.stream()
    for path in (f"/ws/streamer/{slug}/", f"/ws/listener/{slug}/"):
        async with server_door.raw() as raw:
            await raw.open(path)
            await raw.send(frame(CLOSE, close_payload(1001)) + frame(TEXT, b"after the close"))
            assert await raw.ended() in (1000, 1001)
    assert (await server_door.listener(slug)).first["offset"] == 0
