"""`request.socket`, the page's markup, and the rows of subscriptions."""

import asyncio
import json
import re
from datetime import timedelta
from importlib import import_module
from time import perf_counter, process_time
from typing import Any
from urllib.parse import quote

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from django.http import HttpResponse
from django.test import Client
from django.test.utils import override_script_prefix
from django.utils import timezone
from pytest_django.fixtures import Settings

from broadcast import apublish, middleware, socket_handler
from broadcast.backends import HistoryLimits, get_backend
from broadcast.backends.memory import MemoryBackend
from broadcast.exceptions import BadRequest, CloseCode, StreamClosed
from broadcast.hub import housekeeping
from broadcast.hub.page_writes import get_writes
from broadcast.hub.relay import get_relay
from broadcast.logs import Sparing
from broadcast.models import Subscription, rows
from broadcast.models.subscriptions import SubscriptionQuerySet
from broadcast.pages import channels as page_channels
from broadcast.pages import markup
from broadcast.pages import watch as page_watch
from broadcast.pages.subscriptions import PageSocket, digest_of, new_id, topic_of
from broadcast.publications import Draft, Position
from broadcast.signals import socket_joined, socket_left
from broadcast.wire.frames import page_encoding, to_frames
from tests.rig.clock import Clock
from tests.rig.doors import InProcessDoor
from tests.rig.subscribed import ID, KEY, Request, opened, reopened, until_heard


@pytest.fixture
def socket(db: None) -> PageSocket:
    return PageSocket(Request())


@pytest.fixture
def pages(settings: Settings, db: None) -> Client:
    settings.ROOT_URLCONF = "tests.rig.page_views"
    return Client()


# -- ids and digests -------------------------------------------------------------------------------


