"""Paths of the pages and of the HTTP API: `path("live/", include("broadcast.urls"))`.

Nothing here is of a whole site. `broadcast.urls.monitor` has the paths for probes and Prometheus.
"""

from django.urls import path, register_converter

from ..api import events, publications, schema, streams
from ..rooms import views as room_views
from ..streams import playback, views

app_name = "broadcast"

register_converter(room_views.RoomIdConverter, "room_id")

urlpatterns = [
    path("", views.stream_list, name="stream_list"),
    path("streams/<slug:slug>/", views.stream_watch, name="stream_watch"),
    path("streams/<slug:slug>/studio/", views.stream_studio, name="stream_studio"),
    path("streams/<slug:slug>/embed/", views.stream_embed, name="stream_embed"),
    path("streams/<slug:slug>/recordings/<int:pk>/", playback.recording, name="recording"),
    # A frame shows only what may be framed: that there is no such stream, too.
    path("streams/<str:slug>/embed/", views.stream_embed),
    path("rooms/", room_views.room_list, name="room_list"),
    path("rooms/<room_id:room_id>/", room_views.room_page, name="room_page"),
    path("api/streams/", streams.stream_list, name="api_stream_list"),
    path("api/streams/<slug:slug>/", streams.stream_detail, name="api_stream_detail"),
    path(
        "api/streams/<slug:slug>/publications/",
        publications.publication_list,
        name="api_publication_list",
    ),
    path("api/streams/<slug:slug>/events/", events.stream_events, name="api_stream_events"),
    path("api/schema/", schema.schema, name="api_schema"),
]
