"""The engine of the running server, for a process that is no server and shares no engine.

The server keeps everything in its memory. A memory of this process' own would stay empty: nobody
would hear it, and every answer from it would be wrong. So this backend asks the server where
streams stand and who is there, through the MessagePack-RPC port (`remote`), and refuses all else.
Publishing goes there too, in `hub.publishing.apublish`.
"""

from collections.abc import Callable, Coroutine, Iterable
from typing import Any, NoReturn

from asgiref.sync import sync_to_async

from ..exceptions import Unavailable
from . import remote
from .values import Presence


class Elsewhere:
    """A `Backend` that keeps nothing. Unavailable: no server answers, or the port is another's."""

    shared = False

    @property
    def rooms(self) -> "Elsewhere":
        return self

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, NoReturn]]:
        async def refuse(*args: Any, **kwargs: Any) -> NoReturn:
            raise Unavailable(
                "only the running server has this in its memory; or set BROADCAST_REDIS_URL"
            )

        return refuse

    async def check(self) -> None:
        """Nobody needs the server yet."""

    def place(self, stream: str) -> int:
        return 0

    def remarks(self) -> list[str]:
        return []

    def remembered(self, prefix: str) -> list[str]:
        return []

    async def positions(self, streams: Iterable[str]) -> dict[str, tuple[str, int]]:
        found = await sync_to_async(remote.look)(list(streams))
        return {stream: (one["epoch"], one["offset"]) for stream, one in found.items()}

    async def presence(self, streams: Iterable[str]) -> dict[str, Presence]:
        try:
            found = await sync_to_async(remote.look)(list(streams))
        except Unavailable:
            return {}
        return {
            stream: Presence(one["streamer"], 0, one["listeners"]) for stream, one in found.items()
        }
