"""Publications without a stream."""

import random
from collections.abc import Sequence

from broadcast.publications import Draft, Publication


def published(drafts: Sequence[Draft], first: int = 1) -> list[Publication]:
    """They as they would be published one after another, from offset `first` on."""
    return [
        Publication(offset, one.kind, one.payload, one.marks, float(offset))
        for offset, one in enumerate(drafts, first)
    ]


def quotes(number: int, seed: int = 1) -> list[Publication]:
    """Publications of about 130 bytes, as prices are."""
    numbers = random.Random(seed)
    names = ("bid", "ask", "last", "open", "volume", "time")
    drafts = [
        Draft.of({"symbol": "ACME", **{one: round(numbers.random() * 100, 4) for one in names}})
        for _ in range(number)
    ]
    return published(drafts)
