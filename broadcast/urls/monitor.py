"""Paths for probes and Prometheus: `path("", include("broadcast.urls.monitor"))`."""

from django.urls import path

from ..monitor import health, scraping

app_name = "broadcast_monitor"

urlpatterns = [
    path("healthz", health.healthz, name="healthz"),
    path("metrics", scraping.scrape, name="metrics"),
]
