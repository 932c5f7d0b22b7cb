"""Streams in the database: who may do what, what a list shows, limits, the first streams."""

from itertools import product
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.utils import timezone
from pytest_django.fixtures import Settings

from broadcast.backends import HistoryLimits
from broadcast.models import Stream

pytestmark = pytest.mark.django_db

Visibility, Publishing, Kind = Stream.Visibility, Stream.Publishing, Stream.Kind
WHO = ["anonymous", "user", "listener", "publisher", "owner", "staff", "superuser"]


@pytest.fixture
def who(db: None) -> dict[str, Any]:
    """One of each that may be at the other end."""
    users: dict[str, Any] = {name: User.objects.create_user(name) for name in WHO[1:]}
    users["listener"].user_permissions.add(Permission.objects.get(codename="listen_stream"))
    users["publisher"].user_permissions.add(Permission.objects.get(codename="publish_stream"))
    User.objects.filter(username="staff").update(is_staff=True)
    User.objects.filter(username="superuser").update(is_superuser=True)
    # Read anew: permissions and flags are kept with the object.
    users = {name: User.objects.get(username=name) for name in users}
    return {"anonymous": AnonymousUser(), **users}


def stream(who: dict[str, Any] | None = None, **fields: Any) -> Stream:
    owner = who["owner"] if who else None
    return Stream.objects.create(**{"slug": "s", "title": "S", "owner": owner, **fields})


def names(who: dict[str, Any], rule: Any) -> set[str]:
    return {name for name, user in who.items() if rule(user)}


@pytest.mark.parametrize("visibility", [Visibility.PUBLIC, Visibility.UNLISTED])
def test_everybody_may_listen_to_a_stream_that_is_not_private(
    who: dict[str, Any], visibility: str
) -> None:
    assert names(who, stream(who, visibility=visibility).may_listen) == set(WHO)


def test_owner_staff_and_who_has_the_permission_may_listen_to_a_private_stream(
    who: dict[str, Any],
) -> None:
    allowed = {"listener", "owner", "staff", "superuser"}
    assert names(who, stream(who, visibility=Visibility.PRIVATE).may_listen) == allowed


@pytest.mark.parametrize("visibility", Visibility)
def test_owner_staff_and_who_has_the_permission_may_publish(
    who: dict[str, Any], visibility: str
) -> None:
    made = stream(who, visibility=visibility, publishing=Publishing.OWNER)
    assert names(who, made.may_publish) == {"publisher", "owner", "staff", "superuser"}


def test_anyone_may_publish_where_that_is_allowed(who: dict[str, Any]) -> None:
    assert names(who, stream(who, publishing=Publishing.ANYONE).may_publish) == set(WHO)


def test_anyone_on_a_private_stream_is_anyone_who_may_listen(who: dict[str, Any]) -> None:
    made = stream(who, visibility=Visibility.PRIVATE, publishing=Publishing.ANYONE)
    allowed = {"listener", "publisher", "owner", "staff", "superuser"}
    assert names(who, made.may_publish) == allowed


def test_nobody_is_the_owner_of_a_stream_without_one(who: dict[str, Any]) -> None:
    made = stream(visibility=Visibility.PRIVATE)
    assert "user" not in names(who, made.may_listen) | names(who, made.may_publish)
    assert "anonymous" not in names(who, made.may_listen) | names(who, made.may_publish)


def test_whoever_is_not_active_any_more_may_nothing_by_permission(who: dict[str, Any]) -> None:
    made = stream(who, visibility=Visibility.PRIVATE)
    for name in ("listener", "publisher", "superuser"):
        who[name].is_active = False
    assert not {"listener", "superuser"} & names(who, made.may_listen)
    assert not {"publisher", "superuser"} & names(who, made.may_publish)


def test_a_list_shows_public_streams_ones_own_and_to_staff_all(who: dict[str, Any]) -> None:
    for owned, visibility in product((True, False), Visibility):
        owner = who["owner"] if owned else None
        Stream.objects.create(slug=f"{visibility}-{owned}", title="T", owner=owner,
                              visibility=visibility)  # fmt: skip
    public = {"public-True", "public-False"}
    everything = set(Stream.objects.values_list("slug", flat=True))
    shown = {
        name: set(Stream.objects.listed_for(user).values_list("slug", flat=True))
        for name, user in who.items()
    }
    assert shown == {
        **dict.fromkeys(WHO, public),
        "owner": public | {"unlisted-True", "private-True"},
        "staff": everything,
    }


def test_a_list_names_each_stream_once_in_order(who: dict[str, Any]) -> None:
    for slug, title in (("b", "Same"), ("a", "Same"), ("c", "First")):
        Stream.objects.create(slug=slug, title=title, owner=who["owner"])
    listed = Stream.objects.listed_for(who["owner"])
    assert [one.slug for one in listed] == ["c", "a", "b"]


def test_limits_are_those_of_the_settings_unless_the_row_says_otherwise(
    settings: Settings,
) -> None:
    settings.BROADCAST_HISTORY_COUNT = 7
    settings.BROADCAST_HISTORY_BYTES = 8
    settings.BROADCAST_HISTORY_AGE = 9
    assert Stream().limits == HistoryLimits(7, 8, 9)
    assert Stream(history_count=1, history_bytes=2, history_seconds=3.5).limits == HistoryLimits(
        1, 2, 3.5
    )
    # Nothing at all is a limit, too.
    assert Stream(history_count=0, history_bytes=0, history_seconds=0).limits == HistoryLimits(
        0, 0, 0
    )


