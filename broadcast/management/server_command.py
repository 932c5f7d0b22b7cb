"""What a command that serves looks at before it does."""

from asgiref.sync import async_to_sync
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from broadcast.backends import get_backend, serve
from broadcast.exceptions import Unavailable
from broadcast.installation import get_prefix


class ServerCommand(BaseCommand):
    """A command that serves."""

    def check_backend(self) -> None:
        """Say now what nobody who publishes or listens could do anything about."""
        serve()
        try:
            get_prefix()
            async_to_sync(get_backend().check)()
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from None
        except Unavailable as error:
            self.stderr.write(f"{error}. Until then nothing can be published or heard.")
