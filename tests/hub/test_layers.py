"""The channel layer of one server process."""

import pytest
from channels.layers import InMemoryChannelLayer
from django.conf import settings

from broadcast import layers
from broadcast.layers import MemoryLayer


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One for each time that Channels' layer looks for what has expired."""
    looked: list[int] = []
    look = InMemoryChannelLayer._clean_expired

    def note(layer: InMemoryChannelLayer) -> None:
        looked.append(len(layer.groups))
        look(layer)

    monkeypatch.setattr(InMemoryChannelLayer, "_clean_expired", note)
    return looked


def test_it_is_the_layer_of_the_project() -> None:
    assert settings.CHANNEL_LAYERS["default"]["BACKEND"] == "broadcast.layers.MemoryLayer"


async def test_messages_do_not_look_through_all_groups(
    looks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers, "LOOK_SECONDS", 3600)
    layer = MemoryLayer()
    for number in range(100):
        await layer.group_add(f"group-{number}", "here")
        await layer.group_send(f"group-{number}", {"type": "test", "number": number})
        assert (await layer.receive("here"))["number"] == number
    assert len(looks) == 1


async def test_what_nobody_receives_is_dropped_all_the_same(
    looks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers, "LOOK_SECONDS", 0)
    layer = MemoryLayer(expiry=-1)
    await layer.group_add("group", "gone")
    await layer.group_send("group", {"type": "test"})
    assert "gone" in layer.channels
    await layer.group_send("other", {"type": "test"})
    assert "gone" not in layer.channels
    assert not layer.groups["group"]
