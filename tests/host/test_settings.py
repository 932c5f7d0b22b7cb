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
