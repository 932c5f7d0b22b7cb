"""The channel layer of one server process."""

import pytest
from channels.layers import InMemoryChannelLayer, get_channel_layer
from channels_redis.pubsub import RedisPubSubChannelLayer
from django.core.exceptions import ImproperlyConfigured
from pytest_django.fixtures import Settings

from broadcast.backends import get_backend
from broadcast.backends.memory import MemoryBackend
from broadcast.backends.redis import RedisBackend
from broadcast.hub import layer as layers
from broadcast.hub.layer import get_layer
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


def test_a_project_without_layers_gets_one_in_memory() -> None:
    made = get_layer()
    assert isinstance(made, MemoryLayer) and made.capacity == 1000
    assert get_layer() is made is get_channel_layer("broadcast")
    # The project's own is the project's.
    assert get_channel_layer() is None


async def test_with_a_redis_it_is_on_redis_and_history_too(settings: Settings) -> None:
    settings.BROADCAST_REDIS_URL = "redis://127.0.0.1:1/3,redis://127.0.0.1:2"
    assert isinstance(get_layer(), RedisPubSubChannelLayer)
    assert isinstance(get_backend(), RedisBackend)
    assert len(get_layer()._get_layer()._shards) == 2
    settings.BROADCAST_REDIS_URL = ""
    assert isinstance(get_layer(), MemoryLayer)
    assert isinstance(get_backend(), MemoryBackend)


@pytest.mark.parametrize("alias", ["broadcast", "live"])
def test_a_layer_of_the_project_is_used_where_it_is_named(settings: Settings, alias: str) -> None:
    settings.CHANNEL_LAYERS = {alias: {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    settings.BROADCAST_CHANNEL_LAYER = alias
    assert type(get_layer()) is InMemoryChannelLayer


def test_a_layer_that_the_project_does_not_have_is_an_error(settings: Settings) -> None:
    settings.BROADCAST_CHANNEL_LAYER = "live"
    with pytest.raises(ImproperlyConfigured, match="CHANNEL_LAYERS has no 'live'"):
        get_layer()


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
