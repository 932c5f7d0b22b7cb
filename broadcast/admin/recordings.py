"""Recordings in the admin: when, how large, where to see them. With one its file is deleted.

One that is running cannot be deleted: somebody still writes its file.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.defaultfilters import filesizeformat
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from ..conf import conf
from ..models import Recording

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Recording]
else:
    # It takes a parameter in the type stubs alone.
    ModelAdmin = admin.ModelAdmin


@admin.register(Recording)
class RecordingAdmin(ModelAdmin):
    list_display = ("stream", "started_at", "ended_at", "state", "bytes", "file", "content_type")
    list_display_links = ("started_at",)
    list_filter = ("state", "started_at")
    list_select_related = ("stream",)
    search_fields = ("stream__slug", "stream__title", "name")
    readonly_fields = (
        *("stream", "file", "name", "content_type", "started_at", "ended_at", "bytes", "state"),
    )
    exclude = ("size",)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = {"subtitle": used(), **(extra_context or {})}
        return super().changelist_view(request, context)

    def has_add_permission(self, request: HttpRequest) -> bool:
        # They come of broadcasting.
        return False

    def get_deleted_objects(
        self, objs: Sequence[Recording] | QuerySet[Recording], request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """A recording that is under way is protected, and the page says why."""
        found, counts, permissions, protected = super().get_deleted_objects(objs, request)
        reason = _("%s is being recorded: it can be deleted when it has ended")
        running = [str(reason % one) for one in objs if one.state == Recording.State.RUNNING]
        return found, counts, permissions, [*protected, *running]

    @admin.display(description=_("size"), ordering="size")
    def bytes(self, recording: Recording) -> str:
        return filesizeformat(recording.size) if recording.ended_at else "–"

    @admin.display(description=_("file"))
    def file(self, recording: Recording) -> str:
        return format_html('<a href="{}">{}</a>', recording.get_absolute_url(), _("play"))


def used() -> str:
    """How much of the quota of all recordings is used."""
    size, most = filesizeformat(Recording.objects.bytes()), conf.MAX_RECORDINGS_BYTES
    if most is None:
        return _("%s used") % size
    return _("%s of %s used") % (size, filesizeformat(most))
