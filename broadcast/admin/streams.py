"""Streams in the admin: what they are, who may, and what happens there now.

What moves on these pages comes over a socket of theirs (`figures`); what is done here goes
through the same doors as anywhere else.
"""

from datetime import datetime
from typing import Any

from asgiref.sync import async_to_sync
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db import transaction
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from ..backends import get_backend
from ..forms import PublishForm, TokenForm
from ..models import Stream
from ..publishing import publish
from .asking import AskingAdmin

#: Where the socket of these pages is.
SOCKET = "/ws/admin/streams/"

#: What the page of a stream shows of it.
FIGURES = (
    ("live", _("live")),
    ("since", _("since")),
    ("listeners", _("listeners")),
    ("rate", _("publications per second")),
    ("offset", _("publications")),
)


class StreamChangeList(ChangeList):
    """A page of the list, with who is at its streams looked up at once."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = list(self.result_list)
        slugs = [stream.slug for stream in self.result_list]
        presences = async_to_sync(get_backend().presence)(slugs)
        for stream in self.result_list:
            # None: not known now.
            stream.presence = presences.get(stream.slug)
        self.socket = f"{SOCKET}?streams={','.join(slugs)}"


class IsOpenFilter(admin.SimpleListFilter):
    title = _("open")
    parameter_name = "open"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("yes", _("Yes")), ("no", _("No, closed"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Stream]) -> QuerySet[Stream]:
        if self.value() in ("yes", "no"):
            return queryset.filter(closed_at__isnull=self.value() == "yes")
        return queryset


def figure(stream: Stream, name: str, value: Any, state: str = "") -> str:
    """A figure that the page keeps up to date."""
    html = '<span data-stream="{}" data-figure="{}" data-state="{}">{}</span>'
    return format_html(html, stream.slug, name, state, value)


@admin.register(Stream)
class StreamAdmin(AskingAdmin):
    list_display = (
        *("title", "slug", "live", "since", "listeners", "rate"),
        *("access", "is_open", "pages"),
    )
    list_filter = (IsOpenFilter, "visibility", "publishing", "kind")
    search_fields = ("title", "slug", "description", "owner__username")
    autocomplete_fields = ("owner", "may_listen_users", "may_publish_users")
    readonly_fields = ("created_at", "closed_at", "tokens_valid_from")
    fieldsets = (
        (None, {"fields": ("title", "slug", "description", "owner")}),
        (
            _("Who may"),
            {
                "fields": (
                    *("visibility", "may_listen_users"),
                    *("publishing", "may_publish_users", "tokens_valid_from"),
                )
            },
        ),
        (_("Content"), {"fields": ("kind", "content_type", "record")}),
        (_("History"), {"fields": ("history_count", "history_bytes", "history_seconds")}),
        (_("When"), {"fields": ("created_at", "closed_at")}),
    )
    actions = (
        *("publish_message", "new_token", "withdraw_tokens"),
        *("close_streams", "reopen_streams", "clear_history"),
    )
    change_list_template = "admin/broadcast/stream/change_list.html"
    change_form_template = "admin/broadcast/stream/change_form.html"

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return StreamChangeList

    def get_prepopulated_fields(self, request: HttpRequest, obj: Any = None) -> dict[str, Any]:
        return {} if obj else {"slug": ("title",)}

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        # Its history, its listeners and the links to it go by the slug.
        return (*self.readonly_fields, "slug") if obj else self.readonly_fields

    # -- what is shown ----------------------------------------------------------------------

    @admin.display(description=_("live"))
    def live(self, stream: Any) -> str:
        if stream.presence is None:
            return figure(stream, "live", _("unknown"))
        if stream.presence.live:
            return figure(stream, "live", _("live"), "live")
        return figure(stream, "live", _("idle"), "idle")

    @admin.display(description=_("since"))
    def since(self, stream: Any) -> str:
        seconds = stream.presence.since if stream.presence else None
        if seconds is None:
            return figure(stream, "since", "–")
        moment = datetime.fromtimestamp(seconds, timezone.get_current_timezone())
        return figure(stream, "since", f"{moment:%H:%M}")

    @admin.display(description=_("listeners"))
    def listeners(self, stream: Any) -> str:
        return figure(stream, "listeners", stream.presence.listeners if stream.presence else "–")

    @admin.display(description=_("per second"))
    def rate(self, stream: Stream) -> str:
        # Nobody has looked long enough yet.
        return figure(stream, "rate", "–")

    @admin.display(description=_("listening, publishing"), ordering="visibility")
    def access(self, stream: Stream) -> str:
        # The labels say more than a column holds.
        return f"{stream.visibility}, {stream.publishing}"

    @admin.display(boolean=True, description=_("open"), ordering="closed_at")
    def is_open(self, stream: Stream) -> bool:
        return stream.closed_at is None

    @admin.display(description=_("pages"))
    def pages(self, stream: Stream) -> str:
        links = '<a href="{0}">{1}</a> · <a href="{0}studio/">{2}</a>'
        return format_html(links, stream.get_absolute_url(), _("watch"), _("studio"))

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        stream = self.get_object(request, object_id)
        useless = "reopen_streams" if stream and not stream.closed_at else "close_streams"
        choices = [
            (name, label)
            for name, label in self.get_action_choices(request, [])
            if name in self.actions and name != useless
        ]
        context = {
            "stream": stream,
            "socket": f"{SOCKET}?stream={stream.slug}" if stream else "",
            "figures": FIGURES,
            "stream_actions": choices,
        }
        return super().change_view(
            request, object_id, form_url, {**context, **(extra_context or {})}
        )

    # -- what is done -----------------------------------------------------------------------

    @admin.action(permissions=["change"], description=_("Publish a message"))
    def publish_message(self, request: HttpRequest, streams: QuerySet[Stream]) -> Any:
        def deed(stream: Stream, said: dict[str, Any]) -> str:
            position = publish(stream, said["payload"])
            return f"Published a message at offset {position.offset}."

        return self._ask(request, streams, deed, PublishForm)

    @admin.action(permissions=["change"], description=_("Make a new token"))
    def new_token(self, request: HttpRequest, streams: QuerySet[Stream]) -> Any:
        made: list[tuple[Model, str]] = []

        def deed(stream: Stream, said: dict[str, Any]) -> str:
            made.append((stream, stream.make_token(said["deed"], said["max_age"])))
            return f"Made a token to {said['deed']}."

        answer = self._ask(request, streams, deed, TokenForm)
        if not made:
            return answer
        return self._tell_tokens(request, made)

    @admin.action(permissions=["change"], description=_("Withdraw all tokens"))
    def withdraw_tokens(self, request: HttpRequest, streams: QuerySet[Stream]) -> Any:
        def deed(stream: Stream, said: dict[str, Any]) -> str:
            stream.withdraw_tokens(timezone.now())
            return "Withdrew all tokens."

        return self._ask(request, streams, deed)

    @admin.action(permissions=["change"], description=_("Close"))
    def close_streams(self, request: HttpRequest, streams: QuerySet[Stream]) -> Any:
        def deed(stream: Stream, said: dict[str, Any]) -> str:
            stream.close(timezone.now())
            return "Closed."

        return self._ask(request, streams, deed)

    @admin.action(permissions=["change"], description=_("Reopen"))
    def reopen_streams(self, request: HttpRequest, streams: QuerySet[Stream]) -> Any:
        def deed(stream: Stream, said: dict[str, Any]) -> str:
            stream.reopen()
            return "Reopened."

        return self._ask(request, streams, deed)

    @admin.action(permissions=["change"], description=_("Clear the history"))
    def clear_history(self, request: HttpRequest, streams: QuerySet[Stream]) -> Any:
        def deed(stream: Stream, said: dict[str, Any]) -> str:
            async_to_sync(get_backend().clear)(stream.slug)
            return "Cleared the history."

        return self._ask(request, streams, deed)

    def topic_of(self, one: Stream) -> str:
        return one.slug

    # -- the end of a stream ----------------------------------------------------------------

    def delete_model(self, request: HttpRequest, obj: Stream) -> None:
        super().delete_model(request, obj)
        self._forget(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Stream]) -> None:
        streams = list(queryset)
        super().delete_queryset(request, queryset)
        for stream in streams:
            self._forget(stream)

    @staticmethod
    def _forget(stream: Stream) -> None:
        """What was said there is not for whoever makes a stream of that name next."""
        clear = async_to_sync(get_backend().clear)
        transaction.on_commit(lambda: clear(stream.slug), robust=True)
