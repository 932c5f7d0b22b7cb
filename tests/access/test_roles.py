"""Every door of a private stream, tried by its owner, a user it was granted to, and strangers.

Pages, the embedded one, sockets and the admin; `tests/api/test_permissions.py` tries the API and
event streams.
"""

from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Permission, User
from django.test import AsyncClient, Client

from broadcast.models import Stream
from tests.rig.doors import V1, InProcessDoor

ROLES = ("owner", "granted", "granted to listen", "stranger", "nobody", "staff")
MAY_LISTEN = ("owner", "granted", "granted to listen", "staff")
MAY_PUBLISH = ("owner", "granted", "staff")


class Visit:
    """A private stream, and somebody with a browser."""

    def __init__(self, role: str) -> None:
        self.role = role
        owner = User.objects.create_user("the owner")
        self.stream = Stream.objects.create(slug="s", owner=owner, visibility="private")
        self.client, self.headers = Client(), {}
        if role == "nobody":
            return
        user = owner if role == "owner" else User.objects.create_user("somebody")
        if role.startswith("granted"):
            self.stream.may_listen_users.add(user)
        if role == "granted":
            self.stream.may_publish_users.add(user)
        if role == "staff":
            user.is_staff = True
            user.save()
            user.user_permissions.add(Permission.objects.get(codename="view_stream"))
        self.client.force_login(user)
        self.headers = {"Cookie": f"sessionid={self.client.cookies['sessionid'].value}"}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    ("path", "may"), [("/streams/s/", MAY_LISTEN), ("/streams/s/studio/", MAY_PUBLISH)]
)
def test_a_page_is_for_those_who_may(db: None, role: str, path: str, may: tuple[str, ...]) -> None:
    answer = Visit(role).client.get(path)
    if role in may:
        assert answer.status_code == 200
    elif role == "nobody":
        assert answer.headers["Location"] == f"/admin/login/?next={path}"
    else:
        assert answer.status_code == 403
        assert b"You may not " in answer.content


@pytest.mark.parametrize("role", ROLES)
async def test_the_embedded_page_is_for_those_who_may_listen(db: None, role: str) -> None:
    visit = await sync_to_async(Visit)(role)
    client = AsyncClient()
    client.cookies.load(visit.headers.get("Cookie", ""))
    answer = await client.get("/streams/s/embed/")
    assert answer.status_code == (200 if role in MAY_LISTEN else 403)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(("socket", "may"), [("listener", MAY_LISTEN), ("streamer", MAY_PUBLISH)])
async def test_a_socket_is_for_those_who_may(
    in_process: InProcessDoor, role: str, socket: str, may: tuple[str, ...]
) -> None:
    visit = await sync_to_async(Visit)(role)
    opened = await in_process.connect(f"/ws/{socket}/s/", V1, headers=visit.headers)
    said = await opened.event()
    if role in may:
        assert said["event"] in ("joined", "ready")
    else:
        assert said["message"].startswith("you may not ")
        assert await opened.closed() == 4503


@pytest.mark.parametrize("role", ROLES)
def test_the_list_shows_a_private_stream_to_its_owner_and_staff(db: None, role: str) -> None:
    page = Visit(role).client.get("/").content
    assert (b'href="/streams/s/"' in page) == (role in ("owner", "staff"))


@pytest.mark.parametrize("role", ROLES)
def test_the_admin_is_for_staff_who_may(db: None, role: str) -> None:
    visit = Visit(role)
    stream = f"/admin/broadcast/stream/{visit.stream.pk}/"
    form: dict[str, Any] = {"action": "close", "_selected_action": visit.stream.pk}
    asked = [
        visit.client.get("/admin/broadcast/stream/"),
        visit.client.get(stream + "change/"),
    ]
    done = [
        visit.client.post("/admin/broadcast/stream/", {**form, "do": "yes"}),
        visit.client.post(stream + "remove/", {"connection": "x"}),
        visit.client.post(stream + "delete/", {"post": "yes"}),
    ]
    if role == "staff":
        assert {answer.status_code for answer in asked} == {200}
        # Who may only look is not offered the action, either.
        assert [answer.status_code for answer in done[1:]] == [403, 403]
    else:
        login = {answer.headers.get("Location", "").split("?")[0] for answer in asked + done}
        assert login == {"/admin/login/"}
    visit.stream.refresh_from_db()
    assert visit.stream.closed_at is None
