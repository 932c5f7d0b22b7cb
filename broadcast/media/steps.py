"""How many parts may be looked at: each costs time, and nobody but an enemy makes very many.

What counts is the steps that are made, so a limit holds however parts are within each other. One
feed of a segmenter has some, and each part that it takes brings more for its bytes: those within a
block of sound have a dozen bytes and more on average. No part brings more than a header with a
hundred tracks needs.
"""

from ..exceptions import BadRequest

#: Steps of one feed, of so many bytes one more, and the most that one part brings.
STEPS = 1024
BYTES = 16
MOST = 4096


class Steps:
    """So many may be made."""

    def __init__(self, left: int = STEPS) -> None:
        self.left = left
        self.made = 0

    def allow_for(self, size: int) -> None:
        """A part of `size` bytes is looked into."""
        self.left += min(size // BYTES, MOST)

    def make(self) -> None:
        """One more. BadRequest: that is too many."""
        self.made += 1
        self.left -= 1
        if self.left < 0:
            raise BadRequest("its parts are too small")
