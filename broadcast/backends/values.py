"""The values that go into a backend and come out of it."""

import secrets
from typing import NamedTuple

from ..publications import Publication

#: For at least so many seconds an engine knows what a run, a recording or a key has put in.
RETRY_SECONDS = 3600
#: Seconds for which a stream is kept after its age, or after somebody asked where it stands.
GRACE_SECONDS = 300


class HistoryLimits(NamedTuple):
    """How much history a stream keeps: whichever of the three is reached first."""

    publications: int
    bytes: int
    seconds: float


class Run(NamedTuple):
    """Publications that one streamer counts from 1, over all its connections."""

    id: str
    #: The number of the first draft of this append.
    number: int


class MediaRun(NamedTuple):
    """Frames of one recording, which the server cuts into publications: see `ingest.intake`.

    A stream keeps its newest one. An append keeps the publications together with the count of
    frames that they took, and with all that is needed to go on from there: a state of some bytes,
    and the held-back bytes. These may be many, so they come in parts, each once.
    """

    id: str
    #: Frames that were in before this append, and that are in with it.
    before: int
    after: int
    state: bytes
    held: bytes = b""
    #: Whether `held` comes behind what is kept; else it is all that is.
    goes_on: bool = False


class Appended(NamedTuple):
    """The outcome of an append. `publications` are those that are new; a repeat has none."""

    epoch: str
    offset: int
    publications: list[Publication]
    #: How many publications of the run, or frames of the recording, are in; 0 without one.
    accepted: int


class StreamState(NamedTuple):
    """Where a stream stands.

    `first` is the oldest offset in history (`offset + 1` when it is empty), `entry` the newest
    entry point of this recording, whether history still holds it or not (0: it has had none).
    """

    epoch: str
    offset: int
    first: int
    header: Publication | None
    entry: int

    @property
    def has_entries(self) -> bool:
        """Whether there were entry points behind the header: then the next one will come."""
        return self.entry >= (self.header.offset if self.header else 1)

    @property
    def open_entry(self) -> int:
        """The newest entry point behind the header that is in history; 0: none is."""
        return self.entry if self.has_entries and self.entry >= self.first else 0


class Presence(NamedTuple):
    """Who is at a stream: its streamer ("": none), and how many hear it."""

    streamer: str
    #: In this process, and in all others.
    here: int
    elsewhere: int

    @property
    def listeners(self) -> int:
        return self.here + self.elsewhere

    @property
    def live(self) -> bool:
        return bool(self.streamer)

    @property
    def since(self) -> float | None:
        """When its streamer came, in seconds since 1970; None: there is none."""
        return int(self.streamer[:12], 16) / 1000 if self.streamer else None


def new_streamer(now: float) -> str:
    """An id for a streamer's connection that comes now: it begins with the time, as a UUID of
    version 7 does (RFC 9562, section 5.7): 48 bits, milliseconds since 1970.
    """
    return f"{int(now * 1000):012x}{secrets.token_hex(10)}"
