"""Streams in the admin, as a person who runs them meets them."""

import re
import time

import pytest
from asgiref.sync import async_to_sync
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import AsyncClient, Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from broadcast import backends, publish
from broadcast.backends import new_streamer
from broadcast.exceptions import BadToken
from broadcast.models import Stream
from broadcast.publications import Kind
from broadcast.tokens import Grant

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin() -> Client:
    user = get_user_model().objects.create_superuser("root", password="x")  # type: ignore[attr-defined]
    client = Client()
    client.force_login(user)
    return client


def test_a_stream_is_made_with_a_title_and_a_slug(admin: Client) -> None:
    fields = {"title": "News", "slug": "news", "visibility": "public", "publishing": "owner"}
    answer = admin.post("/admin/broadcast/stream/add/", {**fields, "kind": "messages"})
    assert answer.status_code == 302, answer.content
    stream = Stream.objects.get(slug="news")
    assert stream.limits == Stream().limits


@pytest.mark.parametrize("slug", ["", "two words", "ä/b", "x" * 71])
def test_a_slug_that_is_none_is_refused_with_a_reason(admin: Client, slug: str) -> None:
    fields = {"title": "News", "slug": slug, "visibility": "public", "publishing": "owner"}
    answer = admin.post("/admin/broadcast/stream/add/", {**fields, "kind": "messages"})
    assert answer.status_code == 200
    assert "slug" in answer.context["adminform"].form.errors


def test_a_stream_too_many_is_refused_with_a_reason(admin: Client, settings: Settings) -> None:
    settings.BROADCAST_MAX_STREAMS_PER_OWNER = 1
    owner = get_user_model().objects.create_user("gerda")  # type: ignore[attr-defined]
    Stream.objects.create(slug="one", title="One", owner=owner)
    fields = {"title": "Two", "slug": "two", "visibility": "public", "publishing": "owner"}
    fields |= {"kind": "messages", "owner": owner.pk}
    answer = admin.post("/admin/broadcast/stream/add/", fields)
    assert answer.status_code == 200
    assert b"gerda owns as many streams as one user may: 1." in answer.content
    assert not Stream.objects.filter(slug="two").exists()


async def test_the_list_shows_who_is_live_and_how_many_listen() -> None:
    backend = backends.get_backend()
    await backend.enter("news", new_streamer(time.time()))
    await backend.count_listeners("news", 42)
    await Stream.objects.acreate(slug="news", title="News")
    await Stream.objects.acreate(slug="sport", title="Sport")
    user = await get_user_model().objects.acreate(username="r", is_staff=True, is_superuser=True)
    client = AsyncClient()
    await client.aforce_login(user)
    page = (await client.get("/admin/broadcast/stream/")).content.decode()
    rows = dict(zip(["News", "Sport"], page.split("<tr>")[-2:], strict=True))
    assert ">live<" in rows["News"] and ">42<" in rows["News"]
    assert ">idle<" in rows["Sport"] and ">0<" in rows["Sport"]
    assert 'href="/streams/news/studio/"' in rows["News"]


def test_search_finds_by_title_and_owner(admin: Client) -> None:
    owner = get_user_model().objects.create_user("gerda")  # type: ignore[attr-defined]
    Stream.objects.create(slug="one", title="First", owner=owner)
    Stream.objects.create(slug="two", title="Second")
    for query, found in [("gerda", b"First"), ("second", b"Second")]:
        page = admin.get("/admin/broadcast/stream/", {"q": query}).content
        assert found in page
        assert page.count(b'class="field-title"') == 1


@pytest.mark.parametrize(
    ("value", "found"), [("yes", {"news"}), ("no", {"old"}), ("x", {"news", "old"})]
)
def test_open_and_closed_streams_are_told_apart(admin: Client, value: str, found: set[str]) -> None:
    Stream.objects.create(slug="news", title="news")
    Stream.objects.create(slug="old", title="old", closed_at=timezone.now())
    page = admin.get("/admin/broadcast/stream/", {"open": value}).content.decode()
    assert set(re.findall('field-slug">(\\w+)<', page)) == found


def test_the_number_of_queries_does_not_grow_with_the_streams(
    admin: Client, django_assert_max_num_queries: object
) -> None:
    for number in range(30):
        Stream.objects.create(slug=f"stream-{number}", title="One of many")
    with django_assert_max_num_queries(10):  # type: ignore[operator]
        admin.get("/admin/broadcast/stream/")


# -- what is done there --------------------------------------------------------------------------


def act(client: Client, action: str, *streams: Stream, **fields: object) -> object:
    chosen = [stream.pk for stream in streams]
    form = {"action": action, "_selected_action": chosen, **fields}
    return client.post("/admin/broadcast/stream/", form)


@pytest.fixture
def news() -> Stream:
    return Stream.objects.create(slug="news", title="News")


ACTIONS = [
    *("publish_message", "new_token", "withdraw_tokens"),
    *("close", "reopen", "clear_history"),
]


@pytest.mark.parametrize("action", ACTIONS)
def test_nothing_is_done_before_a_person_said_yes(admin: Client, news: Stream, action: str) -> None:
    answer = act(admin, action, news)
    assert answer.status_code == 200  # type: ignore[attr-defined]
    assert f'value="{news.pk}"' in answer.content.decode()  # type: ignore[attr-defined]
    assert not LogEntry.objects.exists()
    news.refresh_from_db()
    assert news.closed_at is None and news.tokens_valid_from is None


