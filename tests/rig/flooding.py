"""Clients that send as much as they can of what costs them nothing, and come again when sent away.

`python -m tests.rig.flooding KIND PORT SLUG…` does so, with a socket for each stream, until its
input ends; then it prints how often they came.
"""

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress

from tests.rig.films import block, cluster, webm
from tests.rig.raw import BINARY, CONTINUATION, PING, PONG, TEXT, Gone, RawSocket, frame

#: A part of WebM of two bytes, which holds nothing.
VOID = b"\xec\x80"


def many(one: bytes, size: int = 64 * 1024) -> bytes:
    return one * (size // len(one))


#: Of each kind its path, its sub-protocol, how it begins, and what it sends then, again and again.
KINDS: dict[str, tuple[str, str, bytes, Callable[[], bytes]]] = {
    "pings": ("listener", "", b"", lambda: many(frame(PING))),
    "pongs": ("listener", "", b"", lambda: many(frame(PONG, b"x" * 125))),
    "fragments": (
        *("listener", "", frame(TEXT, fin=False)),
        lambda: many(frame(CONTINUATION, b"x", fin=False)),
    ),
    "larger fragments": (
        *("streamer", "", b""),
        lambda: many(
            frame(TEXT, b"x" * 128, fin=False)
            + frame(CONTINUATION, b"x" * 128, fin=False) * 98
            + frame(CONTINUATION, b"x" * 128)
        ),
    ),
    "texts": ("listener", "broadcast.v1", b"", lambda: many(frame(TEXT))),
    "events": ("listener", "broadcast.v1", b"", lambda: many(frame(TEXT, b'{"event":"ping"}'))),
    "publications": ("streamer", "", b"", lambda: many(frame(TEXT))),
    "media": (
        *("streamer", ""),
        frame(BINARY, webm(cluster(block(key=True)))),
        lambda: frame(BINARY, cluster() + many(VOID, 2**20)),
    ),
    "small media": (
        *("streamer", ""),
        frame(BINARY, webm(cluster(block(key=True)))),
        lambda: many(frame(BINARY, cluster() + many(VOID, 1000))),
    ),
}


class Flood:
    """One socket after another; `came`: how many there were."""

    def __init__(self, kind: str, port: int, slug: str) -> None:
        path, self.protocol, self.begin, data = KINDS[kind]
        self.path, self.data = f"/ws/{path}/{slug}/", data()
        self.port = port
        self.came = 0

    async def go_on(self) -> None:
        while True:
            async with RawSocket(self.port) as raw:
                try:
                    await raw.open(self.path, *filter(None, [self.protocol]))
                    self.came += 1
                    await raw.send(self.begin)
                    await self._flood(raw)
                except (Gone, ConnectionError, TimeoutError):
                    pass
                finally:
                    # What the server has not read yet is dropped, not published for seconds.
                    raw.cut()

    async def _flood(self, raw: RawSocket) -> None:
        """Until it is sent away."""
        sending = asyncio.create_task(self._send(raw))
        try:
            while await asyncio.get_running_loop().sock_recv(raw.socket, 2**16):
                pass
        finally:
            sending.cancel()
            await asyncio.wait({sending})

    async def _send(self, raw: RawSocket) -> None:
        with suppress(ConnectionError):
            while True:
                await asyncio.get_running_loop().sock_sendall(raw.socket, self.data)
                await asyncio.sleep(0)


async def main(kind: str, port: int, slugs: list[str]) -> None:
    floods = [Flood(kind, port, slug) for slug in slugs]
    tasks = [asyncio.create_task(one.go_on()) for one in floods]
    print("begins", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    print(sum(one.came for one in floods))


if __name__ == "__main__":
    kind, port, *slugs = sys.argv[1:]
    asyncio.run(main(kind, int(port), slugs))
