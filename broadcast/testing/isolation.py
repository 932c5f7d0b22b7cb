"""One test does not see what another has published."""

import sys
from typing import Any


def reset() -> None:
    """Forget all streams that this process keeps in its memory, as if it had just started.

    The next publication of a stream begins a new epoch, at offset 1. What a test keeps in a Redis
    that it asked for stays.
    """
    if "broadcast.backends" not in sys.modules:
        # Nothing was published yet.
        return
    from .. import backends, loops
    from ..hub import layer
    from ..models import rows

    backends.reset()
    layer.reset()
    rows.forget()
    for loop in loops.known():
        # One that several tests run in has listeners that hear what is no more.
        if not loop.is_running():
            loops.end(loop)


class FreshMixin:
    """For a test case of Django: each of its tests finds all streams empty."""

    def setUp(self) -> None:
        super().setUp()  # type: ignore[misc]
        reset()
        cleanup: Any = self
        cleanup.addCleanup(reset)
