"""`capture`: what was published."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..exceptions import BroadcastError
from ..hub import hearing
from ..publications import Draft, Kind, Position, Publication


class Captured(tuple[str, Any]):
    """A publication as the pair `(stream, payload)`, which it is equal to.

    `payload` is what listeners get: text, bytes, or the value of the JSON. A pair with the payload
    as it was given, such as a `Decimal` or a date within a dict, is equal to it, too.
    """

    #: "text", "json" or "binary".
    kind: str
    position: Position

    def __new__(cls, stream: str, epoch: str, publication: Publication) -> "Captured":
        captured = super().__new__(cls, (stream, publication.data))
        captured.kind = Kind(publication.kind).name.lower()
        captured.position = Position(epoch, publication.offset)
        return captured

    @property
    def stream(self) -> str:
        return self[0]

    @property
    def payload(self) -> Any:
        return self[1]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, tuple) or len(other) != 2 or other[0] != self.stream:
            return False
        return bool(self.payload == other[1]) or self._is_sent_as(other[1])

    def __ne__(self, other: object) -> bool:
        return not self == other

    #: It may hold a dict, which has no hash either.
    __hash__ = None  # type: ignore[assignment]

    def _is_sent_as(self, payload: Any) -> bool:
        try:
            draft = Draft.of(payload)
        except BroadcastError:
            return False
        return bool(Publication(0, draft.kind, draft.payload, 0, 0).data == self.payload)


@contextmanager
def capture() -> Iterator[list[Captured]]:
    """A list of what this process publishes while the block runs, in the order of publishing.

    That is all that gets a position on a stream: by `publish`, a page's push, streamers, the HTTP
    API, MessagePack-RPC or a command, in any thread or event loop. It only listens, outside of
    tests, too. What peers of a room tell each other is on no stream. Blocks may be nested.
    """
    captured: list[Captured] = []

    def hear(stream: str, epoch: str, publications: Sequence[Publication]) -> None:
        captured.extend(Captured(stream, epoch, one) for one in publications)

    hearing.begin(hear)
    try:
        yield captured
    finally:
        hearing.end(hear)
