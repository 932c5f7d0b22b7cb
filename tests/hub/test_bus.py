"""What processes tell each other, in the form that the version before reads and writes."""

from typing import Any

import pytest

from broadcast.hub import bus

#: Each kind of message as it is on the channel layer. Processes of two versions share a layer while
#: an installation is upgraded, so these names stay.
ON_THE_LAYER: list[tuple[bus.Message, dict[str, Any]]] = [
    (
        bus.Published("s", "e", b"\x90"),
        {"type": "broadcast.publications", "stream": "s", "epoch": "e", "publications": b"\x90"},
    ),
    (
        bus.StreamerCame("s", "one"),
        {"type": "broadcast.streamer", "stream": "s", "streamer": "one"},
    ),
    (
        bus.StreamerLeaves("s", "one", left=True),
        {"type": "broadcast.leaving", "stream": "s", "streamer": "one", "left": True},
    ),
    (
        bus.StreamerWaits("s", "one"),
        {"type": "broadcast.waiting", "stream": "s", "streamer": "one"},
    ),
    (
        bus.AccessChanged("s", ""),
        {"type": "broadcast.change", "stream": "s", "session": ""},
    ),
    (
        bus.WhoIsThere("s", "q", "c"),
        {"type": "broadcast.who", "stream": "s", "question": "q", "channel": "c"},
    ),
    (
        bus.TheseAreThere("q", [{"id": "1"}]),
        {"type": "broadcast.here", "question": "q", "connections": [{"id": "1"}]},
    ),
    (bus.Remove("s", "1"), {"type": "broadcast.remove", "stream": "s", "connection": "1"}),
    (bus.PageChanged("d", ["a"]), {"type": "broadcast.page", "digest": "d", "leave": ["a"]}),
    (bus.SessionEnded("m"), {"type": "broadcast.session", "session": "m"}),
]


@pytest.mark.parametrize(
    ("message", "said"), ON_THE_LAYER, ids=[type(one).__name__ for one, _ in ON_THE_LAYER]
)
def test_a_message_is_written_and_read_as_the_version_before_does(
    message: bus.Message, said: dict[str, Any]
) -> None:
    assert bus.written(message) == said
    assert bus.read(said) == message
    # A later version may say more.
    assert bus.read(said | {"reason": "none"}) == message


def test_each_kind_of_message_stands_in_this_table() -> None:
    assert {type(message) for message, _ in ON_THE_LAYER} == set(bus.NAMES)


def test_a_kind_that_this_version_does_not_know_is_left_out() -> None:
    assert bus.read({"type": "broadcast.later", "stream": "s"}) is None
