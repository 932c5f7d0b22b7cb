"""The admin: streams, rooms, recordings and subscriptions, one module for each thing it shows.

Forms and actions of staff come in and go through the same doors as everybody else's; what moves on
the pages comes over sockets of `monitor`. Django finds this package by its name.
"""

from . import recordings, rooms, streams, subscriptions  # noqa: F401
