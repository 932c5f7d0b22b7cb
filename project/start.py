"""The start page: the list of streams, and first steps for a person who tries Broadcast.

The first steps are lines to copy, with the addresses of this server as the visitor reaches it, and
the stream `demo` to see it happen. `settings.FIRST_STEPS` shows them to everybody; elsewhere staff
alone find the lines, and the page publishes nothing.
"""

import os
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.templatetags.static import static
from django.urls import reverse

from broadcast.access.visitors import user_of
from broadcast.models import Stream
from broadcast.models.users import is_staff
from broadcast.streams.views import stream_list

#: The stream that `manage.py start` makes.
DEMO = "demo"


def start(request: HttpRequest) -> HttpResponse:
    return stream_list(request, "start/start.html", {"first_steps": first_steps(request)})


def first_steps(request: HttpRequest) -> dict[str, Any] | None:
    """What the first steps are rendered with; None: they are not for this visitor."""
    user = user_of(request)
    if not (settings.FIRST_STEPS or is_staff(user)):
        return None
    # The lines must do for anybody who copies them.
    heard_by_all = Stream.objects.exclude(visibility=Stream.Visibility.PRIVATE)
    demo = heard_by_all.filter(slug=DEMO, kind=Stream.Kind.MESSAGES, closed_at=None).first()
    if demo is None:
        return None
    listener = request.build_absolute_uri(demo.listener_path)
    return {
        "stream": demo,
        "is_open": settings.FIRST_STEPS,
        "may_publish": demo.may_publish(user),
        "needs_token": demo.publishing != Stream.Publishing.ANYONE,
        "python": python(),
        "publish_url": request.build_absolute_uri(
            reverse("broadcast:api_publication_list", args=[DEMO])
        ),
        "element_url": request.build_absolute_uri(static("broadcast/element.js")),
        "listener_url": listener.replace("http", "ws", 1),
    }


def python() -> str:
    """How a terminal in the folder of the project calls this server's Python.

    Nothing is told of where an environment outside of that folder is.
    """
    executable = Path(sys.executable)
    if executable.is_relative_to(settings.BASE_DIR):
        return os.fspath(executable.relative_to(settings.BASE_DIR))
    return "python"
