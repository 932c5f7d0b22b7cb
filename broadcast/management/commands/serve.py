"""`manage.py serve`: the production server."""

import asyncio
import socket
import sys
from argparse import SUPPRESS, ArgumentParser
from collections.abc import Sequence
from contextlib import suppress
from tempfile import TemporaryDirectory
from typing import Any

from daphne.management.commands.runserver import get_default_application
from django.core.exceptions import ImproperlyConfigured
from django.core.files.storage import InvalidStorageError
from django.core.management.base import CommandError
from django.db import DatabaseError, connections

from broadcast.backends import remote
from broadcast.checks import reason_for_one_process
from broadcast.conf import conf
from broadcast.exceptions import Unavailable
from broadcast.installation import get_prefix
from broadcast.management import addresses
from broadcast.management.addresses import Addresses
from broadcast.management.server_command import ServerCommand
from broadcast.models import Recording
from broadcast.server import workers
from broadcast.server.applications import name_application
from broadcast.server.binding import TCPAddress
from broadcast.server.server import Server


class Command(ServerCommand):
    help = (
        "Serve pages, sockets and MessagePack-RPC. SIGTERM drains: everybody is told, "
        "sockets are closed with 4200 over some seconds, then it exits; a second one exits at once."
    )

    # `handle` checks once; a parent's workers need not say the same again.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        addresses.add_arguments(parser)
        parser.add_argument(
            "--workers",
            type=int,
            default=1,
            metavar="N",
            help="processes that serve (1). More need REDIS_URL; SIGHUP replaces them in turn",
        )
        # How a parent starts its workers: the descriptors they inherit, that of the link first.
        parser.add_argument("--inherited", type=int, nargs="+", help=SUPPRESS)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["inherited"]:
            link, *listening = options["inherited"]
            workers.work(self.application(), listening, link)
            return
        asked = Addresses(options)
        self.check(display_num_errors=False)
        self.check_workers(options["workers"])
        self.migrate()
        self.check_backend()
        self.set_up()
        self.end_lost_recordings()
        if asked.has_unused:
            self.stderr.write("The sockets of systemd are not used: an address was given, too.")
        with asked.opened() as listening:
            if options["workers"] == 1:
                self.serve(listening)
            else:
                self.serve_with_workers(listening, options["workers"])

    def check_workers(self, number: int) -> None:
        if number < 1:
            raise CommandError("--workers is 1 or more")
        if number > 1 and (reason := reason_for_one_process()):
            raise CommandError(reason)
        if number > 1 and not getattr(self, "_called_from_command_line", False):
            raise CommandError("several workers can only be had from the command line")

    def migrate(self) -> None:
        """Leave the tables alone: a person makes them by hand. `start` makes them."""

    def set_up(self) -> None:
        """Prepare to serve: nothing here. `start` has more to do."""

    def end_lost_recordings(self) -> None:
        """Those of a server that was killed. Where the database is not set up, there are none."""
        with suppress(DatabaseError, InvalidStorageError):
            if ended := Recording.objects.end_lost():
                self.stdout.write(f"Ended {ended} recordings of a server that was killed.")

    def serve(self, listening: Sequence[socket.socket]) -> None:
        where = addresses.in_words(listening)
        server: Server = Server(
            self.application(),
            listening=listening,
            ready_callable=lambda: self.announce(where, server.has_rpc),
        )
        server.run()

    def serve_with_workers(self, listening: Sequence[socket.socket], number: int) -> None:
        where = addresses.in_words(listening)
        # The parent has no further use for what checks and set-up have opened.
        connections.close_all()
        # A worker is started as this was, with the same options of Python and Django.
        command = [sys.executable, *sys.orig_argv[1:], "--inherited"]
        with TemporaryDirectory(prefix="broadcast-metrics-") as counts:
            parent = workers.Parent(
                command,
                listening,
                number,
                counts,
                lambda: self.announce(where, is_ours(conf.RPC_HOST, conf.RPC_PORT)),
            )
            failure = asyncio.run(parent.run())
        if failure:
            raise CommandError(failure)

    def application(self) -> Any:
        name_application()
        try:
            return get_default_application()
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from None

    def announce(self, where: str, has_rpc: bool) -> None:
        rpc = TCPAddress(conf.RPC_HOST.strip("[]"), conf.RPC_PORT)
        beside = f"MessagePack-RPC at {rpc}" if has_rpc else "no MessagePack-RPC"
        self.stdout.write(f"Broadcast is at {where} ({beside}). Stop with Control-C.")
        # Into a pipe it would come with the end of the process.
        self.stdout.flush()


def is_ours(host: str, port: int) -> bool:
    """Whether a server of this installation answers MessagePack-RPC there."""
    try:
        return remote.owner_of(host, port) == get_prefix()
    except Unavailable:
        return False
