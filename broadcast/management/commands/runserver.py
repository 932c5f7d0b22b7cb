"""`runserver`, on our server."""

from typing import Any

from daphne.management.commands.runserver import Command as DaphneRunserver
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler

from broadcast.http.static_files import StaticFilesHandler
from broadcast.logs import shown
from broadcast.server.applications import name_application
from broadcast.server.server import Server


class Command(DaphneRunserver):  # type: ignore[misc]
    server_cls = Server

    def handle(self, *args: Any, **options: Any) -> None:
        name_application()
        super().handle(*args, **options)

    def get_application(self, options: dict[str, Any]) -> Any:
        """Daphne's application; where that serves static files itself, ours are for all sites."""
        application = super().get_application(options)
        if isinstance(application, ASGIStaticFilesHandler):
            return StaticFilesHandler(application.application)
        return application

    def log_action(self, protocol: str, action: str, details: dict[str, Any]) -> None:
        """Say who asked for what, but not with which query: that may have a token in it."""
        path, _, _ = details["path"].partition("?")
        words = {"path": shown(path), "method": shown(details.get("method", ""))}
        super().log_action(protocol, action, {**details, **words})
