"""Rooms in the admin: what they are, who may enter, who is inside, what hours were like."""

from typing import Any

from asgiref.sync import async_to_sync
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..backends import get_backend
from ..exceptions import Unavailable
from ..models import Room, RoomHour, socket_path
from .venues import IsOpenFilter, VenueAdmin, figure

#: The names in the path of the socket of these pages.
SOCKET = ("admin", "rooms")


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
        keys = ",".join(str(room.pk) for room in self.result_list)
        self.socket = f"{socket_path(*SOCKET)}?rooms={keys}"


@admin.register(Room)
class RoomAdmin(VenueAdmin):
    socket_names = SOCKET
    figures = (("inside", _("inside")), ("peak", _("most at a time")), ("since", _("since")))
    name_field = "room_id"
    list_display = ("title", "room_id", "inside", "peak", "since", "visibility", "is_open")
    list_filter = (IsOpenFilter, "visibility")
    search_fields = ("title", "room_id")
    user_fields = ("owner", "may_enter_users")
    fieldsets = (
        (None, {"fields": ("title", "room_id", "owner", "max_peers")}),
        (_("Who may"), {"fields": ("visibility", "may_enter_users", "tokens_valid_from")}),
        (_("When"), {"fields": ("created_at", "closed_at")}),
    )
    actions = ("new_token", "withdraw_tokens", "close", "reopen")
    change_form_template = "admin/broadcast/room/change_form.html"

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return RoomChangeList

    def topic_of(self, one: Room) -> str:
        return one.stream

    def make_token(self, one: Room, said: dict[str, Any]) -> tuple[str, str]:
        return one.make_token(said["max_age"]), gettext("Made a token to enter.")

    # -- what is shown ----------------------------------------------------------------------

    @admin.display(description=_("inside"))
    def inside(self, room: Any) -> str:
        return figure(room.pk, "inside", len(room.state.members) if room.state else 0)

    @admin.display(description=_("most at a time"))
    def peak(self, room: Any) -> str:
        return figure(room.pk, "peak", room.state.peak if room.state else "–")

    @admin.display(description=_("since"))
    def since(self, room: Room) -> str:
        # The page shows it in the reader's own time zone.
        return figure(room.pk, "since", "–")


@admin.register(RoomHour)
class RoomHourAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """The hours of a room, to look at."""

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
