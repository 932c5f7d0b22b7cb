"""The HTTP API: what programs read. JSON, in errors too."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from . import access, metrics
from .backends import Presence, get_backend
from .exceptions import BroadcastError, NoSuchStream, Unavailable
from .models import Stream
from .tokens import Deed

View = Callable[..., Coroutine[Any, Any, HttpResponse]]


def reading(view: View) -> View:
    """A view for GET and HEAD; any other method is told so, in JSON."""

    @wraps(view)
    async def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.method in ("GET", "HEAD"):
            try:
                return await view(request, *args, **kwargs)
            except BroadcastError as error:
                metrics.note_refusal("http", type(error))
                said, headers = {"error": str(error)}, error.http_headers
                return JsonResponse(said, status=error.http_status, headers=headers)
        said = {"error": f"{request.method} is not allowed here"}
        return JsonResponse(said, status=405, headers={"Allow": "GET, HEAD"})

    exempt: View = csrf_exempt(wrapper)
    return exempt


def describe(stream: Stream, presence: Presence, position: tuple[str, int]) -> dict[str, Any]:
    """What the API says of a stream."""
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


@reading
async def stream_list(request: HttpRequest) -> JsonResponse:
    user = await request.auser()
    rows = Stream.objects.listed_for(user).filter(closed_at=None)
    streams = [stream async for stream in rows]
    return JsonResponse({"streams": await _describe_all(streams)})


@reading
async def stream_detail(request: HttpRequest, slug: str) -> JsonResponse:
    stream = await Stream.objects.filter(slug=slug).afirst()
    if stream is None:
        raise NoSuchStream("there is no such stream")
    await access.check_request(stream, Deed.LISTEN, request)
    return JsonResponse((await _describe_all([stream]))[0])


@csrf_exempt
async def nowhere(request: HttpRequest, path: str) -> JsonResponse:
    """Any other path of the API."""
    return JsonResponse({"error": "there is nothing here"}, status=404)
