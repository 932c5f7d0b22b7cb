"""History, runs and presence in this process' memory: the default, for one server process.

An append is one step of the event loop, so it is atomic without a lock. What it costs is bounded
per stream: by the limits of its history, `KNOWN_RUNS` runs and `KNOWN_KEYS` idempotency keys.

Nothing is kept of a forgotten stream. An epoch that nobody has published in is made from the name
and a salt, so a question leaves nothing behind either. Forgetting any stream changes the salt, so
the next publication on a forgotten stream has another epoch, even if others were forgotten since.
"""

import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from itertools import islice

from ..exceptions import RunGap
from ..groups import is_room
from ..publications import Draft, Publication
from .histories import History
from .rooms_memory import MemoryRooms
from .values import Appended, HistoryLimits, MediaRun, Presence, Run, StreamState

#: Streams that one round of `sweep` looks at.
SWEEP = 2_000


class MemoryBackend:
    """The `Backend` of a single process. `clock` answers the seconds since 1970."""

    shared = False

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.histories: dict[str, History] = {}
        self.salt = secrets.token_bytes(16)
        #: Streams that `sweep` has still to look at before it begins with all of them again.
        self.unswept: list[str] = []
        self.streamers: dict[str, str] = {}
        #: By stream, the replaced streamers that have not left yet, the oldest first.
        self.leaving: dict[str, list[str]] = {}
        self.listeners: dict[str, int] = {}
        self.rooms = MemoryRooms(self)

    async def check(self) -> None:
        """There is nothing that could be wrong."""

    async def probe(self, stream: str) -> str:
        return ""

    def remarks(self) -> list[str]:
        return []

    def place(self, stream: str) -> int:
        return 0

    def history(self, stream: str) -> History:
        """The history of `stream`, without what is too old.

        To ask for one that nobody published to keeps nothing: it has the same epoch next time.
        """
        history = self.histories.get(stream)
        if history is None:
            name = stream.encode("utf-8", "surrogatepass")
            epoch = blake2b(name, key=self.salt, digest_size=8).hexdigest()
            history = History(epoch, self.clock())
        history.expire(self.clock())
        return history

    async def append(
        self,
        stream: str,
        drafts: Sequence[Draft],
        limits: HistoryLimits,
        run: Run | MediaRun | None = None,
        key: str = "",
    ) -> Appended:
        history = self.histories[stream] = self.history(stream)
        if key and key in history.keys:
            return Appended(history.epoch, history.keys[key], [], 0)
        accepted = 0
        if isinstance(run, MediaRun):
            before, accepted = history.frames_of(run.id), run.after
            if run.before != before:
                raise RunGap(f"{before} frames of the recording are in, not {run.before}")
        elif run:
            before = history.runs.get(run.id, 0)
            if run.number > before + 1:
                raise RunGap(f"publication {before + 1} of the run is missing")
            drafts = drafts[before + 1 - run.number :]
            accepted = before + len(drafts)
            history.remember_run(run.id, accepted)
        now = self.clock()
        # Its own header must not have it forgotten.
        held = history.held
        publications = [history.add(draft, now) for draft in drafts]
        if isinstance(run, MediaRun):
            history.keep_recording(run, held)
        if key:
            history.remember_key(key)
        history.trim(limits, now)
        return Appended(history.epoch, history.offset, publications, accepted)

    async def read(
        self, stream: str, since: int, count: int, size: int
    ) -> tuple[str, list[Publication]]:
        history = self.history(stream)
        start = max(since + 1 - history.first, 0)
        found: list[Publication] = []
        for publication in islice(history.publications, start, start + count):
            size -= len(publication.payload)
            if size < 0 and found:
                break
            found.append(publication)
        return history.epoch, found

    async def state(self, stream: str) -> StreamState:
        history = self.history(stream)
        where = (history.epoch, history.offset, history.first)
        return StreamState(*where, history.header, history.entry)

    async def restart(self, stream: str, epoch: str) -> None:
        history = self.histories[stream] = self.history(stream)
        if history.epoch == epoch:
            history.epoch = secrets.token_hex(8)

    async def positions(self, streams: Iterable[str]) -> dict[str, tuple[str, int]]:
        histories = {stream: self.history(stream) for stream in streams}
        return {stream: (found.epoch, found.offset) for stream, found in histories.items()}

    async def accepted(self, stream: str, run: str) -> int:
        return self.history(stream).runs.get(run, 0)

    async def recording(self, stream: str, id: str) -> tuple[int, bytes, bytes]:
        history = self.history(stream)
        kept = history.recording
        if kept is None or kept.id != id:
            return 0, b"", b""
        return kept.after, kept.state, bytes(history.held)

    async def clear(self, stream: str) -> None:
        self.histories[stream] = History(secrets.token_hex(8), self.clock())

    async def forget(self, stream: str) -> None:
        if self.histories.pop(stream, None):
            # A client that comes back to it must not take a new life for the old one.
            self.salt = secrets.token_bytes(16)

    def remembered(self, prefix: str) -> list[str]:
        return [stream for stream in self.histories if stream.startswith(prefix)]

    async def prune(self) -> int:
        return await self._expire(list(self.histories))

    async def sweep(self) -> None:
        self.unswept = self.unswept or list(self.histories)
        some, self.unswept = self.unswept[-SWEEP:], self.unswept[:-SWEEP]
        await self._expire(some)

    async def _expire(self, streams: Iterable[str]) -> int:
        """Drop expired data of these streams; answers how many publications went."""
        now, dropped = self.clock(), 0
        for stream in streams:
            history = self.histories.get(stream)
            if history is None:
                continue
            dropped += history.expire(now)
            if history.end < now and not self._is_used(stream):
                await self.forget(stream)
        return dropped

    def _is_used(self, stream: str) -> bool:
        # Rooms end their histories themselves.
        return stream in self.listeners or stream in self.streamers or is_room(stream)

    def _keep(self, stream: str) -> None:
        """Count the stream's age from now: somebody comes or goes, and knows its position."""
        history = self.histories[stream] = self.history(stream)
        history.time = self.clock()

    async def enter(self, stream: str, streamer: str) -> list[str]:
        former = self.streamers.get(stream)
        if former is not None and former != streamer:
            self.leaving.setdefault(stream, []).append(former)
        self.streamers[stream] = streamer
        self._keep(stream)
        return await self.replaced(stream)

    async def replaced(self, stream: str) -> list[str]:
        return list(self.leaving.get(stream, ()))

    async def leave(self, stream: str, streamer: str) -> bool:
        if self.streamers.get(stream) == streamer:
            del self.streamers[stream]
            self._keep(stream)
            return True
        leaving = self.leaving.get(stream, [])
        if streamer in leaving:
            leaving.remove(streamer)
        if not leaving:
            self.leaving.pop(stream, None)
        return False

    async def count_listeners(self, stream: str, listeners: int) -> None:
        if listeners:
            if stream not in self.listeners:
                self._keep(stream)
            self.listeners[stream] = listeners
        elif self.listeners.pop(stream, None):
            self._keep(stream)

    async def renew(self) -> None:
        """Nothing to say: this process is all there is."""

    async def presence(self, streams: Iterable[str]) -> dict[str, Presence]:
        return {
            stream: Presence(self.streamers.get(stream, ""), self.listeners.get(stream, 0), 0)
            for stream in streams
        }
