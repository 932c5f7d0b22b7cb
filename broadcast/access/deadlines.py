"""Ends that come with time: one timer for the earliest, however many there are.

The owner is told of each end as soon as it is reached. Ends are times of the wall clock, as rows
have them, and a timer goes by the clock of the event loop, which nobody sets: it is asked again
what time it is when the timer is due, and a caller of `set_timer` now and then has the timer
follow a clock that was set.

An end that is changed costs the logarithm of their number, one that is noted as it was a
comparison: all open pages are noted again every few seconds.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from heapq import heapify, heappop, heappush

from django.utils import timezone

#: Ends that hold no more are kept up to so many more than those that do.
SPARE = 1000


class Deadlines:
    """The ends of the parts of names, of one event loop."""

    def __init__(self, ended: Callable[[str, set[str]], None]) -> None:
        """`ended` is told a name and which of its parts end, once for each."""
        self._ended = ended
        self._parts: dict[str, Mapping[str, datetime]] = {}
        #: The earliest end of each name, the very first in front; and some that hold no more.
        self._heap: list[tuple[datetime, str]] = []
        self._timer: asyncio.TimerHandle | None = None

    def note(self, name: str, parts: Mapping[str, datetime]) -> None:
        """When the parts of `name` end; what was noted of it before holds no more."""
        before = self._parts.get(name, {})
        if parts == before:
            return
        if not parts:
            self.forget(name)
            return
        self._parts[name] = parts
        end = min(parts.values())
        if end == min(before.values(), default=None):
            return
        heappush(self._heap, (end, name))
        if len(self._heap) > 2 * len(self._parts) + SPARE:
            self._heap = [(min(parts.values()), name) for name, parts in self._parts.items()]
            heapify(self._heap)
        if self._heap[0] == (end, name):
            self.set_timer()

    def forget(self, name: str) -> None:
        """Nobody asks when it ends."""
        self._parts.pop(name, None)

    def set_timer(self) -> None:
        """Set it by what time it is now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._heap:
            delay = (self._heap[0][0] - timezone.now()).total_seconds()
            self._timer = asyncio.get_running_loop().call_later(max(delay, 0), self._tell)

    def _tell(self) -> None:
        now = timezone.now()
        try:
            while self._heap and self._heap[0][0] <= now:
                _, name = heappop(self._heap)
                parts = self._parts.get(name, {})
                ended = {part for part, end in parts.items() if end <= now}
                if ended:
                    self.note(name, {part: parts[part] for part in parts.keys() - ended})
                    self._ended(name, ended)
        finally:
            self.set_timer()