def test_ids_are_32_random_bytes_as_hex() -> None:
    ids = {new_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(re.fullmatch("[0-9a-f]{64}", one) for one in ids)


def test_the_digest_is_an_hmac_with_the_key_of_the_session() -> None:
    # As `openssl dgst -sha256 -hmac KEY` has it.
    expected = "855339bf71e79913773fb61e16ce7dcda54af75f192a35142b4942012a8981cb"
    assert digest_of(KEY, ID) == expected


def test_a_page_keeps_its_id_and_a_session_its_key(socket: PageSocket) -> None:
    assert socket.connection_id == socket.connection_id
    assert socket.digest == digest_of(socket.session["socket_key"], socket.connection_id)
    other = PageSocket(socket._request)
    assert other.connection_id != socket.connection_id
    assert other.key() == socket.key()


@pytest.mark.parametrize("junk", [None, "", 5, "x" * 64, ["1" * 64]])
def test_a_session_with_junk_for_a_key_gets_a_new_one(socket: PageSocket, junk: Any) -> None:
    socket.session["socket_key"] = junk
    assert re.fullmatch("[0-9a-f]{64}", socket.key())


# -- the page --------------------------------------------------------------------------------------


def test_a_page_that_does_not_use_its_socket_gets_neither_cookie_nor_vary(pages: Client) -> None:
    answer = pages.get("/plain-page/")
    assert not answer.cookies
    assert "Cookie" not in answer.get("Vary", "")
    assert b"connection-id" not in answer.content
    assert not Session.objects.exists()


@pytest.mark.parametrize("path", ["/page/?subscribe=a", "/async-page/?subscribe=a"])
def test_a_page_that_does_is_not_for_another_visitor(pages: Client, path: str) -> None:
    answer = pages.get(path)
    assert "sessionid" in answer.cookies
    assert "Cookie" in answer["Vary"]
    assert "private" in answer["Cache-Control"]
    again = pages.get(path)
    ids = [re.findall(rb'connection-id="(\w+)"', one.content) for one in (answer, again)]
    assert [len(found) for found in ids] == [1, 1] and ids[0] != ids[1]
    assert int(answer["Content-Length"]) == len(answer.content)


def test_the_tag_renders_the_attribute_and_nothing_adds_another(pages: Client) -> None:
    answer = pages.get("/template-page/")
    page = answer.content.decode()
    assert re.fullmatch('<body data-socket-connection-id="[0-9a-f]{64}">', page)
    assert "socket_key" in pages.session


def test_a_page_that_cannot_say_its_id_is_named_in_the_log_and_no_other_is(
    pages: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(middleware, "_bodiless", Sparing())
    for path in ("/page/", "/template-page/", "/plain-page/", "/bodiless-page/?status=404"):
        pages.get(path)
    assert "<body>" not in caplog.text
    assert pages.get("/bodiless-page/?status=200").content == b"<!doctype html><h1>Score</h1>"
    (record,) = (one for one in caplog.records if one.name == "broadcast.middleware")
    assert record.getMessage().startswith("The page /bodiless-page/ will hear nothing")


def test_behind_a_prefix_the_page_says_where_its_socket_is() -> None:
    with override_script_prefix("/below/"):
        attributes = markup.socket_attributes(ID)
    assert attributes.endswith(' data-socket-path="/below/ws/socket/"')
    assert "path" not in markup.socket_attributes(ID)


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("<body>x", "<body A>x"),
        ("<BODY\nclass='a'>x", "<BODY A\nclass='a'>x"),
        ("<body/>x<body>", "<body A/>x<body>"),
        ("<!-- <body> --><body>", "<!-- <body> --><body A>"),
        ("<!-- <body>", "<!-- <body>"),
        ("<script>'<body>'</script ><body>", "<script>'<body>'</script ><body A>"),
        ("<SCRIPT src='>'><body></Script><body>", "<SCRIPT src='>'><body></Script><body A>"),
        ("<style><body></style><body>", "<style><body></style><body A>"),
        ("<title><body></title><body>", "<title><body></title><body A>"),
        ("<meta content='<body>'><body>", "<meta content='<body>'><body A>"),
        ('<meta content="<body>\'"><body>', '<meta content="<body>\'"><body A>'),
        ("<bodyguard><body>", "<bodyguard><body A>"),
        ("</body><body>", "</body><body A>"),
        ("<noscript><body></noscript><body>", "<noscript><body></noscript><body A>"),
        ("no body", "no body"),
        ("<a b='<body>", "<a b='<body>"),
        ("1 < 2 <body>", "1 < 2 <body A>"),
        ("<!--><body>", "<!--><body A>"),
        ("<!---><body>", "<!---><body A>"),
        ("<!-- <body> --!><body>", "<!-- <body> --!><body A>"),
        ("<script>'<body>'</script x><body>", "<script>'<body>'</script x><body A>"),
        ("", ""),
    ],
)
def test_the_attribute_is_set_on_the_one_real_body(page: str, expected: str) -> None:
    assert markup.with_attributes(page, "A") == expected


@pytest.mark.parametrize("part", ["<a b='", "<", "<!--", "<script", '<a "', "<script>'", "<a '\""])
def test_no_page_needs_longer_than_its_length(part: str) -> None:
    small, large = (seconds_for(part * count) for count in (2_000, 20_000))
    assert large < 40 * max(small, 0.001)


def seconds_for(page: str) -> float:
    started = process_time()
    markup.with_attributes(page, "A")
    return process_time() - started


# -- subscribing -----------------------------------------------------------------------------------


def test_subscribe_takes_one_channel_several_or_a_list(socket: PageSocket) -> None:
    socket.subscribe("a")
    socket.subscribe("b", "c")
    socket.subscribe(["d", "a"], ("e",))
    channels = Subscription.objects.values_list("channel", flat=True)
    assert sorted(channels) == ["", "a", "b", "c", "d", "e"]
    socket.unsubscribe("a", ["b"])
    assert sorted(channels.all()) == ["", "c", "d", "e"]


