"""Projects with several databases: streams in one of their own, with the users or without them."""

from collections.abc import Callable

import pytest

from tests.rig.hosts import Host

SETTINGS = """
DATABASES["live"] = {{**DATABASES["default"], "NAME": BASE_DIR / "live.sqlite3"}}
DATABASE_ROUTERS = ["shop.routers.Router"]
SILENCED_SYSTEM_CHECKS = {silenced!r}
"""
#: Names no database for what is not live, as Django's documentation has it.
ROUTER = """
LIVE = {live!r}

class Router:
    def db_for_read(self, model, **hints):
        return "live" if model._meta.app_label in LIVE else None

    db_for_write = db_for_read

    def allow_relation(self, one, other, **hints):
        return True

    def allow_migrate(self, db, app_label, **hints):
        return (db == "live") == (app_label in LIVE)
"""
WORK = """
from asgiref.sync import async_to_sync
from django.db import connections, transaction
from django.core.management import call_command
from django.utils import timezone
from io import StringIO
from django.test import override_settings
from broadcast import Position, installation
from broadcast.hub.housekeeping import drop_expired
from broadcast.management.commands.start import Command
from broadcast.models import Installation, Recording, RoomHour, Subscription
from broadcast.monitor.health import _ask_database

def columns(response, name="cl"):
    return [response.status_code, response.context[name].result_count]

out = StringIO()
Command(stdout=out).migrate()
Command(stdout=out).set_up()
tell(set_up="Made the user 'admin'" in out.getvalue())
with override_settings(BROADCAST_PREFIX=""):
    tell(prefix=installation.get_prefix() == Installation.objects.get().prefix)
root = User.objects.get()
ann, eve = (User.objects.create_user(name, password="x") for name in ("ann", "eve"))

# Streams and rooms of somebody, in pages and in the admin.
mine = Stream.objects.create(slug="mine", title="Mine", owner=ann, visibility="private")
mine.may_listen_users.add(eve)
tea = Room.objects.create(room_id="tea", title="Tea", owner=ann, visibility="private")
tea.may_enter_users.add(eve)
mine.full_clean()
client = Client()
for user in (ann, eve):
    client.force_login(user)
    paths = ("", "streams/mine/", "streams/mine/studio/", "rooms/", "rooms/tea/", "api/streams/")
    tell(**{user.username: [client.get(f"/live/{path}").status_code for path in paths]})
client.force_login(root)
rows = Subscription.objects
rows.subscribe("d" * 64, {"mine": Position("e", 1)}, timezone.now(), user=ann)
rows.subscribe("e" * 64, {"mine": Position("e", 1)}, timezone.now())
at = "/admin/broadcast/"
for name in ("stream", "room", "subscription"):
    tell(**{f"found_{name}": columns(client.get(f"{at}{name}/?q=ann"))})
    tell(**{f"not_found_{name}": columns(client.get(f"{at}{name}/?q=ann+nobody"))})
form = {"title": "Ours", "slug": "mine", "visibility": "private", "publishing": "owner",
        "kind": "messages", "owner": root.pk, "may_listen_users": [eve.pk]}
tell(shown=client.get(f"{at}stream/{mine.pk}/change/").status_code)
tell(changed=client.post(f"{at}stream/{mine.pk}/change/", form).status_code)
mine.refresh_from_db()
tell(owner=mine.owner.username, title=mine.title)
tell(room=client.get(f"{at}room/{tea.pk}/change/").status_code)
tell(added=client.post(f"{at}stream/add/", form | {"slug": "new"}).status_code)
new = Stream.objects.get(slug="new")
tell(deleted=client.post(f"{at}stream/{new.pk}/delete/", {"post": "yes"}).status_code)

# Pages: until their user is deactivated.
now = timezone.now()
def heard():
    found = rows.heard(["d" * 64, "e" * 64], now)
    return {digest[0]: len(channels) for digest, channels in found.items()}
tell(heard=heard(), opened=len(rows.open("d" * 64, now)))
User.objects.filter(pk=ann.pk).update(is_active=False)
tell(deactivated=heard(), channels=rows.channels(now, "mi"))
User.objects.filter(pk=ann.pk).update(is_active=True)

# What is told when it is committed waits for the database that it is in.
with transaction.atomic(using="live"):
    rows.get(digest="d" * 64).save()
    tell(waiting=[len(connections[name].run_on_commit) for name in ("default", "live")])
for _ in range(2):
    RoomHour.objects.add({(now, "peak", 3): 2})
tell(hours=RoomHour.objects.get().count)
async_to_sync(drop_expired)()
call_command("prune", stdout=StringIO())
_ask_database()

# A user who goes leaves nothing behind.
tea.owner = ann
tea.save()
for user in (ann, eve):
    tell(**{f"{user.username}_deleted": client.post(
        f"/admin/auth/user/{user.pk}/delete/", {"post": "yes"}).status_code})
tea.refresh_from_db()
named = [one.through.objects.count() for one in (Room.may_enter_users, Stream.may_listen_users)]
tell(left=[tea.owner_id, sum(named), rows.filter(digest="d" * 64).count()])
"""


@pytest.mark.parametrize(
    "apps",
    [["broadcast"], ["broadcast", "auth", "contenttypes", "admin"]],
    ids=["streams_alone", "streams_and_users"],
)
def test_streams_are_in_a_database_of_their_own(host: Callable[..., Host], apps: list[str]) -> None:
    apart = len(apps) == 1
    settings = SETTINGS.format(silenced=["broadcast.W015"] if apart else [])
    shop = host(settings=settings, files={"shop/routers.py": ROUTER.format(live=apps)})
    told = shop.run(WORK)
    assert told == {
        **{"set_up": True, "prefix": True},
        **{"ann": [200] * 6, "eve": [200, 200, 403, 200, 200, 200]},
        **{"found_stream": [200, 1], "found_room": [200, 1], "found_subscription": [200, 1]},
        **{f"not_found_{name}": [200, 0] for name in ("stream", "room", "subscription")},
        **{"shown": 200, "changed": 302, "owner": "admin", "title": "Ours"},
        **{"room": 200, "added": 302, "deleted": 302},
        **{"heard": {"d": 1, "e": 1}, "opened": 1, "deactivated": {"d": 0, "e": 1}},
        **{"channels": ["mine"], "waiting": [0, 1], "hours": 4},
        **{"ann_deleted": 302, "eve_deleted": 302, "left": [None, 0, 0]},
    }


def test_users_that_are_elsewhere_are_named_by_a_check(host: Callable[..., Host]) -> None:
    router = ROUTER.format(live=["broadcast"])
    shop = host(settings=SETTINGS.format(silenced=[]), files={"shop/routers.py": router})
    said = shop.manage("check").stderr
    assert "broadcast.W015" in said and "broadcast.E007" not in said
    shop.write("shop/routers.py", router.replace("return True", "return None"))
    done = shop.manage("check")
    assert "broadcast.E007" in done.stderr and done.returncode == 1
