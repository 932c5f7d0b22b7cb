"""The pages of rooms: where one is chosen or made, and the call."""

import json
import secrets
import string
import time

from django import forms
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from .ice import ice_servers

#: Code points that the protocol allows in a room's id.
MAX_ROOM_ID = 50


class RoomIdConverter:
    """A room's id in a path: all up to the last slash, since an id may have some (`%2F`)."""

    regex = r"[\s\S]+"

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


class EnterForm(forms.Form):
    """Which room to enter."""

    room = forms.CharField(
        label="Name of the room",
        max_length=MAX_ROOM_ID,
        error_messages={"max_length": f"A room's name has at most {MAX_ROOM_ID} characters."},
    )

    def clean_room(self) -> str:
        room: str = self.cleaned_data["room"]
        # Browsers take them for a way up.
        if room in {".", ".."}:
            raise forms.ValidationError("No address can have this name.")
        return room


@require_safe
def room_list(request: HttpRequest) -> HttpResponseBase:
    """Enter a room: `?room=<its name>`, or `?new=1` for one whose name nobody guesses."""
    if "new" in request.GET:
        return redirect("broadcast:room_page", new_room_id())
    form = EnterForm(request.GET if "room" in request.GET else None)
    if form.is_valid():
        return redirect("broadcast:room_page", form.cleaned_data["room"])
    status = 400 if form.is_bound else 200
    return render(request, "broadcast/room_list.html", {"form": form}, status=status)


def new_room_id() -> str:
    """Twelve letters, which are 56 bits, in three groups: such as `qhwe-zmbt-kfao`."""
    groups = ["".join(secrets.choice(string.ascii_lowercase) for _ in range(4)) for _ in range(3)]
    return "-".join(groups)


@never_cache
@require_safe
def room_page(request: HttpRequest, room_id: str) -> HttpResponse:
    """The call. No cache keeps it: what it is given to reach TURN servers runs out."""
    if len(room_id) > MAX_ROOM_ID:
        raise Http404("a room's name has at most 50 characters")
    user = request.user
    servers = ice_servers(str(user.pk) if user.is_authenticated else "guest", time.time())
    context = {
        "room_id": room_id,
        "ice_servers": json.dumps(servers),
        "name": user.get_full_name() or user.get_username() if user.is_authenticated else "",
        "link": request.build_absolute_uri(request.path),
    }
    return render(request, "broadcast/room_page.html", context)
