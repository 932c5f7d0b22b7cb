"""The pages: the list of streams, a stream to watch, its studio."""

from collections import defaultdict
from collections.abc import Iterable

from asgiref.sync import async_to_sync
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render

from .backends import Presence, get_backend
from .models import Stream


def stream_list(request: HttpRequest) -> HttpResponse:
    streams = list(Stream.objects.listed_for(request.user).filter(closed_at=None))
    presences = presences_of(stream.slug for stream in streams)
    rows = [
        {
            "slug": stream.slug,
            "title": stream.title,
            "description": stream.description,
            "live": presences[stream.slug].live,
            "listeners": presences[stream.slug].listeners,
            "may_publish": stream.may_publish(request.user),
            "get_absolute_url": stream.get_absolute_url(),
        }
        for stream in streams
    ]
    rows.sort(key=lambda row: not row["live"])
    return render(request, "broadcast/stream_list.html", {"streams": rows})


def stream_watch(request: HttpRequest, slug: str) -> HttpResponseBase:
    stream = get_object_or_404(Stream, slug=slug)
    if not stream.may_listen(request.user):
        return refuse(request)
    presence = presences_of([slug])[slug]
    context = {
        "stream": stream,
        "listener_path": f"/ws/listener/{slug}/",
        "live": presence.live,
        "listeners": presence.listeners,
        "may_publish": stream.may_publish(request.user),
    }
    return render(request, "broadcast/stream_watch.html", context)


def stream_studio(request: HttpRequest, slug: str) -> HttpResponseBase:
    stream = get_object_or_404(Stream, slug=slug)
    if not stream.may_publish(request.user):
        return refuse(request)
    context = {"stream": stream, "streamer_path": f"/ws/streamer/{slug}/"}
    return render(request, "broadcast/stream_studio.html", context)


def presences_of(slugs: Iterable[str]) -> defaultdict[str, Presence]:
    """Who is at the streams; nobody, where that is not known now: the page goes on asking."""
    found = async_to_sync(get_backend().presence)(slugs)
    return defaultdict(lambda: Presence("", 0, 0), found)


def refuse(request: HttpRequest) -> HttpResponseBase:
    """Whoever is not known may log in; whoever is, may not."""
    if request.user.is_authenticated:
        raise PermissionDenied
    return redirect_to_login(request.get_full_path())