@pytest.mark.parametrize("channels", [(), ([],), ((), [])])
async def test_no_channel_at_all_is_an_error(socket: PageSocket, channels: Any) -> None:
    for action in (socket.asubscribe, socket.aunsubscribe):
        with pytest.raises(ValueError, match="at least one"):
            await action(*channels)
    with pytest.raises(ValueError, match="at least one"):
        await socket.apush(1, *channels)
    with pytest.raises(ValueError, match="at least one"):
        await socket.apush_to(KEY, 1, *channels)


@pytest.mark.parametrize("name", ["", "x" * 201, "page:x", "room:x", 5, None, b"a", "\ud800"])
async def test_a_name_that_no_channel_has_is_a_bad_request(socket: PageSocket, name: Any) -> None:
    for pushing in (socket.apush(1, [name]), socket.asubscribe([name]), socket.apush(1, [name])):
        with pytest.raises(BadRequest):
            await pushing


async def test_a_page_subscribes_to_channels_and_not_to_patterns(socket: PageSocket) -> None:
    with pytest.raises(BadRequest):
        await socket.asubscribe("news.*")
    assert not await Subscription.objects.aexists()


async def test_a_push_that_one_channel_refuses_reaches_the_others(
    in_process: InProcessDoor, socket: PageSocket
) -> None:
    closed, slug = await in_process.stream("closed"), await in_process.stream()
    listener = await in_process.listener(slug)
    with pytest.raises(StreamClosed):
        await socket.apush(1, closed, slug)
    assert await listener.told() == (1, 1)


async def test_a_value_that_is_no_json_is_a_bad_request(socket: PageSocket) -> None:
    for value in (float("nan"), {1, 2}, object()):
        with pytest.raises(BadRequest):
            await socket.apush(value, "a")


def test_a_subscription_says_whose_page_it_is(pages: Client) -> None:
    pages.force_login(
        User.objects.create_user("somebody"), "django.contrib.auth.backends.ModelBackend"
    )
    pages.get("/page/?subscribe=a")
    row = Subscription.objects.get(channel="a")
    assert (row.path, str(row.user)) == ("/page/", "somebody")
    assert row.expires_at - row.created_at == timedelta(seconds=60)
    (said,) = re.findall(r'"id": "(\w+)"', pages.get("/page/").content.decode())
    assert not Subscription.objects.filter(digest=said).exists()


# -- rows ------------------------------------------------------------------------------------------

NOW = timezone.now()
HERE = {"a": Position("e", 1), "": Position("f", 0)}
PLACES = {channel: (position, position) for channel, position in HERE.items()}


def later(seconds: float) -> Any:
    return NOW + timedelta(seconds=seconds)


def positions_of(places: dict[str, Any]) -> dict[str, tuple[Position, Position]]:
    return {channel: place[:2] for channel, place in places.items()}


@pytest.mark.django_db
def test_a_page_whose_socket_never_opens_is_forgotten_after_a_minute() -> None:
    rows = Subscription.objects
    rows.subscribe(KEY, HERE, NOW)
    assert rows.live(later(59)).count() == 2
    assert rows.open(KEY, later(60)) == {}
    assert rows.prune(later(60)) == [KEY]
    assert not rows.exists()


@pytest.mark.django_db
def test_a_page_that_was_open_is_kept_for_a_day_from_when_it_went() -> None:
    rows = Subscription.objects
    rows.subscribe(KEY, HERE, NOW)
    assert positions_of(rows.open(KEY, later(59))) == PLACES
    rows.renew([KEY], later(80_000))
    rows.close(KEY, {"a": Position("e", 5)}, later(160_000))
    assert rows.live(later(160_000 + 86_399)).count() == 2
    place = rows.open(KEY, later(160_000 + 86_399))["a"]
    assert place[:2] == (Position("e", 1), Position("e", 5))
    rows.close(KEY, {}, later(200_000))
    assert rows.open(KEY, later(200_000 + 86_400)) == {}


