"""The admin, one module for each thing it shows. Django finds it by this name."""

from . import recordings, rooms, streams, subscriptions  # noqa: F401
