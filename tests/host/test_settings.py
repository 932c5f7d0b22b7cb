"""Settings that other people's projects have and ours has not: transactions, times, languages."""

from collections.abc import Callable

from tests.rig.hosts import Host

ATOMIC = """
DATABASES["default"]["ATOMIC_REQUESTS"] = True
DATABASES["other"] = {
    "ENGINE": "django.db.backends.sqlite3",
    "NAME": BASE_DIR / "other.sqlite3",
    "ATOMIC_REQUESTS": True,
}
"""
#: Every address of ours, with something at it.
WALK = """
import re
from datetime import timedelta
from django.core.files.base import ContentFile
from django.urls import URLPattern, get_resolver
from django.utils import timezone
from broadcast.models import Recording
from broadcast.models.recordings import get_storage

news = Stream.objects.create(slug="news", kind="media")
file = get_storage().save("film.webm", ContentFile(b"film"))
now = timezone.now()
recording = Recording.objects.create(
    stream=news, name=file, started_at=now - timedelta(hours=1), ended_at=now, state="ended", size=4
)
VALUES = {"slug": "news", "pk": str(recording.pk), "room_id": "tea", "path": "nowhere"}

def walk(resolver, before=""):
    for one in resolver.url_patterns:
        route = before + str(one.pattern)
        if isinstance(one, URLPattern):
            yield "/live/" + re.sub("<[a-z_]+:([a-z_]+)>", lambda found: VALUES[found[1]], route)
        else:
            yield from walk(one, route)

paths = list(dict.fromkeys(walk(get_resolver("broadcast.urls"))))
"""


def test_every_address_answers_where_requests_are_transactions(host: Callable[..., Host]) -> None:
    told = host(settings=ATOMIC).run(
        WALK
        + """
from asgiref.sync import async_to_sync
from django.test import AsyncClient

client = Client(raise_request_exception=False)
client.force_login(User.objects.create_superuser("root", password="x"))
statuses = {path: client.get(path).status_code for path in paths}

async def answer(path):
    answer = await AsyncClient(raise_request_exception=False).get(path)
    return answer.status_code
# What stands for an event stream says that it needs our application.
for path in paths:
    statuses["async " + path] = async_to_sync(answer)(path)
tell(count=len(paths), failed={
    path: status for path, status in statuses.items() if status >= 500 and "/events/" not in path
})
posted = client.post("/live/api/streams/news/publications/", "x", content_type="text/plain")
tell(posted=posted.status_code)
"""
    )
    assert told["count"] >= 10
    assert told["failed"] == {} and told["posted"] == 201


GERMAN = """
LANGUAGE_CODE = "de"
USE_THOUSAND_SEPARATOR = True
"""


def test_numbers_in_markup_are_those_of_machines_in_any_language(host: Callable[..., Host]) -> None:
    told = host(settings=GERMAN).run("""
        import re
        from datetime import timedelta
        from django.utils import timezone
        from broadcast.models import Recording

        Stream.objects.create(pk=1234, slug="news", publishing="anyone")
        Room.objects.create(pk=1234, room_id="tea", max_peers=2345)
        now = timezone.now()
        Recording.objects.create(
            pk=1234, stream_id=1234, name="film.webm", started_at=now - timedelta(hours=1),
            ended_at=now, state="ended", size=123456,
        )
        client = Client()
        client.force_login(User.objects.create_superuser("root", password="x", pk=1234))
        admin = "/admin/broadcast/"
        pages = ["/live/", "/live/streams/news/", "/live/streams/news/studio/", "/live/rooms/",
                 "/live/streams/news/embed/", "/live/rooms/tea/"]
        for name in ("stream", "room", "recording"):
            pages += [f"{admin}{name}/", f"{admin}{name}/1234/change/"]
        texts = {page: client.get(page).text for page in pages}
        for name in ("stream", "room"):
            asked = {"action": "close", "_selected_action": 1234, "page": 1234}
            texts[f"ask {name}"] = client.post(f"{admin}{name}/", asked).text
        number = re.compile(r'[\\w-]+="[^"<>]*\\b\\d{1,3}(?:\\.\\d{3})+\\b[^"<>]*"')
        # A whole value that is a number, or one in a path; pictures are drawn with others.
        tell(wrong={
            page: found
            for page, text in texts.items()
            if (found := [one for one in number.findall(re.sub("(?s)<svg.*?</svg>", "", text))
                          if not re.match("class|d=|content|aria", one)])
        })
        tell(limit='data-frame-limit="1048576"' in texts["/live/streams/news/studio/"])
        tell(recording="/live/streams/news/recordings/1234/" in texts["/live/streams/news/"])
        change = texts[f"{admin}room/1234/change/"]
        tell(room='data-stream="1234"' in change and "?room=1234" in change)
    """)
    assert told == {"wrong": {}, "limit": True, "recording": True, "room": True}


NAIVE = """
USE_TZ = False
TIME_ZONE = "America/New_York"
"""


def test_times_without_time_zones_are_those_of_the_projects_zone(host: Callable[..., Host]) -> None:
    told = host(settings=NAIVE).run(
        WALK
        + """
import time
from types import SimpleNamespace
from asgiref.sync import async_to_sync
from django.core.management import call_command
from broadcast import Position
from broadcast.access import sessions
from broadcast.access.visitors import Visitor
from broadcast.admin.streams import StreamAdmin
from broadcast.models import RoomHour, Subscription
from broadcast.models.times import moment

def is_now(value):
    return abs(value.timestamp() - time.time()) < 60

root = User.objects.create_superuser("root", password="x")
client = Client()
client.force_login(root)
tell(failed=[path for path in paths
             if client.get(path).status_code >= 500 and "/events/" not in path])
tell(moment=is_now(moment(time.time())), created=is_now(news.created_at))
old = news.make_token("publish", 60)
time.sleep(0.01)
news.withdraw_tokens(timezone.now())
new = news.make_token("publish", 60)
studio = "/live/streams/news/studio/?token="
tell(tokens=[Client().get(studio + token).status_code for token in (old, new)])

rows = Subscription.objects
rows.subscribe("d" * 64, {"news": Position("e", 1)}, timezone.now(), user=root)
place = rows.open("d" * 64, timezone.now())["news"]
tell(seen=abs(place.seen - time.time()) < 60, live=rows.live(timezone.now()).count())
visitor = Visitor(key=client.cookies["sessionid"].value)
session, user, end = async_to_sync(sessions.enter)(visitor)
tell(user=user.username, session=0 < (end - timezone.now()).days <= 14)
tag = recording.entity_tag
tell(tag=abs(float(tag.strip('"').split("-")[-1]) - recording.ended_at.timestamp()) < 1)
news.presence = SimpleNamespace(since=time.time())
begun = timezone.now()
shown = StreamAdmin(Stream, None).since(news)
tell(shown=any(f"{one:%H:%M}" in shown for one in (begun, timezone.now())))
RoomHour.objects.add({(moment(time.time()), "peak", 3): 2})
tell(hour=is_now(RoomHour.objects.get().hour))
at = "/admin/broadcast/"
tell(admin=[client.get(f"{at}{name}/").status_code
            for name in ("stream", "room", "roomhour", "recording", "subscription")])
call_command("prune", verbosity=0)
"""
    )
    assert told["failed"] == []
    assert told["tokens"] == [401, 200]
    assert told["admin"] == [200] * 5 and told["user"] == "root" and told["live"] == 1
    assert all(
        told[name] for name in ("moment", "created", "seen", "session", "tag", "shown", "hour")
    )
