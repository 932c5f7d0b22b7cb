"""Who may open which socket, and what becomes of a socket that may not come in."""

from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.test import Client

from broadcast.models import Stream
from tests.rig.doors import V1, Door, InProcessDoor

PEOPLE = ("nobody", "somebody", "owner", "staff", "permitted", "named", "superuser")

NAMED = {"listener": "may_listen_users", "streamer": "may_publish_users"}
PERMISSIONS = {"listener": "listen_stream", "streamer": "publish_stream"}


@sync_to_async
def person(who: str, slug: str, socket: str) -> Any:
    """Somebody, as seen by a stream and one of its sockets."""
    if who == "nobody":
        return AnonymousUser()
    if who == "superuser":
        return User.objects.create_superuser(who)
    user = User.objects.create_user(who, is_staff=who == "staff")
    if who == "owner":
        Stream.objects.filter(slug=slug).update(owner=user)
    if who == "permitted":
        user.user_permissions.add(Permission.objects.get(codename=PERMISSIONS[socket]))
    if who == "named":
        getattr(Stream.objects.get(slug=slug), NAMED[socket]).add(user)
    return user


# -- every way in --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pool", "socket", "code"),
    [
        ("owned", "streamer", 4503),
        ("private", "streamer", 4503),
        ("private", "listener", 4503),
        ("closed", "streamer", 4510),
        ("closed", "listener", 4510),
        ("nowhere", "streamer", 4504),
        ("nowhere", "listener", 4504),
    ],
)
async def test_who_may_not_come_in_is_accepted_and_closed_with_the_code(
    door: Door, pool: str, socket: str, code: int
) -> None:
    slug = "nowhere" if pool == "nowhere" else await door.stream(pool)
    plain = await door.connect(f"/ws/{socket}/{slug}/")
    assert await plain.rest() == ([], code)
    speaking = await door.connect(f"/ws/{socket}/{slug}/", V1)
    said = await speaking.event()
    assert said["event"] == "error"
    assert said["message"]
    assert await speaking.rest() == ([], code)


async def test_who_may_not_publish_replaces_nobody(door: Door) -> None:
    slug = await door.stream("closed")
    other = await door.stream()
    streamer = await door.streamer(other)
    for path in (f"/ws/streamer/{slug}/", f"/ws/streamer/{other}/?run=nonsense"):
        assert await (await door.connect(path)).closed() in (4500, 4510)
    await streamer.publish("x")
    await streamer.accepted(1)


async def test_who_may_not_listen_is_not_counted(door: Door) -> None:
    slug = await door.stream()
    streamer = await door.streamer(slug)
    assert await (await door.connect(f"/ws/listener/{slug}/?history=x")).closed() == 4500
    await door.listener(slug)
    assert await streamer.event() == {"event": "listeners", "count": 1}


# -- who is who ----------------------------------------------------------------------------------


@pytest.mark.parametrize("who", PEOPLE)
@pytest.mark.parametrize("socket", ["streamer", "listener"])
async def test_a_private_stream_is_for_owner_staff_and_the_permitted(
    in_process: InProcessDoor, socket: str, who: str
) -> None:
    slug = await in_process.stream("private")
    in_process.user = await person(who, slug, socket)
    opened = await in_process.connect(f"/ws/{socket}/{slug}/", V1)
    said = await opened.event()
    if who in ("nobody", "somebody"):
        assert said["event"] == "error"
        assert await opened.closed() == 4503
    else:
        assert said["event"] in ("ready", "joined")


@pytest.mark.parametrize("who", PEOPLE)
@pytest.mark.parametrize("pool", ["owned", "free"])
async def test_publishing_is_for_the_owner_or_for_anyone(
    in_process: InProcessDoor, pool: str, who: str
) -> None:
    slug = await in_process.stream(pool)
    in_process.user = await person(who, slug, "streamer")
    streamer = await in_process.connect(f"/ws/streamer/{slug}/", V1)
    said = await streamer.event()
    if pool == "owned" and who in ("nobody", "somebody"):
        assert said["event"] == "error"
        assert await streamer.closed() == 4503
    else:
        assert said["event"] == "ready"


async def test_anyone_may_listen_where_only_the_owner_publishes(in_process: InProcessDoor) -> None:
    slug = await in_process.stream("owned")
    await in_process.listener(slug)


