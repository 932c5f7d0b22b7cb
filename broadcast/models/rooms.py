"""Rooms that somebody set up, and what hours were like in rooms.

A room needs no row: any id works, for everybody. A row gives it a title, an owner, limits, and says
who may enter. Who is inside is in the backend.
"""

from typing import TYPE_CHECKING

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from ..exceptions import RoomClosed
from ..groups import room_stream
from ..tokens import Grant
from .user_fields import UserKey, UsersField
from .users import has_perm, is_named, is_staff
from .venues import Venue, VenueQuerySet

if TYPE_CHECKING:
    from .venues import AnyUser


class RoomQuerySet(VenueQuerySet["Room"]):
    def named(self, room_id: str) -> "RoomQuerySet":
        """The room of that id, if it has a row."""
        return self.filter(room_id=room_id)


class Room(Venue):
    """A room with a name of its own, or one that not everybody may enter."""

    class Visibility(models.TextChoices):
        PUBLIC = "public", _("public: listed, for everybody")
        UNLISTED = "unlisted", _("unlisted: for people who have the link")
        PRIVATE = "private", _("private: owner, staff, some users, and people with a token")

    room_id = models.CharField(
        _("room id"),
        max_length=50,
        unique=True,
        help_text=_("What clients call it: up to 50 characters of any kind."),
    )
    owner = UserKey(
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
    may_enter_users = UsersField(
        settings.AUTH_USER_MODEL,
        verbose_name=_("users who may enter"),
        blank=True,
        related_name="+",
        help_text=_("Beside the owner, staff and people with the permission for all rooms."),
    )
    max_peers = models.PositiveIntegerField(
        _("most members"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("Empty: the default."),
    )
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

    def may(self, grant: Grant, user: "AnyUser") -> bool:
        """Whether `user` may enter, by who they are; what a token grants comes on top."""
        return grant == Grant.ENTER and self.may_enter(user)

    def may_enter(self, user: "AnyUser") -> bool:
        if self.visibility != self.Visibility.PRIVATE:
            return True
        if not user.is_authenticated:
            return False
        if user.pk == self.owner_id or is_staff(user):
            return True
        permission = "broadcast.enter_room"
        return has_perm(user, permission) or is_named(user, self.may_enter_users)

    def check_open(self) -> None:
        """RoomClosed: a person closed it."""
        if self.closed_at:
            raise RoomClosed("the room was closed")

    def make_token(self, max_age: float | None = None, now: float | None = None) -> str:
        """A token that lets its holder enter, for `max_age` seconds.

        Without one for `BROADCAST_TOKEN_AGE` seconds. ValueError: no time at all.
        """
        return self._make_token(Grant.ENTER, max_age, now)
