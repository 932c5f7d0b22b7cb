"""The limits of connections, joins, and of the messages of one streamer or peer.

The rules know no clock (`Pace`, `Limits`); each event loop counts for itself, so with several
server processes every limit holds in each of them. Who is over one is refused, with 4429 or 429,
and nobody else notices. What is remembered of anybody is forgotten as soon as it does not matter,
and is bounded: somebody with very many addresses fills no memory.

What counts as a connection:

* On our server it is the TCP connection, from its accept to its end, whatever it is used for: a
  socket, an event stream, requests one after another, or silence. It counts in all, and for the
  address that it comes from. Only its request can be told why it is refused, so a connection too
  many may still ask once; of these there are at most `MOST_REFUSED`, and others are cut at once.
* A socket that our server has closed counts no more from that moment, although its client may keep
  the connection for some seconds. That holds for `MOST_GIVEN_UP` at a time; others count on, so
  that nobody has any number of connections by making the server close them.
* A connection of a proxy that is named in `BROADCAST_PROXIES` has many people behind it, and each
  request names its own person. The connection counts in all from its accept, and for the person's
  address as long as that request, event stream or socket lasts.
* Other servers tell of a connection only when its request is complete: there each request, event
  stream and socket counts as long as it lasts, in all and for its address.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

from ..conf import conf
from ..exceptions import TooMany
from ..logs import Sparing, get_logger
from ..loops import PerLoop
from .addresses import address_of, household, named_proxies

logger = get_logger(__name__)

#: A burst that may come at once, before the pace holds: so many seconds' worth.
BURST_SECONDS = 5.0
#: Of how many a `Pace` remembers what they took; beyond them the ones that waited longest go.
MOST = 20_000
#: Connections too many that are told so at a time.
MOST_REFUSED = 100
#: At most so many connections at a time count no more because the server closed their sockets.
MOST_GIVEN_UP = 1000
#: The name among a scope's extensions of the `Counted` of its connection.
EXTENSION = "broadcast.connection"


class Pace:
    """How fast each of many goes. What they take is measured in seconds that it is to last.

    Of each one number is kept: until when what it took lasts.
    """

    def __init__(self) -> None:
        #: In the order of taking: the newest last.
        self.until: OrderedDict[Hashable, float] = OrderedDict()

    def wait(self, key: Hashable, seconds: float, now: float) -> float:
        """Seconds until `key` may take what is to last for `seconds`; 0: it may.

        A name that has taken nothing lately may take anything: what is larger than all that may
        come at once must be possible, and lasts the longer.
        """
        left = self.until.get(key, now) - now
        wait = min(left, left + seconds - BURST_SECONDS)
        # Ignore float rounding.
        return wait if wait > 1e-6 else 0.0

    def take(self, key: Hashable, seconds: float, now: float) -> None:
        self.until[key] = max(self.until.get(key, now), now) + seconds
        self.until.move_to_end(key)
        while self.until:
            oldest = next(iter(self.until))
            if self.until[oldest] > now and len(self.until) <= MOST:
                break
            del self.until[oldest]


class Counted:
    """A connection of our server that is counted: from where, and why it may not stay."""

    __slots__ = ("home", "is_given_up", "refusal")

    def __init__(self, home: str, refusal: TooMany | None = None) -> None:
        #: Its household; "": it counts in all alone.
        self.home = home
        self.refusal = refusal
        #: Whether it counts no more, although it is not gone.
        self.is_given_up = False


class Limits:
    """The counts of one event loop. `now`: seconds of its clock."""

    def __init__(self) -> None:
        self.connections = 0
        #: Connections by household, of those that have any.
        self.households: dict[str, int] = {}
        #: Connections too many that are being told so, and those that the server has given up on.
        self.refused = self.given_up = 0
        self.joins = Pace()
        self.publications = Pace()
        self.bytes = Pace()
        self.signals = Pace()
        self._refusals = Sparing()

    def enter(self, address: str, now: float, *, joins: bool = True) -> None:
        """Count a connection from this address ("": it has none). TooMany: it is one too many.

        `joins`: it counts in the limit of joins per second, too.
        """
        try:
            self._check_all()
            self._check_home(address)
            if joins:
                self._check_joins(address, now)
        except TooMany as error:
            self._log(address, error, now)
            raise
        self.connections += 1
        self._take(address)

    def leave(self, address: str) -> None:
        """A counted connection is gone."""
        self.connections -= 1
        self._leave_home(address)

    def accept(self, address: str, now: float) -> Counted | None:
        """Count a TCP connection; None: it is one too many, and is not even told so."""
        try:
            self.enter(address, now, joins=False)
        except TooMany as error:
            if self.refused >= MOST_REFUSED:
                return None
            self.refused += 1
            return Counted("", error)
        return Counted(household(address) if address else "")

    def give_up(self, counted: Counted) -> None:
        """The server has closed what the connection was for; it is still there."""
        if not counted.refusal and self.given_up < MOST_GIVEN_UP:
            self.leave(counted.home)
            self.given_up += 1
            counted.is_given_up = True

    def end(self, counted: Counted) -> None:
        """A connection that was accepted is gone."""
        if counted.refusal:
            self.refused -= 1
        elif counted.is_given_up:
            self.given_up -= 1
        else:
            self.leave(counted.home)

    def begin(
        self, counted: Counted, address: str, now: float, *, joins: bool
    ) -> Callable[[], None]:
        """Let something begin on a connection that is counted; `address`: as the request has it.

        Answers a function to call when it is over. TooMany: it must not begin.
        """
        if counted.refusal:
            raise counted.refusal
        is_counted = not address or household(address) == counted.home
        try:
            if not is_counted:
                self._check_home(address)
            if joins:
                self._check_joins(address, now)
        except TooMany as error:
            self._log(address, error, now)
            raise
        if is_counted:
            return nothing
        self._take(address)
        return partial(self._leave_home, address)

    def _take(self, address: str) -> None:
        if address:
            home = household(address)
            self.households[home] = self.households.get(home, 0) + 1

    def _leave_home(self, address: str) -> None:
        if address:
            home = household(address)
            self.households[home] -= 1
            if not self.households[home]:
                del self.households[home]

    def _check_all(self) -> None:
        most = conf.MAX_CONNECTIONS
        if most is not None and self.connections >= most:
            raise TooMany(f"too many connections here: {most} are the most")

    def _check_home(self, address: str) -> None:
        most = conf.MAX_CONNECTIONS_PER_ADDRESS
        if address and most is not None and self.households.get(household(address), 0) >= most:
            raise TooMany(f"too many connections from your address: {most} are the most")

    def _check_joins(self, address: str, now: float) -> None:
        rate, home = conf.MAX_JOINS_PER_SECOND, household(address)
        if rate and address:
            if wait := self.joins.wait(home, 1 / rate, now):
                raise TooMany(
                    f"too many new connections from your address: {rate:g} per second are the most",
                    wait,
                )
            self.joins.take(home, 1 / rate, now)

    def _log(self, address: str, error: TooMany, now: float) -> None:
        if (more := self._refusals.more(now)) is not None:
            logger.warning("Refused a connection from %s%s: %s", address or "?", more, error)

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


#: The limits of the running event loop.
get_limits = PerLoop(Limits)


def nothing() -> None:
    """Do nothing, at the end of something that was not counted."""


def begin(scope: dict[str, Any], *, joins: bool = True) -> Callable[[], None]:
    """Count what begins with this scope: a socket, an event stream, a request.

    `joins`: it counts in the limit of joins per second, too. Answers a function to call when it is
    over. TooMany: it must not begin, and is not counted.
    """
    limits, address = get_limits(), address_of(scope)
    now = asyncio.get_running_loop().time()
    counted = scope.get("extensions", {}).get(EXTENSION)
    if counted is not None:
        return limits.begin(counted, address, now, joins=joins)
    limits.enter(address, now, joins=joins)
    return partial(limits.leave, address)


def accept(peer: str) -> Counted | None:
    """Count a TCP connection from `peer`; None: it is to be cut at once."""
    if conf.PROXIES and peer in named_proxies():
        peer = ""
    return get_limits().accept(peer, asyncio.get_running_loop().time())


def give_up(counted: Counted) -> None:
    """The server has closed a socket, whose TCP connection is still there. Once for each."""
    get_limits().give_up(counted)


def end(counted: Counted) -> None:
    """A TCP connection that was accepted is gone."""
    get_limits().end(counted)


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