async def test_anyone_who_may_publish_on_a_private_stream_must_be_able_to_listen(
    in_process: InProcessDoor,
) -> None:
    await Stream.objects.acreate(slug="both", visibility="private", publishing="anyone")
    streamer = await in_process.connect("/ws/streamer/both/")
    assert await streamer.closed() == 4503
    in_process.user = await person("permitted", "both", "listener")
    await in_process.streamer("both")


async def test_an_inactive_user_may_nothing(in_process: InProcessDoor) -> None:
    slug = await in_process.stream("private")
    user = await person("permitted", slug, "listener")
    user.is_active = False
    await user.asave()
    in_process.user = user
    assert await (await in_process.connect(f"/ws/listener/{slug}/")).closed() == 4503


async def test_a_session_cookie_says_who_it_is(in_process: InProcessDoor) -> None:
    slug = await in_process.stream("private")
    user = await person("owner", slug, "streamer")
    client = Client()
    await sync_to_async(client.force_login)(user)
    cookie = {"Cookie": f"theme=dark; sessionid={client.cookies['sessionid'].value}"}
    await in_process.streamer(slug, headers=cookie)
    await in_process.listener(slug, headers=cookie)


@pytest.mark.parametrize("cookie", ["sessionid=", "sessionid=x", "sessionid", ";;=", "=\xff\xfe"])
async def test_a_cookie_that_makes_no_sense_is_nobody(
    in_process: InProcessDoor, cookie: str
) -> None:
    slug = await in_process.stream("private")
    listener = await in_process.connect(f"/ws/listener/{slug}/", headers={"Cookie": cookie})
    assert await listener.closed() == 4503


# -- tokens ----------------------------------------------------------------------------------------

ACTIONS = {"listener": "listen", "streamer": "publish"}


async def token_for(slug: str, action: str, **options: Any) -> str:
    return (await Stream.objects.aget(slug=slug)).make_token(action, **options)


@pytest.mark.parametrize("socket", ACTIONS)
@pytest.mark.parametrize("way", ["query", "authorization", "protocol"])
async def test_a_token_lets_in_whichever_way_it_is_given(
    in_process: InProcessDoor, socket: str, way: str
) -> None:
    slug = await in_process.stream("private")
    token = await token_for(slug, ACTIONS[socket])
    query = f"?token={token}" if way == "query" else ""
    headers = {"Authorization": f"bearer {token}"} if way == "authorization" else {}
    protocols = [f"token.{token}"] if way == "protocol" else []
    path = f"/ws/{socket}/{slug}/{query}"
    opened = await in_process.connect(path, *protocols, V1, headers=headers)
    assert opened.subprotocol == V1
    assert (await opened.event())["event"] in ("ready", "joined")


async def test_a_token_alone_as_subprotocol_opens_a_plain_socket(door: Door) -> None:
    slug = await door.stream()
    plain = await door.connect(f"/ws/listener/{slug}/", "token.nonsense")
    # A browser takes no other answer than what it offered.
    assert plain.subprotocol == "token.nonsense"
    await door.until_listeners(slug, 1)
    await (await door.plain_streamer(slug)).send("x")
    assert await plain.receive() == "x"


@pytest.mark.parametrize("socket", ACTIONS)
@pytest.mark.parametrize(
    ("made", "reason"),
    [
        ("none", "tampered"),
        ("other stream", "for another stream"),
        ("other action", "not to"),
        ("old", "ran out"),
        ("no token", "you may not"),
    ],
)
async def test_a_token_that_does_not_fit_says_why(
    in_process: InProcessDoor, socket: str, made: str, reason: str
) -> None:
    slug, other = await in_process.stream("private"), await in_process.stream("private")
    action = ACTIONS[socket]
    wrong = "publish" if action == "listen" else "listen"
    token = {
        "none": "x.y",
        "other stream": await token_for(other, action),
        "other action": await token_for(slug, wrong),
        "old": await token_for(slug, action, max_age=1, now=1),
        "no token": "",
    }[made]
    opened = await in_process.connect(f"/ws/{socket}/{slug}/?token={token}", V1)
    assert reason in (await opened.event())["message"]
    assert await opened.closed() == 4503


async def test_a_token_that_is_wrong_takes_nothing_from_who_may_without(
    in_process: InProcessDoor,
) -> None:
    slug = await in_process.stream("private")
    in_process.user = await person("owner", slug, "listener")
    await in_process.listener(slug, "?token=nonsense")
    in_process.user = None
    await in_process.listener(await in_process.stream("free"), "?token=nonsense")
