"""What people who run streams see moving: figures, the last publications, who is connected.

A socket at `/ws/admin/streams/`, for staff who may view streams. It tells by itself, each second
and only what is asked for; so what it costs depends on how many look, not on how many listen.

* `?streams=a,b,c`: `{"event":"figures","streams":{"a":{"live":…,"since":…,"listeners":…,
  "offset":…,"rate":…}}}`. `since`: when the streamer came, in seconds since 1970, or null; `rate`:
  publications per second over the last seconds, null until that is known.
* `?stream=a`, besides: `{"event":"publications","publications":[…]}` when there are new ones, the
  newest first (`excerpt`), and `{"event":"connections","connections":[…]}` (`who_is_at`).
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

from ..access import sessions
from ..access.connections import who_is_at
from ..access.visitors import Visitor
from ..backends import get_backend
from ..consumers import MAX_PING, SocketConsumer
from ..exceptions import BadRequest, BroadcastError, CloseCode, Forbidden, Unavailable
from ..hub.starts import query_of
from ..logs import get_logger
from ..models import database, users
from ..publications import Kind, Publication, decode_json
from ..wire.frames import event

if TYPE_CHECKING:
    from ..models import AnyUser

logger = get_logger(__name__)

#: Seconds between two figures, over how many the rate is taken, and between looks at the rest.
TICK, WINDOW, SLOW_TICK = 1.0, 5, 3
#: Streams that are told of at a time; publications that are shown, characters of each, and bytes
#: that are read for it, unless the newest one alone has more.
STREAMS, PUBLICATIONS, CHARACTERS, READ_BYTES = 200, 20, 500, 1024 * 1024

#: How the bytes of common types begin.
SIGNATURES = (
    (b"\x89PNG\r\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"\x1aE\xdf\xa3", "video/webm"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b", "application/gzip"),
)


def may_look(user: "AnyUser", what: str) -> bool:
    """Whether the user may see who is at streams, or in rooms."""
    return users.is_staff(user) and users.has_perm(user, f"broadcast.view_{what}")


def excerpt(publication: Publication) -> dict[str, Any]:
    """A publication for a person: `offset`, `bytes`, `time` (seconds since 1970), `type`, and
    `text` where it can be read.
    """
    kind = publication.kind
    said = {
        "offset": publication.offset,
        "bytes": len(publication.payload),
        "time": publication.time,
    }
    if kind == Kind.BINARY:
        return {**said, "type": type_of(publication.payload)}
    # A character has at most four bytes, and one that is cut in two is left out.
    text = publication.payload[: 4 * CHARACTERS].decode(errors="ignore")[:CHARACTERS]
    return {**said, "type": "json" if kind == Kind.JSON else "text", "text": text}


def type_of(payload: bytes) -> str:
    """What bytes seem to be."""
    if payload[4:8] in (b"ftyp", b"styp", b"moof"):
        return "video/mp4"
    known = (name for start, name in SIGNATURES if payload.startswith(start))
    return next(known, "binary")


class Rates:
    """How fast streams grow, from what was seen of their offsets."""

    def __init__(self) -> None:
        self._seen: dict[str, deque[tuple[float, str, int]]] = {}

    def see(self, stream: str, epoch: str, offset: int, now: float) -> float | None:
        """Publications per second over the last `WINDOW` looks; None: this is the first one."""
        seen = self._seen.setdefault(stream, deque(maxlen=WINDOW + 1))
        if seen and seen[-1][1] != epoch:
            seen.clear()
        seen.append((now, epoch, offset))
        seconds = now - seen[0][0]
        return (offset - seen[0][2]) / seconds if seconds > 0 else None


async def figures(slugs: Sequence[str], rates: Rates, now: float) -> dict[str, Any]:
    """The figures of streams by their slugs. Left out: those whose part of the engine is silent."""
    backend = get_backend()
    presences, positions = await asyncio.gather(backend.presence(slugs), backend.positions(slugs))
    return {
        slug: {
            "live": presences[slug].live,
            "since": presences[slug].since,
            "listeners": presences[slug].listeners,
            "offset": positions[slug][1],
            "rate": rates.see(slug, *positions[slug], now),
        }
        for slug in slugs
        if slug in presences and slug in positions
    }


async def last_publications(slug: str, offset: int) -> list[dict[str, Any]]:
    """Excerpts of the last publications up to `offset`, the newest first."""
    found: list[Publication] = []
    for most in (PUBLICATIONS, 3, 1):
        _, found = await get_backend().read(slug, max(0, offset - most), most, READ_BYTES)
        if found and found[-1].offset >= offset:
            break  # Fewer of them, where they are so large that the newest would be cut off.
    return [excerpt(publication) for publication in reversed(found)]


class FiguresConsumer(SocketConsumer):
    """A page of the admin that moves by itself."""

    telling: asyncio.Task[None] | None = None
    #: Its subject, and how the query names one and many of them.
    one, many = "stream", "streams"

    async def enter(self) -> None:
        query = query_of(self.scope)
        one = query.get(self.one, "")
        self.slugs = [one] if one else query.get(self.many, "").split(",")[:STREAMS]
        self.shown = one
        if any(":" in name for name in self.slugs):
            # No slug has a colon. What is said in rooms, and to one page, is named with one.
            raise BadRequest(f"no {self.one} has such a name")
        self.visitor = Visitor.of_scope(self.scope)
        self.space = asyncio.Event()
        self.space.set()
        self.sink.on_space(self.space.set)
        await self._check()
        self.telling = asyncio.ensure_future(self._tell())

    async def receive(self, message: dict[str, Any]) -> None:
        text = message.get("text")
        if text is None or len(text) > MAX_PING or decode_json(text) != {"event": "ping"}:
            raise BadRequest("nothing can be said here but ping")
        self._say("pong")

    async def closed(self) -> None:
        if self.telling:
            self.telling.cancel()

    async def _check(self) -> None:
        if not await sessions.ask(self.visitor, partial(may_look, what=self.one)):
            raise Forbidden(f"only staff who may view {self.many} see this")

    def _say(self, name: str, **fields: Any) -> None:
        if not self.tell(event(name, **fields)):
            self.space.clear()

    async def _tell(self) -> None:
        """Tell what there is, until it is cancelled or may not be told any more."""
        self.rates, self.told_offset = Rates(), -1
        try:
            for tick in count():
                await self.space.wait()
                try:
                    with database.expected():
                        await self._tell_once(tick)
                except Unavailable:
                    self._say("unavailable")
                await asyncio.sleep(TICK)
        except BroadcastError as error:
            self.refuse(error)
        except Exception:
            logger.exception("The figures of streams could not be told")
            self.sink.close(CloseCode.SHUTDOWN, "the server could not tell")

    async def _tell_once(self, tick: int) -> None:
        now = time.time()
        told = await self._figures(now)
        self._say("figures", streams=told, now=now)
        if tick % SLOW_TICK:
            return
        await self._check()
        if self.shown in told:
            await self._tell_details(told[self.shown])

    async def _figures(self, now: float) -> dict[str, Any]:
        return await figures(self.slugs, self.rates, now)

    async def _tell_details(self, told: dict[str, Any]) -> None:
        offset = told["offset"]
        if offset != self.told_offset:
            self.told_offset = offset
            self._say("publications", publications=await last_publications(self.shown, offset))
        self._say("connections", connections=await who_is_at(self.shown))
