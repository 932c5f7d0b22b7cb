"""The pages: the list of streams, a stream to watch, to embed, its studio."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from asgiref.sync import async_to_sync
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.templatetags.static import static
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.clickjacking import xframe_options_exempt

from ..access import rules
from ..access.visitors import user_of
from ..backends import Presence, get_backend
from ..conf import conf
from ..exceptions import BroadcastError, Forbidden
from ..http.decorators import page, personal, without_transaction
from ..http.links import refuse, token_of, with_secret
from ..http.policy import content_security_policy, protect
from ..http.words import words_of
from ..models import Stream, socket_path
from ..models.rows import find_open
from ..models.users import is_staff
from ..tokens import Grant

#: Recordings on the page of a stream, the newest ones.
RECORDINGS = 20


@page
@personal
def stream_list(
    request: HttpRequest,
    template_name: str = "broadcast/stream_list.html",
    extra_context: Mapping[str, Any] | None = None,
) -> HttpResponse:
    """The list; a project may have it in a template that extends ours, with more in its context."""
    user = user_of(request)
    streams = list(Stream.objects.listed_for(user).filter(closed_at=None))
    presences = presences_of(stream.slug for stream in streams)
    rows = [
        {
            "slug": stream.slug,
            "title": stream.title,
            "description": stream.description,
            "live": presences[stream.slug].live,
            "listeners": presences[stream.slug].listeners,
            "may_publish": stream.may_publish(user),
            "get_absolute_url": stream.get_absolute_url(),
        }
        for stream in streams
    ]
    rows.sort(key=lambda row: not row["live"])
    context = {"streams": rows, "is_staff": is_staff(user), **(extra_context or {})}
    return render(request, template_name, context)


@page
@personal
def stream_watch(request: HttpRequest, slug: str) -> HttpResponseBase:
    stream = get_object_or_404(Stream, slug=slug)
    try:
        async_to_sync(rules.check_request)(stream, Grant.LISTEN, request)
    except Forbidden as error:
        return refuse(request, error)
    presence = presences_of([slug])[slug]
    context = {
        "stream": stream,
        "live": presence.live,
        "listeners": presence.listeners,
        "may_publish": stream.may_publish(user_of(request)),
        "embed_url": request.build_absolute_uri(reverse("broadcast:stream_embed", args=[slug])),
        "element_url": request.build_absolute_uri(static("broadcast/element.js")),
        "listener_url": request.build_absolute_uri(stream.listener_path),
        "token": token_of(request),
        "recordings": stream.recordings.ended()[:RECORDINGS],
    }
    return with_secret(render(request, "broadcast/stream_watch.html", context), request)


@xframe_options_exempt
@never_cache
@without_transaction
async def stream_embed(request: HttpRequest, slug: str) -> HttpResponse:
    """The bare listener, for an iframe on the sites that `BROADCAST_EMBED_ANCESTORS` names.

    Its errors are framed, too. Nothing in it does anything but hear: a site that frames a page can
    make people press what they do not see. And what it leads to is not told its address, which
    may have a token in it.
    """
    said: dict[str, object] = {
        name: request.GET.get(name) for name in ("theme", "history", "token")
    }
    status = 200
    try:
        said["stream"] = await stream_to_embed(request, slug)
    except BroadcastError as error:
        said["error"], said["said"], status = error, words_of(error), error.http_status
    response = render(request, "broadcast/stream_embed.html", said, status=status)
    policy = content_security_policy(frame_ancestors=conf.EMBED_ANCESTORS)
    response.headers["Content-Security-Policy"] = policy
    response.headers["Referrer-Policy"] = "no-referrer"
    return protect(response)


async def stream_to_embed(request: HttpRequest, slug: str) -> Stream:
    """The stream, if this request may hear it. BroadcastError: why not."""
    stream = await find_open(slug)
    await rules.check_request(stream, Grant.LISTEN, request)
    return stream


@page
@personal
def stream_studio(request: HttpRequest, slug: str) -> HttpResponseBase:
    stream = get_object_or_404(Stream, slug=slug)
    try:
        async_to_sync(rules.check_request)(stream, Grant.PUBLISH, request)
    except Forbidden as error:
        return refuse(request, error)
    context = {
        "stream": stream,
        "streamer_path": socket_path("streamer", slug),
        "token": token_of(request),
    }
    return with_secret(render(request, "broadcast/stream_studio.html", context), request)


def presences_of(slugs: Iterable[str]) -> defaultdict[str, Presence]:
    """Who is at the streams; nobody, where that is not known now: the page goes on asking."""
    found = async_to_sync(get_backend().presence)(slugs)
    return defaultdict(lambda: Presence("", 0, 0), found)
