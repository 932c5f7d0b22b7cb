"""Close codes, and the errors of Broadcast.

    BroadcastError
    ├── BadRequest             what was said makes no sense        4500   400
    │   └── TooLarge           a payload over the limit            1009   413
    ├── Forbidden              may not listen or publish here      4503   403
    │   └── BadToken           a token that is none, or ran out    4503   401
    ├── NoSuchStream                                               4504   404
    ├── StreamClosed           a person closed the stream          4510   410
    ├── RoomClosed             a person closed the room            4510   410
    ├── Removed                a person removed the connection     4510   410
    ├── Replaced               another streamer took over          4501   409
    ├── TooSlow                cannot be told what it missed       4408   503
    ├── SessionEnded           the session is another one now      4200   401
    ├── TooMany                over a limit                        4429   429
    ├── RoomError              a peer of a room said it in vain    (stays) 400
    ├── RunGap                 publications of a run are missing   4200   409
    └── Unavailable            engine or database is away          4200   503

Each is told to the client that caused it, once per door: as a close code on a socket, a status over
HTTP, an error string over MessagePack-RPC, a `CommandError` on the command line.
"""

import math
from enum import IntEnum


class CloseCode(IntEnum):
    """Why a socket was closed. 4000–4499: come back, with the position; 4500–4999: do not."""

    TOO_BIG = 1009
    SHUTDOWN = 4200
    SLOW = 4408
    TOO_MANY = 4429
    BAD_REQUEST = 4500
    REPLACED = 4501
    FORBIDDEN = 4503
    NO_SUCH_STREAM = 4504
    CLOSED = 4510


class BroadcastError(Exception):
    """Something a caller did wrong or has to know. `str(error)` is fit for a person."""

    close_code = CloseCode.BAD_REQUEST
    http_status = 500
    #: Seconds after which it makes sense to try again; None: nobody knows.
    retry_after: float | None = None

    @property
    def http_headers(self) -> dict[str, str]:
        """What an HTTP answer says beside the status."""
        if self.retry_after is None:
            return {}
        return {"Retry-After": str(max(math.ceil(self.retry_after), 1))}


class BadRequest(BroadcastError):
    http_status = 400


class TooLarge(BadRequest):
    close_code = CloseCode.TOO_BIG
    http_status = 413


class Forbidden(BroadcastError):
    close_code = CloseCode.FORBIDDEN
    http_status = 403


class BadToken(Forbidden):
    http_status = 401


class NoSuchStream(BroadcastError):
    close_code = CloseCode.NO_SUCH_STREAM
    http_status = 404


class StreamClosed(BroadcastError):
    close_code = CloseCode.CLOSED
    http_status = 410


class RoomClosed(BroadcastError):
    close_code = CloseCode.CLOSED
    http_status = 410


class Removed(BroadcastError):
    close_code = CloseCode.CLOSED
    http_status = 410


class Replaced(BroadcastError):
    close_code = CloseCode.REPLACED
    http_status = 409


class TooSlow(BroadcastError):
    close_code = CloseCode.SLOW
    http_status = 503


class SessionEnded(BroadcastError):
    """A client that comes back is looked at again: it may have logged in, and go on as another."""

    close_code = CloseCode.SHUTDOWN
    http_status = 401


class TooMany(BroadcastError):
    close_code = CloseCode.TOO_MANY
    http_status = 429

    def __init__(self, message: str, retry_after: float = 10.0) -> None:
        """`retry_after`: where it depends on others, in a while."""
        super().__init__(message)
        self.retry_after = retry_after


class RoomError(BroadcastError):
    """What a peer said cannot be done, and its socket stays open."""

    http_status = 400


class RunGap(BroadcastError):
    """Earlier publications of a run are not known: its client should come back and ask."""

    close_code = CloseCode.SHUTDOWN
    http_status = 409


class Unavailable(BroadcastError):
    close_code = CloseCode.SHUTDOWN
    http_status = 503
    retry_after = 1.0
