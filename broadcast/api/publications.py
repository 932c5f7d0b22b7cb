"""Publications over HTTP: a POST publishes one, a GET answers history."""

import base64
import codecs
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.middleware.csrf import CsrfViewMiddleware

from ..access import limits, rules
from ..access.addresses import address_of
from ..access.origins import is_allowed
from ..access.visitors import Visitor
from ..backends import get_backend
from ..conf import conf
from ..exceptions import BadRequest, Forbidden, TooLarge, Unavailable
from ..http.answers import Refusal, resource
from ..hub.publishing import apublish_draft
from ..hub.starts import Wish, find_start, number
from ..models import Stream
from ..models.rows import find_open
from ..publications import Draft, Kind, Mark, Publication, decode_json, encode_json
from ..tokens import Grant

#: The encodings of text that are taken, by Python's names: no slow or strange ones.
CHARSETS = {
    *("ascii", "utf-8", "utf-16", "utf-16-be", "utf-16-le"),
    *("iso8859-1", "iso8859-15", "cp1252"),
}
#: Longest idempotency key, in characters.
MOST_KEY = 200

# -- POST ----------------------------------------------------------------------------------------


async def publish(request: HttpRequest, slug: str) -> JsonResponse:
    stream = await find_open(slug)
    await check_publisher(stream, request)
    key = idempotency_key(request)
    draft = read_draft(request, stream.max_frame)
    limits.check_publication(address_of(getattr(request, "scope", {})), slug, len(draft.payload))
    position = await apublish_draft(stream, draft, key)
    return JsonResponse({"epoch": position.epoch, "offset": position.offset}, status=201)


async def check_publisher(stream: Stream, request: HttpRequest) -> None:
    """Whether this client may publish, and is no page of another site in its browser.

    A token that is valid cannot be forged, so nothing more is asked of it. A client that is known
    by anything else, such as a session, must bring Django's CSRF token. Where anybody may publish,
    a page of another site may not have its visitors do so.
    """
    visitor = await Visitor.of_request(request)
    if visitor.token:
        # rules.check says what is wrong with it, if they may not without.
        with suppress(Forbidden):
            return stream.check_token(visitor.token, Grant.PUBLISH, time.time())
    await rules.check(stream, Grant.PUBLISH, visitor)
    origin = request.headers.get("Origin")
    if origin is not None and not is_allowed(origin):
        raise Forbidden("pages of other sites may not publish here")
    if visitor.key or (visitor.user and visitor.user.is_authenticated):
        await sync_to_async(check_csrf)(request)


class CsrfCheck(CsrfViewMiddleware):
    """Django's check, which answers the reason in place of a page."""

    def _reject(self, request: HttpRequest, reason: str) -> Any:
        return reason


def check_csrf(request: HttpRequest) -> None:
    """Forbidden: a session without its CSRF token in the header `X-CSRFToken`."""
    # It looks for the token in a form, too: there is none, and the body is not for it to read.
    request._read_started = True  # type: ignore[attr-defined]
    check = CsrfCheck(lambda request: HttpResponse())
    check.process_request(request)
    reason = check.process_view(request, None, (), {})  # type: ignore[arg-type]
    if reason:
        raise Forbidden(f"a session needs its CSRF token here: {reason}")


def idempotency_key(request: HttpRequest) -> str:
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return ""
    if not re.fullmatch(f"[!-~]{{1,{MOST_KEY}}}", key):
        raise BadRequest(f"an Idempotency-Key has 1 to {MOST_KEY} visible characters of ASCII")
    return key


