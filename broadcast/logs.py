"""One record, one line: every logger of Broadcast comes from `get_logger`.

A path, a name, an origin or a text of a client may hold line breaks, control characters, or marks
that turn the reading direction. Printed as they are, they forge lines of the log, and give commands
to the terminal that shows it. So a message has them escaped, and at most `MOST` characters. A
traceback behind a message stays as it is: only a fault of ours has one.
"""

import logging
import time

#: Characters of a message.
MOST = 2000
#: Seconds between two lines of a kind that clients cause (`Sparing`).
LOG_SECONDS = 10.0


def shown(text: str) -> str:
    """`text` on one line, in characters that can be seen, cut to `MOST`.

    It is cut in the middle: a long path must not hide who asked for it, and the answer.
    """
    return cut(visible(cut(text)))


def cut(text: str) -> str:
    half = MOST // 2
    return text if len(text) <= MOST else f"{text[:half]}…{text[1 - half :]}"


def visible(text: str, keep: str = "") -> str:
    """`text` with what cannot be seen escaped, but for the characters of `keep`."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in keep else char.encode("unicode_escape").decode()
        for char in text
    )


class OneLine(logging.Filter):
    """Lets every record pass, its message as `shown`; for loggers and for handlers."""

    def filter(self, record: logging.LogRecord) -> bool:
        said = record.getMessage()
        if (line := shown(said)) != said:
            record.msg, record.args = line, None
        return True


_one_line = OneLine()


def get_logger(name: str) -> logging.Logger:
    """The logger of that name, which writes single lines."""
    logger = logging.getLogger(name)
    logger.addFilter(_one_line)
    return logger


class Sparing:
    """Thins out one kind of log line that clients could cause by the thousand per second."""

    def __init__(self) -> None:
        self._said = float("-inf")
        self._unsaid = 0

    def more(self, now: float | None = None) -> str | None:
        """Words for the end of the line on lines left out, perhaps ""; None: leave it out, too.

        `now`: seconds of any one clock, always the same one.
        """
        now = time.monotonic() if now is None else now
        if now < self._said + LOG_SECONDS:
            self._unsaid += 1
            return None
        more = f", and {self._unsaid} more since the last time" if self._unsaid else ""
        self._said, self._unsaid = now, 0
        return more