@pytest.mark.django_db
def test_an_old_socket_that_goes_late_takes_no_position_back() -> None:
    rows = Subscription.objects
    rows.subscribe(KEY, HERE, NOW)
    rows.open(KEY, NOW)
    rows.close(KEY, {"a": Position("e", 7)}, NOW)
    rows.close(KEY, {"a": Position("e", 5)}, NOW)
    assert rows.open(KEY, NOW)["a"].heard == Position("e", 7)
    rows.close(KEY, {"a": Position("new", 1)}, NOW)
    assert rows.open(KEY, NOW)["a"].heard == Position("new", 1)


@pytest.mark.django_db
def test_a_second_subscription_leaves_the_first_one_as_it_is_unless_it_expired() -> None:
    rows = Subscription.objects
    rows.subscribe(KEY, {"a": Position("e", 1)}, NOW)
    rows.subscribe(KEY, {"a": Position("e", 2)}, later(30))
    assert rows.get().offset == 1
    rows.subscribe(KEY, {"a": Position("e", 3)}, later(61))
    assert rows.get().offset == 3


@pytest.mark.django_db
def test_a_page_that_hears_nothing_is_kept_no_longer_than_one_that_never_came() -> None:
    rows = Subscription.objects
    rows.subscribe(KEY, {"": Position("f", 0)}, NOW, is_open=True)
    rows.close(KEY, {}, NOW)
    assert rows.live(later(59)).exists()
    assert not rows.live(later(60)).exists()


@pytest.mark.django_db
def test_pruning_tells_which_pages_are_forgotten() -> None:
    rows = Subscription.objects
    rows.subscribe(KEY, HERE, NOW)
    rows.subscribe(ID, HERE, NOW)
    rows.subscribe(ID, {"b": Position("e", 1)}, later(30))
    assert rows.prune(later(60)) == [KEY]
    assert [row.channel for row in rows.all()] == ["b"]


@pytest.mark.django_db
def test_the_state_of_a_subscription_and_the_filter_agree() -> None:
    rows, State = Subscription.objects, Subscription.State
    for number, state in enumerate(State):
        digest = str(number) * 64
        rows.subscribe(digest, {"a": Position("e", 1)}, NOW)
        if state in (State.OPEN, State.AWAY):
            rows.open(digest, NOW)
        if state == State.AWAY:
            rows.close(digest, {}, NOW)
        if state == State.EXPIRED:
            rows.filter(digest=digest).update(expires_at=NOW)
        assert rows.get(digest=digest).state(NOW) == state
        assert rows.in_state(state, NOW).get().digest == digest


@pytest.mark.django_db
def test_those_of_a_user_who_is_no_more_are_gone_and_of_a_deactivated_one_do_not_hold() -> None:
    user = User.objects.create_user("somebody")
    Subscription.objects.subscribe(KEY, HERE, NOW, user=user)
    user.is_active = False
    user.save()
    assert Subscription.objects.open(KEY, NOW) == {}
    user.delete()
    assert not Subscription.objects.exists()


@pytest.mark.django_db
def test_prune_drops_expired_subscriptions(capsys: pytest.CaptureFixture[str]) -> None:
    Subscription.objects.subscribe(KEY, HERE, timezone.now() - timedelta(days=1))
    Subscription.objects.subscribe(ID, HERE, timezone.now())
    call_command("prune")
    assert set(Subscription.objects.values_list("digest", flat=True)) == {ID}
    assert "subscriptions" in capsys.readouterr().out


async def test_asking_for_a_channel_that_nobody_published_to_keeps_nothing() -> None:
    backend = MemoryBackend(Clock())
    before = await backend.positions(["a", "b"])
    assert before["a"] != before["b"]
    assert await backend.positions(["a", "b"]) == before
    assert (await backend.state("a")).epoch == before["a"][0]
    assert backend.histories == {}


