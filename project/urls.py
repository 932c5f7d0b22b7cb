"""Paths of the project: a start page, the admin, an example, and all of Broadcast at the root."""

from django.contrib import admin
from django.templatetags.static import static
from django.urls import include, path
from django.views.generic import RedirectView

from broadcast.http.answers import nowhere

from .start import start
from .vote.views import vote

handler400 = "broadcast.http.answers.bad_request"
handler500 = "broadcast.http.answers.server_error"


class FaviconView(RedirectView):
    """Where browsers look for an icon on pages that name none, such as the admin's."""

    def get_redirect_url(self, *args: object, **kwargs: object) -> str:
        return static("broadcast/mark.svg")


urlpatterns = [
    path("", start),  # before the list of streams, which it has on it
    path("favicon.ico", FaviconView.as_view()),
    path("admin/", admin.site.urls),
    path("vote/", vote, name="vote"),
    path("", include("broadcast.urls.monitor")),
    path("", include("broadcast.urls")),
    path("api/<path:path>", nowhere),
    path("api/", nowhere, {"path": ""}),
]
