"""What viewers of a media stream get from their sockets, and from its recordings."""

import re
from typing import Any
from urllib.request import Request, urlopen

from tests.rig.doors import Socket
from tests.rig.processes import ServerProcess


async def hear(listener: Socket, until: bytes) -> tuple[list[tuple[int, bytes]], list[Any]]:
    """Binary publications of `broadcast.v1` until one ends with `until`, and events between."""
    publications, events = [], []
    while True:
        said = await listener.told()
        if isinstance(said[0], str):
            events.append(said)
        else:
            publications.append(said)
            if said[1].endswith(until):
                return publications, events


def bytes_of(publications: list[tuple[int, bytes]]) -> bytes:
    return b"".join(payload for _, payload in publications)


def recordings_on(process: ServerProcess, slug: str) -> list[bytes]:
    """What the links on the page of a stream lead to."""
    page = fetch(process, f"/streams/{slug}/").decode()
    links = re.findall(r'href="(/streams/[^"]*/recordings/\d+/)"', page)
    return [fetch(process, link) for link in links]


def fetch(process: ServerProcess, path: str, **headers: str) -> bytes:
    with urlopen(Request(process.url + path, headers=headers), timeout=20) as response:
        data: bytes = response.read()
    return data
