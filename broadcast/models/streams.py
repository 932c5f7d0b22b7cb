"""Streams: what they are, who may do what on them. Their publications are in the backend.

The rules of who may do what are methods of `Stream`; a user is the one that Django found.
"""

from typing import TYPE_CHECKING

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from ..backends import HistoryLimits
from ..conf import conf
from ..exceptions import StreamClosed
from ..tokens import Grant
from .paths import socket_path
from .user_fields import UserKey, UsersField
from .users import has_perm, is_named, is_staff, is_superuser
from .venues import Venue, VenueQuerySet

if TYPE_CHECKING:
    from .venues import AnyUser as AnyUser


#: The stream of what programs push to every page.
EVERYONE = "everyone"


class StreamQuerySet(VenueQuerySet["Stream"]):
    def named(self, slug: str) -> "StreamQuerySet":
        """The stream of that slug, if there is one."""
        return self.filter(slug=slug)

    def has_room_for(self, owner: "AnyUser") -> bool:
        """Whether `owner` may own one more of these; superusers may own any number."""
        most = conf.MAX_STREAMS_PER_OWNER
        return most is None or is_superuser(owner) or self.filter(owner=owner.pk).count() < most

    def setup(self) -> list["Stream"]:
        """Make the streams that a new installation starts with; answers those that were missing."""
        wanted = [
            {
                "slug": "demo",
                "title": "Demo",
                "description": "Anyone may send here. Try it from two windows.",
                "publishing": Stream.Publishing.ANYONE,
            },
            {
                "slug": EVERYONE,
                "title": "Everyone",
                "description": "What programs push to all pages.",
                "publishing": Stream.Publishing.OWNER,
            },
        ]
        made = [self.get_or_create(slug=fields["slug"], defaults=fields) for fields in wanted]
        return [stream for stream, created in made if created]


