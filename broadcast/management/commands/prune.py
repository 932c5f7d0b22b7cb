"""`manage.py prune`: drop what has expired."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from asgiref.sync import async_to_sync
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command, get_commands
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from broadcast.backends import get_backend
from broadcast.exceptions import Unavailable
from broadcast.models import Recording, Subscription
from broadcast.pages.subscriptions import topic_of

#: How long ago a recording began that is given up: its end may take a while at a slow storage.
GONE = timedelta(days=1)


class Command(BaseCommand):
    help = (
        "Drop expired sessions and subscriptions of pages, and publications that are older than "
        "their stream's limits, and end recordings whose server was killed, or whose machine went "
        "away. A server drops what has expired by itself, a little at a time."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        if "clearsessions" in get_commands():
            call_command("clearsessions")
        pages = Subscription.objects.prune(timezone.now())
        if ended := Recording.objects.end_lost():
            self.stdout.write(f"Ended {ended} recordings of servers that were killed.")
        backend = get_backend()
        if backend.shared:
            try:
                if lost := self.give_up():
                    self.stdout.write(f"Gave up {lost} recordings of machines that went away.")
                dropped = async_to_sync(self.prune)(pages)
            except (Unavailable, ImproperlyConfigured, OSError) as error:
                raise CommandError(str(error)) from None
            self.stdout.write(f"Dropped {dropped} publications.")
        else:
            self.stdout.write(
                "Dropped expired sessions and subscriptions; history is in the server's memory."
            )

    def give_up(self) -> int:
        """Give up what nobody writes any more: its stream is idle, and it began a day ago."""
        running = Recording.objects.filter(state=Recording.State.RUNNING)
        slugs = set(running.values_list("stream__slug", flat=True))
        presences = async_to_sync(get_backend().presence)(slugs)
        # A silent part of the engine cannot be asked.
        live = {slug for slug in slugs if slug not in presences or presences[slug].live}
        return Recording.objects.give_up(timezone.now() - GONE, live)

    async def prune(self, pages: Iterable[str]) -> int:
        for digest in pages:
            await get_backend().forget(topic_of(digest))
        return await get_backend().prune()
