"""The common part of the pages of streams and rooms: live figures, tokens, closing."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..models import socket_path
from ..models.venues import Venue
from .asking import AskingAdmin, Doing
from .forms import RoomTokenForm
from .users import UsersAdmin


class IsOpenFilter(admin.SimpleListFilter):
    title = _("open")
    parameter_name = "open"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("yes", _("Yes")), ("no", _("No, closed"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() in ("yes", "no"):
            return queryset.filter(closed_at__isnull=self.value() == "yes")
        return queryset


def figure(key: Any, name: str, value: Any, state: str = "") -> str:
    """A figure that the page keeps up to date; `key` is the stream's slug or the room's pk."""
    html = '<span data-stream="{}" data-figure="{}" data-state="{}">{}</span>'
    return format_html(html, key, name, state, value)


def action_of(do: Callable[[Venue], None], log: str) -> Doing:
    """An action whose form asks nothing."""

    def action(one: Venue, said: dict[str, Any]) -> str:
        do(one)
        return log

    return action


class VenueAdmin(AskingAdmin, UsersAdmin):
    readonly_fields = ("created_at", "closed_at", "tokens_valid_from")
    change_list_template = "admin/broadcast/venue/change_list.html"
    #: The names in the path of the socket of these pages, and what the page of one shows of it.
    socket_names: tuple[str, ...] = ()
    figures: tuple[tuple[str, Any], ...] = ()
    #: The field that others name it by, which stays as it is.
    name_field = ""
    #: The form that asks for a token.
    token_form: type[forms.Form] = RoomTokenForm

    def key_of(self, one: Any) -> Any:
        """Its name on the socket of figures."""
        return one.pk

    def make_token(self, one: Any, said: dict[str, Any]) -> tuple[str, str]:
        """A token as it was asked for, and what the log says of it."""
        raise NotImplementedError

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        # Presence, history and links go by the name.
        return (*self.readonly_fields, self.name_field) if obj else self.readonly_fields

    @admin.display(boolean=True, description=_("open"), ordering="closed_at")
    def is_open(self, one: Any) -> bool:
        return one.closed_at is None

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        venue = self.get_object(request, object_id)
        useless = "reopen" if venue and not venue.closed_at else "close"
        choices = [
            (name, label)
            for name, label in self.get_action_choices(request, [])
            if name in (self.actions or ()) and name != useless
        ]
        key = self.key_of(venue) if venue else ""
        context = {
            "venue": venue,
            "key": key,
            "socket": f"{socket_path(*self.socket_names)}?{self.opts.model_name}={key}",
            "figures": self.figures,
            "venue_actions": choices,
        }
        return super().change_view(
            request, object_id, form_url, {**context, **(extra_context or {})}
        )

    @admin.action(permissions=["change"], description=_("Make a new token"))
    def new_token(self, request: HttpRequest, chosen: QuerySet[Any]) -> Any:
        made: list[tuple[Model, str]] = []

        def action(one: Any, said: dict[str, Any]) -> str:
            token, log = self.make_token(one, said)
            made.append((one, token))
            return log

        answer = self._ask(request, chosen, action, self.token_form)
        return self._tell_tokens(request, made) if made else answer

    @admin.action(permissions=["change"], description=_("Withdraw all tokens"))
    def withdraw_tokens(self, request: HttpRequest, chosen: QuerySet[Any]) -> Any:
        log = gettext("Withdrew all tokens.")
        action = action_of(lambda one: one.withdraw_tokens(timezone.now()), log)
        return self._ask(request, chosen, action)

    @admin.action(permissions=["change"], description=_("Close, and send everybody away"))
    def close(self, request: HttpRequest, chosen: QuerySet[Any]) -> Any:
        action = action_of(lambda one: one.close(timezone.now()), gettext("Closed."))
        return self._ask(request, chosen, action)

    @admin.action(permissions=["change"], description=_("Reopen"))
    def reopen(self, request: HttpRequest, chosen: QuerySet[Any]) -> Any:
        return self._ask(request, chosen, action_of(lambda one: one.reopen(), gettext("Reopened.")))