async def test_a_history_that_was_forgotten_comes_back_as_another() -> None:
    backend, draft = MemoryBackend(Clock()), Draft.of("x")
    epochs = set()
    for _ in range(3):
        appended = await backend.append("a", [draft], HistoryLimits(10, 1000, 10**9))
        assert appended.offset == 1
        epochs.add(appended.epoch)
        await backend.forget("a")
    assert len(epochs) == 3


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("action", ["push", "subscribe"])
def test_what_a_view_does_in_a_transaction_leaves_that_whole(
    socket: PageSocket, action: str
) -> None:
    rows.forget()
    with transaction.atomic():
        User.objects.create_user("before")
        if action == "push":
            socket.push(1, "a")
        else:
            socket.subscribe("a")
        User.objects.create_user("after")
    assert User.objects.count() == 2


def test_a_page_in_another_encoding_than_it_says_stays_as_it_is() -> None:
    response = HttpResponse(b"<body>\xe4")
    request: Any = Request()
    request.socket = PageSocket(request, ID)
    middleware.render_socket(request, response)
    assert response.content == b"<body>\xe4"


def test_a_pattern_of_many_stars_takes_no_time(socket: PageSocket) -> None:
    socket.subscribe("a" * 40)
    started = perf_counter()
    socket.push(1, "*a" * 12 + "*b")
    assert perf_counter() - started < 2


# -- open sockets, in this process -----------------------------------------------------------------


async def test_thirty_channels_are_one_socket_in_thirty_topics(in_process: InProcessDoor) -> None:
    tasks = len(asyncio.all_tasks())
    channels = [f"channel-{number}" for number in range(30)]
    first = await opened(in_process, *channels)
    with_one = len(asyncio.all_tasks())
    second = await opened(in_process, *channels, id="3" * 64)
    # What a second one costs is its own application, which a server runs for every socket.
    assert len(asyncio.all_tasks()) == with_one + 1
    assert with_one > tasks
    topics = get_relay().topics
    assert set(topics) == {
        *channels,
        "everyone",
        topic_of(first.digest),
        topic_of(digest_of(KEY, "3" * 64)),
    }
    for channel in channels:
        (edge,) = (edge for edge in topics[channel].edge.by_encoding.values() if edge)
        # One encoding, so one frame for both.
        assert len(edge) == 2
    await apublish("channel-7", {"a": 1})
    for page in (first, second):
        assert await page.receive() == {"payload": {"a": 1}, "channel": "channel-7"}


def test_pages_that_are_told_the_same_share_an_encoding() -> None:
    assert page_encoding("a", "", to_frames) is page_encoding("a", "", to_frames)
    assert page_encoding("a", "", to_frames) is not page_encoding("b", "", to_frames)
    assert page_encoding("a", "e", to_frames) is not page_encoding("a", "", to_frames)


async def test_a_subscription_that_expires_ends_on_the_open_socket(
    in_process: InProcessDoor,
) -> None:
    page = await opened(in_process, "a", "b")
    await Subscription.objects.filter(channel="a").aupdate(expires_at=timezone.now())
    await until_heard(page, {"", "b", "everyone"})
    await apublish("a", 1)
    await apublish("b", 2)
    assert (await page.receive())["payload"] == 2


@pytest.mark.parametrize("action", ["delete", "save", "user"])
async def test_what_is_changed_of_a_subscription_holds_on_the_open_socket(
    in_process: InProcessDoor, action: str
) -> None:
    page = await opened(in_process, "a")
    row = await Subscription.objects.aget(channel="a")
    if action == "delete":
        await row.adelete()
    elif action == "save":
        row.expires_at = timezone.now()
        await row.asave()
    else:
        row.user = await User.objects.acreate(username="gone", is_active=False)
        await row.asave()
    await until_heard(page, {"", "everyone"})


