"""`manage.py start`: from a fresh clone to a running server, in one step."""

import secrets
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import DEFAULT_DB_ALIAS
from django.db.models import CharField, EmailField

from broadcast.models import Stream
from broadcast.models.database import written_at
from broadcast.models.users import has_field

from .serve import Command as ServeCommand


class Command(ServeCommand):
    help = (
        "Set up what is missing (database, demo streams, once an admin user, whose password is "
        "printed) and serve. Starting again changes nothing."
    )

    def set_up(self) -> None:
        self.make_streams()
        self.make_admin()

    def migrate(self) -> None:
        # Streams may be in a database of their own.
        for alias in sorted({DEFAULT_DB_ALIAS, written_at(Stream), written_at(get_user_model())}):
            call_command("migrate", database=alias, verbosity=0, interactive=False)

    def make_streams(self) -> None:
        for stream in Stream.objects.setup():
            self.stdout.write(f"Made the stream {stream.slug!r}.")

    def make_admin(self) -> None:
        users: Any = get_user_model()._default_manager
        who = {"is_superuser": True} if has_field("is_superuser") else {}
        if users.filter(**who).exists():
            return
        fields = admin_fields()
        if fields is None or not hasattr(users, "create_superuser"):
            self.stdout.write("There is no admin user: make one with manage.py createsuperuser.")
            return
        password = secrets.token_urlsafe(12)
        user = users.create_superuser(**fields, password=password)
        self.stdout.write(
            f"Made the user {user.get_username()!r} with the password {password} (shown only now)."
        )


def admin_fields() -> dict[str, str] | None:
    """The name of an admin user and all else that one must have; None: a person has to say it."""
    model = get_user_model()
    found = {
        name: value_for(model._meta.get_field(name), name == model.USERNAME_FIELD)
        for name in (model.USERNAME_FIELD, *model.REQUIRED_FIELDS)
    }
    known = {name: value for name, value in found.items() if value is not None}
    return known if len(known) == len(found) else None


def value_for(field: Any, is_name: bool) -> str | None:
    """What an admin user has there; None: that cannot be known."""
    if field.blank:
        return ""
    if isinstance(field, EmailField):
        return "admin@localhost"
    return "admin" if is_name and isinstance(field, CharField) else None
