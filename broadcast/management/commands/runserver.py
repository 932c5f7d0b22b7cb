"""`runserver`, on our server."""

from daphne.management.commands.runserver import Command as DaphneRunserver

from broadcast.server import Server


class Command(DaphneRunserver):  # type: ignore[misc]
    server_cls = Server
