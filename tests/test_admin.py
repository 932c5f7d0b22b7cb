"""Streams in the admin, as a person who runs them meets them."""

import pytest
from django.contrib.auth import get_user_model
from django.test import AsyncClient, Client

from broadcast import backends
from broadcast.models import Stream

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


async def test_the_list_shows_who_is_live_and_how_many_listen() -> None:
    backend = backends.get_backend()
    await backend.enter("news", "a streamer")
    await backend.count_listeners("news", 42)
    await Stream.objects.acreate(slug="news", title="News")
    await Stream.objects.acreate(slug="sport", title="Sport")
    user = await get_user_model().objects.acreate(username="r", is_staff=True, is_superuser=True)
    client = AsyncClient()
    await client.aforce_login(user)
    page = (await client.get("/admin/broadcast/stream/")).content.decode()
    rows = dict(zip(["News", "Sport"], page.split("<tr>")[-2:], strict=True))
    assert "icon-yes" in rows["News"] and ">42<" in rows["News"]
    assert "icon-no" in rows["Sport"] and ">0<" in rows["Sport"]
    assert 'href="/streams/news/studio/"' in rows["News"]


def test_search_finds_by_title_and_owner(admin: Client) -> None:
    owner = get_user_model().objects.create_user("gerda")  # type: ignore[attr-defined]
    Stream.objects.create(slug="one", title="First", owner=owner)
    Stream.objects.create(slug="two", title="Second")
    for query, found in [("gerda", b"First"), ("second", b"Second")]:
        page = admin.get("/admin/broadcast/stream/", {"q": query}).content
        assert found in page
        assert page.count(b'class="field-title"') == 1


def test_the_number_of_queries_does_not_grow_with_the_streams(
    admin: Client, django_assert_max_num_queries: object
) -> None:
    for number in range(30):
        Stream.objects.create(slug=f"stream-{number}", title="One of many")
    with django_assert_max_num_queries(10):  # type: ignore[operator]
        admin.get("/admin/broadcast/stream/")
