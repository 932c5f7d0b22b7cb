"""`manage.py streamtoken`: a token for a stream, printed."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from broadcast.conf import conf
from broadcast.models import Stream
from broadcast.tokens import Grant


class Command(BaseCommand):
    help = (
        "Print a token that lets its holder publish on a stream, or listen to it, for some "
        "time. It is given as ?token=, as Authorization: Bearer, or as the sub-protocol "
        "token.<token>."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("stream", metavar="STREAM", help="the stream's slug")
        parser.add_argument("grant", choices=[grant.value for grant in Grant])
        parser.add_argument(
            "--max-age",
            type=float,
            metavar="SECONDS",
            default=conf.TOKEN_AGE,
            help="how long it is valid (default: %(default)g)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        stream = Stream.objects.filter(slug=options["stream"]).first()
        if stream is None:
            raise CommandError(f"There is no stream {options['stream']!r}.")
        try:
            token = stream.make_token(options["grant"], options["max_age"])
        except (ValueError, OverflowError) as error:
            raise CommandError(f"--max-age: {error}") from None
        self.stdout.write(token)
