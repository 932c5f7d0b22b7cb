"""The pages of rooms: where one is chosen or made, and the call."""

import json
import secrets
import string
import time
from contextlib import suppress

from asgiref.sync import async_to_sync
from django import forms
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from ..access import rules
from ..access.visitors import Visitor, user_of
from ..backends import get_backend
from ..exceptions import Forbidden, RoomClosed, Unavailable
from ..http.decorators import page, personal
from ..http.links import refuse, token_of, with_secret
from ..models import Room, socket_path
from ..models.users import full_name_of
from ..tokens import Grant
from .ice import ice_servers
from .messages import MOST_NAME, MOST_ROOM_ID


class RoomIdConverter:
    """A room's id in a path: all up to the last slash, since an id may have some (`%2F`)."""

    regex = r"[\s\S]+"

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


def has_address(room_id: str) -> bool:
    """Whether a link leads to the room of that id, wherever it has slashes.

    Browsers take `..` between two of them for a way up: to another page of the site.
    """
    return not {".", ".."} & set(room_id.split("/"))


class EnterForm(forms.Form):
    """Which room to enter."""

    room = forms.CharField(
        label=_("Name of the room"),
        max_length=MOST_ROOM_ID,
        error_messages={"max_length": _("A room's name has at most %(limit_value)d characters.")},
    )

    def clean_room(self) -> str:
        room: str = self.cleaned_data["room"]
        if not has_address(room):
            raise forms.ValidationError(_("A room cannot have this name."))
        return room


@page
@personal
@require_safe
def room_list(request: HttpRequest) -> HttpResponseBase:
    """Enter a room: `?room=<its name>`, or `?new=1` for one whose name nobody guesses."""
    if "new" in request.GET:
        return redirect("broadcast:room_page", new_room_id())
    form = EnterForm(request.GET if "room" in request.GET else None)
    if form.is_valid():
        return redirect("broadcast:room_page", form.cleaned_data["room"])
    listed = Room.objects.listed_for(user_of(request)).filter(closed_at=None)
    rooms = [room for room in listed if has_address(room.room_id)]
    inside = people_in([room.room_id for room in rooms])
    rows = [{"room": room, "people": inside.get(room.room_id, 0)} for room in rooms]
    status = 400 if form.is_bound else 200
    return render(request, "broadcast/room_list.html", {"form": form, "rows": rows}, status=status)


def new_room_id() -> str:
    """Twelve letters, which are 56 bits, in three groups: such as `qhwe-zmbt-kfao`."""
    groups = ["".join(secrets.choice(string.ascii_lowercase) for _ in range(4)) for _ in range(3)]
    return "-".join(groups)


def people_in(room_ids: list[str]) -> dict[str, int]:
    """How many are in those of the rooms where somebody is; nobody, where that is not known now."""
    with suppress(Unavailable):
        states = async_to_sync(get_backend().rooms.states)(room_ids)
        return {room_id: len(state.members) for room_id, state in states.items()}
    return {}


@page
@never_cache
@require_safe
def room_page(request: HttpRequest, room_id: str) -> HttpResponseBase:
    """The call. No cache keeps it: what it is given to reach TURN servers runs out."""
    if len(room_id) > MOST_ROOM_ID:
        raise Http404(f"a room's name has at most {MOST_ROOM_ID} characters")
    # PostgreSQL fails at a NUL.
    room = Room.objects.named(room_id).first() if "\0" not in room_id else None
    try:
        if room:
            # First: a closed room says its title.
            async_to_sync(check)(room, request)
            room.check_open()
    except Forbidden as error:
        return refuse(request, error)
    except RoomClosed as error:
        context: dict[str, object] = {"room": room}
        return render(request, "broadcast/room_closed.html", context, status=error.http_status)
    context = {
        "room_id": room_id,
        "socket_path": socket_path("signaling"),
        "title": str(room or room_id),
        "ice_servers": json.dumps(ice_servers(turn_name_of(request), time.time())),
        "name": name_of(request),
        "link": request.build_absolute_uri(request.path),
        "token": token_of(request),
    }
    return with_secret(render(request, "broadcast/room_page.html", context), request)


async def check(room: Room, request: HttpRequest) -> None:
    """Forbidden: this visitor may not enter, and why."""
    await rules.check(room, Grant.ENTER, await Visitor.of_request(request))


def name_of(request: HttpRequest) -> str:
    """The name of a known user, to begin with; "" for others."""
    user = user_of(request)
    if not user.is_authenticated:
        return ""
    # Of an e-mail address the others in the room learn only what stands before the @.
    return full_name_of(user).partition("@")[0][:MOST_NAME]


def turn_name_of(request: HttpRequest) -> str:
    """The user's key, for TURN servers, which log it: a number says nothing to them."""
    user = user_of(request)
    return str(user.pk) if user.is_authenticated else "guest"
