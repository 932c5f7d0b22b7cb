"""What keeps the history of streams, the runs of streamers, and who is there.

A `Backend` is the engine behind every process of an installation: in memory for one process, in
Redis for many. All methods are coroutines; none keeps a lock between two calls. Offsets of a
stream count from 1 without gaps within one epoch. `Unavailable`: the engine does not answer.

An engine keeps a stream for as long as somebody is at it, and after that until its newest
publication is over its age, or for `RETRY_SECONDS` where a run, a recording or an idempotency key
may be continued, and `GRACE_SECONDS` longer. Then nothing of the stream is left, and the next
publication begins a new epoch at offset 1, so an old position is never taken for a new one.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Protocol

from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from .. import lifespan
from ..conf import conf
from ..installation import is_isolated, is_test_run
from ..publications import Draft, Publication
from .rooms import Rooms
from .values import (
    GRACE_SECONDS,
    RETRY_SECONDS,
    Appended,
    HistoryLimits,
    MediaRun,
    Presence,
    Run,
    StreamState,
    new_streamer,
)

__all__ = [
    "Appended",
    "Backend",
    "GRACE_SECONDS",
    "HistoryLimits",
    "MediaRun",
    "Presence",
    "RETRY_SECONDS",
    "Run",
    "StreamState",
    "backend_path",
    "get_backend",
    "is_here",
    "is_serving",
    "new_streamer",
    "redis_servers",
    "serve",
]

#: The backends that `BROADCAST_REDIS_URL` chooses from.
MEMORY_BACKEND = "broadcast.backends.memory.MemoryBackend"
REDIS_BACKEND = "broadcast.backends.redis.RedisBackend"

#: The backend of a process that is no server, where backends are not shared.
ELSEWHERE = "broadcast.backends.elsewhere.Elsewhere"
#: Settings by which a test asks for another engine, and for the server of another process.
ENGINE = ("BROADCAST_BACKEND", "BROADCAST_REDIS_URL", "BROADCAST_REDIS_URLS")
SERVER = ("BROADCAST_RPC_HOST", "BROADCAST_RPC_PORT")


class Backend(Protocol):
    #: Whether several processes see the same streams through it.
    shared: bool
    #: The members of rooms.
    rooms: Rooms

    async def check(self) -> None:
        """ImproperlyConfigured: it will never work so. Unavailable: it does not answer now."""

    async def probe(self, stream: str) -> str:
        """Check that the engine can do everything that is needed, where it keeps the stream.

        Answers why it cannot be trusted; "": it can. Unavailable: it cannot do something; the text
        says why. Neither text names an address or has a secret.
        """

    def remarks(self) -> list[str]:
        """The reasons that `check` found not to trust the engine, in words for the operator."""

    def place(self, stream: str) -> int:
        """Where it keeps the stream: what happens to one place happens to its streams alone."""

    async def append(
        self,
        stream: str,
        drafts: Sequence[Draft],
        limits: HistoryLimits,
        run: Run | MediaRun | None = None,
        key: str = "",
    ) -> Appended:
        """Give the drafts their offsets and put them into history: all or none, in one step.

        Drafts of a run that are in already are left out. `RunGap`: earlier ones are missing.
        With an idempotency `key` that was seen before nothing is appended, and `offset` is the
        one of the first time; `key` goes with a single draft.

        Of a `MediaRun` all drafts are appended, perhaps none, and it is kept; `RunGap`: another
        number of frames is in than `before`, since another connection went on with it. Whatever
        else has a header or a reset ends the recording that is kept: it is forgotten.
        """

    async def read(
        self, stream: str, since: int, count: int, size: int
    ) -> tuple[str, list[Publication]]:
        """The epoch, and the publications after offset `since` that are still there, in order.

        At most `count`; cut, after the first, where they would exceed `size` bytes.
        """

    async def state(self, stream: str) -> StreamState:
        """Where the stream stands now. A stream nobody published to stands at offset 0."""

    async def restart(self, stream: str, epoch: str) -> None:
        """A new epoch begins with the history there is, unless `epoch` has ended already.

        For a history that lost its end: what was heard of it must not be mistaken.
        """

    async def positions(self, streams: Iterable[str]) -> dict[str, tuple[str, int]]:
        """Epoch and newest offset of each: what the relay compares with what it heard.

        Left out: those whose part of the engine does not answer.
        """

    async def accepted(self, stream: str, run: str) -> int:
        """How many publications of the run are in; 0 for one that is not known."""

    async def recording(self, stream: str, id: str) -> tuple[int, bytes, bytes]:
        """How many frames of the recording are in, its state, and all that is held back.

        0 where it is not kept.
        """

    async def clear(self, stream: str) -> None:
        """Forget the history: a new epoch begins."""

    async def forget(self, stream: str) -> None:
        """Drop all there is of a stream that nobody will name again."""

    def remembered(self, prefix: str) -> list[str]:
        """The streams that begin so and whose history is in this process' memory, if any is."""

    async def prune(self) -> int:
        """Drop what is older than its limits allow; answers how many publications went."""

    async def sweep(self) -> None:
        """Drop expired data, in one round: no more work than one turn can take.

        Rounds go over all streams in turn, and never drop data that a program may still count on.
        """

    async def enter(self, stream: str, streamer: str) -> list[str]:
        """`streamer` (an id of its connection) feeds the stream from now on, alone.

        Answers the streamers that were replaced, now or before, and have not left yet: they may
        still have something to publish.
        """

    async def replaced(self, stream: str) -> list[str]:
        """The replaced streamers that have not left yet; for about as long as presence holds."""

    async def leave(self, stream: str, streamer: str) -> bool:
        """`streamer` publishes no more. True: it was the current one; the stream is idle now."""

    async def count_listeners(self, stream: str, listeners: int) -> None:
        """This process has so many listeners on the stream."""

    async def renew(self) -> None:
        """Say that this process is alive, and what it said is so still; every few seconds."""

    async def presence(self, streams: Iterable[str]) -> dict[str, Presence]:
        """Who is at each of the streams. Left out: those whose part of the engine is silent."""


