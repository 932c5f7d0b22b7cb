"""What changes who may be at a stream, or what a page hears, told to all processes when it is so.

See `guard` and `pages.watch`. Beside the session, which nobody needs to be told of who does not
hear it, all of it is rows; they are looked up again, so a change that is told twice or too early
does no harm.
"""

from functools import partial
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.contrib.auth.signals import user_logged_out
from django.db import transaction
from django.db.models.signals import m2m_changed, post_delete, post_save
from django.http import HttpRequest
from django.utils import timezone

from ..hub.publishing import tell_everybody
from ..models import Room, Stream, Subscription
from ..pages.subscriptions import announce
from ..pages.watch import SESSION
from .guard import CHANGE, mark


def connect() -> None:
    """Listen to the signals, once the models are there."""
    user = get_user_model()
    for signal in (post_save, post_delete):
        signal.connect(_stream_changed, sender=Stream)
        signal.connect(_room_changed, sender=Room)
        signal.connect(_person_changed, sender=user)
    post_delete.connect(_person_changed, sender=Group)
    users = (Stream.may_listen_users, Stream.may_publish_users, Room.may_enter_users)
    for relation in (*users, Group.permissions):
        m2m_changed.connect(_person_changed, sender=relation.through)
    # A model of users need not have them.
    for name in ("groups", "user_permissions"):
        if hasattr(user, name):
            m2m_changed.connect(_person_changed, sender=getattr(user, name).through)
    user_logged_out.connect(_logged_out)
    post_save.connect(_subscription_changed, sender=Subscription)
    post_delete.connect(_subscription_ended, sender=Subscription)
    # Sessions that are not in the database are looked at every few seconds.
    engine = import_module(settings.SESSION_ENGINE).SessionStore
    if hasattr(engine, "get_model_class"):
        post_delete.connect(_session_ended, sender=engine.get_model_class())


def _tell(using: str | None = None, stream: str = "", session: str = "") -> None:
    telling = partial(tell_everybody, type=CHANGE, stream=stream, session=session)
    transaction.on_commit(telling, using=using, robust=True)


def _stream_changed(instance: Stream, using: str, **kwargs: Any) -> None:
    _tell(using, stream=instance.slug)


def _room_changed(instance: Room, using: str, **kwargs: Any) -> None:
    _tell(using, stream=instance.stream)


def _person_changed(
    using: str, update_fields: Any = None, action: str = "post", **kwargs: Any
) -> None:
    # Everybody who logs in is saved, with nothing but the time changed.
    if action.startswith("post") and set(update_fields or ()) != {"last_login"}:
        _tell(using)


def _logged_out(request: HttpRequest, **kwargs: Any) -> None:
    session = getattr(request, "session", None)
    if session is not None and session.session_key:
        _tell(session=mark(session.session_key))
        _tell_pages(session.session_key)


def _session_ended(instance: Any, using: str, **kwargs: Any) -> None:
    # That one has expired is known without a word; there may be very many.
    if instance.expire_date > timezone.now():
        _tell_pages(instance.session_key, using)


def _tell_pages(key: str, using: str | None = None) -> None:
    telling = partial(tell_everybody, type=SESSION, session=mark(key))
    transaction.on_commit(telling, using=using, robust=True)


def _subscription_changed(instance: Subscription, **kwargs: Any) -> None:
    announce(instance.digest)


def _subscription_ended(instance: Subscription, **kwargs: Any) -> None:
    announce(instance.digest, leave=[instance.channel])
