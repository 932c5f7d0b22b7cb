"""`manage.py prune`: drop what has expired."""

from typing import Any

from asgiref.sync import async_to_sync
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from broadcast.backends import get_backend
from broadcast.exceptions import Unavailable


class Command(BaseCommand):
    help = (
        "Drop expired sessions, and publications that are older than their stream's limits. "
        "A server drops its own on the way; run this daily."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        call_command("clearsessions")
        backend = get_backend()
        if backend.shared:
            try:
                dropped = async_to_sync(backend.prune)()
            except (Unavailable, ImproperlyConfigured) as error:
                raise CommandError(str(error)) from None
            self.stdout.write(f"Dropped {dropped} publications.")
        else:
            self.stdout.write("Dropped expired sessions; history is in the server's memory.")
