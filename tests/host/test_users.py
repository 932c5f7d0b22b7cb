"""Users of another model: an e-mail address for a name, a UUID for a key, nothing optional."""

from collections.abc import Callable
from textwrap import dedent

import pytest

from tests.rig.hosts import Host

MODEL = """
import uuid
from django.contrib.auth.models import AbstractBaseUser, BaseUserManager
from django.db import models

class PersonManager(BaseUserManager):
    def create_superuser(self, email, password=None):
        person = self.model(email=email, boss=True)
        person.set_password(password)
        person.save()
        return person

class Person(AbstractBaseUser):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    email = models.EmailField(unique=True)
    boss = models.BooleanField(default=False)
    objects = PersonManager()
    USERNAME_FIELD = "email"
    {more}
"""
#: What Django's admin asks users for.
STAFF = """
    @property
    def is_staff(self):
        return self.boss

    def has_perm(self, permission, one=None):
        return self.boss

    def has_module_perms(self, app):
        return self.boss
"""
SETTINGS = """
INSTALLED_APPS += ["people"]
AUTH_USER_MODEL = "people.Person"
"""
ADMIN = """
from django.contrib import admin
from .models import Person

class PersonAdmin(admin.ModelAdmin):
    search_fields = ["email"]

admin.site.register(Person, PersonAdmin)
"""


def people(more: str) -> dict[str, str]:
    return {
        "people/models.py": dedent(MODEL).replace("    {more}\n", more),
        "people/admin.py": ADMIN,
        "people/migrations/__init__.py": "",
    }


@pytest.fixture
def shop(host: Callable[..., Host]) -> Callable[[str], Host]:
    def make(more: str) -> Host:
        made = host(settings=SETTINGS, files=people(more))
        done = made.manage("makemigrations", "people")
        assert done.returncode == 0, done.stderr
        return made

    return make


def test_users_with_another_name_use_pages_and_the_admin(shop: Callable[[str], Host]) -> None:
    told = shop(STAFF).run("""
        from io import StringIO
        from broadcast.management.commands.start import Command
        from broadcast import Position
        from broadcast.models import Subscription
        from broadcast.rooms.ice import ice_servers
        from django.utils import timezone

        out = StringIO()
        Command(stdout=out).set_up()
        Command(stdout=out).set_up()
        tell(made=out.getvalue().count("Made the user 'admin@localhost'"))
        boss = User.objects.get()
        ann = User.objects.create(email="ann@example.org")
        mine = Stream.objects.create(slug="mine", title="Mine", owner=ann, visibility="private")
        Room.objects.create(room_id="mine", title="Mine", owner=ann)
        begin = {"mine": Position("e", 1)}
        Subscription.objects.subscribe("d" * 64, begin, timezone.now(), user=ann)
        tell(live=Subscription.objects.live(timezone.now()).count())

        client = Client()
        client.force_login(ann)
        room = client.get("/live/rooms/abc/")
        tell(room=room.status_code, address="ann@" in room.text, name='value="ann"' in room.text)
        tell(owner=client.get("/live/streams/mine/studio/").status_code)
        client.force_login(boss)
        tell(boss=client.get("/live/streams/mine/").status_code)
        for name in ("stream", "room", "subscription"):
            found = client.get(f"/admin/broadcast/{name}/?q=ann@")
            tell(**{f"found_{name}": [found.status_code, found.context["cl"].result_count]})
        tell(form=client.get(f"/admin/broadcast/stream/{mine.pk}/change/").status_code)
        client.force_login(User.objects.create(email="eve@example.org"))
        tell(stranger=client.get("/live/streams/mine/").status_code)
    """)
    assert told == {
        **{"made": 1, "live": 1},
        **{"room": 200, "address": False, "name": True},
        **{"owner": 200, "boss": 200, "stranger": 403, "form": 200},
        **{"found_stream": [200, 1], "found_room": [200, 1], "found_subscription": [200, 1]},
    }


def test_users_that_have_nothing_but_a_name_are_asked_for_nothing_else(
    shop: Callable[[str], Host],
) -> None:
    told = shop("").run("""
        ann, eve = (User.objects.create(email=f"{name}@example.org") for name in ("ann", "eve"))
        stream = Stream.objects.create(slug="mine", visibility="private")
        stream.may_listen_users.add(ann)
        room = Room.objects.create(room_id="mine", visibility="private")
        room.may_enter_users.add(ann)
        for name, user in (("ann", ann), ("eve", eve)):
            client = Client()
            client.force_login(user)
            paths = ("", "streams/mine/", "rooms/", "rooms/mine/", "metrics")
            tell(**{name: [client.get(f"/live/{path}").status_code for path in paths]})
    """)
    assert told == {"ann": [200, 200, 200, 200, 403], "eve": [200, 403, 200, 403, 403]}
