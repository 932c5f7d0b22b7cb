"""Pages that are subscribed, and their sockets, in the test's own process."""

import json
from typing import Any

from django.contrib.sessions.backends.db import SessionStore

from broadcast.pages import watch as page_watch
from broadcast.pages.subscriptions import PageSocket, digest_of
from tests.rig.doors import InProcessDoor, Socket, eventually

KEY, ID = "1" * 64, "2" * 64


class Request:
    """What a `PageSocket` needs of one."""

    path = "/page/"

    def __init__(self, session: Any = None) -> None:
        self.session = session or SessionStore()


class Opened:
    """A page's socket in this process, of a session with KEY."""

    def __init__(self, socket: Socket, session: Any) -> None:
        self.socket = socket
        self.session = session
        self.request = Request(session)
        self.digest = digest_of(KEY, ID)
        #: What came before the answer of a ping.
        self.early: list[Any] = []

    async def receive(self) -> Any:
        return self.early.pop(0) if self.early else await self._receive()

    async def _receive(self) -> Any:
        frame = await self.socket.receive()
        assert isinstance(frame, str)
        return json.loads(frame)

    async def ping(self) -> None:
        """Everything that was told before has been received."""
        await self.socket.send('{"id":1,"action":"ping"}')
        while "id" not in (said := await self._receive()):
            self.early.append(said)
        assert said["body"] == "pong"


async def opened(door: InProcessDoor, *channels: str, id: str = ID, **content: Any) -> Opened:
    """The socket of a page; `content` is what its session holds besides its key."""
    session = SessionStore()
    await session.aupdate({"socket_key": KEY, **content})
    await session.asave()
    if channels:
        await PageSocket(Request(session), id).asubscribe(*channels)
    return await reopened(door, session, id)


async def reopened(door: InProcessDoor, session: Any, id: str = ID, query: str = "") -> Opened:
    headers = {"Cookie": f"sessionid={session.session_key}"}
    socket = await door.connect(f"/ws/socket/?socket_connection_id={id}{query}", headers=headers)
    page = Opened(socket, session)
    await page.ping()
    return page


async def until_heard(page: Opened, channels: set[str]) -> None:
    async def is_so() -> bool:
        found = page_watch.get_pages().by_digest.get(page.digest, set())
        return [one.channels.hears for one in found] == [channels]

    await eventually(is_so)
