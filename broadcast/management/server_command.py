"""Checks of a command that serves, before it does."""

from asgiref.sync import async_to_sync
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from broadcast.backends import serve
from broadcast.exceptions import Unavailable
from broadcast.installation import get_prefix
from broadcast.management.words import explain
from broadcast.monitor.faults import find_faults


class ServerCommand(BaseCommand):
    """A command that serves."""

    def check_backend(self) -> None:
        """Say now what nobody who publishes or listens could do anything about."""
        serve()
        try:
            get_prefix()
            remarks = async_to_sync(find_faults)()
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from None
        except Unavailable as error:
            said = explain(error).removesuffix(".")
            self.stderr.write(f"{said}; until that changes, nothing can be published or heard.")
        else:
            for remark in remarks:
                self.stderr.write(f"{remark}.")
