"""The live edge of a topic: the listeners that a flush writes to, by what is written to them.

A listener that can inflate comes to the edge with frames as they are. As soon as enough of them
stand there, the topic has a `wire.deflate.Context`, and each enters it at the next moment at which
it can inflate what follows. One that leaves the edge has left the context, and comes back as a
newcomer does. So what a listener is handed stays in order, and a slow one holds nothing.

A moment for newcomers has a price: what follows cannot refer to what came before, for anybody. So
there is one as soon as newcomers have been sent more than it costs the others, or after
`MOST_TAKEN` bytes of messages.
"""

from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar
from weakref import WeakSet

from .. import metrics
from ..conf import conf
from ..publications import Publication
from ..wire.deflate import Context
from ..wire.frames import Encoding, to_frames

#: Bytes that a listener is sent more because what follows refers to nothing before.
PRICE = 1024
#: Bytes of messages after which newcomers are let in, whatever it costs.
MOST_TAKEN = 64 * 1024
#: Contexts in a process. Further streams are sent as they are.
MOST_CONTEXTS = 256


class Standing(Protocol):
    """A listener, the encoding that it came with, and the one that it stands at the edge with."""

    encoding: Encoding
    #: None: it is not at the edge.
    at: Encoding | None


S = TypeVar("S", bound=Standing)


class Deflated:
    """The context of a topic for listeners that came with one encoding, `plain`."""

    #: Those of this process.
    all: "WeakSet[Deflated]" = WeakSet()

    def __init__(self, plain: Encoding) -> None:
        self.all.add(self)
        self.plain = plain
        self.context = Context(plain.each)
        #: The encoding of those that are in it.
        self.encoding = Encoding(self._frames, to_frames, plain.tells)
        #: How many are in it, and bytes that newcomers were sent since the last moment for them.
        self.inside = self.sent = 0

    def _frames(self, publications: Iterable[Publication]) -> bytes:
        before = self.context.saved
        frames = self.context.frames(publications)
        # What does not shrink grows by some bytes.
        metrics.saved_bytes.inc(max(self.context.saved - before, 0) * self.inside)
        return frames

    def may_enter(self, sent: int) -> bool:
        """Whether newcomers may come in now, who were just sent so many bytes; else soon."""
        if not self.inside and not self.context.is_open:
            self.context = Context(self.plain.each)
        if self.context.is_open:
            self.sent = 0
            return True
        self.sent += sent
        self.context.opens = self.sent > PRICE * self.inside or self.context.taken > MOST_TAKEN
        return False


class Edge(Generic[S]):
    """Who stands at the edge, by encoding; no set is empty."""

    def __init__(self) -> None:
        self.by_encoding: dict[Encoding, set[S]] = {}
        #: By the encoding that their listeners came with.
        self._deflated: dict[Encoding, Deflated] = {}
        #: How many stand there that can inflate, and are in no context.
        self._waiting = 0
        #: Whether anything may be deflated.
        self.allows = True

    def allow(self, allows: bool) -> None:
        """Say whether anything may be deflated from now on: the stream's row may have changed."""
        self.allows = allows
        if not allows:
            for plain in tuple(self._deflated):
                self._let_in(plain, 0)

    def add(self, listener: S) -> None:
        """It has everything, and is written to from now on."""
        self._stand(listener, listener.encoding)

    def discard(self, listener: S) -> bool:
        """It is written to no more. False: it was not there."""
        encoding = listener.at
        if encoding is None:
            return False
        listener.at = None
        here = self.by_encoding[encoding]
        here.discard(listener)
        if not here:
            # A member of a room has an encoding of its own.
            del self.by_encoding[encoding]
        self._waiting -= encoding.inflates
        return True

    def clear(self) -> list[S]:
        """Let nobody stand there; answers who did."""
        everybody = [listener for here in self.by_encoding.values() for listener in here]
        for listener in everybody:
            self.discard(listener)
        return everybody

    def flushed(self, size: int) -> None:
        """So many bytes were just written to everybody: newcomers may come into a context."""
        if self._waiting or self._deflated:
            plains = [one for one in self.by_encoding if one.inflates]
            for plain in {*plains, *self._deflated}:
                self._let_in(plain, size)

    def _let_in(self, plain: Encoding, size: int) -> None:
        waiting = self.by_encoding.get(plain, set())
        deflated = self._deflated.get(plain)
        inside = self.by_encoding.get(deflated.encoding, set()) if deflated else set()
        may_be = deflated is not None or len(Deflated.all) < MOST_CONTEXTS
        is_enough = pays(len(waiting) + len(inside), deflated is not None)
        if not (self.allows and may_be and is_enough):
            self._deflated.pop(plain, None)
            self._move(inside, plain)
            return
        if deflated is None:
            deflated = self._deflated[plain] = Deflated(plain)
        deflated.inside = len(inside)
        if waiting and deflated.may_enter(len(waiting) * size):
            deflated.inside += len(waiting)
            self._move(waiting, deflated.encoding)

    def _move(self, listeners: set[S], encoding: Encoding) -> None:
        for listener in tuple(listeners):
            self.discard(listener)
            self._stand(listener, encoding)

    def _stand(self, listener: S, encoding: Encoding) -> None:
        listener.at = encoding
        self.by_encoding.setdefault(encoding, set()).add(listener)
        self._waiting += encoding.inflates


def pays(number: int, is_there: bool) -> bool:
    """Whether so many listeners that can inflate are enough, where a context is there or not."""
    least = conf.COMPRESS_LISTENERS
    # It ends below the half, so that it does not come and go with one listener.
    return bool(least) and number >= (least / 2 if is_there else least)
