"""Pages, the admin and errors in the language of their visitor."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path
from django.utils import timezone, translation
from django.views import defaults
from django.views.csrf import csrf_failure
from pytest_django.fixtures import Settings

from broadcast.exceptions import BadRequest, BadToken, Forbidden, TooLarge, Unavailable
from broadcast.http.words import KINDS, KNOWN, words_of
from broadcast.models import Recording, Room, RoomHour, Stream, Subscription
from project.urls import urlpatterns as project_patterns
from tests.rig.languages import Texts, mark_translations

pytestmark = pytest.mark.django_db

#: Names that are the same in each language, what tests call their things, and code.
SAME = {"Broadcast", "JSON", "xx", "demo", "headline"}
#: What Django's admin itself has in English.
OF_DJANGO = {"True", "False", "Search"}


def broken(request: HttpRequest) -> HttpResponse:
    raise Unavailable("the engine is away")


urlpatterns = [
    path("broken/", broken),
    path("fault/", lambda request: defaults.server_error(request)),
    path("bad/", lambda request: defaults.bad_request(request, Exception())),
    path("forged/", lambda request: csrf_failure(request)),
    *project_patterns,
]


@pytest.fixture
def german() -> Client:
    return Client(headers={"accept-language": "de-DE,de;q=0.9,en;q=0.5"})


@pytest.fixture
def things(settings: Settings) -> dict[str, Any]:
    """One of everything, with names that are no words."""
    settings.ROOT_URLCONF, settings.FIRST_STEPS = __name__, True
    now = timezone.now()
    root = User.objects.create(username="xx", is_staff=True, is_superuser=True)
    media = Stream.objects.create(slug="xx", title="xx", kind="media", publishing="anyone")
    Stream.objects.create(slug="xx-1", title="xx", description="xx", publishing="anyone")
    Stream.objects.create(slug="xx-2", title="xx", visibility="private", owner=root)
    Stream.objects.create(slug="xx-3", title="xx", closed_at=now)
    Stream.objects.create(slug="demo", title="xx", publishing="anyone")
    room = Room.objects.create(room_id="xx", title="xx")
    Room.objects.create(room_id="xx-1", title="xx", closed_at=now)
    Room.objects.create(room_id="xx-2", title="xx", visibility="private")
    RoomHour.objects.create(hour=now, kind="peak", value=1, count=1)
    for number, (state, ended_at) in enumerate((("ended", now), ("running", None))):
        Recording.objects.create(
            stream=media, name=f"{number}.xx", started_at=now, ended_at=ended_at, state=state
        )
    for number, channel in enumerate(("", "xx")):
        Subscription.objects.create(
            digest=f"xx{number}",
            channel=channel,
            path="/xx/",
            epoch="1",
            offset=1,
            created_at=now,
            expires_at=now + timedelta(hours=1),
        )
    return {"root": root, "stream": media, "room": room}


PAGES = [
    *("/", "/rooms/", "/rooms/?room=..", f"/rooms/?room={'x' * 51}", "/rooms/xx/", "/rooms/xx-1/"),
    *("/streams/xx/", "/streams/xx-1/", "/streams/xx/studio/", "/streams/xx-1/studio/"),
    *("/streams/xx/embed/", "/streams/xx-2/embed/", "/streams/xx-2/embed/?token=xx"),
    *("/streams/xx-3/embed/", "/streams/xx-9/embed/", "/streams/xx-2/?token=xx"),
    *("/vote/", "/nowhere/", "/broken/", "/fault/", "/bad/", "/forged/", "/rooms/xx-2/?token=xx"),
]
ADMIN = [
    *("/", "/streams/xx/", "/streams/xx-2/", "/admin/", "/admin/broadcast/"),
    *(f"/admin/broadcast/{name}/" for name in ("stream", "room", "recording", "roomhour")),
    *(
        "/admin/broadcast/subscription/",
        "/admin/broadcast/stream/add/",
        "/admin/broadcast/room/add/",
    ),
]


def assert_translated(response: HttpResponse) -> None:
    found = set(Texts(response.content.decode()).untranslated) - SAME - OF_DJANGO
    assert found == set()


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_no_text_that_is_not_translated(
    page: str, german: Client, things: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    mark_translations(monkeypatch)
    response = german.get(page)
    assert response.status_code != 302
    assert_translated(response)


@pytest.mark.parametrize("page", ADMIN)
def test_a_page_for_staff_has_no_text_that_is_not_translated(
    page: str, german: Client, things: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    german.force_login(things["root"])
    mark_translations(monkeypatch)
    assert_translated(german.get(page))


@pytest.mark.parametrize("model", [Stream, Room, Recording, Subscription])
@pytest.mark.parametrize("view", ["change", "delete", "history"])
def test_the_pages_of_one_thing_have_no_text_that_is_not_translated(
    model: Any, view: str, german: Client, things: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    german.force_login(things["root"])
    mark_translations(monkeypatch)
    for one in model.objects.all():
        page = german.get(f"/admin/broadcast/{model._meta.model_name}/{one.pk}/{view}/")
        assert page.status_code == 200
        assert_translated(page)


ACTIONS = {
    "stream": {
        "publish_message": {"message": "{", "kind": "json"},
        "new_token": {"grant": "listen", "max_age": "3600"},
        "withdraw_tokens": {},
        "close": {},
        "reopen": {},
        "clear_history": {},
    },
    "room": {"new_token": {"max_age": "3600"}, "withdraw_tokens": {}, "close": {}},
}


@pytest.mark.parametrize(
    ("name", "action"), [(name, action) for name, some in ACTIONS.items() for action in some]
)
def test_an_action_is_asked_told_and_logged_in_the_language_of_who_does_it(
    name: str,
    action: str,
    german: Client,
    things: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    german.force_login(things["root"])
    mark_translations(monkeypatch)
    url, pk = f"/admin/broadcast/{name}/", things[name].pk
    asked = {"action": action, "_selected_action": pk}
    assert_translated(german.post(url, asked))
    assert_translated(
        german.post(url, {**asked, "do": "yes", **ACTIONS[name][action]}, follow=True)
    )
    assert_translated(german.get(f"{url}{pk}/history/"))


def test_a_language_of_a_browser_that_the_project_has_is_that_of_the_page(client: Client) -> None:
    for asked, language, words in (
        ("de", "de", "Noch gibt es keinen Stream"),
        ("de-AT,en;q=0.5", "de", "Noch gibt es keinen Stream"),
        ("en-US,de;q=0.5", "en-gb", "There is no stream yet"),
        ("fr", "en-gb", "There is no stream yet"),
        ("", "en-gb", "There is no stream yet"),
    ):
        response = client.get("/", headers={"accept-language": asked})
        page = response.content.decode()
        assert f'<html lang="{language}">' in page and words in page
        assert "Accept-Language" in response.headers["Vary"]
        assert ("broadcast/words/de.js" in page) == (language == "de")


def test_a_project_of_one_language_needs_no_middleware(client: Client, settings: Settings) -> None:
    settings.LANGUAGE_CODE = "de"
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "locale" not in name]
    page = client.get("/rooms/").content.decode()
    assert '<html lang="de">' in page and "Ein neuer Raum" in page and "words/de.js" in page


@pytest.mark.parametrize("page", ["/", "/streams/xx/embed/"])
def test_a_language_that_is_read_from_the_right_is_said_to_be(
    page: str, client: Client, settings: Settings, things: dict[str, Any]
) -> None:
    settings.LANGUAGES = [("ar", "Arabic")]
    settings.LANGUAGE_CODE = "ar"
    assert '<html lang="ar" dir="rtl">' in client.get(page).content.decode()


@pytest.mark.parametrize(
    "page", ["/", "/streams/xx/", "/streams/xx/embed/", "/admin/broadcast/stream/"]
)
def test_the_words_of_scripts_stand_once_on_a_page_before_its_scripts(
    page: str, german: Client, things: dict[str, Any]
) -> None:
    german.force_login(things["root"])
    text = german.get(page).content.decode()
    ours = re.findall(r'<script type="module" src="([^"]*)"', text)
    assert ours[0].endswith("broadcast/words/de.js"), ours
    assert len(ours) == len(set(ours)) >= 2, ours


def test_numbers_of_people_are_counted_in_german(
    german: Client, things: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = german.get("/streams/xx/").content.decode()
    assert "0 Hörer" in page
    assert f"{timezone.now().day}. " in page, "of the recording"


def test_the_token_page_says_what_it_made_in_german(german: Client, things: dict[str, Any]) -> None:
    german.force_login(things["root"])
    asked = {"action": "new_token", "_selected_action": things["stream"].pk, "do": "yes"}
    page = german.post(
        "/admin/broadcast/stream/", {**asked, "grant": "publish", "max_age": "3600"}
    ).content.decode()
    assert "Neue Tokens" in page and "Zurück: Streams" in page
    log = german.get(f"/admin/broadcast/stream/{things['stream'].pk}/history/").content.decode()
    assert "Ein Token zum Senden erstellt." in log


# -- errors ---------------------------------------------------------------------------------


def test_programs_are_told_errors_in_english(german: Client, things: dict[str, Any]) -> None:
    answer = german.get("/api/streams/xx-2/")
    assert answer.json() == {"error": "you may not listen here"}
    assert german.get("/api/nothing/").json() == {"error": "there is nothing here"}


def test_people_are_told_errors_in_their_language(german: Client, things: dict[str, Any]) -> None:
    german.force_login(User.objects.create_user("yy"))
    page = german.get("/streams/xx-2/").content.decode()
    assert "Sie dürfen hier nicht zuhören." in page
    frame = german.get("/streams/xx-2/embed/?token=xx").content.decode()
    assert "Das Token ist keines oder wurde verändert" in frame


@pytest.mark.parametrize("text", sorted(KNOWN))
def test_a_known_error_has_words_of_its_own_in_german(text: str) -> None:
    with translation.override("de"):
        assert words_of(Forbidden(text)) not in (text, translation.gettext(KINDS[Forbidden]))


def test_an_error_that_is_not_known_is_said_in_the_words_of_its_kind() -> None:
    with translation.override("de"):
        assert words_of(TooLarge("9 bytes are more than 8")) == (
            "das ist größer, als der Server annimmt"
        )
        assert words_of(BadToken("who knows")) == "das Token gilt nicht"
        assert words_of(BadRequest("not JSON: Expecting value")) == "das ist kein JSON"


@pytest.mark.parametrize("language", ["en", "en-gb", None])
def test_in_english_an_error_says_all_it_has_to_say(language: str | None) -> None:
    with translation.override(language):
        assert words_of(BadRequest("not JSON: Expecting value")) == "not JSON: Expecting value"