@pytest.mark.parametrize("action", ACTIONS)
def test_who_may_only_look_can_do_nothing(news: Stream, action: str) -> None:
    user = get_user_model().objects.create_user("viewer", is_staff=True)  # type: ignore[attr-defined]
    user.user_permissions.add(Permission.objects.get(codename="view_stream"))
    client = Client()
    client.force_login(user)
    fields = {"message": "x", "kind": "text", "grant": "listen", "max_age": 3600}
    act(client, action, news, do="yes", **fields)
    assert not LogEntry.objects.exists()
    assert client.post(f"/admin/broadcast/stream/{news.pk}/remove/").status_code == 403
    page = client.get(f"/admin/broadcast/stream/{news.pk}/change/").content.decode()
    assert "data-connections" in page
    assert f'value="{action}"' not in page and "data-remove" not in page


@pytest.mark.parametrize(
    ("typed", "kind", "expected"),
    [
        ("two\r\nlines ", "text", (Kind.TEXT, b"two\nlines ")),
        ('{"a": [1]}', "json", (Kind.JSON, b'{"a":[1]}')),
        ('"a string"', "json", (Kind.TEXT, b"a string")),
    ],
)
def test_a_message_is_published_on_all_chosen_streams(
    admin: Client, news: Stream, typed: str, kind: str, expected: tuple[Kind, bytes]
) -> None:
    sport = Stream.objects.create(slug="sport")
    act(admin, "publish_message", news, sport, do="yes", message=typed, kind=kind)
    for slug in ("news", "sport"):
        _, [said] = async_to_sync(backends.get_backend().read)(slug, 0, 10, 1000)
        assert (said.kind, said.payload) == expected
    # What was said stands in no log.
    assert {entry.change_message for entry in LogEntry.objects.all()} == {
        "Published a message at offset 1."
    }


@pytest.mark.parametrize(
    ("typed", "kind"), [("", "text"), ("{", "json"), ("NaN", "json"), ("x", "dance")]
)
def test_a_message_that_makes_no_sense_is_asked_for_again(
    admin: Client, news: Stream, typed: str, kind: str
) -> None:
    answer = act(admin, "publish_message", news, do="yes", message=typed, kind=kind)
    assert "errorlist" in answer.content.decode()  # type: ignore[attr-defined]
    assert async_to_sync(backends.get_backend().positions)(["news"])["news"][1] == 0


def test_a_closed_stream_among_the_chosen_is_named_and_the_others_get_the_message(
    admin: Client, news: Stream
) -> None:
    closed = Stream.objects.create(slug="closed", title="Closed one", closed_at=timezone.now())
    act(admin, "publish_message", closed, news, do="yes", message="x", kind="text")
    assert async_to_sync(backends.get_backend().positions)(["news"])["news"][1] == 1
    page = admin.get("/admin/broadcast/stream/").content.decode()
    assert "Closed one: the stream &#x27;closed&#x27; was closed." in page
    assert "Done with 1 stream." in page


def test_a_token_is_shown_once_and_grants_what_was_asked_for(admin: Client, news: Stream) -> None:
    answer = act(admin, "new_token", news, do="yes", grant="publish", max_age=3600)
    page = answer.content.decode()  # type: ignore[attr-defined]
    assert "no-store" in answer.headers["Cache-Control"]  # type: ignore[attr-defined]
    token = re.search('data-copy="([^"]+)"', page)[1]  # type: ignore[index]
    news.check_token(token, Grant.PUBLISH, time.time() + 3590)
    assert token not in admin.get(f"/admin/broadcast/stream/{news.pk}/change/").content.decode()
    assert [entry.change_message for entry in LogEntry.objects.all()] == [
        "Made a token to publish."
    ]


def test_tokens_are_withdrawn(admin: Client, news: Stream) -> None:
    token = news.make_token("listen")
    act(admin, "withdraw_tokens", news, do="yes")
    news.refresh_from_db()
    with pytest.raises(BadToken, match="withdrawn"):
        news.check_token(token, Grant.LISTEN, time.time())


def test_a_stream_is_closed_and_reopened(admin: Client, news: Stream) -> None:
    act(admin, "close", news, do="yes")
    news.refresh_from_db()
    assert news.closed_at is not None
    act(admin, "reopen", news, do="yes")
    news.refresh_from_db()
    assert news.closed_at is None


def test_history_is_cleared_and_goes_with_its_stream(
    admin: Client, news: Stream, django_capture_on_commit_callbacks: object
) -> None:
    positions = async_to_sync(backends.get_backend().positions)
    for action in (
        lambda: act(admin, "clear_history", news, do="yes"),
        lambda: act(admin, "delete_selected", news, post="yes"),
        lambda: admin.post(
            f"/admin/broadcast/stream/{Stream.objects.create(slug='news').pk}/delete/",
            {"post": "yes"},
        ),
    ):
        publish("news", "x")
        epoch, offset = positions(["news"])["news"]
        assert offset == 1
        with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
            action()
        assert positions(["news"])["news"][1] == 0
    assert not Stream.objects.exists()


def test_what_was_asked_for_on_the_page_of_a_stream_leads_back_to_it(
    admin: Client, news: Stream
) -> None:
    answer = act(admin, "close", news, do="yes", page=news.pk)
    assert answer.headers["Location"] == f"/admin/broadcast/stream/{news.pk}/change/"  # type: ignore[attr-defined]


def test_what_history_goes_by_cannot_be_changed(admin: Client, news: Stream) -> None:
    fields = {"title": "News", "slug": "other", "visibility": "public", "publishing": "owner"}
    fields |= {"kind": "messages", "closed_at_0": "2020-01-01", "closed_at_1": "00:00"}
    answer = admin.post(f"/admin/broadcast/stream/{news.pk}/change/", fields)
    assert answer.status_code == 302, answer.content
    news.refresh_from_db()
    assert news.slug == "news" and news.closed_at is None
