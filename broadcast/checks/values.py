"""Settings, one by one, and their sizes beside each other."""

from difflib import get_close_matches
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

from ..conf import SETTINGS, conf

TAG = "broadcast"

#: Where all settings are explained.
TABLE = "docs/reference/settings.md"

#: What should not be larger than what, and what happens when it is.
SIZES = (
    ("MAX_FRAME", "MAX_MEDIA_FRAME", "who feeds a media stream may send less than anybody else"),
    ("MAX_FRAME", "HISTORY_BYTES", "the largest publications do not stay in history"),
    ("MAX_FRAME", "RING_BYTES", "who is a little behind reads the largest ones from history"),
    ("SLICE_BYTES", "RING_BYTES", "one listener may be handed more than the ring holds"),
    ("MAX_FRAME", "RPC_MAX_OBJECT", "what sockets may publish, MessagePack-RPC and `publish` not"),
)


@register(TAG)
def check_values(**kwargs: Any) -> list[CheckMessage]:
    return [
        Error(f"{name} {fault}.", hint=f"The default is {setting.default!r}.", id="broadcast.E002")
        for name, setting in SETTINGS.items()
        if (fault := setting.fault())
    ]


@register(TAG)
def check_names(**kwargs: Any) -> list[CheckMessage]:
    given = {name for name in dir(settings) if name.startswith("BROADCAST_")}
    return [
        Warning(f"There is no setting {name}.", hint=_similar(name), id="broadcast.W001")
        for name in sorted(given - set(SETTINGS))
    ]


def _similar(name: str) -> str:
    similar = get_close_matches(name, SETTINGS, n=1, cutoff=0.8)
    return f"Did you mean {similar[0]}?" if similar else f"All settings are in {TABLE}."


@register(TAG)
def check_sizes(**kwargs: Any) -> list[CheckMessage]:
    return [
        Warning(
            f"BROADCAST_{small} is larger than BROADCAST_{large}: {consequence}.",
            hint=f"Lower BROADCAST_{small}, or raise BROADCAST_{large}.",
            id="broadcast.W002",
        )
        for small, large, consequence in SIZES
        # No history at all is a choice.
        if are_sound(small, large) and getattr(conf, small) > getattr(conf, large) > 0
    ]


def are_sound(*names: str) -> bool:
    """Whether these settings have values that can be worked with."""
    return not any(SETTINGS[f"BROADCAST_{name}"].fault() for name in names)