async def test_what_is_pushed_while_a_page_is_being_closed_is_for_when_it_comes_back(
    in_process: InProcessDoor,
) -> None:
    page = await opened(in_process, "a")
    (consumer,) = page_watch.get_pages().by_digest[page.digest]
    await apublish("a", 1)
    assert (await page.receive())["payload"] == 1
    # Between two close frames nothing reaches a client any more.
    consumer.closing()
    await apublish("a", 2)
    # It may be looked at meanwhile.
    await consumer.channels.follow()
    await page.socket.leave()
    again = await reopened(in_process, page.session)
    assert (await again.receive())["payload"] == 2


@pytest.mark.parametrize("engine", ["db", "cached_db", "signed_cookies"])
async def test_a_page_of_a_user_whom_a_middleware_knows_hears_its_channels(
    in_process: InProcessDoor, settings: Settings, engine: str
) -> None:
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
    session = import_module(settings.SESSION_ENGINE).SessionStore()
    await session.aupdate({"socket_key": KEY})
    await session.asave()
    await PageSocket(Request(session), ID).asubscribe("a")
    in_process.user = await User.objects.acreate(username="somebody")
    page = await reopened(in_process, session)
    await apublish("a", 1)
    assert (await page.receive())["payload"] == 1


async def test_a_session_that_is_deleted_ends_the_page(in_process: InProcessDoor) -> None:
    page = await opened(in_process, "a")
    other = await in_process.connect("/ws/socket/")
    await Session.objects.all().adelete()
    assert await page.socket.closed() == 4200
    await other.send('{"id":1,"action":"ping"}')
    assert "pong" in str(await other.receive())


async def test_a_session_that_is_gone_without_a_word_ends_the_page(
    in_process: InProcessDoor,
) -> None:
    page = await opened(in_process, "a")

    def forget() -> None:
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM django_session")

    await sync_to_async(forget)()
    assert await page.socket.closed() == 4200


async def test_a_session_with_another_key_ends_the_page(in_process: InProcessDoor) -> None:
    page = await opened(in_process, "a")
    page.session["socket_key"] = "9" * 64
    await page.session.asave()
    assert await page.socket.closed() == 4200


async def test_a_changed_password_ends_the_pages_of_that_user(in_process: InProcessDoor) -> None:
    user = await User.objects.acreate(username="somebody")
    backend = "django.contrib.auth.backends.ModelBackend"
    session = {"_auth_user_id": str(user.pk), "_auth_user_backend": backend}
    page = await opened(in_process, "a", **session, _auth_user_hash=user.get_session_auth_hash())
    user.set_password("another")
    await user.asave()
    assert await page.socket.closed() == 4200


