"""`runserver`, on our server."""

from typing import Any

from daphne.management.commands.runserver import Command as DaphneRunserver

from broadcast.server import Server


class Command(DaphneRunserver):  # type: ignore[misc]
    server_cls = Server

    def log_action(self, protocol: str, action: str, details: dict[str, Any]) -> None:
        """Say who asked for what, but not with which query: that may have a token in it."""
        path, _, _ = details["path"].partition("?")
        super().log_action(protocol, action, {**details, "path": path})