class Stream(Venue):
    """A named channel that one streamer or any program feeds and n listeners hear."""

    class Visibility(models.TextChoices):
        PUBLIC = "public", _("public: listed, for everybody")
        UNLISTED = "unlisted", _("unlisted: for people who have the link")
        PRIVATE = "private", _("private: owner, staff and users with the permission")

    class Publishing(models.TextChoices):
        OWNER = "owner", _("owner, staff and users with the permission")
        ANYONE = "anyone", _("anyone (for demos)")

    class Kind(models.TextChoices):
        MESSAGES = "messages", _("messages")
        MEDIA = "media", _("media: video and audio")

    slug = models.SlugField(_("slug"), max_length=70, unique=True)
    description = models.TextField(_("description"), blank=True)
    owner = UserKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("owner"),
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="streams",
    )
    visibility = models.CharField(
        _("visibility"), max_length=10, choices=Visibility, default=Visibility.PUBLIC
    )
    publishing = models.CharField(
        _("publishing"), max_length=10, choices=Publishing, default=Publishing.OWNER
    )
    may_listen_users = UsersField(
        settings.AUTH_USER_MODEL,
        verbose_name=_("users who may listen"),
        blank=True,
        related_name="+",
        help_text=_("Beside the owner, staff and people with the permission on all streams."),
    )
    may_publish_users = UsersField(
        settings.AUTH_USER_MODEL,
        verbose_name=_("users who may publish"),
        blank=True,
        related_name="+",
        help_text=_("Beside the owner, staff and people with the permission on all streams."),
    )
    kind = models.CharField(_("kind"), max_length=10, choices=Kind, default=Kind.MESSAGES)
    content_type = models.CharField(
        _("content type"),
        max_length=200,
        blank=True,
        help_text=_("What listeners are told of the content, such as video/webm."),
    )
    record = models.BooleanField(
        _("record"),
        default=False,
        help_text=_("Video and sound are written to a file, from the next time a streamer comes."),
    )
    compress = models.BooleanField(
        _("compress while it is private"),
        default=False,
        # Servers of the version before, which may run beside this one, write rows without it.
        db_default=False,
        help_text=_(
            "Sizes of compressed messages tell an observer something of their content. Leave this "
            "off where strangers publish beside secrets."
        ),
    )
    history_count = models.PositiveIntegerField(
        _("history: publications"), null=True, blank=True, help_text=_("Empty: the default.")
    )
    history_bytes = models.PositiveBigIntegerField(
        _("history: bytes"), null=True, blank=True, help_text=_("Empty: the default.")
    )
    history_seconds = models.FloatField(
        _("history: seconds"),
        null=True,
        blank=True,
        validators=[MinValueValidator(0)],
        help_text=_("Empty: the default."),
    )
    objects = StreamQuerySet.as_manager()

    class Meta:
        ordering = ("title", "slug")
        verbose_name = _("stream")
        verbose_name_plural = _("streams")
        permissions = (
            ("listen_stream", _("Can listen to private streams")),
            ("publish_stream", _("Can publish on streams")),
        )

    def __str__(self) -> str:
        return self.title or self.slug

    def get_absolute_url(self) -> str:
        return reverse("broadcast:stream_watch", args=[self.slug])

    @property
    def listener_path(self) -> str:
        """Where its listener socket is; the scheme and the host are those of the page."""
        return socket_path("listener", self.slug)

    def clean(self) -> None:
        super().clean()
        if self.owner and not self._may_be_owned_by(self.owner):
            message = _("%(owner)s owns as many streams as one user may: %(most)d.")
            values = {"owner": self.owner, "most": conf.MAX_STREAMS_PER_OWNER}
            raise ValidationError(message, code="too_many", params=values)
        if self.record and self.kind != self.Kind.MEDIA:
            raise ValidationError({"record": _("Only streams of kind media are recorded.")})

    def _may_be_owned_by(self, owner: "AnyUser") -> bool:
        """It may stay with its owner, even where they have too many by now."""
        streams = Stream.objects.all()
        stays = self.pk and streams.filter(pk=self.pk, owner=owner.pk).exists()
        return stays or streams.has_room_for(owner)

    def check_open(self, names_it: bool = False) -> None:
        """StreamClosed: a person closed it. `names_it`: the error says which stream it is."""
        if self.closed_at:
            raise StreamClosed(f"the stream {f'{self.slug!r} ' if names_it else ''}was closed")

    @property
    def may_be_compressed(self) -> bool:
        """Whether what it sends may be deflated: not media, which is compressed already."""
        is_open = self.visibility != self.Visibility.PRIVATE
        return self.kind != self.Kind.MEDIA and (is_open or self.compress)

    def may(self, grant: Grant, user: "AnyUser") -> bool:
        """Whether `user` may do it, by who they are; what a token grants comes on top."""
        return self.may_listen(user) if grant == Grant.LISTEN else self.may_publish(user)

    def may_listen(self, user: "AnyUser") -> bool:
        if self.visibility != self.Visibility.PRIVATE:
            return True
        return self._is_for(user, "broadcast.listen_stream")

    def may_publish(self, user: "AnyUser") -> bool:
        if self.publishing == self.Publishing.ANYONE and self.may_listen(user):
            return True
        return self._is_for(user, "broadcast.publish_stream")

    def _is_for(self, user: "AnyUser", permission: str) -> bool:
        if not user.is_authenticated:
            return False
        if user.pk == self.owner_id or is_staff(user):
            return True
        # A project may have backends that know permissions on single rows, or none of them.
        return (
            has_perm(user, permission)
            or self.names(user, permission)
            or has_perm(user, permission, self)
        )

    def names(self, user: "AnyUser", permission: str) -> bool:
        """Whether this row names the user as one of those that have the permission here."""
        if permission == "broadcast.listen_stream":
            return is_named(user, self.may_listen_users)
        if permission == "broadcast.publish_stream":
            return is_named(user, self.may_publish_users)
        return False

    def make_token(
        self, grant: Grant | str, max_age: float | None = None, now: float | None = None
    ) -> str:
        """A token that lets its holder "listen" or "publish" here, for `max_age` seconds.

        Without one for `BROADCAST_TOKEN_AGE` seconds. ValueError: another grant, no time at all.
        """
        return self._make_token(Grant(grant), max_age, now)

    @property
    def limits(self) -> HistoryLimits:
        """How much history it keeps."""
        return HistoryLimits(
            conf.HISTORY_COUNT if self.history_count is None else self.history_count,
            conf.HISTORY_BYTES if self.history_bytes is None else self.history_bytes,
            conf.HISTORY_AGE if self.history_seconds is None else self.history_seconds,
        )

    @property
    def max_frame(self) -> int:
        """The largest frame its streamer may send, in bytes."""
        return conf.MAX_MEDIA_FRAME if self.kind == self.Kind.MEDIA else conf.MAX_FRAME