_backend: Backend | None = None
#: What `get_backend` made last, and whether it was for tests, by `_isolation`.
_made: tuple[Backend | None, tuple[bool, bool]] = (None, (False, False))

#: Whether this process is a server: then its memory has everything that there is.
_serving = False


def redis_servers() -> Sequence[str]:
    """The URLs of the Redis servers that this installation is on; none: it is in memory.

    Tests are in memory, unless they ask for a Redis.

    ImproperlyConfigured: redis-py, which reads them, is not installed.
    """
    if is_test_run() and is_isolated(*ENGINE):
        return ()
    return conf.REDIS_URLS or _split(conf.REDIS_URL)


@lru_cache(maxsize=16)
def _split(text: str) -> Sequence[str]:
    # Each publication asks.
    if not text:
        return ()
    try:
        from .redis_urls import split
    except ImportError as error:
        hint = "install django-broadcast-live[redis]"
        raise ImproperlyConfigured(f"BROADCAST_REDIS_URL needs redis-py: {hint}") from error
    return tuple(split(text))


def backend_path() -> str:
    """The dotted path of the backend's class."""
    return conf.BACKEND or (REDIS_BACKEND if redis_servers() else MEMORY_BACKEND)


def get_backend() -> Backend:
    """The backend of this process, made when it is first needed.

    A process that is no server never answers from a memory of its own: see `elsewhere`. Tests do:
    theirs is all that there is, unless they ask for something else.
    """
    global _backend, _made
    if _backend is not None and not is_test_run():
        # Each publication asks.
        return _backend
    isolation = _isolation()
    made, of = _made
    # The test environment may have been set up since, or a test asks for another engine now.
    if _backend is None or _backend is made and isolation != of:
        _backend = _new_backend(*isolation)
        _made = (_backend, isolation)
    return _backend


def _isolation() -> tuple[bool, bool]:
    """Whether tests keep to this process that ask for no engine, and for no server."""
    return is_isolated(*ENGINE), is_isolated(*SERVER)


def _new_backend(has_no_engine: bool, has_no_server: bool) -> Backend:
    # They need the models, which need this module.
    kind = import_string(backend_path())
    if kind.shared and has_no_engine:
        kind = import_string(MEMORY_BACKEND)
    if not (kind.shared or _serving or has_no_server):
        kind = import_string(ELSEWHERE)
    backend: Backend = kind()
    return backend


def is_here() -> bool:
    """Whether this process has the streams: by itself, or with others through the engine."""
    return _serving or get_backend().shared or is_isolated(*SERVER)


def serve() -> None:
    """Say that this process is a server."""
    global _backend, _serving
    if not _serving and _backend is not None and not is_here():
        _backend = None
    _serving = True


def end_serving() -> None:
    """This process is no server any more. What it keeps in its memory stays for those of tests."""
    global _backend, _serving
    _serving = False
    if _backend is not None and not is_here():
        _backend = None


def reset() -> None:
    """Forget all streams that this process keeps in its memory: see `broadcast.testing.reset`."""
    global _backend
    if _backend is not None and not _backend.shared:
        _backend = None


def is_serving() -> bool:
    """Whether this process is a server."""
    return _serving


@lifespan.forked.connect
def _begin_child() -> None:
    # The parent's backend has its connections, streamers and listeners.
    global _backend, _serving
    _backend, _serving = None, False


#: The settings that choose the backend, or are in all its keys.
CHOICE = {f"BROADCAST_{name}" for name in ("BACKEND", "PREFIX", "REDIS_URL", "REDIS_URLS")}


def _forget_backend(*, setting: str, **kwargs: object) -> None:
    global _backend
    if setting in CHOICE:
        _backend = None


setting_changed.connect(_forget_backend)
