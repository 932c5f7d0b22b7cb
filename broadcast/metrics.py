"""Metrics for Prometheus: every one of them, and the text that a scrape gets.

The hub writes millions of messages per second, and prometheus_client takes a lock for each number
it adds to, and between several workers writes it to a file, too: for one flush 2.6 µs, and 8 µs.
So what the hub and the relay do is counted in plain numbers, a few per flush, however many hear it
(`note_flush`, 0.4 µs; `Tally`). They belong to the event loop of the server. `refresh` adds them to
prometheus_client's metrics: before each scrape, and every `WATCH_SECONDS`. All that happens less
often is counted there at once.

Several workers (`server.workers`) count into files of a directory that their parent made, which is
prometheus_client's multiprocess mode: a scrape of any of them shows the sum over all. A file has
the number of its worker for a name, not its process id. When a worker dies its gauges go with it
(`forget`); its counters stay, and the next worker of that number goes on with them. So no counter
goes backwards, and there are never more files than workers at a time. What a killed worker did
since its last `refresh` is not counted.
"""

import os
import re
import struct
import time
from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from typing import Any, Protocol

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    values,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from .exceptions import BroadcastError
from .groups import is_room
from .publications import Publication

#: How a parent tells its workers where they count, and each of them its number.
DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
NUMBER = "BROADCAST_WORKER_NUMBER"

if NUMBER in os.environ:
    # Not for what the worker starts: two processes must not count into the same file.
    _number = os.environ.pop(NUMBER)
    values.ValueClass = values.MultiProcessValue(lambda: _number)  # type: ignore[no-untyped-call]


def gauge(name: str, documentation: str) -> Gauge:
    """A number of now; those of all workers that live are added up."""
    return Gauge(f"broadcast_{name}", documentation, multiprocess_mode="livesum")


def counter(
    name: str, documentation: str, labels: Sequence[str] = (), known: Iterable[str] = ()
) -> Counter:
    """Counts from 0. `known`: values of its one label that are told before there was any."""
    made = Counter(f"broadcast_{name}", documentation, labels)
    for value in known:
        made.labels(value)
    return made


def histogram(name: str, documentation: str, buckets: Sequence[float]) -> Histogram:
    return Histogram(f"broadcast_{name}", documentation, buckets=buckets)


#: How often, and after how many seconds, the files of workers are read again.
NEW_FILE_TRIES, NEW_FILE_SECONDS = 20, 0.01

#: Bounds of histograms: publications, and seconds.
COUNTS = tuple(float(2**power) for power in range(13))
SECONDS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)

# -- who is there ---------------------------------------------------------------------------

processes = gauge("processes", "Server processes that this scrape is the sum of.")
streams = gauge(
    "streams", "Streams that are heard or fed here; once for each process that has them."
)
listeners = gauge("listeners", "Sockets that hear a stream.")
full_listeners = gauge("full_listeners", "Listeners whose sockets take no more now.")
streamers = gauge("streamers", "Sockets that feed a stream.")
pages = gauge("pages", "Sockets of pages.")
rooms = gauge("rooms", "Rooms with a member here; once for each process that has one.")
peers = gauge("peers", "Members of rooms.")

# -- what is said, and who hears it ---------------------------------------------------------

publications = counter("publications", "Publications that were put into history by this server.")
published_bytes = counter("published_bytes", "Bytes of their payloads.")
append_seconds = histogram(
    "append_seconds", "Seconds an append to history took, of one publication or many.", SECONDS
)
deliveries = counter("deliveries", "Publications handed to sockets: once for each listener.")
delivered_bytes = counter("delivered_bytes", "Bytes of the payloads that were delivered.")
saved_bytes = counter("saved_bytes", "Bytes that were not sent to sockets because they inflate.")
flush_publications = histogram(
    "flush_publications", "Publications that one flush wrote to everybody at once.", COUNTS
)
flush_seconds = histogram(
    "flush_seconds", "Seconds a flush took, for all listeners of a stream together.", SECONDS
)
relay_lag_seconds = histogram(
    "relay_lag_seconds",
    "Seconds from the moment a publication was about to be appended, by the clock of the process "
    "that did so, until the channel layer brought it here: of the oldest one of each message.",
    SECONDS,
)

# -- what went wrong ------------------------------------------------------------------------

gaps_repaired = counter(
    "gaps_repaired", "Reads of history that brought what the channel layer had not brought."
)
repaired_publications = counter("repaired_publications", "Publications that they brought.")
lost_publications = counter(
    "lost_publications",
    "Publications that neither the channel layer brought nor history has any more.",
)
restarts = counter("restarts", "Histories that began again, with a new epoch, while heard here.")
skipped_publications = counter(
    "skipped_publications", "Publications that a listener was told it will never get."
)
failed_rounds = counter(
    "failed_rounds", "Rounds of work in the background that an error ended, by loop.", ["loop"]
)
slow_closes = counter(
    "slow_closes",
    "Listeners closed with 4408. stuck: nothing was taken for long; overtaken: history has not "
    "what they missed, and they cannot be told; unreadable: history could not be read.",
    ["cause"],
    ["stuck", "overtaken", "unreadable"],
)

# -- who comes in ---------------------------------------------------------------------------

