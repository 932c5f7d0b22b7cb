"""`manage.py serve`: the production server."""

from argparse import ArgumentParser
from typing import Any

from daphne.endpoints import build_endpoint_description_strings
from daphne.management.commands.runserver import get_default_application
from django.core.management.base import BaseCommand, CommandError

from broadcast.conf import conf
from broadcast.server import Server


class Command(BaseCommand):
    help = (
        "Serve pages, sockets and MessagePack-RPC. SIGTERM drains: everybody is told, "
        "sockets are closed with 4200 over some seconds, then it exits; a second one exits at once."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address to listen at (127.0.0.1)")
        parser.add_argument("--port", type=int, default=8000, help="port to listen at (8000)")

    def handle(self, *args: Any, **options: Any) -> None:
        host, port = options["host"], options["port"]
        self.check(display_num_errors=False)
        endpoints = [
            f"{endpoint}:backlog=2048"
            for endpoint in build_endpoint_description_strings(host=host, port=port)
        ]
        server = Server(
            application=get_default_application(),
            endpoints=endpoints,
            ready_callable=lambda: self.announce(host, port),
        )
        server.run()
        if server.abort_start or not server.ports:
            raise CommandError(f"cannot listen at {host}:{port}: is another server there?")

    def announce(self, host: str, port: int) -> None:
        shown = f"[{host}]" if ":" in host else host
        self.stdout.write(
            f"Broadcast is at http://{shown}:{port}/ , MessagePack-RPC at "
            f"{conf.RPC_HOST}:{conf.RPC_PORT}. Stop with Control-C."
        )