async def test_what_is_left_while_it_is_being_joined_is_not_heard(
    in_process: InProcessDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()
    begin_at = page_channels.begin_at

    async def slow(topic: Any, wish: Any, seen: float) -> Any:
        if topic.name == "a":
            reached.set()
            await go_on.wait()
        return await begin_at(topic, wish, seen)

    page = await opened(in_process)
    monkeypatch.setattr(page_channels, "begin_at", slow)
    socket = PageSocket(page.request, ID, is_open=True)
    await socket.asubscribe("a")
    await reached.wait()
    await socket.aunsubscribe("a")
    # The announcement has been heard when one that was made later has.
    await socket.asubscribe("b")
    await asyncio.sleep(0.1)
    go_on.set()
    await until_heard(page, {"", "b", "everyone"})
    await apublish("a", 1)
    await apublish("b", 2)
    assert (await page.receive())["payload"] == 2


async def test_what_was_pushed_while_a_page_was_unsubscribed_is_not_heard_later(
    in_process: InProcessDoor,
) -> None:
    page = await opened(in_process, "a")
    await apublish("a", 1)
    assert (await page.receive())["payload"] == 1
    epoch = (await get_backend().state("a")).epoch
    socket = PageSocket(page.request, ID, is_open=True)
    await socket.aunsubscribe("a")
    since = quote(json.dumps({"a": [epoch, 1]}))
    again = await reopened(in_process, page.session, ID, f"&since={since}")
    await apublish("a", "while unsubscribed")
    await socket.asubscribe("a")
    await apublish("a", 3)
    assert (await again.receive())["payload"] == 3


async def test_nothing_from_before_the_subscription_can_be_asked_for(
    in_process: InProcessDoor,
) -> None:
    await apublish("a", "before")
    page = await opened(in_process, "a")
    epoch = (await get_backend().state("a")).epoch
    since = quote(json.dumps({"a": [epoch, 0]}))
    again = await reopened(in_process, page.session, ID, f"&since={since}")
    await apublish("a", "after")
    assert (await again.receive())["payload"] == "after"


async def test_what_waits_for_the_end_of_the_turn_comes_before_a_close(
    in_process: InProcessDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = await opened(in_process, "a")
    (consumer,) = page_watch.get_pages().by_digest[page.digest]
    written: list[bytes] = []
    monkeypatch.setattr(consumer, "write_now", lambda data: written.append(data) is None)
    for frames in (b"one", b"two"):
        get_writes().add([consumer], frames)
    assert written == []
    consumer.close(CloseCode.SLOW, "too far behind")
    assert written == [b"onetwo"]
    assert await page.socket.closed() == 4408


async def test_a_page_that_cannot_be_kept_is_told_to_have_left_all_the_same(
    in_process: InProcessDoor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    left = asyncio.Event()

    async def note(**fields: Any) -> None:
        left.set()

    def fail(*arguments: Any) -> None:
        raise DatabaseError("away")

    socket_left.connect(note)
    page = await opened(in_process, "a")
    monkeypatch.setattr(SubscriptionQuerySet, "close", fail)
    await page.socket.close()
    async with asyncio.timeout(30):
        await left.wait()
    assert "could not be kept" in caplog.text


async def test_signals_tell_once_of_each_socket_who_joined_and_left(
    in_process: InProcessDoor,
) -> None:
    told: list[tuple[str, Any]] = []

    async def joined(**fields: Any) -> None:
        # It hears its channels by now.
        await apublish("a", "welcome")
        told.append(("joined", fields))

    def left(**fields: Any) -> None:
        told.append(("left", fields))

    def stumble(**fields: Any) -> None:
        raise ValueError("a fault of a receiver")

    socket_joined.connect(joined)
    socket_left.connect(left)
    try:
        page = await opened(in_process, "a")
        assert (await page.receive())["payload"] == "welcome"
        await page.socket.close()
        stranger = await in_process.connect("/ws/socket/")
        await stranger.close()
    finally:
        socket_joined.disconnect(joined)
        socket_left.disconnect(left)
    assert [name for name, _ in told] == ["joined", "left"] * 2
    for _, fields in told[:2]:
        assert fields["digest"] == page.digest
        assert fields["session"].session_key == page.session.session_key
        assert fields["user"].is_anonymous
        assert fields["socket"].connection_id == ID
    assert told[2][1]["digest"] == ""


async def test_what_one_page_was_pushed_is_forgotten_with_it(
    in_process: InProcessDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = await opened(in_process)
    await PageSocket(Request()).apush_to(page.digest, 1, "a")
    assert (await page.receive())["payload"] == 1
    backend = get_backend()
    assert isinstance(backend, MemoryBackend)
    assert topic_of(page.digest) in backend.histories
    await page.socket.close()
    await Subscription.objects.all().aupdate(expires_at=timezone.now())
    await housekeeping.drop_expired()
    assert topic_of(page.digest) not in backend.histories
    assert not await Subscription.objects.aexists()


# -- own handlers ----------------------------------------------------------------------------------


def test_a_name_is_taken_once() -> None:
    for name in ("ping", "call-route", "", 5):
        with pytest.raises(ValueError, match="no handler"):
            socket_handler(name)  # type: ignore[arg-type]

    @socket_handler("taken")
    def one(*arguments: Any) -> None:
        """The first one."""

    assert socket_handler("taken")(one) is one
    with pytest.raises(ValueError, match="already"):
        socket_handler("taken")(lambda *arguments: None)
