"""Deflated messages: what is agreed on, and that every client that inflates gets what was said."""

import json
import random
from collections.abc import Iterable

import pytest

from broadcast.publications import Draft, Publication
from broadcast.wire.deflate import Context, agree, alone
from broadcast.wire.frames import TEXT, V1_FRAMES, event, to_frames
from tests.rig.inflating import Client
from tests.rig.publications import published, quotes

#: What clients offer, and what is agreed on.
OFFERS = {
    "": "",
    "permessage-deflate": "permessage-deflate; client_no_context_takeover",
    # As Chromium and Firefox do.
    "permessage-deflate; client_max_window_bits": "permessage-deflate; client_no_context_takeover",
    "permessage-deflate; client_max_window_bits=12": (
        "permessage-deflate; client_no_context_takeover; client_max_window_bits=12"
    ),
    "permessage-deflate; server_max_window_bits=15": (
        "permessage-deflate; client_no_context_takeover; server_max_window_bits=15"
    ),
    # A window or a context of the server's of its own.
    "permessage-deflate; server_max_window_bits=10": "",
    "permessage-deflate; server_no_context_takeover": "",
    # The first that can be had.
    "permessage-deflate; server_max_window_bits=10, permessage-deflate": (
        "permessage-deflate; client_no_context_takeover"
    ),
    "x-webkit-deflate-frame, permessage-deflate": "permessage-deflate; client_no_context_takeover",
    # Nonsense.
    "permessage-deflate; server_max_window_bits=7": "",
    "permessage-deflate; server_max_window_bits=x": "",
    "permessage-deflate; client_max_window_bits=16": "",
    "permessage-deflate; unknown": "",
    "permessage-deflate; client_no_context_takeover; client_no_context_takeover": "",
    "permessage-deflate; client_no_context_takeover=1": "",
    ";;": "",
    "permessage-deflate; server_max_window_bits=": "",
    "\x80": "",
}


@pytest.mark.parametrize(("offered", "agreed"), OFFERS.items())
def test_of_what_a_client_offers_the_first_that_can_be_had_is_agreed_on(
    offered: str, agreed: str
) -> None:
    assert agree(offered) == agreed


def plain(publications: Iterable[Publication]) -> list[bytes]:
    return [b"".join(payload) for _, payload in V1_FRAMES.each(publications)]


def test_a_client_gets_what_was_said_in_few_bytes() -> None:
    context, client, said = Context(V1_FRAMES.each), Client(), quotes(500)
    frames = [context.frames(said[start : start + 7]) for start in range(0, 500, 7)]
    for one in frames:
        client.read(one)
    assert client.heard == plain(said)
    size = len(to_frames(V1_FRAMES.each(said)))
    assert sum(map(len, frames)) < 0.45 * size
    assert context.saved > 0.5 * size


def test_clients_that_come_at_any_time_get_what_was_said_from_then_on() -> None:
    context = Context(V1_FRAMES.each)
    numbers = random.Random(2)
    inside: list[tuple[Client, int]] = []
    outside: list[tuple[Client, int]] = []
    said = quotes(1000)
    at = 0
    while at < len(said):
        outside.append((Client(), at))
        if context.is_open:
            inside += outside
            outside = []
        part = said[at : at + numbers.randrange(1, 20)]
        context.opens = numbers.random() < 0.2
        deflated = context.frames(part)
        for one, _ in inside:
            one.read(deflated)
        for one, _ in outside:
            one.read(to_frames(V1_FRAMES.each(part)))
        # One leaves, hears some as they are, and comes back.
        if inside and numbers.random() < 0.3:
            outside.append(inside.pop(numbers.randrange(len(inside))))
        at += len(part)
    everything = plain(said)
    for client, since in inside + outside:
        assert client.heard == everything[since:]


def test_what_is_small_or_compressed_goes_as_it_is() -> None:
    context, client = Context(V1_FRAMES.each), Client()
    noise = random.Random(3).randbytes(5000)
    said = published([Draft.of(""), Draft.of(noise), Draft.of(b"a" * 5000), Draft.of(noise)])
    frames = context.frames(said)
    assert frames.count(noise) == 2 and len(frames) < 2 * 5000 + 200
    client.read(frames)
    assert client.heard == plain(said)


def test_messages_that_stand_alone_are_inflated_after_anything() -> None:
    client, context = Client(), Context(V1_FRAMES.each)
    long = event("joined", text=json.dumps([p.payload.decode() for p in quotes(5)]))
    for _ in range(3):
        client.read(context.frames(quotes(10)))
        client.read(alone([long, (TEXT, (b"short",))]))
    assert client.heard[10:12] == [long[1][0], b"short"]
    assert len(alone([long])) < 0.7 * len(long[1][0])
