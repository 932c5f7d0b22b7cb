"""Who may do what over HTTP: owner, granted user, stranger, anybody, and tokens of all kinds."""

from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.test import AsyncClient
from django.utils import timezone

from broadcast.models import Stream, rows
from tests.rig.doors import InProcessDoor
from tests.rig.events import hear_in_process

TEXT = "text/plain"


class Site:
    """A private stream and another one, and people with browsers."""

    def __init__(self) -> None:
        self.owner = User.objects.create_user("owner")
        self.stream = Stream.objects.create(slug="s", owner=self.owner, visibility="private")
        self.other = Stream.objects.create(slug="other", visibility="private")

    def person(self, name: str) -> User:
        if name == "owner":
            return self.owner
        user = User.objects.create_user(name)
        if name == "granted":
            self.stream.may_listen_users.add(user)
            self.stream.may_publish_users.add(user)
        return user

    def token(self, kind: str, action: str) -> str:
        wrong = {"listen": "publish", "publish": "listen"}[action]
        tokens = {
            "right": lambda: self.stream.make_token(action),
            "wrong stream": lambda: self.other.make_token(action),
            "wrong action": lambda: self.stream.make_token(wrong),
            "expired": lambda: self.stream.make_token(action, now=0),
            "tampered": lambda: self.stream.make_token(action)[:-1] + "-",
            "none": lambda: "none",
        }
        return tokens[kind]()


@pytest.fixture
def site(db: None) -> Site:
    return Site()


async def ask(action: str, slug: str = "s", query: str = "", **headers: str) -> Any:
    """Status and headers of the answer, and what it says is wrong."""
    if action == "hear":
        async with hear_in_process(slug, query, **headers) as hearing:
            said = "" if hearing.status == 200 else await hearing.error()
            return hearing.status, hearing.headers, said
    path = f"/api/streams/{slug}/" + ("" if action == "describe" else "publications/") + query
    client = AsyncClient(enforce_csrf_checks=True)
    client.cookies.load(headers.pop("cookie", ""))
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if action == "publish":
        response = await client.post(path, "hello", content_type=TEXT, headers=named)
    else:
        response = await client.get(path, headers=named)
    said = "" if response.status_code < 400 else response.json()["error"]
    return response.status_code, {k.lower(): v for k, v in response.items()}, said


#: What is asked for, the action that it is, and the status of success.
ACTIONS = {
    "describe": ("listen", 200),
    "read": ("listen", 200),
    "hear": ("listen", 200),
    "publish": ("publish", 201),
}

CSRF = "c" * 32


async def cookies(user: User) -> dict[str, str]:
    """Headers of a browser of the user's, on a page of this site."""
    client = AsyncClient()
    await sync_to_async(client.force_login)(user)
    session = client.cookies["sessionid"].value
    return {"cookie": f"sessionid={session}; csrftoken={CSRF}", "x_csrftoken": CSRF}


@pytest.mark.parametrize("who", ["owner", "granted", "stranger", "nobody"])
@pytest.mark.parametrize("what", ACTIONS)
async def test_people(site: Site, what: str, who: str) -> None:
    user = None if who == "nobody" else await sync_to_async(site.person)(who)
    headers = await cookies(user) if user else {}
    action, success = ACTIONS[what]
    status, said_headers, said = await ask(what, **headers)
    if who in ("owner", "granted"):
        assert status == success, said
    else:
        assert (status, said) == (403, f"you may not {action} here")
        assert "www-authenticate" not in said_headers


@pytest.mark.parametrize("place", ["header", "query"])
@pytest.mark.parametrize(
    ("kind", "refusal", "reason"),
    [
        ("right", 0, ""),
        ("wrong stream", 403, "another stream"),
        ("wrong action", 403, "the token is to"),
        ("expired", 401, "ran out"),
        ("tampered", 401, "tampered"),
        ("none", 401, "the token is none"),
    ],
)
@pytest.mark.parametrize("what", ACTIONS)
async def test_tokens(
    site: Site, what: str, kind: str, refusal: int, reason: str, place: str
) -> None:
    action, success = ACTIONS[what]
    token = await sync_to_async(site.token)(kind, action)
    if place == "header":
        status, headers, said = await ask(what, authorization=f"Bearer {token}")
    else:
        status, headers, said = await ask(what, query=f"?token={token}")
    assert status == (refusal or success)
    assert reason in said
    assert headers.get("www-authenticate", "").startswith("Bearer") == (status == 401)


@pytest.mark.parametrize("what", ACTIONS)
async def test_a_wrong_token_takes_nothing_from_the_owner(site: Site, what: str) -> None:
    headers = await cookies(site.owner)
    status, _, said = await ask(what, authorization="Bearer none", **headers)
    assert status == ACTIONS[what][1], said


