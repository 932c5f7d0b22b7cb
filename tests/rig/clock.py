"""Time that tests own: `Clock` for what is told the time, `ClockLoop` for what waits."""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any


class Clock:
    """Seconds since 1970, which pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class ClockLoop(asyncio.SelectorEventLoop):
    """Its clock stands still while anything can run, and then jumps to the next timer."""

    class Selector(selectors.DefaultSelector):
        loop: "ClockLoop"

        def select(self, timeout: float | None = None) -> Any:
            if self.loop.in_threads and timeout != 0:
                # Work in a thread takes no time of this clock.
                return super().select(None)
            assert timeout is not None, "everything waits for something that will not come"
            self.loop.now += max(timeout, 0)
            return super().select(0)

    def __init__(self) -> None:
        selector = self.Selector()
        selector.loop = self
        #: Never 0, as the clock of no machine that is running.
        self.now = 1000.0
        self.in_threads = 0
        super().__init__(selector)

    def run_in_executor(self, *args: Any) -> Any:
        future = super().run_in_executor(*args)
        self.in_threads += 1
        future.add_done_callback(self._left_thread)
        return future

    def _left_thread(self, future: Any) -> None:
        self.in_threads -= 1

    def time(self) -> float:
        return self.now


def clock() -> ClockLoop:
    """The running loop."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, ClockLoop)
    return loop


def in_clock_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a coroutine test in a `ClockLoop`."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        with asyncio.Runner(loop_factory=ClockLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run


async def settle() -> None:
    """Let everything run that can; the clock goes on by less than any timer's time."""
    await asyncio.sleep(1e-6)