joins = counter(
    "joins",
    "Listeners that came in. new: did not ask to resume; recovered: missed nothing; "
    "unrecovered: asked to resume, and could not.",
    ["outcome"],
    ["new", "recovered", "unrecovered"],
)
streamer_joins = counter("streamer_joins", "Streamers that came in.")
room_errors = counter("room_errors", "Errors that clients of rooms were told.")
relays = counter("relays", "Messages that members of rooms sent to each other.")
room_peaks = histogram(
    "room_peaks", "Most members at a time of rooms that ended.", (1, 2, 3, 4, 5, 10, 20, 50, 100)
)
room_minutes = histogram(
    "room_minutes",
    "Whole minutes that somebody stayed in a room.",
    (0, 1, 2, 5, 10, 20, 30, 60, 120, 240),
)
page_calls = counter(
    "page_calls",
    "Calls of pages on their sockets. answered: with a status below 400; refused: below 500; "
    "failed: from 500 on.",
    ["outcome"],
    ["answered", "refused", "failed"],
)
refusals = counter(
    "refusals",
    "Requests and sockets that were refused, by door (socket, http, rpc) and reason: the error's "
    "name, or origin.",
    ["door", "reason"],
)


def note_page_call(status: Any) -> None:
    """A page was answered; a handler of an app may have said any status."""
    outcome = "failed"
    if isinstance(status, int) and status < 500:
        outcome = "refused" if status >= 400 else "answered"
    page_calls.labels(outcome).inc()


class Tally:
    """A histogram that takes an observation with two additions, until it is poured out."""

    __slots__ = ("bounds", "counts", "histogram", "total")

    def __init__(self, histogram: Histogram, bounds: Sequence[float]) -> None:
        self.histogram = histogram
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def pour(self) -> None:
        """Add what was observed since the last time to the histogram."""
        counts, total = self.counts, self.total
        self.counts, self.total = [0] * len(counts), 0.0
        if any(counts):
            # The histogram itself takes nothing but one observation at a time.
            self.histogram._sum.inc(total)
            for bucket, count in zip(self.histogram._buckets, counts, strict=True):
                bucket.inc(count)


class Written:
    """Deliveries that `refresh` has not counted yet, and bytes of their payloads."""

    __slots__ = ("bytes", "deliveries")

    def __init__(self) -> None:
        self.deliveries = self.bytes = 0


written = Written()
flush_sizes = Tally(flush_publications, COUNTS)
flush_durations = Tally(flush_seconds, SECONDS)
relay_lags = Tally(relay_lag_seconds, SECONDS)


def note_flush(publications: int, deliveries: int, size: int, seconds: float) -> None:
    """A flush wrote so many publications, and so many to all together, of so many bytes."""
    written.deliveries += deliveries
    written.bytes += size
    flush_sizes.counts[bisect_left(COUNTS, publications)] += 1
    flush_sizes.total += publications
    flush_durations.counts[bisect_left(SECONDS, seconds)] += 1
    flush_durations.total += seconds


def note_deliveries(publications: Collection[Publication]) -> None:
    """One listener was handed these, behind the others."""
    written.deliveries += len(publications)
    written.bytes += sum(len(publication.payload) for publication in publications)


def note_append(appended: Collection[Publication], seconds: float) -> None:
    publications.inc(len(appended))
    published_bytes.inc(sum(len(publication.payload) for publication in appended))
    append_seconds.observe(seconds)


def note_refusal(door: str, error: type[BroadcastError] | str) -> None:
    """`error`: what was told, or a reason that is no error."""
    if isinstance(error, str):
        reason = error
    else:
        reason = re.sub("(?<=[a-z])(?=[A-Z])", "_", error.__name__).lower()
    refusals.labels(door, reason).inc()


class Heard(Protocol):
    """A topic of the hub, as it is counted."""

    @property
    def name(self) -> str: ...
    @property
    def listeners(self) -> Collection[Any]: ...
    @property
    def full(self) -> Collection[Any]: ...
    @property
    def feeding(self) -> int: ...
    @property
    def audience(self) -> int: ...


def refresh(topics: Iterable[Heard]) -> None:
    """Bring everything up to date that is not counted at once; `topics`: all of this process."""
    deliveries.inc(written.deliveries)
    delivered_bytes.inc(written.bytes)
    written.deliveries = written.bytes = 0
    for tally in (flush_sizes, flush_durations, relay_lags):
        tally.pour()
    topics = list(topics)
    meetings = [topic for topic in topics if is_room(topic.name) and topic.listeners]
    rooms.set(len(meetings))
    peers.set(sum(len(topic.listeners) for topic in meetings))
    topics = [topic for topic in topics if not is_room(topic.name)]
    streams.set(len(topics))
    listeners.set(sum(topic.audience for topic in topics))
    full_listeners.set(sum(len(topic.full) for topic in topics))
    streamers.set(sum(topic.feeding for topic in topics))


def text() -> bytes:
    """The text of a scrape (text/plain; version=0.0.4): of all workers, where there are several."""
    if DIRECTORY not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    for _ in range(NEW_FILE_TRIES):
        # The file of a worker that begins is empty for a moment.
        with suppress(struct.error):
            return generate_latest(registry)
        time.sleep(NEW_FILE_SECONDS)
    return generate_latest(registry)


# -- for the parent of several workers ------------------------------------------------------


def environment(directory: str, number: int) -> dict[str, str]:
    """The environment of a worker that counts into `directory`."""
    return {DIRECTORY: directory, NUMBER: str(number)}


def forget(directory: str, number: int) -> None:
    """The worker of this number is gone, and nobody is at it any more."""
    mark_process_dead(number, directory)  # type: ignore[no-untyped-call]