@pytest.mark.parametrize("what", ACTIONS)
async def test_unknown_and_closed_streams(site: Site, what: str) -> None:
    assert (await ask(what, "unknown"))[0] == 404
    site.stream.closed_at = timezone.now()
    await site.stream.asave()
    status, _, said = await ask(what, **await cookies(site.owner))
    assert (status, said) == ((200, "") if what == "describe" else (410, "the stream was closed"))


# -- forgery -------------------------------------------------------------------------------------


async def test_a_session_needs_its_csrf_token(site: Site) -> None:
    headers = await cookies(site.owner)
    assert (await ask("publish", **headers))[0] == 201
    for wrong in ({}, {"x_csrftoken": "d" * 32}, {"x_csrftoken": "short"}):
        status, _, said = await ask("publish", cookie=headers["cookie"], **wrong)
        assert status == 403 and "CSRF" in said
    session = headers["cookie"].partition(";")[0]
    status, _, said = await ask("publish", cookie=session, x_csrftoken=CSRF)
    assert status == 403 and "CSRF" in said


async def test_a_wrong_token_is_no_way_around_it(site: Site) -> None:
    cookie = (await cookies(site.owner))["cookie"]
    for kind in ("wrong stream", "wrong action", "expired", "tampered", "none"):
        token = await sync_to_async(site.token)(kind, "publish")
        status, _, said = await ask("publish", cookie=cookie, authorization=f"Bearer {token}")
        assert status == 403 and "CSRF" in said, kind


async def test_a_valid_token_needs_nothing_else(site: Site) -> None:
    cookie = (await cookies(site.owner))["cookie"]
    token = site.stream.make_token("publish")
    for headers in ({}, {"cookie": cookie}, {"origin": "https://elsewhere.example"}):
        assert (await ask("publish", query=f"?token={token}", **headers))[0] == 201


async def test_a_form_brings_no_csrf_token(site: Site) -> None:
    # What another site's page can send without asking; and the body stays what it is.
    headers = await cookies(site.owner)
    client = AsyncClient(enforce_csrf_checks=True)
    client.cookies.load(headers["cookie"])
    form = f"csrfmiddlewaretoken={CSRF}"
    for named, status in (({}, 403), ({"x-csrftoken": CSRF}, 201)):
        response = await client.post(
            "/api/streams/s/publications/",
            form,
            content_type="application/x-www-form-urlencoded",
            headers=named,
        )
        assert response.status_code == status


@pytest.mark.parametrize("what", ["hear", "publish"])
@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("", True),
        ("http://localhost:8000", True),
        ("https://partner.example", True),
        ("https://elsewhere.example", False),
        ("null", False),
        ("http://[", False),
    ],
)
async def test_pages_of_other_sites_send_nobody_to_where_anybody_may(
    in_process: InProcessDoor, settings: Any, what: str, origin: str, allowed: bool
) -> None:
    settings.BROADCAST_ALLOWED_ORIGINS = ["https://partner.example"]
    settings.ALLOWED_HOSTS = ["localhost", "testserver"]
    slug = await in_process.stream()
    status, headers, said = await ask(what, slug, **({"origin": origin} if origin else {}))
    if allowed:
        assert status == ACTIONS[what][1]
        if what == "hear":
            assert headers.get("access-control-allow-origin", "") == origin
    else:
        assert status == 403 and "other sites" in said
        assert "access-control-allow-origin" not in headers


async def test_a_name_that_is_not_this_sites_hears_nothing(
    in_process: InProcessDoor, settings: Any
) -> None:
    settings.ALLOWED_HOSTS = ["localhost", "testserver"]
    slug = await in_process.stream()
    for host in ("evil.example", "", "["):
        assert (await ask("hear", slug, host=host))[0] == 400
    settings.USE_X_FORWARDED_HOST = True
    assert (await ask("hear", slug, x_forwarded_host="localhost", host="inner"))[0] == 200


# -- while they listen ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "reason", "status"),
    [
        ({"visibility": "private"}, "you may not listen here", 403),
        ({"closed_at": timezone.now()}, "closed", 410),
        (None, "no such stream", 404),
    ],
)
async def test_who_may_not_hear_any_more_is_told_and_must_not_come_back(
    in_process: InProcessDoor, change: dict[str, Any] | None, reason: str, status: int
) -> None:
    slug = await in_process.stream()
    row = Stream.objects.filter(slug=slug)
    async with hear_in_process(slug) as hearing:
        assert (await hearing.event()).name == "joined"
        await in_process.until_listeners(slug, 1)
        await (row.aupdate(**change) if change else row.adelete())
        events, whole = await hearing.rest()
        assert [event.name for event in events] == ["error"]
        assert reason in events[0].fields["message"]
        # Before the client itself is gone.
        await in_process.until_listeners(slug, 0)
    # Rows are read anew every two seconds.
    rows.forget()
    assert (await ask("hear", slug))[0] == status
