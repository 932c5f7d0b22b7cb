"""Calling a Django view for a page, through its socket.

The view is called through the whole middleware, as the browser would call it by HTTP: with the
headers of the socket's handshake, so with its cookies, and with the session and user that these
are for now. Nothing of a header can be said by the page. Only pages may call whose `Origin` Django
trusts with a form, this site or `CSRF_TRUSTED_ORIGINS`: so no CSRF token is needed, and no other
site's page reads what a browser would keep from it.
"""

import json
import re
from collections.abc import Mapping
from io import BytesIO
from typing import Any
from urllib.parse import quote, unquote, urlencode

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIHandler, ASGIRequest, get_script_prefix
from django.core.signals import request_started
from django.http.response import HttpResponseBase
from django.urls import set_script_prefix

from ..access.origins import is_own
from ..conf import conf
from ..exceptions import BadRequest, Forbidden, TooLarge
from ..http.threads import own_turn
from .subscriptions import PageSocket

#: Methods a page may use; those whose `input` is the query, and not a form.
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
IN_QUERY = ("GET", "HEAD", "OPTIONS")
#: Headers of a handshake that say something of it alone.
OF_HANDSHAKE = re.compile(
    rb"sec-websocket-.*|connection|upgrade|content-.*|transfer-encoding|te|accept-encoding"
)
FORM = b"application/x-www-form-urlencoded"
#: What no script may read of an answer.
KEPT_BACK = {"set-cookie"}


class PageCall:
    """What a page asks for: `method`, `uri` (a path, perhaps with a query) and `input`.

    BadRequest: it makes no sense.
    """

    def __init__(self, message: Mapping[str, Any]) -> None:
        self.method = message.get("method", "GET")
        if not isinstance(self.method, str) or self.method.upper() not in METHODS:
            raise BadRequest(f"method is one of {', '.join(METHODS)}")
        self.method = self.method.upper()
        self.path, self.query = split(message.get("uri"))
        input = message.get("input")
        fields = encode({} if input is None else input)
        self.body = b""
        if self.method in IN_QUERY:
            self.query = "&".join(filter(None, (self.query, fields)))
        else:
            self.body = fields.encode()

    def scope(self, socket: Mapping[str, Any]) -> dict[str, Any]:
        """The scope of an HTTP request from where the socket is; `socket`: `caller` of its scope"""
        headers = list(socket["headers"])
        if self.method not in IN_QUERY:
            headers += [
                (b"content-type", FORM),
                (b"content-length", str(len(self.body)).encode()),
            ]
        return {
            **socket,
            "type": "http",
            "method": self.method,
            "path": unquote(self.path),
            "raw_path": self.path.encode(),
            "query_string": self.query.encode(),
            "headers": headers,
        }


def split(uri: Any) -> tuple[str, str]:
    """Path and query of `uri`, encoded as a browser would."""
    if not isinstance(uri, str) or not uri.startswith("/") or re.search(r"[\x00-\x20\x7f\\]", uri):
        raise BadRequest("uri is a path on this site, perhaps with a query")
    path, _, query = uri.partition("#")[0].partition("?")
    try:
        return quote(path, safe="/%:@!$&'()*+,;=~"), quote(query, safe="/%:@!$&'()*+,;=~?")
    except UnicodeEncodeError:
        raise BadRequest("uri is not valid Unicode") from None


def encode(fields: Any) -> str:
    """An object as a form: lists as several values, other values as JSON has them."""
    if not isinstance(fields, dict):
        raise BadRequest("input is an object")
    try:
        pairs = [
            (name, value if isinstance(value, str) else json.dumps(value, allow_nan=False))
            for name, values in fields.items()
            for value in (values if isinstance(values, list) else [values])
            if value is not None
        ]
        return urlencode(pairs)
    except UnicodeEncodeError:
        raise BadRequest("input is not valid Unicode") from None
    except RecursionError:
        raise BadRequest("input is nested too deeply") from None
    except ValueError as error:
        raise BadRequest(f"input is not JSON: {error}") from None


def caller(scope: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a handshake for the calls that its page makes."""
    return {
        "http_version": "1.1",
        "scheme": "https" if scope.get("scheme") in ("wss", "https") else "http",
        "root_path": scope.get("root_path", ""),
        "client": scope.get("client"),
        "server": scope.get("server"),
        "headers": [pair for pair in scope["headers"] if not OF_HANDSHAKE.fullmatch(pair[0])],
    }


class RouteHandler(ASGIHandler):
    """Django's handler, for requests that came through a socket."""

    async def call(
        self, call: PageCall, socket: Mapping[str, Any], connection_id: str, is_open: bool
    ) -> dict[str, Any]:
        """The answer of the view: its `status`, `headers` and `body`, a list of strings.

        `socket`: see `caller`. `connection_id`: of the page that calls; `is_open`: its socket
        hears what it is subscribed to.

        Forbidden: no page may call this. TooLarge: the answer is.
        """
        if not call.path.startswith(tuple(conf.PAGE_PATHS)):
            raise Forbidden("no page may call this")
        scope = call.scope(socket)
        async with own_turn():
            set_script_prefix(get_script_prefix(scope))
            await request_started.asend(sender=type(self), scope=scope)
            request: Any = ASGIRequest(scope, BytesIO(call.body))
            request._dont_enforce_csrf_checks = True
            request.socket = PageSocket(request, connection_id, is_open)
            response = await self.get_response_async(request)
            try:
                return await envelope(response)
            finally:
                await sync_to_async(response.close, thread_sensitive=True)()


def is_trusted(socket: Mapping[str, Any]) -> bool:
    """Whether the page that opened the socket may send forms."""
    return is_own(socket, trusts=False)


async def envelope(response: HttpResponseBase) -> dict[str, Any]:
    body = bytearray()
    async for part in parts(response):
        body += part
        if len(body) > conf.PAGE_ANSWER_BYTES:
            raise TooLarge(f"the answer has more than {conf.PAGE_ANSWER_BYTES} bytes")
    headers = {name: value for name, value in response.items() if name.lower() not in KEPT_BACK}
    text = body.decode(response.charset, "replace")
    return {"status": response.status_code, "headers": headers, "body": [text]}


async def parts(response: Any) -> Any:
    """The parts of a body, of whatever kind the response is."""
    if not response.streaming:
        yield response.content
    else:
        # Django adapts an iterator of the other kind, with a warning.
        async for part in response:
            yield part
