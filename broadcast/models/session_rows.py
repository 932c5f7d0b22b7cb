"""Sessions of this project, where they are rows, and whether there are any."""

from importlib import import_module
from typing import Any

from django.apps import apps
from django.conf import settings

from .database import written_at

#: Engines whose rows are of Django's own application.
DJANGO_ENGINES = (
    "django.contrib.sessions.backends.db",
    "django.contrib.sessions.backends.cached_db",
)


def are_kept() -> bool:
    """Whether the engine of sessions can be used: Django's default one needs its application."""
    return settings.SESSION_ENGINE not in DJANGO_ENGINES or apps.is_installed(
        "django.contrib.sessions"
    )


def get_session_model() -> Any:
    """The model whose rows sessions are; None: they are none."""
    engine = import_module(settings.SESSION_ENGINE).SessionStore
    if not are_kept() or not hasattr(engine, "get_model_class"):
        return None
    return engine.get_model_class()


def get_alias() -> str | None:
    """The name of the database that sessions are written to; None: they are not in one."""
    model = get_session_model()
    return written_at(model) if model else None
