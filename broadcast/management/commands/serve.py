"""`manage.py serve`: the production server."""

import asyncio
import socket
import sys
from argparse import SUPPRESS, ArgumentParser
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
from broadcast.management.server_command import ServerCommand
from broadcast.models import Recording
from broadcast.server import workers
from broadcast.server.applications import name_application
from broadcast.server.listening import listen
from broadcast.server.server import Server


class Command(ServerCommand):
    help = (
        "Serve pages, sockets and MessagePack-RPC. SIGTERM drains: everybody is told, "
        "sockets are closed with 4200 over some seconds, then it exits; a second one exits at once."
    )

    # `handle` checks once; a parent's workers need not say the same again.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address to listen at (127.0.0.1)")
        parser.add_argument("--port", type=int, default=8000, help="port to listen at (8000)")
        parser.add_argument(
            "--workers",
            type=int,
            default=1,
            metavar="N",
            help="processes that serve (1). More need REDIS_URL; SIGHUP replaces them in turn",
        )
        # How a parent starts its workers: the descriptors they inherit.
        parser.add_argument("--inherited", type=int, nargs=2, help=SUPPRESS)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["inherited"]:
            workers.work(self.application(), *options["inherited"])
            return
        self.check(display_num_errors=False)
        self.check_workers(options["workers"])
        self.migrate()
        self.check_backend()
        self.set_up()
        self.end_lost_recordings()
        # Users write IPv6 addresses with brackets, as in a URL; sockets take them without.
        host = options["host"].strip("[]")
        if options["workers"] == 1:
            self.serve(host, options["port"])
        else:
            self.serve_with_workers(host, options["port"], options["workers"])

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

    def serve(self, host: str, port: int) -> None:
        server: Server = Server(
            self.application(),
            listening=[self.listen(host, port)],
            ready_callable=lambda: self.announce(host, port, server.has_rpc),
        )
        server.run()

    def listen(self, host: str, port: int) -> socket.socket:
        try:
            return listen(host, port)
        except (OSError, OverflowError):
            where = address(host, port)
            raise CommandError(f"cannot listen at {where}: is another server there?") from None

    def serve_with_workers(self, host: str, port: int, number: int) -> None:
        listening = self.listen(host, port)
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
                lambda: self.announce(host, port, is_ours(conf.RPC_HOST, conf.RPC_PORT)),
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

    def announce(self, host: str, port: int, has_rpc: bool) -> None:
        where = address(conf.RPC_HOST, conf.RPC_PORT)
        rpc = f"MessagePack-RPC at {where}" if has_rpc else "no MessagePack-RPC"
        self.stdout.write(
            f"Broadcast is at http://{address(host, port)}/ ({rpc}). Stop with Control-C."
        )
        # Into a pipe it would come with the end of the process.
        self.stdout.flush()


def is_ours(host: str, port: int) -> bool:
    """Whether a server of this installation answers MessagePack-RPC there."""
    try:
        return remote.owner_of(host, port) == get_prefix()
    except Unavailable:
        return False


def address(host: str, port: int) -> str:
    """Host and port as a URL has them."""
    host = host.strip("[]")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
