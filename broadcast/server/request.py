"""One HTTP request of our server. What differs from Daphne's:

* *Flow control.* An application that sends a long answer waits while its client takes nothing. In
  Daphne what was sent piles up.
* *A body has a limit* (`http.application.max_body`), and a time: a larger or later one is refused
  as soon as that is known, and not kept.
* *A connection too many* asks once, and is told so (`reader`): at once, if a body is to come.
* Forms and queries are left to the application. Twisted parses them for itself, too.
* `Daphne-Root-Path`, which moves every address of the site, is believed from `BROADCAST_PROXIES`
  alone. Where Daphne cannot read it, the request is refused: it would log a traceback.
* Daphne would take up a WebSocket by its own protocol. `reader` lets no handshake come here.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import daphne.server  # noqa: F401 (first: it installs the reactor)
from daphne.http_protocol import WebRequest

from .. import metrics
from ..access.addresses import named_proxies
from ..exceptions import BroadcastError
from ..http.answers import Refusal
from ..http.application import find_view, max_body, too_large, too_slow
from .connection import LINGER_SECONDS
from .handshake import refused

#: Under which path a proxy has the site.
ROOT_PATH = b"daphne-root-path"
#: What may be in it.
VISIBLE = re.compile(rb"[\t -~]*")


class HTTPRequest(WebRequest):  # type: ignore[misc]
    # What is answered to requests that reach no application. Daphne's own page has its style
    # inline, and no policy.
    error_template = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        """<meta http-equiv="Content-Security-Policy" content="default-src 'none'">"""
        "<title>%(title)s</title></head><body><h1>%(title)s</h1><p>%(body)s</p></body></html>"
    )

    #: Bytes of its body: the most, and how many came.
    most: int | None = None
    received = 0
    refused = False
    #: How to end what would not end by itself.
    end: Callable[[], None] | None = None
    #: Whether its client takes nothing, and who waits until it does.
    is_full = False
    waiter: asyncio.Future[None] | None = None

    # -- the request ---------------------------------------------------------------------------

    def gotLength(self, length: int | None) -> None:
        super().gotLength(length)
        refusal = self.channel.counted.refusal
        if refusal:
            self.channel.persistent = False
        if refusal and length != 0:
            self._refuse(refusal)
            return
        if length == 0:
            return
        path = unquote(self.channel.target.partition(b"?")[0].decode("latin1"))
        self.most = max_body(find_view(path, self.server.root_path))
        if self.most is not None and (length or 0) > self.most:
            self._refuse(too_large(self.most))

    def is_late(self) -> None:
        """Its body did not come in time."""
        if not self.refused:
            self._refuse(too_slow())

    def handleContentChunk(self, data: bytes) -> None:
        self.received += len(data)
        if self.most is not None and self.received > self.most and not self.refused:
            self._refuse(too_large(self.most))
        if not self.refused:
            super().handleContentChunk(data)

    def _refuse(self, error: BroadcastError | Refusal) -> None:
        """Say so now; what still comes is read and dropped."""
        self.refused = True
        if isinstance(error, BroadcastError):
            metrics.note_refusal("http", type(error))
        self.content.truncate(0)
        channel = self.channel
        channel.persistent = False
        if isinstance(error, BroadcastError):
            error = Refusal(error.http_status, str(error), **error.http_headers)
        channel.transport.write(refused(error))
        channel.transport.connection.close(LINGER_SECONDS)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        # As Twisted's, which parses query and form, too.
        self.content.seek(0)
        self.method, self.uri, self.clientproto = command, path, version
        self.path = path.partition(b"?")[0]
        self.process()

    def process(self) -> Any:
        if self.refused:
            return None
        if getattr(self.client, "host", "") not in named_proxies():
            self.requestHeaders.removeHeader(ROOT_PATH)
        for value in self.requestHeaders.getRawHeaders(ROOT_PATH, ()):
            if not VISIBLE.fullmatch(value):
                return self.basic_error(400, b"Bad Request", "Invalid header value")
        return super().process()

    # -- the answer -------------------------------------------------------------------------

    def handle_reply(self, message: dict[str, Any]) -> None:
        super().handle_reply(message)
        if message["type"] == "http.response.start" and not self.producer and self.channel:
            self.registerProducer(self, True)

    async def drained(self) -> None:
        """Wait until its client takes more, or is gone."""
        while self.is_full:
            self.waiter = asyncio.get_running_loop().create_future()
            await self.waiter

    def pauseProducing(self) -> None:
        self.is_full = True

    def resumeProducing(self) -> None:
        self.is_full = False
        if self.waiter and not self.waiter.done():
            self.waiter.set_result(None)

    stopProducing = resumeProducing

    def finish(self) -> None:
        self.resumeProducing()
        if self.producer:
            self.unregisterProducer()
        super().finish()

    def connectionLost(self, reason: Any) -> None:
        self.resumeProducing()
        super().connectionLost(reason)

    # -- for applications: the extension `broadcast.request` ------------------------------------

    def on_drain(self, callback: Callable[[], None]) -> None:
        self.end = callback

    def abort(self) -> None:
        if self.channel is not None:
            self.channel.transport.abortConnection()
