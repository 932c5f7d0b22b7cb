"""Streams in the admin: what they are, who may, and what happens there now.

What moves on these pages comes over a socket of theirs (`monitor.figures`); what is done here goes
through the same doors as anywhere else.
"""

from datetime import datetime
from typing import Any

from asgiref.sync import async_to_sync
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from ..backends import get_backend
from ..hub.publishing import publish
from ..models import Stream, socket_path
from ..models.database import written_at
from ..tokens import Grant
from .forms import PublishForm, TokenForm
from .venues import IsOpenFilter, VenueAdmin, figure

#: The names in the path of the socket of these pages.
SOCKET = ("admin", "streams")

#: Who may, in a column: the labels of the fields say more than it holds.
SHORT: dict[str, Any] = {
    Stream.Visibility.PUBLIC: _("public"),
    Stream.Visibility.UNLISTED: _("unlisted"),
    Stream.Visibility.PRIVATE: _("private"),
    Stream.Publishing.OWNER: pgettext_lazy("who may publish", "owner"),
    Stream.Publishing.ANYONE: pgettext_lazy("who may publish", "anyone"),
}

#: What the log says of a token.
MADE = {
    Grant.LISTEN: _("Made a token to listen."),
    Grant.PUBLISH: _("Made a token to publish."),
}


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
        self.socket = f"{socket_path(*SOCKET)}?streams={','.join(slugs)}"


@admin.register(Stream)
class StreamAdmin(VenueAdmin):
    socket_names = SOCKET
    figures = (
        ("live", _("live")),
        ("since", _("since")),
        ("listeners", _("listeners")),
        ("rate", _("publications per second")),
        ("offset", _("publications")),
    )
    name_field = "slug"
    token_form = TokenForm
    list_display = (
        *("title", "slug", "live", "since", "listeners", "rate"),
        *("access", "is_open", "pages"),
    )
    list_filter = (IsOpenFilter, "visibility", "publishing", "kind")
    search_fields = ("title", "slug", "description")
    user_fields = ("owner", "may_listen_users", "may_publish_users")
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
        (_("Content"), {"fields": ("kind", "content_type", "record", "compress")}),
        (
            pgettext_lazy("of a stream", "History"),
            {"fields": ("history_count", "history_bytes", "history_seconds")},
        ),
        (_("When"), {"fields": ("created_at", "closed_at")}),
    )
    actions = (
        *("publish_message", "new_token", "withdraw_tokens"),
        *("close", "reopen", "clear_history"),
    )
    change_form_template = "admin/broadcast/stream/change_form.html"

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return StreamChangeList

    def topic_of(self, one: Stream) -> str:
        return one.slug

    def key_of(self, one: Stream) -> str:
        return one.slug

    def make_token(self, one: Stream, said: dict[str, Any]) -> tuple[str, str]:
        made = one.make_token(said["grant"], said["max_age"])
        return made, str(MADE[said["grant"]])

    def get_prepopulated_fields(self, request: HttpRequest, obj: Any = None) -> dict[str, Any]:
        return {} if obj else {"slug": ("title",)}

    # -- what is shown ----------------------------------------------------------------------

    @admin.display(description=_("live"))
    def live(self, stream: Any) -> str:
        if stream.presence is None:
            return figure(stream.slug, "live", _("unknown"))
        if stream.presence.live:
            return figure(stream.slug, "live", _("live"), "live")
        return figure(stream.slug, "live", _("idle"), "idle")

    @admin.display(description=_("since"))
    def since(self, stream: Any) -> str:
        seconds = stream.presence.since if stream.presence else None
        if seconds is None:
            return figure(stream.slug, "since", "–")
        moment = datetime.fromtimestamp(seconds, timezone.get_current_timezone())
        return figure(stream.slug, "since", f"{moment:%H:%M}")

    @admin.display(description=_("listeners"))
    def listeners(self, stream: Any) -> str:
        return figure(
            stream.slug, "listeners", stream.presence.listeners if stream.presence else "–"
        )

    @admin.display(description=_("per second"))
    def rate(self, stream: Stream) -> str:
        # Nobody has looked long enough yet.
        return figure(stream.slug, "rate", "–")

    @admin.display(description=_("listening, publishing"), ordering="visibility")
    def access(self, stream: Stream) -> str:
        return f"{SHORT[stream.visibility]}, {SHORT[stream.publishing]}"

    @admin.display(description=_("pages"))
    def pages(self, stream: Stream) -> str:
        links = '<a href="{0}">{1}</a> · <a href="{0}studio/">{2}</a>'
        return format_html(links, stream.get_absolute_url(), _("watch"), _("studio"))

    # -- what is done -----------------------------------------------------------------------

    @admin.action(permissions=["change"], description=_("Publish a message"))
    def publish_message(self, request: HttpRequest, streams: QuerySet[Stream]) -> Any:
        def action(stream: Stream, said: dict[str, Any]) -> str:
            position = publish(stream, said["payload"])
            return gettext("Published a message at offset %d.") % position.offset

        return self._ask(request, streams, action, PublishForm)

    @admin.action(permissions=["change"], description=_("Clear the history"))
    def clear_history(self, request: HttpRequest, streams: QuerySet[Stream]) -> Any:
        def action(stream: Stream, said: dict[str, Any]) -> str:
            async_to_sync(get_backend().clear)(stream.slug)
            return gettext("Cleared the history.")

        return self._ask(request, streams, action)

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
        """A later stream of that name must not have its history."""
        clear = async_to_sync(get_backend().clear)
        transaction.on_commit(lambda: clear(stream.slug), using=written_at(Stream), robust=True)
