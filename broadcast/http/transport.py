"""The extension by which our own server lets an application end or cut off a request."""

from typing import Any, Protocol

#: The name among the scope's extensions of what offers it: a `RequestTransport`.
EXTENSION = "broadcast.request"


class RequestTransport(Protocol):
    """The extension: `server.request.HTTPRequest` implements it."""

    def on_drain(self, callback: Any) -> None:
        """Call it when the server goes down: this request would never end by itself."""

    def abort(self) -> None:
        """Cut the connection, whatever is still to be written."""
