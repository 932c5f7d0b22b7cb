"""`manage.py start`: from a fresh clone to a running server, in one step."""

import secrets

from django.contrib.auth import get_user_model
from django.core.management import call_command

from broadcast.models import Stream

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
        call_command("migrate", verbosity=0, interactive=False)

    def make_streams(self) -> None:
        for stream in Stream.objects.setup():
            self.stdout.write(f"Made the stream {stream.slug!r}.")

    def make_admin(self) -> None:
        users = get_user_model()._default_manager
        if users.filter(is_superuser=True).exists():
            return
        password = secrets.token_urlsafe(12)
        users.create_superuser(username="admin", email="", password=password)
        self.stdout.write(f"Made the user 'admin' with the password {password} (shown only now).")
