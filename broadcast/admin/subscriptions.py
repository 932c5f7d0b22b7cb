"""Subscriptions in the admin: which page hears what. To delete one is to unsubscribe the page."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from ..models import Subscription
from .users import UsersAdmin


class StateFilter(admin.SimpleListFilter):
    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return list(Subscription.State.choices)

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        for state in Subscription.State:
            if state == self.value():
                return queryset.in_state(state, timezone.now())
        return queryset


@admin.register(Subscription)
class SubscriptionAdmin(UsersAdmin):
    list_display = ("path", "channel_name", "user", "state", "created_at", "expires_at", "page")
    list_display_links = ("path", "channel_name")
    list_filter = (StateFilter, "created_at")
    list_select_related = ("user",)
    search_fields = ("channel", "path", "digest")
    user_fields = ("user",)
    readonly_fields = (
        *("path", "channel_name", "user", "digest", "state"),
        *("epoch", "offset", "heard_epoch", "heard_offset", "created_at", "opened_at", "closed_at"),
    )
    fields = (*readonly_fields, "expires_at")

    def has_add_permission(self, request: HttpRequest) -> bool:
        # A page is subscribed by the view that renders it.
        return False

    @admin.display(description=_("channel"), ordering="channel")
    def channel_name(self, subscription: Subscription) -> Any:
        return subscription.channel or _("the page itself")

    @admin.display(description=_("page's digest"), ordering="digest")
    def page(self, subscription: Subscription) -> str:
        return f"{subscription.digest[:12]}…"

    @admin.display(description=_("state"))
    def state(self, subscription: Subscription) -> Any:
        now: datetime = timezone.now()
        return subscription.state(now).label
