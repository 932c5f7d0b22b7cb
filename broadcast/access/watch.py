"""Looking at what may have changed: when somebody says so, and every few seconds anyway."""

import asyncio
from collections.abc import Awaitable, Callable

from ..conf import conf
from ..exceptions import Unavailable
from ..loops import repeat, spawn
from ..models import database

#: A process spends at most one part in so many of its time on looking.
SHARE = 20


class Watch:
    """Calls `look` with the names that changed, or None: look at all.

    It looks every `BROADCAST_WATCH_SECONDS` from its `start` on, less often where a look takes
    long. A look that fails is told once, and all is looked at soon after.
    """

    def __init__(self, name: str, look: Callable[[set[str] | None], Awaitable[None]]) -> None:
        """`name`: see `loops.LOOPS`."""
        self.name = name
        self.look = look
        #: The names to look at now; None: all.
        self._changed: set[str] | None = set()
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look from now on. Calling this twice is harmless."""
        if self._task is None:
            self._task = spawn(repeat(self.name, self._look_and_wait, known=Unavailable))

    def changed(self, name: str | None) -> None:
        """Something changed of `name`, or None: of anybody."""
        if name is None:
            self._changed = None
        elif self._changed is not None:
            self._changed.add(name)
        self._woken.set()

    async def _look_and_wait(self) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        await self._look_once()
        took = loop.time() - started
        # Many changes in a row are looked at together.
        await asyncio.sleep(took)
        try:
            async with asyncio.timeout(max(conf.WATCH_SECONDS, SHARE * took)):
                await self._woken.wait()
        except TimeoutError:
            self._changed = None

    async def _look_once(self) -> None:
        self._woken.clear()
        changed, self._changed = self._changed, set()
        try:
            with database.expected():
                await self.look(changed)
        except BaseException:
            # The names that changed are lost: look at all.
            self._changed = None
            raise