def read_draft(request: HttpRequest, most: int) -> Draft:
    """The publication of the body, by its `Content-Type`."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Refusal(415, "a publication is taken as it is, without Content-Encoding")
    # Not `request.body`, which has a limit of its own, for forms.
    body: bytes = request.read(most + 1)
    if len(body) > most:
        raise TooLarge(f"a publication has at most {most} bytes here")
    content_type = request.content_type or ""
    if content_type == "application/json":
        return Draft(Kind.JSON, encode_json(decode_json(decode(request, body))))
    if content_type.startswith("text/"):
        return Draft.of(decode(request, body))
    return Draft(Kind.BINARY, body)


def decode(request: HttpRequest, body: bytes) -> str:
    charset = (request.content_params or {}).get("charset", "utf-8")
    try:
        name = codecs.lookup(charset).name
    except (LookupError, ValueError):
        name = ""
    if name not in CHARSETS:
        raise Refusal(415, "this charset is not taken; UTF-8 is")
    try:
        return body.decode(name)
    except UnicodeDecodeError:
        raise BadRequest(f"the text is not valid {name}") from None


# -- GET -----------------------------------------------------------------------------------------


async def read_history(request: HttpRequest, slug: str) -> HttpResponse | StreamingHttpResponse:
    """History from a position on, at most so much. An answer that is larger than `SLICE_BYTES` is
    read and sent in slices, so that slow clients hold little; it ends where history was cut off
    meanwhile, and `offset` tells that there is more."""
    query = query_of(request)
    stream = await find_open(slug)
    await rules.check_request(stream, Grant.LISTEN, request)
    limit = number(query, "limit") if "limit" in query else conf.HISTORY_LIMIT
    if not limit:
        raise BadRequest("limit is 1 or more")
    query["history"] = str(limit)
    wish = Wish.of(query)
    backend = get_backend()
    state = await backend.state(slug)
    start = find_start(wish, state)
    size = conf.HISTORY_ANSWER_BYTES
    slice_bytes = min(size, conf.SLICE_BYTES)
    epoch, found = await backend.read(slug, start.cursor, wish.history, slice_bytes)
    if epoch != state.epoch:
        # Another life of it began just now: nothing asked for is left, and nothing was given.
        return await read_history(request, slug)
    newest = max(state.offset, found[-1].offset if found else 0)
    first = found[0].offset if found else newest + 1
    since = wish.since if wish.epoch else 0
    asked_for = start.recovered or not wish.epoch
    answer = {
        "stream": slug,
        "epoch": epoch,
        "offset": newest,
        "complete": asked_for and first == since + 1,
    }
    header = as_json(start.opening) if start.opening else b"null"
    opening = json.dumps(answer, separators=(",", ":"))[:-1].encode()
    body = b'%b,"header":%b,"publications":[%b' % (opening, header, as_array(found))
    more = slices(slug, epoch, newest, found, wish.history, size)
    is_all = not found or len(found) == wish.history or found[-1].offset == newest
    if is_all or slice_bytes == size:
        return HttpResponse(body + b"]}", content_type="application/json")
    return StreamingHttpResponse(in_slices(body, more), content_type="application/json")


async def in_slices(body: bytes, more: AsyncIterator[list[Publication]]) -> AsyncIterator[bytes]:
    yield body
    async for found in more:
        yield b",%b" % as_array(found)
    yield b"]}"


async def slices(
    slug: str, epoch: str, newest: int, found: list[Publication], count: int, size: int
) -> AsyncIterator[list[Publication]]:
    """The publications that follow `found` without a gap, up to the offset `newest`.

    With `found` there are at most `count` publications, with `size` bytes of payload.
    """
    while True:
        count -= len(found)
        size -= sum(len(publication.payload) for publication in found)
        last = found[-1].offset
        if count <= 0 or size <= 0 or last >= newest:
            return
        try:
            now, found = await get_backend().read(slug, last, count, min(size, conf.SLICE_BYTES))
        except Unavailable:
            return
        if now != epoch or not found or found[0].offset != last + 1:
            return
        if len(found[0].payload) > size:
            return
        yield found


def query_of(request: HttpRequest) -> dict[str, str]:
    """BadRequest: it says something twice."""
    if any(len(values) > 1 for _, values in request.GET.lists()):
        raise BadRequest("the query says something twice")
    return {name: str(value) for name, value in request.GET.items()}


def as_array(found: list[Publication]) -> bytes:
    return b",".join([as_json(publication) for publication in found])


def as_json(publication: Publication) -> bytes:
    """A publication as JSON: binary in Base64, JSON as it was published."""
    fields: dict[str, Any] = {
        "offset": publication.offset,
        "time": round(publication.time, 3),
        "type": Kind(publication.kind).name.lower(),
    }
    if publication.marks:
        fields["marks"] = [str(mark.name).lower() for mark in Mark(publication.marks)]
    if publication.kind == Kind.JSON:
        data = publication.payload
    elif publication.kind == Kind.BINARY:
        data = b'"%b"' % base64.b64encode(publication.payload)
    else:
        data = json.dumps(publication.payload.decode(), ensure_ascii=False).encode()
    return b'%b,"data":%b}' % (json.dumps(fields, separators=(",", ":"))[:-1].encode(), data)


publication_list = resource(GET=read_history, POST=publish)
#: The most bytes of a body that are read at all.
publication_list.max_body = lambda: max(conf.MAX_FRAME, conf.MAX_MEDIA_FRAME)  # type: ignore[attr-defined]
