"""The channel layer of an installation, which carries publications from process to process.

It is the one that `CHANNEL_LAYERS` has under the alias `BROADCAST_CHANNEL_LAYER`. Where a project
has none of the alias "broadcast", Broadcast makes it: on the Redis of `BROADCAST_REDIS_URL`, or in
the memory of this process. So the project's `default` layer stays the project's own.

The layer's group of a stream has one member per process. What a member's queue does not hold is
dropped by the layer, and fetched from history by the relay.
"""

import time
from typing import Any

from channels.layers import InMemoryChannelLayer, channel_layers, get_channel_layer
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from .. import lifespan
from ..backends import redis_servers
from ..conf import conf
from ..installation import is_isolated, is_test_run

#: The alias of the layer that Broadcast makes where the project has none of that name.
OWN = "broadcast"

REDIS_LAYER = "channels_redis.pubsub.RedisPubSubChannelLayer"
#: Settings by which a test asks for a layer.
WISHES = (
    *("CHANNEL_LAYERS", "BROADCAST_CHANNEL_LAYER"),
    *("BROADCAST_REDIS_URL", "BROADCAST_REDIS_URLS"),
)
#: Messages that wait for a member in memory.
CAPACITY = 1000

#: Seconds between two looks for what has expired.
LOOK_SECONDS = 1.0


class MemoryLayer(InMemoryChannelLayer):  # type: ignore[misc]
    """Channels' own, but it looks for what has expired once a second, not with each message.

    It looks through all groups there are, and each stream and each page that is heard is one: a
    server with 500 pages spent a fifth of its time so.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._look_at = 0.0

    def _clean_expired(self) -> None:
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            super()._clean_expired()


def get_layer() -> Any:
    """The layer. ImproperlyConfigured: `CHANNEL_LAYERS` has none of the alias.

    In tests it stays in this process, unless they ask for another.
    """
    made = channel_layers.backends.get(conf.CHANNEL_LAYER)
    if made is not None and not is_test_run():
        # Each publication asks. A change of the settings drops what was made.
        return made
    if _is_ours():
        if OWN not in channel_layers.backends:
            channel_layers.set(OWN, _make())
        return channel_layers.backends[OWN]
    layer = get_channel_layer(conf.CHANNEL_LAYER)
    if layer is None:
        raise ImproperlyConfigured(f"CHANNEL_LAYERS has no {conf.CHANNEL_LAYER!r}")
    return layer


def _is_ours() -> bool:
    """Whether Broadcast makes the layer."""
    if conf.CHANNEL_LAYER == OWN and not is_configured():
        return True
    if not is_isolated(*WISHES):
        return False
    try:
        return not issubclass(import_string(layer_path()), InMemoryChannelLayer)
    except (LookupError, ImportError):
        return False


def is_configured() -> bool:
    """Whether the project has a layer of this alias in `CHANNEL_LAYERS`."""
    return conf.CHANNEL_LAYER in getattr(settings, "CHANNEL_LAYERS", {})


def layer_path() -> str:
    """The dotted path of the layer's class. LookupError: `CHANNEL_LAYERS` has none."""
    if conf.CHANNEL_LAYER == OWN and not is_configured():
        return REDIS_LAYER if redis_servers() else f"{MemoryLayer.__module__}.MemoryLayer"
    path: str = getattr(settings, "CHANNEL_LAYERS", {})[conf.CHANNEL_LAYER]["BACKEND"]
    return path


def _make() -> Any:
    urls = redis_servers()
    if not urls:
        return MemoryLayer(capacity=CAPACITY)
    from channels_redis.pubsub import RedisPubSubChannelLayer

    from ..backends.redis_urls import layer_host

    return RedisPubSubChannelLayer(hosts=[layer_host(url) for url in urls])


def reset() -> None:
    """Forget the layer, and so the groups of tests: see `broadcast.testing.reset`."""
    channel_layers.backends.pop(OWN, None)


@lifespan.forked.connect
def _begin_child() -> None:
    # Its connections are the parent's.
    reset()


def _forget_layer(*, setting: str, **kwargs: object) -> None:
    if setting in WISHES:
        reset()


setting_changed.connect(_forget_layer)
