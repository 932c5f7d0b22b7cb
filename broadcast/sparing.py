"""Log lines that clients could cause by the thousand per second: one of a kind now and then."""

import time

#: Seconds between two lines of a kind.
LOG_SECONDS = 10.0


class Sparing:
    """Decides about one kind of line. `now`: seconds of any one clock."""

    def __init__(self) -> None:
        self._said = float("-inf")
        self._unsaid = 0

    def more(self, now: float | None = None) -> str | None:
        """Words for the end of the line on lines left out, perhaps ""; None: leave it out, too."""
        now = time.monotonic() if now is None else now
        if now < self._said + LOG_SECONDS:
            self._unsaid += 1
            return None
        more = f", and {self._unsaid} more since the last time" if self._unsaid else ""
        self._said, self._unsaid = now, 0
        return more
