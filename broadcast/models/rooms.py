"""Rooms that somebody set up, and what hours were like in rooms.

A room needs no row: any id works, for everybody. A row gives it a title, an owner, limits, and says
who may enter. Who is inside is in the backend.
"""

import time
from datetime import datetime
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from .. import tokens
from ..conf import conf
from ..exceptions import RoomClosed
from ..groups import room_stream
from ..tokens import Deed

if TYPE_CHECKING:
    from .streams import AnyUser


class RoomQuerySet(models.QuerySet["Room"]):
    def named(self, room_id: str) -> "RoomQuerySet":
        """The room of that id, if it has a row."""
        return self.filter(room_id=room_id)

    def listed_for(self, user: "AnyUser") -> "RoomQuerySet":
        """The rooms that a list shows to `user`: public ones, one's own, to staff all."""
        if getattr(user, "is_staff", False):
            return self
        public = models.Q(visibility=Room.Visibility.PUBLIC)
        return self.filter(public | models.Q(owner=user.pk) if user.pk else public)


class Room(models.Model):
    """A room with a name of its own, or one that not everybody may enter."""

    class Visibility(models.TextChoices):
        PUBLIC = "public", _("public: listed, for everybody")
        UNLISTED = "unlisted", _("unlisted: for whoever has the link")
        PRIVATE = "private", _("private: owner, staff, some users, and whoever has a token")

    room_id = models.CharField(
        _("room id"),
        max_length=50,
        unique=True,
        help_text=_("What clients call it: up to 50 characters of any kind."),
    )
    title = models.CharField(_("title"), max_length=200)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("owner"),
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="rooms",
    )
    visibility = models.CharField(
        _("visibility"), max_length=10, choices=Visibility, default=Visibility.PUBLIC
    )
    may_enter_users = models.ManyToManyField(
        settings.AUTH_USER_MODEL,
        verbose_name=_("users who may enter"),
        blank=True,
        related_name="+",
        help_text=_("Beside the owner, staff and whoever has the permission for all rooms."),
    )
    tokens_valid_from = models.DateTimeField(
        _("tokens are valid from"),
        null=True,
        blank=True,
        help_text=_("Tokens that were made before were withdrawn."),
    )
    max_peers = models.PositiveIntegerField(
        _("most members"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("Empty: the default."),
    )
    closed_at = models.DateTimeField(_("closed"), null=True, blank=True)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    objects = RoomQuerySet.as_manager()

    class Meta:
        ordering = ("title", "room_id")
        verbose_name = _("room")
        verbose_name_plural = _("rooms")
        permissions = (("enter_room", _("Can enter private rooms")),)

    def __str__(self) -> str:
        return self.title or self.room_id

    @property
    def stream(self) -> str:
        """The name of the stream that carries what is said in it."""
        return room_stream(self.room_id)

    def may(self, deed: Deed, user: "AnyUser") -> bool:
        """Whether `user` may enter, by who they are; what a token grants comes on top."""
        return deed == Deed.ENTER and self.may_enter(user)

    def may_enter(self, user: "AnyUser") -> bool:
        if self.visibility != self.Visibility.PRIVATE:
            return True
        if not user.is_authenticated:
            return False
        if user.pk == self.owner_id or user.is_staff:
            return True
        permission = "broadcast.enter_room"
        return user.has_perm(permission) or self.may_enter_users.filter(pk=user.pk).exists()

    def check_open(self) -> None:
        """RoomClosed: nobody may be in."""
        if self.closed_at:
            raise RoomClosed("the room was closed")

    def make_token(self, max_age: float | None = None, now: float | None = None) -> str:
        """A token that lets whoever has it enter, for `max_age` seconds.

        Without one for `BROADCAST_TOKEN_AGE` seconds. ValueError: no time at all.
        """
        now = time.time() if now is None else now
        max_age = conf.TOKEN_AGE if max_age is None else max_age
        if not max_age >= 1:
            raise ValueError("a token is valid for a second at least")
        return tokens.make(self.pk, Deed.ENTER, now, now + max_age)

    def check_token(self, token: str, deed: Deed, now: float) -> None:
        """Whether the token lets in at that time. Forbidden, BadToken: no, and why."""
        valid_from = self.tokens_valid_from.timestamp() if self.tokens_valid_from else 0
        tokens.check(token, self.pk, deed, valid_from, now)

    def withdraw_tokens(self, now: datetime) -> None:
        """No token that was made before `now` lets in any more."""
        self.tokens_valid_from = now
        self.save(update_fields=["tokens_valid_from"])

    def close(self, now: datetime) -> None:
        """Nobody may enter from now on, and everybody is sent away."""
        self.closed_at = now
        self.save(update_fields=["closed_at"])

    def reopen(self) -> None:
        self.closed_at = None
        self.save(update_fields=["closed_at"])
