"""Streams in the HTTP API."""

import asyncio
from typing import Any

from django.http import HttpRequest, JsonResponse

from ..access import rules
from ..access.visitors import auser_of
from ..backends import Presence, get_backend
from ..exceptions import NoSuchStream, Unavailable
from ..http.answers import resource
from ..models import Stream
from ..tokens import Grant


def describe(stream: Stream, presence: Presence, position: tuple[str, int]) -> dict[str, Any]:
    """The description of a stream."""
    epoch, offset = position
    count, size, seconds = stream.limits
    return {
        "slug": stream.slug,
        "title": stream.title,
        "description": stream.description,
        "kind": stream.kind,
        "live": presence.live,
        "listeners": presence.listeners,
        "position": {"epoch": epoch, "offset": offset},
        "limits": {
            "frame": stream.max_frame,
            "history": {"count": count, "bytes": size, "seconds": seconds},
        },
        "url": stream.get_absolute_url(),
    }


async def _describe_all(streams: list[Stream]) -> list[dict[str, Any]]:
    slugs = [stream.slug for stream in streams]
    backend = get_backend()
    presences, positions = await asyncio.gather(backend.presence(slugs), backend.positions(slugs))
    if len(presences) < len(slugs) or len(positions) < len(slugs):
        raise Unavailable("where the streams stand is not known now")
    return [describe(stream, presences[stream.slug], positions[stream.slug]) for stream in streams]


async def list_streams(request: HttpRequest) -> JsonResponse:
    user = await auser_of(request)
    rows = Stream.objects.listed_for(user).filter(closed_at=None)
    streams = [stream async for stream in rows]
    return JsonResponse({"streams": await _describe_all(streams)})


async def describe_stream(request: HttpRequest, slug: str) -> JsonResponse:
    stream = await Stream.objects.filter(slug=slug).afirst()
    if stream is None:
        raise NoSuchStream("there is no such stream")
    await rules.check_request(stream, Grant.LISTEN, request)
    return JsonResponse((await _describe_all([stream]))[0])


stream_list = resource(GET=list_streams)
stream_detail = resource(GET=describe_stream)
