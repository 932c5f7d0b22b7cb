"""Changes of who may be at a stream or in a room, told to all processes when they are committed.

Django's signals tell of them; `guard` hears them in each process, and looks up the rows again. So a
change that is told twice or too early does no harm.
"""

from functools import partial
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.contrib.auth.signals import user_logged_out
from django.db import transaction
from django.db.models.signals import m2m_changed, post_delete, post_save
from django.http import HttpRequest

from ..hub import bus
from ..models import Room, Stream, session_rows
from .guard import mark


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


def _tell(using: str | None = None, stream: str = "", session: str = "") -> None:
    telling = partial(bus.tell_everybody, bus.AccessChanged(stream, session))
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
        _tell(session_rows.get_alias(), session=mark(session.session_key))
