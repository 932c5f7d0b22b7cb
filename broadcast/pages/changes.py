"""Changes of what a page hears, told to all processes when they are committed.

Django's signals tell of subscriptions and sessions that changed; `watch` hears that in the process
that has the page's socket, and looks up the rows again. So a change that is told twice or too early
does no harm.
"""

from functools import partial
from typing import Any

from django.contrib.auth.signals import user_logged_out
from django.db import transaction
from django.db.models.signals import post_delete, post_save
from django.http import HttpRequest
from django.utils import timezone

from ..access.guard import mark
from ..hub import bus
from ..models import Subscription, session_rows
from .subscriptions import announce


def connect() -> None:
    """Listen to the signals, once the models are there."""
    user_logged_out.connect(_logged_out)
    post_save.connect(_subscription_changed, sender=Subscription)
    post_delete.connect(_subscription_ended, sender=Subscription)
    # Sessions that are not in the database are looked at every few seconds.
    if model := session_rows.get_session_model():
        post_delete.connect(_session_ended, sender=model)


def _logged_out(request: HttpRequest, **kwargs: Any) -> None:
    session = getattr(request, "session", None)
    if session is not None and session.session_key:
        _tell_pages(session.session_key, session_rows.get_alias())


def _session_ended(instance: Any, using: str, **kwargs: Any) -> None:
    # That one has expired is known without a word; there may be very many.
    if instance.expire_date > timezone.now():
        _tell_pages(instance.session_key, using)


def _tell_pages(key: str, using: str | None = None) -> None:
    telling = partial(bus.tell_everybody, bus.SessionEnded(mark(key)))
    transaction.on_commit(telling, using=using, robust=True)


def _subscription_changed(instance: Subscription, **kwargs: Any) -> None:
    announce(instance.digest)


def _subscription_ended(instance: Subscription, **kwargs: Any) -> None:
    announce(instance.digest, leave=[instance.channel])
