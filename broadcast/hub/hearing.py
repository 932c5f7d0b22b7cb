"""Who hears in this process what it publishes itself, and when: as soon as it has its position.

That is before it goes to the channel layer, and whatever becomes of it there.
"""

from collections.abc import Callable, Sequence

from ..publications import Publication

#: Called with the stream, the epoch, and what was published there in one step.
Hearer = Callable[[str, str, Sequence[Publication]], None]

_hearers: tuple[Hearer, ...] = ()


def begin(hearer: Hearer) -> None:
    """Call `hearer` with everything that this process publishes from now on, in any thread."""
    global _hearers
    _hearers = (*_hearers, hearer)


def end(hearer: Hearer) -> None:
    """Call it no more."""
    global _hearers
    _hearers = tuple(one for one in _hearers if one != hearer)


def tell(stream: str, epoch: str, publications: Sequence[Publication]) -> None:
    """This process has published these."""
    for hearer in _hearers:
        hearer(stream, epoch, publications)
