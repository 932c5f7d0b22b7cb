"""Paths of the project: the admin, an example, and everything of Broadcast at the root."""

from django.contrib import admin
from django.urls import include, path

from .vote.views import vote

handler400 = "broadcast.http.answers.bad_request"
handler500 = "broadcast.http.answers.server_error"

urlpatterns = [
    path("admin/", admin.site.urls),
    path("vote/", vote, name="vote"),
    path("", include("broadcast.urls")),
]
