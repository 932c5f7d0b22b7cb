"""Paths of the pages and of the HTTP API."""

from django.urls import path

from . import api, views

app_name = "broadcast"

urlpatterns = [
    path("", views.stream_list, name="stream_list"),
    path("streams/<slug:slug>/", views.stream_watch, name="stream_watch"),
    path("streams/<slug:slug>/studio/", views.stream_studio, name="stream_studio"),
    path("api/streams/", api.stream_list, name="api_stream_list"),
    path("api/streams/<slug:slug>/", api.stream_detail, name="api_stream_detail"),
]