def test_frames_of_a_media_stream_may_be_larger(settings: Settings) -> None:
    assert Stream().max_frame == 1024 * 1024
    assert Stream(kind=Kind.MEDIA).max_frame == 4 * 1024 * 1024
    settings.BROADCAST_MAX_FRAME, settings.BROADCAST_MAX_MEDIA_FRAME = 5, 6
    assert (Stream().max_frame, Stream(kind=Kind.MEDIA).max_frame) == (5, 6)


def test_default_history_holds_at_least_a_hundred_publications() -> None:
    assert Stream().limits.publications >= 100


def test_the_streams_of_a_new_installation_are_made_once() -> None:
    assert [one.slug for one in Stream.objects.setup()] == ["demo", "everyone"]
    demo = Stream.objects.get(slug="demo")
    assert (demo.visibility, demo.publishing) == (Visibility.PUBLIC, Publishing.ANYONE)
    everyone = Stream.objects.get(slug="everyone")
    assert everyone.publishing == Publishing.OWNER
    demo.title, demo.publishing = "Mine", Publishing.OWNER
    demo.save()
    assert Stream.objects.setup() == []
    demo.refresh_from_db()
    assert (demo.title, demo.publishing) == ("Mine", Publishing.OWNER)
    everyone.delete()
    assert [one.slug for one in Stream.objects.setup()] == ["everyone"]


def test_a_stream_is_called_by_its_title_or_its_slug() -> None:
    assert str(Stream(slug="s", title="Title")) == "Title"
    assert str(Stream(slug="s")) == "s"
    assert Stream(slug="s").get_absolute_url() == "/streams/s/"


def test_a_slug_is_of_one_stream() -> None:
    stream()
    with pytest.raises(IntegrityError):
        stream()


@pytest.mark.parametrize("slug", ["", "a b", "ä", "a/b", "a.b", "x" * 71, "a\n"])
def test_a_slug_that_is_none_is_refused(slug: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Stream(slug=slug, title="T").full_clean()
    assert "slug" in caught.value.message_dict


@pytest.mark.parametrize(
    "fields", [{"history_count": -1}, {"history_bytes": -1}, {"history_seconds": -0.5}]
)
def test_a_limit_below_nothing_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        Stream(slug="s", title="T", **fields).full_clean()
    assert set(caught.value.message_dict) == set(fields)


def test_a_stream_outlives_its_owner(who: dict[str, Any]) -> None:
    made = stream(who)
    who["owner"].delete()
    made.refresh_from_db()
    assert made.owner is None


def test_a_stream_is_open_until_a_person_closes_it() -> None:
    made = stream()
    assert made.closed_at is None and made.created_at <= timezone.now()


# -- how many streams a user may own ---------------------------------------------------------------


def own(owner: User, count: int) -> None:
    made = [Stream(slug=f"{owner}-{number}", owner=owner) for number in range(count)]
    Stream.objects.bulk_create(made)


def another(owner: User | None) -> Stream:
    return Stream(slug="another", title="Another", owner=owner)


def test_who_owns_as_many_streams_as_allowed_gets_no_other_one(
    who: dict[str, Any], settings: Settings
) -> None:
    settings.BROADCAST_MAX_STREAMS_PER_OWNER = 3
    owner = who["owner"]
    own(owner, 2)
    assert Stream.objects.has_room_for(owner)
    another(owner).full_clean()
    Stream.objects.create(slug="third", title="Third", owner=owner)
    assert not Stream.objects.has_room_for(owner)
    with pytest.raises(ValidationError) as refused:
        another(owner).full_clean()
    said = "owner owns as many streams as one user may: 3."
    assert refused.value.message_dict == {"__all__": [said]}
    for somebody in (who["user"], None):
        another(somebody).full_clean()
    Stream.objects.get(slug="third").delete()
    another(owner).full_clean()


def test_a_stream_is_not_given_to_who_has_too_many_and_stays_with_who_has(
    who: dict[str, Any], settings: Settings
) -> None:
    settings.BROADCAST_MAX_STREAMS_PER_OWNER = 3
    own(who["owner"], 5)
    theirs = Stream.objects.filter(owner=who["owner"]).first()
    assert theirs
    theirs.title = "Changed"
    theirs.full_clean()
    given = Stream.objects.create(slug="given", title="Given", owner=who["user"])
    given.owner = who["owner"]
    with pytest.raises(ValidationError):
        given.full_clean()


@pytest.mark.parametrize(("name", "most"), [("superuser", 3), ("owner", None)])
def test_superusers_may_own_any_number_and_so_may_all_without_a_limit(
    who: dict[str, Any], settings: Settings, name: str, most: int | None
) -> None:
    settings.BROADCAST_MAX_STREAMS_PER_OWNER = most
    own(who[name], 150)
    another(who[name]).full_clean()


def test_a_hundred_streams_are_allowed_unless_the_settings_say_otherwise(
    who: dict[str, Any],
) -> None:
    own(who["owner"], 99)
    another(who["owner"]).full_clean()
    another(who["owner"]).save()
    assert not Stream.objects.has_room_for(who["owner"])
