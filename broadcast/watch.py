"""Looking at what may have changed: when somebody says so, and every few seconds anyway."""

import asyncio
from collections.abc import Awaitable, Callable

from .conf import conf
from .logs import get_logger

logger = get_logger(__name__)

#: Of its time a process looks at most one part in so many.
SHARE = 20


class Watch:
    """Calls `look` with the names that changed, or None: look at all.

    It looks every `BROADCAST_WATCH_SECONDS` from its `start` on, less often where a look takes
    long. A look that fails is told once and tried again.
    """

    def __init__(self, subject: str, look: Callable[[set[str] | None], Awaitable[None]]) -> None:
        """`subject`: what is not known when a look fails, as the log says it."""
        self.subject = subject
        self.look = look
        #: The names to look at now; None: all.
        self._changed: set[str] | None = set()
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failed = False

    def start(self) -> None:
        """Look from now on. Calling this twice is harmless."""
        if self._task is None:
            self._task = asyncio.ensure_future(self._watch())

    def changed(self, name: str | None) -> None:
        """Something changed of `name`, or None: of anybody."""
        if name is None:
            self._changed = None
        elif self._changed is not None:
            self._changed.add(name)
        self._woken.set()

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
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
            await self.look(changed)
        except Exception:
            if not self._failed:
                logger.exception("%s is not known; trying again", self.subject)
            self._failed = True
        else:
            self._failed = False
