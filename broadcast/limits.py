"""How much is too much: connections, joins, what one streamer or peer says.

The rules know no clock (`Pace`, `Limits`); each event loop counts for itself, so with several
server processes every limit holds in each of them. Who is over one is refused, with 4429 or 429,
and nobody else notices. What is remembered of anybody is forgotten as soon as it does not matter,
and is bounded: somebody with very many addresses fills no memory.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Hashable
from weakref import WeakKeyDictionary

from .addresses import household
from .conf import conf
from .exceptions import TooMany
from .logs import get_logger

logger = get_logger(__name__)

#: What may come at once, before it must keep to its pace: so many seconds' worth.
BURST_SECONDS = 5.0
#: Of how many a `Pace` remembers what they took; beyond them the ones that waited longest go.
MOST = 20_000
#: Seconds between two lines in the log that say that connections are refused.
LOG_SECONDS = 10.0


class Pace:
    """How fast each of many goes. What they take is measured in seconds that it is to last.

    Of each one number is kept: until when what it took lasts.
    """

    def __init__(self) -> None:
        #: Who took last stands last.
        self.until: OrderedDict[Hashable, float] = OrderedDict()

    def wait(self, key: Hashable, seconds: float, now: float) -> float:
        """Seconds until `key` may take what is to last for `seconds`; 0: it may.

        Whoever has taken nothing lately may take anything: what is larger than all that may
        come at once must be possible, and lasts the longer.
        """
        left = self.until.get(key, now) - now
        wait = min(left, left + seconds - BURST_SECONDS)
        # Less is what sums of very many numbers are wrong by.
        return wait if wait > 1e-6 else 0.0

    def take(self, key: Hashable, seconds: float, now: float) -> None:
        self.until[key] = max(self.until.get(key, now), now) + seconds
        self.until.move_to_end(key)
        while self.until:
            oldest = next(iter(self.until))
            if self.until[oldest] > now and len(self.until) <= MOST:
                break
            del self.until[oldest]


class Limits:
    """What is counted in one event loop. `now`: seconds of its clock."""

    def __init__(self) -> None:
        self.connections = 0
        #: Connections by household, of those that have any.
        self.households: dict[str, int] = {}
        self.joins = Pace()
        self.publications = Pace()
        self.bytes = Pace()
        self.signals = Pace()
        #: When it was logged that a connection was refused, and how many were since.
        self._logged = float("-inf")
        self._unlogged = 0

    def enter(self, address: str, now: float) -> None:
        """Count a connection from this address ("": it has none). TooMany: it is one too many."""
        try:
            self._check_connection(address, now)
        except TooMany as error:
            self._log(address, error, now)
            raise
        self.connections += 1
        if address:
            home = household(address)
            self.households[home] = self.households.get(home, 0) + 1

    def leave(self, address: str) -> None:
        """One that was counted is gone."""
        self.connections -= 1
        if address:
            home = household(address)
            self.households[home] -= 1
            if not self.households[home]:
                del self.households[home]

    def _check_connection(self, address: str, now: float) -> None:
        most = conf.MAX_CONNECTIONS
        if most is not None and self.connections >= most:
            raise TooMany(f"too many connections here: {most} are the most")
        if not address:
            return
        home = household(address)
        most = conf.MAX_CONNECTIONS_PER_ADDRESS
        if most is not None and self.households.get(home, 0) >= most:
            raise TooMany(f"too many connections from your address: {most} are the most")
        if rate := conf.MAX_JOINS_PER_SECOND:
            if wait := self.joins.wait(home, 1 / rate, now):
                raise TooMany(
                    f"too many new connections from your address: {rate:g} per second are the most",
                    wait,
                )
            self.joins.take(home, 1 / rate, now)

    def _log(self, address: str, error: TooMany, now: float) -> None:
        """Say that connections are refused, not of each: there may be thousands per second."""
        if now < self._logged + LOG_SECONDS:
            self._unlogged += 1
            return
        more = f", and {self._unlogged} more since the last time" if self._unlogged else ""
        logger.warning("Refused a connection from %s%s: %s", address or "?", more, error)
        self._logged, self._unlogged = now, 0

    def publish(self, address: str, stream: str, size: int, now: float) -> None:
        """Count a publication of `size` bytes. TooMany: it is not to be published now."""
        key = (household(address), stream)
        of_one = 1 / rate if (rate := conf.MAX_PUBLICATIONS_PER_SECOND) else 0.0
        of_bytes = size / limit if (limit := conf.MAX_BYTES_PER_SECOND) else 0.0
        if wait := self.publications.wait(key, of_one, now):
            raise TooMany(f"too many publications: {rate:g} per second are the most", wait)
        if wait := self.bytes.wait(key, of_bytes, now):
            raise TooMany(f"too many bytes: {limit:g} per second are the most", wait)
        if of_one:
            self.publications.take(key, of_one, now)
        if of_bytes:
            self.bytes.take(key, of_bytes, now)

    def signal(self, key: Hashable, now: float) -> None:
        """Count a message of a client of rooms. TooMany: it is one too many."""
        if rate := conf.MAX_SIGNALS_PER_SECOND:
            if wait := self.signals.wait(key, 1 / rate, now):
                raise TooMany(f"too many messages: {rate:g} per second are the most", wait)
            self.signals.take(key, 1 / rate, now)


_limits: WeakKeyDictionary[asyncio.AbstractEventLoop, Limits] = WeakKeyDictionary()


def get_limits() -> Limits:
    """The limits of the running event loop."""
    loop = asyncio.get_running_loop()
    limits = _limits.get(loop)
    if limits is None:
        limits = _limits[loop] = Limits()
    return limits


def enter(address: str) -> None:
    """Count a connection from this address. TooMany: it is one too many, and not counted."""
    get_limits().enter(address, asyncio.get_running_loop().time())


def leave(address: str) -> None:
    """A connection that was counted is gone."""
    get_limits().leave(address)


def limits_publications() -> bool:
    """Whether publications are counted at all."""
    return bool(conf.MAX_PUBLICATIONS_PER_SECOND or conf.MAX_BYTES_PER_SECOND)


def check_publication(who: str, stream: str, size: int) -> None:
    """Count a publication on `stream`, of so many bytes of payload, by `who` sends there.

    Their address, or another name that is no address. Of each the first seconds' worth may come at
    once. TooMany: nothing is counted, and it is not to be published now.
    """
    get_limits().publish(who, stream, size, asyncio.get_running_loop().time())


def check_signal(who: Hashable) -> None:
    """Count what a client of rooms says. TooMany: too many of the last seconds were its own."""
    get_limits().signal(who, asyncio.get_running_loop().time())
