"""Recordings, for those who may hear their stream.

A file goes out in pieces that a thread reads, and the part that was asked for (RFC 9110, section
14): so players can jump in it. A storage that is not this machine's file system, such as one in a
cloud, is asked for its address where the stream is not private; what is private goes through here.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

from django.core.files.storage import InvalidStorageError
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.http.response import HttpResponseBase
from django.utils.cache import add_never_cache_headers
from django.views.decorators.http import require_safe

from ..access import rules
from ..access.visitors import auser_of
from ..exceptions import Forbidden
from ..http.decorators import page, personal, without_transaction
from ..http.links import refuse, with_secret
from ..http.policy import protect
from ..models import Recording, Stream
from ..models.recordings import get_storage, is_local
from ..tokens import Grant

#: Bytes that are read at a time.
PIECE = 64 * 1024


@page
@personal
@require_safe
@without_transaction
async def recording(request: HttpRequest, slug: str, pk: int) -> HttpResponseBase:
    """The file, or the part of it that `Range` names, for visitors who may hear the stream now."""
    found = await Recording.objects.select_related("stream").filter(pk=pk).afirst()
    if found is None or found.stream.slug != slug:
        raise Http404("there is no such recording")
    try:
        await rules.check_request(found.stream, Grant.LISTEN, request)
    except Forbidden as error:
        request.user = await auser_of(request)
        return refuse(request, error)
    return keep_back(await answer(request, found), request, found.stream)


async def answer(request: HttpRequest, found: Recording) -> HttpResponse | StreamingHttpResponse:
    try:
        if not is_local() and found.stream.visibility != Stream.Visibility.PRIVATE:
            return HttpResponseRedirect(await asyncio.to_thread(get_storage().url, found.name))
        file = await asyncio.to_thread(found.open)
    except (OSError, InvalidStorageError):
        raise Http404("the file is not there") from None
    return serve(request, file, found)


def serve(
    request: HttpRequest, file: Any, found: Recording
) -> HttpResponse | StreamingHttpResponse:
    size = file.size
    wanted = request.headers.get("If-Range")
    # A client that has a part of another file gets all of this one (RFC 9110, section 13.1.5).
    is_same = wanted is None or wanted.strip() == found.entity_tag
    asked = asked_range(request.headers.get("Range", "") if is_same else "", size)
    start, end = asked or (0, size)
    response: HttpResponse | StreamingHttpResponse
    if start >= end and asked:
        file.close()
        response = HttpResponse(status=416)
        response.headers["Content-Range"] = f"bytes */{size}"
        return response
    if request.method == "HEAD":
        file.close()
        response = HttpResponse()
    else:
        response = StreamingHttpResponse(pieces(file, start, end))
        # The generator ends when the garbage collector comes, if its client is gone in the middle.
        response._resource_closers.append(file.close)  # type: ignore[attr-defined]
    response.status_code = 206 if asked else 200
    response.headers["Accept-Ranges"] = "bytes"
    if found.entity_tag:
        response.headers["ETag"] = found.entity_tag
    response.headers["Content-Length"] = str(end - start)
    if asked:
        response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    response.headers["Content-Type"] = found.content_type or "application/octet-stream"
    response.headers["Content-Disposition"] = f'inline; filename="{found.file_name}"'
    return response


def asked_range(said: str, size: int) -> tuple[int, int] | None:
    """First byte, and the one after the last, of a single range; None: all of it is wanted.

    A range that begins behind the end is empty. What is no range, or several, is not looked at.
    """
    match = re.fullmatch(r"bytes=(\d{1,18})?-(\d{1,18})?", said.strip())
    if match is None or not any(match.groups()):
        return None
    first, last = match.groups()
    if first is None:
        return max(size - int(last), 0), size if int(last) else 0
    if last is not None and int(last) < int(first):
        return None
    return int(first), min(int(last) + 1, size) if last else size


async def pieces(file: Any, start: int, end: int) -> AsyncIterator[bytes]:
    try:
        await asyncio.to_thread(file.seek, start)
        while start < end and (
            piece := await asyncio.to_thread(file.read, min(PIECE, end - start))
        ):
            start += len(piece)
            yield piece
    finally:
        file.close()


def keep_back(
    response: HttpResponse | StreamingHttpResponse, request: HttpRequest, stream: Stream
) -> HttpResponseBase:
    """No cache keeps what is not for everybody, no other site is told a token, and a file that says
    of itself that it is a page runs nothing.
    """
    protect(response)
    if stream.visibility == Stream.Visibility.PRIVATE:
        add_never_cache_headers(response)
    return with_secret(response, request)
