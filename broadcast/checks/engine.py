"""Backend and channel layer: whether they can be had, and are shared."""

from typing import Any

from asgiref.sync import async_to_sync
from channels.layers import InMemoryChannelLayer
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from ..backends import REDIS_BACKEND, backend_path, redis_servers
from ..conf import conf
from ..exceptions import Unavailable
from ..hub.layer import REDIS_LAYER, layer_path
from ..monitor.faults import find_faults
from .values import TAG, are_sound


@register(TAG)
def check_channel_layer(**kwargs: Any) -> list[CheckMessage]:
    if not are_sound("CHANNEL_LAYER"):
        return []
    alias = conf.CHANNEL_LAYER
    try:
        import_string(layer_path())
    except ImproperlyConfigured:
        # `check_backend` says it.
        return []
    except LookupError:
        message = f"CHANNEL_LAYERS has no {alias!r}: nothing that is published is heard."
    except ImportError as error:
        message = f"The channel layer {alias!r} cannot be imported: {error}."
        if layer_path() == REDIS_LAYER:
            hint = "Its package comes with the extra: install django-broadcast-live[redis]."
            return [Error(message, hint=hint, id="broadcast.E001")]
    else:
        return []
    hint = (
        f'Its BACKEND is "broadcast.layers.MemoryLayer" for one server process, '
        f'"{REDIS_LAYER}" for several.'
    )
    return [Error(message, hint=hint, id="broadcast.E001")]


@register(TAG)
def check_backend(**kwargs: Any) -> list[CheckMessage]:
    if not are_sound("BACKEND", "REDIS_URL", "REDIS_URLS"):
        return []
    try:
        import_string(backend_path())
    except ImproperlyConfigured as error:
        return [Error(f"{error}.", id="broadcast.E003")]
    except ImportError as error:
        message = f"BROADCAST_BACKEND cannot be imported: {error}."
        hint = "Leave it out: BROADCAST_REDIS_URL says whether it is in Redis or in memory."
        return [Error(message, hint=hint, id="broadcast.E003")]
    if conf.BACKEND == REDIS_BACKEND and not redis_servers():
        message = "BROADCAST_BACKEND keeps everything in Redis, and BROADCAST_REDIS_URL is empty."
        hint = 'Name one: BROADCAST_REDIS_URL = "redis://127.0.0.1:6379/0".'
        return [Error(message, hint=hint, id="broadcast.E003")]
    return []


def backend_is_shared() -> bool:
    """Whether several processes see the same streams. ImportError: there is no such backend."""
    return bool(import_string(backend_path()).shared)


def layer_is_shared() -> bool:
    """Whether it reaches other processes. LookupError, ImportError: there is no such layer."""
    return not issubclass(import_string(layer_path()), InMemoryChannelLayer)


def reason_for_one_process(who: str = "several workers") -> str:
    """Why several processes would not be one server here; "": they would."""
    if not backend_is_shared():
        return (
            f"{who} need a shared backend, and here history and presence are in the memory of one "
            "process: set BROADCAST_REDIS_URL"
        )
    if not layer_is_shared():
        return (
            f"{who} need a shared channel layer, and here it is in the memory of one process: "
            f"CHANNEL_LAYERS[{conf.CHANNEL_LAYER!r}]"
        )
    return ""


def can_be_had() -> bool:
    """Whether there are a backend and a layer to ask; what else, other checks say."""
    sound = are_sound("BACKEND", "CHANNEL_LAYER", "REDIS_URL", "REDIS_URLS")
    return sound and not check_channel_layer() and not check_backend()


@register(TAG, deploy=True)
def check_one_process(**kwargs: Any) -> list[CheckMessage]:
    if settings.DEBUG or not can_be_had() or not (reason := reason_for_one_process()):
        return []
    message = f"There can be one server process, and nobody takes over from it: {reason}."
    hint = "If one is enough, silence this check: SILENCED_SYSTEM_CHECKS = ['broadcast.W003']."
    return [Warning(message, hint=hint, id="broadcast.W003")]


@register(TAG)
def check_sharing(**kwargs: Any) -> list[CheckMessage]:
    if not can_be_had() or backend_is_shared() == layer_is_shared():
        return []
    if backend_is_shared():
        message = (
            "History is shared by all processes, and the channel layer is not: what another "
            "process publishes is heard seconds later."
        )
        hint = f"Use {REDIS_LAYER} in CHANNEL_LAYERS."
    else:
        message = (
            "The channel layer reaches other processes, and each has a history of its own: with "
            "more than one, listeners are sent away again and again."
        )
        hint = "Set BROADCAST_REDIS_URL, and leave BROADCAST_BACKEND out."
    return [Warning(message, hint=hint, id="broadcast.W004")]


@register(TAG, deploy=True)
def check_engine(**kwargs: Any) -> list[CheckMessage]:
    """Asks Redis. A Redis that is away is no fault of the settings: nothing is said about it."""
    if not can_be_had():
        return []
    try:
        remarks = async_to_sync(find_faults)()
    except ImproperlyConfigured as error:
        hint = "As it is, nothing can be published or heard, and no server starts."
        return [Error(f"{error}.", hint=hint, id="broadcast.E006")]
    except Unavailable:
        return []
    hint = "Set maxmemory-policy to noeviction; who publishes is told when Redis is full."
    return [Warning(f"{remark}.", hint=hint, id="broadcast.W010") for remark in remarks]
