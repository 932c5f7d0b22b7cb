"""The channel layer that processes tell each other things by."""

from typing import Any

from channels.layers import InMemoryChannelLayer, get_channel_layer
from django.conf import settings
from django.utils.module_loading import import_string

from ..conf import conf
from ..installation import is_isolated

#: The layer of tests that ask for no other, and what it is made with.
MEMORY, CAPACITY = "broadcast.layers.MemoryLayer", 1000
#: Settings by which a test asks for a layer.
WISHES = ("CHANNEL_LAYERS", "BROADCAST_CHANNEL_LAYER", "BROADCAST_REDIS_URL")

_memory: Any = None


def get_layer() -> Any:
    """The channel layer of this process; None: the project has none.

    In tests one that stays in this process, unless they ask for another.
    """
    global _memory
    if not is_isolated(*WISHES):
        return get_channel_layer(conf.CHANNEL_LAYER)
    if _is_in_memory():
        return get_channel_layer(conf.CHANNEL_LAYER)
    if _memory is None:
        _memory = import_string(MEMORY)(capacity=CAPACITY)
    return _memory


def _is_in_memory() -> bool:
    """Whether the layer of the settings stays in this process."""
    layer = getattr(settings, "CHANNEL_LAYERS", {}).get(conf.CHANNEL_LAYER)
    return layer is not None and issubclass(import_string(layer["BACKEND"]), InMemoryChannelLayer)


def reset() -> None:
    """Forget the groups of tests."""
    global _memory
    _memory = None
