"""`manage.py prune`: drop what has expired."""

from typing import Any

from asgiref.sync import async_to_sync
from django.core.management import call_command
from django.core.management.base import BaseCommand

from broadcast.backends import get_backend


class Command(BaseCommand):
    help = (
        "Drop expired sessions, and publications that are older than their stream's limits. "
        "A server drops its own on the way; run this daily."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        call_command("clearsessions")
        backend = get_backend()
        if backend.shared:
            self.stdout.write(f"Dropped {async_to_sync(backend.prune)()} publications.")
        else:
            self.stdout.write("Dropped expired sessions; history is in the server's memory.")
