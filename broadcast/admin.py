"""Streams in the admin."""

from typing import TYPE_CHECKING

from asgiref.sync import async_to_sync
from django.contrib import admin
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from .backends import Presence, get_backend
from .models import Stream

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Stream]
else:
    # It takes a parameter in the type stubs alone.
    ModelAdmin = admin.ModelAdmin


@admin.register(Stream)
class StreamAdmin(ModelAdmin):
    list_display = ("title", "slug", "live", "listeners", "visibility", "publishing", "pages")
    list_filter = ("visibility", "publishing", "kind", ("closed_at", admin.EmptyFieldListFilter))
    search_fields = ("title", "slug", "description", "owner__username")
    list_select_related = ("owner",)
    autocomplete_fields = ("owner",)
    readonly_fields = ("created_at", "live", "listeners")
    prepopulated_fields = {"slug": ("title",)}
    fieldsets = (
        (None, {"fields": ("title", "slug", "description", "owner")}),
        (_("Who may"), {"fields": ("visibility", "publishing", "closed_at")}),
        (_("Content"), {"fields": ("kind", "content_type")}),
        (_("History"), {"fields": ("history_count", "history_bytes", "history_seconds")}),
        (_("Now"), {"fields": ("live", "listeners", "created_at")}),
    )

    def presence(self, stream: Stream) -> Presence:
        return async_to_sync(get_backend().presence)([stream.slug])[stream.slug]

    @admin.display(boolean=True, description=_("live"))
    def live(self, stream: Stream) -> bool:
        return self.presence(stream).live

    @admin.display(description=_("listeners"))
    def listeners(self, stream: Stream) -> int:
        return self.presence(stream).listeners

    @admin.display(description=_("pages"))
    def pages(self, stream: Stream) -> str:
        links = '<a href="{0}">{1}</a> · <a href="{0}studio/">{2}</a>'
        return format_html(links, stream.get_absolute_url(), _("watch"), _("studio"))
