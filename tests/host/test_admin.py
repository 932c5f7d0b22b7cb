"""Admins of other people: without users, with a name of their own, or none at all."""

from collections.abc import Callable

from tests.rig.hosts import Host

#: A site of the project's own, in which users cannot be looked at.
OWN_SITE = """
from django.contrib.admin import AdminSite
from django.urls import include, path
from broadcast import admin
from broadcast.models import Recording, Room, RoomHour, Stream, Subscription

site = AdminSite("backstage")
site.register(Stream, admin.StreamAdmin)
site.register(Room, admin.RoomAdmin)
site.register(RoomHour, admin.RoomHourAdmin)
site.register(Recording, admin.RecordingAdmin)
site.register(Subscription, admin.SubscriptionAdmin)

urlpatterns = [
    path("backstage/", site.urls),
    path("live/", include("broadcast.urls")),
    {more}
]
"""
#: The default site beside it, which the name `admin:` means where nobody says which one.
BOTH = 'path("admin/", __import__("django.contrib.admin").contrib.admin.site.urls),'

#: Works in the admin, as a person does: publishes, makes a token, changes a stream.
WORK = """
import re

root = User.objects.create_superuser("root", password="x")
stream = Stream.objects.create(slug="news", title="News")
room = Room.objects.create(room_id="tea", title="Tea")
client = Client()
client.force_login(root)
at = "/backstage/broadcast/stream/"

def links(response):
    # Where a page of the admin leads to, and sends its forms.
    found = re.findall(r'(?:href|action|data-remove)="([^"#?]+)', response.text)
    return {url for url in found if url.startswith("/")}

answers = [client.get(path) for path in (at, f"{at}{stream.pk}/change/", f"{at}add/",
    f"/backstage/broadcast/room/{room.pk}/change/", "/backstage/broadcast/roomhour/",
    "/backstage/broadcast/recording/", "/backstage/broadcast/subscription/")]
asked = {"action": "new_token", "_selected_action": stream.pk}
answers.append(client.post(at, asked))
answers.append(client.post(at, {**asked, "do": "yes", "grant": "listen", "max_age": 3600}))
tell(statuses={answer.status_code for answer in answers} == {200})
tell(tokens="broadcast-tokens" in answers[-1].text)
tell(strays=sorted(url for one in answers for url in links(one) if url.startswith("/admin/")))
asked = {"action": "close", "_selected_action": stream.pk, "do": "yes", "page": stream.pk}
tell(back=client.post(at, asked)["Location"] == f"{at}{stream.pk}/change/")
owner = {"title": "News", "slug": "news", "visibility": "public", "publishing": "owner",
         "kind": "messages", "owner": root.pk, "may_listen_users": root.pk, "may_publish_users": ""}
tell(saved=client.post(f"{at}{stream.pk}/change/", owner).status_code)
stream.refresh_from_db()
tell(owner=str(stream.owner), named=stream.may_listen_users.count())
tell(remove=f"{at}{stream.pk}/remove/" in links(answers[1]))
home = client.get("/live/").text
tell(home=re.findall('href="([^"]+)">Admin<', home))
tell(nobody=Client().get("/live/").status_code)
"""
WORKED = {
    **{"statuses": True, "tokens": True, "strays": [], "back": True},
    **{"saved": 302, "owner": "root", "named": 1, "remove": True, "nobody": 200},
}


def test_a_site_of_the_projects_own_has_our_pages_without_its_users(
    host: Callable[..., Host],
) -> None:
    told = host(urls=OWN_SITE.format(more="")).run(WORK)
    assert told == WORKED | {"home": ["/backstage/"]}


def test_links_of_a_second_site_stay_in_it(host: Callable[..., Host]) -> None:
    told = host(urls=OWN_SITE.format(more=BOTH)).run(WORK)
    assert told == WORKED | {"home": ["/admin/"]}


def test_users_that_are_not_registered_are_chosen_by_their_keys(host: Callable[..., Host]) -> None:
    told = host(files={"shop/apps.py": UNREGISTER}, settings='INSTALLED_APPS += ["shop"]').run("""
        client = Client()
        client.force_login(User.objects.create_superuser("root", password="x"))
        answer = client.get("/admin/broadcast/stream/add/")
        field = answer.context["adminform"].form.fields["owner"]
        tell(status=answer.status_code, widget=type(field.widget).__name__)
    """)
    assert told == {"status": 200, "widget": "ForeignKeyRawIdWidget"}


UNREGISTER = """
from django.apps import AppConfig

class ShopConfig(AppConfig):
    name = "shop"

    def ready(self):
        from django.contrib import admin
        from django.contrib.auth.models import User

        admin.site.unregister(User)
"""

#: Neither admin nor sessions nor messages nor static files: an API with tokens.
BARE = """
for app in ("admin", "sessions", "messages", "staticfiles"):
    INSTALLED_APPS.remove(f"django.contrib.{app}")
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
]
TEMPLATES[0]["OPTIONS"]["context_processors"] = []
SILENCED_SYSTEM_CHECKS = ["broadcast.W011", "broadcast.W014"]
"""
ONLY_OURS = """
from django.urls import include, path
urlpatterns = [path("live/", include("broadcast.urls"))]
"""


def test_what_needs_no_sessions_works_without_them_and_without_the_admin(
    host: Callable[..., Host],
) -> None:
    told = host(settings=BARE, urls=ONLY_OURS).run("""
        import json
        from django.core.management import call_command
        from broadcast import publish
        from broadcast.access import rules, sessions
        from broadcast.access.visitors import Visitor
        from broadcast.hub.housekeeping import drop_sessions
        from asgiref.sync import async_to_sync

        Stream.objects.create(slug="news", publishing="anyone")
        private = Stream.objects.create(slug="private", visibility="private")
        token = private.make_token("listen", 60)
        client = Client()
        client.cookies["sessionid"] = "a" * 32
        paths = ("", "streams/news/", "streams/news/studio/", "streams/news/embed/", "rooms/",
                 "rooms/tea/", "api/streams/", "api/streams/news/", "api/schema/",
                 "streams/private/", f"streams/private/?token={token}",
                 f"streams/private/embed/?token={token}", "api/streams/private/")
        tell(pages=[client.get(f"/live/{path}").status_code for path in paths])
        tell(told=token in client.get(f"/live/streams/private/embed/?token={token}").text)
        scope = {"headers": [(b"cookie", b"sessionid=" + b"a" * 32), (b"host", b"testserver")]}
        visitor = Visitor.of_scope({**scope, "type": "websocket", "path": "/"})
        tell(key=visitor.key, name=async_to_sync(sessions.name_of)(visitor))
        tell(more_sessions=drop_sessions(10))
        call_command("prune", verbosity=0)
    """)
    assert told == {
        "pages": [200, 200, 200, 200, 200, 200, 200, 200, 200, 403, 200, 200, 403],
        **{"told": True, "key": "", "name": "", "more_sessions": False},
    }


def test_what_is_missing_is_named(host: Callable[..., Host]) -> None:
    shop = host(settings=BARE + "SILENCED_SYSTEM_CHECKS = []\n", urls=ONLY_OURS)
    assert "broadcast.W014" in shop.manage("check").stderr
    shop.append("shop/settings.py", 'MIDDLEWARE.append("broadcast.middleware.SocketMiddleware")\n')
    assert "broadcast.W009" in shop.manage("check").stderr
    shop.append("shop/settings.py", 'INSTALLED_APPS.remove("django.contrib.auth")\n')
    done = shop.manage("check")
    assert done.returncode and "needs 'django.contrib.auth'" in done.stderr
