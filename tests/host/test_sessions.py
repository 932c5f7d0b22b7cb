"""Every engine of sessions that Django comes with: page sockets, and what logging out ends."""

from collections.abc import Callable

import pytest

from tests.rig.hosts import URLS, Host

ENGINES = ["db", "cached_db", "cache", "file", "signed_cookies"]
SETTINGS = """
SESSION_ENGINE = "django.contrib.sessions.backends.{engine}"
SESSION_FILE_PATH = BASE_DIR / "sessions"
SESSION_FILE_PATH.mkdir(exist_ok=True)
BROADCAST_WATCH_SECONDS = 0.2
"""
PAGES = (
    URLS
    + """
from django.http import HttpResponse

def page(request):
    request.socket.subscribe("news")
    return HttpResponse(f"<body>{request.socket.connection_id}")

urlpatterns += [path("page/", page), path("accounts/", include("django.contrib.auth.urls"))]
"""
)
VISIT = """
import asyncio
import json
from asgiref.sync import async_to_sync
from channels.testing import WebsocketCommunicator
from django.test import AsyncClient
from broadcast import apublish
from broadcast.access import sessions
from broadcast.access.visitors import Visitor
from broadcast.routing import websocket_application

Stream.objects.setup()
Stream.objects.create(slug="news")
ann = User.objects.create_user("ann", password="x")

class Socket:
    def __init__(self, page, cookie):
        self.heard = []
        path = f"/ws/socket/?socket_connection_id={page[-64:]}"
        headers = [(b"host", b"testserver"), (b"origin", b"http://testserver"),
                   (b"cookie", b"sessionid=" + cookie.encode())]
        self.socket = WebsocketCommunicator(websocket_application, path, headers)

    async def open(self):
        assert (await self.socket.connect(timeout=10))[0]
        await self.ping()
        return self

    async def ping(self):
        await self.socket.send_to(text_data='{"id": 1, "action": "ping"}')
        assert "id" in json.loads(await self.socket.receive_from(timeout=10))

async def visit():
    client = AsyncClient()
    await client.alogin(username="ann", password="x")
    page = (await client.get("/page/")).text
    key = client.cookies["sessionid"].value
    socket = await Socket(page, key).open()
    await apublish("news", "first")
    said = json.loads(await socket.socket.receive_from(timeout=10))
    tell(heard=said["payload"])
    strange = ["x", chr(0) * 32, "../" * 11, "é" * 40, "a" * 5000, key]
    names = [await sessions.name_of(Visitor(key=one)) for one in strange]
    together = await asyncio.gather(*(sessions.name_of(Visitor(key=one)) for one in strange))
    tell(names=names, together=together)

    await client.post("/accounts/logout/")
    ended = await socket.socket.receive_output(timeout=10)
    tell(ended=ended["code"] if ended["type"] == "websocket.close" else ended)
    again = await Socket(page, key).open()
    await apublish("news", "second")
    await apublish("everyone", "last")
    while "last" not in again.heard:
        again.heard.append(json.loads(await again.socket.receive_from(timeout=10))["payload"])
    tell(again=again.heard)
    await again.socket.disconnect()

async_to_sync(visit)()
"""


@pytest.mark.parametrize("engine", ENGINES)
def test_pages_have_sockets_until_they_log_out(host: Callable[..., Host], engine: str) -> None:
    shop = host(settings=SETTINGS.format(engine=engine), urls=PAGES)
    told = shop.run(VISIT)
    assert told["heard"] == "first"
    nobody = ["", "", "", "", ""]
    assert told["names"] == told["together"] == [*nobody, "ann"]
    assert told["ended"] == 4200
    # A cookie is its session: it can be copied, and shown again. `check --deploy` says so.
    is_cookie = engine == "signed_cookies"
    assert told["again"] == (["second", "last"] if is_cookie else ["last"])
    deploy = shop.manage("check", "--deploy", "--tag", "security").stderr
    assert ("broadcast.W006" in deploy) == is_cookie
