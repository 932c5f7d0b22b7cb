"""For tests of projects that use Broadcast.

* `capture()`: a list of what this process publishes while it lasts.
* `LiveServer`: a real server in this process, for browsers. `LiveServerTestCase` has one.
* `reset()`: forget all streams; `FreshMixin` does it for each test of a `TestCase`.
* `broadcast.testing.plugin`: all that for pytest, as the fixtures `published` and
  `broadcast_server`.

Under Django's and pytest-django's test runner nothing leaves this process, with or without these:
see `installation.is_isolated`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .capturing import Captured as Captured
    from .capturing import capture as capture
    from .isolation import FreshMixin as FreshMixin
    from .isolation import reset as reset
    from .live_server import LiveServer as LiveServer
    from .live_server import LiveServerTestCase as LiveServerTestCase

_WHERE = {
    "Captured": "capturing",
    "FreshMixin": "isolation",
    "LiveServer": "live_server",
    "LiveServerTestCase": "live_server",
    "capture": "capturing",
    "reset": "isolation",
}

__all__ = ["Captured", "FreshMixin", "LiveServer", "LiveServerTestCase", "capture", "reset"]


def __getattr__(name: str) -> Any:
    # Imported on first use: pytest imports its plugins before there are settings.
    from importlib import import_module

    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_WHERE[name]}", __name__), name)
