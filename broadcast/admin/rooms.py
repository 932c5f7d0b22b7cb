"""Rooms in the admin: what they are, who may enter, who is inside, what hours were like."""

from typing import Any

from asgiref.sync import async_to_sync
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from ..backends import get_backend
from ..exceptions import Unavailable
from ..forms import RoomTokenForm
from ..models import Room, RoomHour
from .asking import AskingAdmin
from .streams import IsOpenFilter

#: Where the socket of these pages is.
SOCKET = "/ws/admin/rooms/"

#: What the page of a room shows of it.
FIGURES = (("inside", _("inside")), ("peak", _("most at a time")), ("since", _("since")))


class RoomChangeList(ChangeList):
    """A page of the list, with who is in its rooms looked up at once."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = list(self.result_list)
        try:
            rooms = [room.room_id for room in self.result_list]
            states = async_to_sync(get_backend().rooms.states)(rooms)
        except Unavailable:
            states = {}
        for room in self.result_list:
            room.state = states.get(room.room_id)
        self.socket = f"{SOCKET}?rooms={','.join(str(room.pk) for room in self.result_list)}"


def figure(room: Room, name: str, value: Any) -> str:
    """A figure that the page keeps up to date."""
    html = '<span data-stream="{}" data-figure="{}">{}</span>'
    return format_html(html, room.pk, name, value)


@admin.register(Room)
class RoomAdmin(AskingAdmin):
    list_display = ("title", "room_id", "inside", "peak", "since", "visibility", "is_open")
    list_filter = (IsOpenFilter, "visibility")
    search_fields = ("title", "room_id", "owner__username")
    autocomplete_fields = ("owner", "may_enter_users")
    readonly_fields = ("created_at", "closed_at", "tokens_valid_from")
    fieldsets = (
        (None, {"fields": ("title", "room_id", "owner", "max_peers")}),
        (_("Who may"), {"fields": ("visibility", "may_enter_users", "tokens_valid_from")}),
        (_("When"), {"fields": ("created_at", "closed_at")}),
    )
    actions = ("new_token", "withdraw_tokens", "close_rooms", "reopen_rooms")
    change_list_template = "admin/broadcast/stream/change_list.html"
    change_form_template = "admin/broadcast/room/change_form.html"

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return RoomChangeList

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        # Those who are inside, and the links to it, go by the id.
        return (*self.readonly_fields, "room_id") if obj else self.readonly_fields

    def topic_of(self, one: Room) -> str:
        return one.stream

    # -- what is shown ----------------------------------------------------------------------

    @admin.display(description=_("inside"))
    def inside(self, room: Any) -> str:
        return figure(room, "inside", len(room.state.members) if room.state else 0)

    @admin.display(description=_("most at a time"))
    def peak(self, room: Any) -> str:
        return figure(room, "peak", room.state.peak if room.state else "–")

    @admin.display(description=_("since"))
    def since(self, room: Room) -> str:
        # The page says it in the time of whoever looks.
        return figure(room, "since", "–")

    @admin.display(boolean=True, description=_("open"), ordering="closed_at")
    def is_open(self, room: Room) -> bool:
        return room.closed_at is None

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        room = self.get_object(request, object_id)
        useless = "reopen_rooms" if room and not room.closed_at else "close_rooms"
        choices = [
            (name, label)
            for name, label in self.get_action_choices(request, [])
            if name in self.actions and name != useless
        ]
        context = {
            "room": room,
            "socket": f"{SOCKET}?room={room.pk}" if room else "",
            "figures": FIGURES,
            "room_actions": choices,
        }
        return super().change_view(
            request, object_id, form_url, {**context, **(extra_context or {})}
        )

    # -- what is done -----------------------------------------------------------------------

    @admin.action(permissions=["change"], description=_("Make a new token"))
    def new_token(self, request: HttpRequest, rooms: QuerySet[Room]) -> Any:
        made: list[tuple[Model, str]] = []

        def deed(room: Room, said: dict[str, Any]) -> str:
            made.append((room, room.make_token(said["max_age"])))
            return "Made a token to enter."

        answer = self._ask(request, rooms, deed, RoomTokenForm)
        return self._tell_tokens(request, made) if made else answer

    @admin.action(permissions=["change"], description=_("Withdraw all tokens"))
    def withdraw_tokens(self, request: HttpRequest, rooms: QuerySet[Room]) -> Any:
        def deed(room: Room, said: dict[str, Any]) -> str:
            room.withdraw_tokens(timezone.now())
            return "Withdrew all tokens."

        return self._ask(request, rooms, deed)

    @admin.action(permissions=["change"], description=_("Close, and send everybody away"))
    def close_rooms(self, request: HttpRequest, rooms: QuerySet[Room]) -> Any:
        def deed(room: Room, said: dict[str, Any]) -> str:
            room.close(timezone.now())
            return "Closed."

        return self._ask(request, rooms, deed)

    @admin.action(permissions=["change"], description=_("Reopen"))
    def reopen_rooms(self, request: HttpRequest, rooms: QuerySet[Room]) -> Any:
        def deed(room: Room, said: dict[str, Any]) -> str:
            room.reopen()
            return "Reopened."

        return self._ask(request, rooms, deed)


@admin.register(RoomHour)
class RoomHourAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """What hours were like: to look at."""

    list_display = ("hour", "kind", "value", "count")
    list_display_links = None
    list_filter = ("kind",)
    date_hierarchy = "hour"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
