"""Which page hears which channel: what a view subscribed it to, from which position, until when."""

import math
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import models
from django.utils.translation import gettext_lazy as _

from ..conf import conf
from ..publications import MAX_NAME, Position
from .database import WrittenManager
from .user_fields import UserKey, are_apart
from .users import has_field

if TYPE_CHECKING:
    from .streams import AnyUser


class Place(NamedTuple):
    """Where a page is on a channel: it may hear what comes after `first`, and has had `heard`.

    `seen`: when that was so, in seconds since 1970. If the channel was forgotten since, all later
    publications are news to the page.
    """

    first: Position
    heard: Position
    seen: float = math.inf


class SubscriptionQuerySet(models.QuerySet["Subscription"]):
    def live(self, now: datetime) -> "SubscriptionQuerySet":
        """Those that hold at that time: not expired, and not of a user who was deactivated."""
        held = self.filter(expires_at__gt=now)
        if not has_field("is_active"):
            # Nobody can be deactivated by a row.
            return held
        if are_apart(self.model):
            return held.exclude(user__in=self._deactivated(held))
        return held.filter(models.Q(user=None) | models.Q(user__is_active=True))

    @staticmethod
    def _deactivated(held: "SubscriptionQuerySet") -> list[Any]:
        """The keys of users of these rows who were deactivated, from a database of their own."""
        keys = list(held.exclude(user=None).values_list("user", flat=True).distinct())
        users = get_user_model()._default_manager.filter(pk__in=keys, is_active=False)
        return list(users.values_list("pk", flat=True))

    def has_live(self, digest: str, now: datetime) -> bool:
        """Whether the page is known at that time."""
        return self.filter(digest=digest).live(now).exists()

    def subscribe(
        self,
        digest: str,
        positions: Mapping[str, Position],
        now: datetime,
        *,
        user: "AnyUser | None" = None,
        path: str = "",
        is_open: bool = False,
    ) -> None:
        """Subscribe a page to channels, each from the position after which it is to hear.

        Where it is subscribed already, that stays as it is. The socket of a page that is not
        `is_open` yet is waited for, `BROADCAST_SUBSCRIPTION_WAIT` seconds.
        """
        self.filter(digest=digest, expires_at__lte=now).delete()
        seconds = conf.SUBSCRIPTION_AGE if is_open else conf.SUBSCRIPTION_WAIT
        rows = [
            Subscription(
                digest=digest,
                channel=channel,
                user_id=getattr(user, "pk", None),
                path=path[:200],
                epoch=position.epoch,
                offset=position.offset,
                created_at=now,
                opened_at=now if is_open else None,
                expires_at=now + timedelta(seconds=seconds),
            )
            for channel, position in positions.items()
        ]
        self.bulk_create(rows, ignore_conflicts=True)

    def open(self, digest: str, now: datetime) -> dict[str, Place]:
        """The socket of a page is open: its places on its channels."""
        rows = self.filter(digest=digest).live(now)
        found = {row.channel: row.place for row in rows}
        self.filter(digest=digest, channel__in=found).update(
            opened_at=now, closed_at=None, expires_at=self._end(now)
        )
        return found

    def heard(self, digests: Iterable[str], now: datetime) -> dict[str, set[str]]:
        """The channels that each of these pages hears at that time."""
        found: dict[str, set[str]] = {digest: set() for digest in digests}
        rows = self.filter(digest__in=list(found)).live(now)
        for digest, channel in rows.values_list("digest", "channel"):
            found[digest].add(channel)
        return found

    def ending(self, digests: Iterable[str], now: datetime) -> dict[str, dict[str, datetime]]:
        """Of these pages, which are open: what of that ends by itself, and when.

        What ends as late as all do that are renewed is left out: nearly all, nearly always.
        """
        found: dict[str, dict[str, datetime]] = {digest: {} for digest in digests}
        early = now + timedelta(seconds=conf.SUBSCRIPTION_AGE / 2)
        rows = self.filter(digest__in=list(found), expires_at__lt=early).live(now)
        for digest, channel, end in rows.values_list("digest", "channel", "expires_at"):
            found[digest][channel] = end
        return found

    def renew(self, digests: Iterable[str], now: datetime) -> None:
        """The sockets of these pages are open still."""
        self.filter(digest__in=list(digests)).live(now).update(expires_at=self._end(now))

    def close(self, digest: str, heard: Mapping[str, Position], now: datetime) -> None:
        """The page's socket went. `heard`: what it was handed, where that is news."""
        rows = self.filter(digest=digest, expires_at__gt=now)
        # A page that hears nothing is only waited for: its id need never have been rendered.
        is_kept = rows.exclude(channel="").exists()
        end = self._end(now) if is_kept else now + timedelta(seconds=conf.SUBSCRIPTION_WAIT)
        rows.update(closed_at=now, expires_at=end)
        for channel, (epoch, offset) in heard.items():
            before = rows.filter(channel=channel).exclude(
                heard_epoch=epoch, heard_offset__gte=offset
            )
            before.update(heard_epoch=epoch, heard_offset=offset)

    def in_state(self, state: "Subscription.State", now: datetime) -> "SubscriptionQuerySet":
        """Those of which `Subscription.state` says so at that time."""
        if state == Subscription.State.EXPIRED:
            return self.filter(expires_at__lte=now)
        held = self.filter(expires_at__gt=now)
        if state == Subscription.State.WAITING:
            return held.filter(opened_at=None)
        return held.filter(opened_at__isnull=False, closed_at__isnull=state == state.OPEN)

    def channels(self, now: datetime, prefix: str) -> list[str]:
        """The channels that any page hears, of those that begin so."""
        heard = self.filter(channel__startswith=prefix).exclude(channel="").live(now)
        return list(heard.order_by("channel").values_list("channel", flat=True).distinct())

    def prune(self, now: datetime) -> list[str]:
        """Drop what has expired; answers the digests of the pages that are forgotten by it."""
        expired = self.filter(expires_at__lte=now)
        digests = set(expired.values_list("digest", flat=True))
        # Whose socket is open is looked after there: nobody need be told of each row.
        expired._raw_delete(self.db)
        kept = self.filter(digest__in=digests).values_list("digest", flat=True)
        return sorted(digests.difference(kept))

    def prune_some(self, now: datetime, most: int) -> tuple[set[str], bool]:
        """`prune`, of at most so many rows; answers whether there may be more, too."""
        expired = self.filter(expires_at__lte=now).order_by("expires_at")
        some = dict(expired.values_list("pk", "digest")[:most])
        self.filter(pk__in=list(some), expires_at__lte=now)._raw_delete(self.db)
        return self.unknown(some.values()), len(some) == most

    def unknown(self, digests: Iterable[str]) -> set[str]:
        """Those of the digests that are of no page, or none any more."""
        digests = set(digests)
        known = self.filter(digest__in=digests).values_list("digest", flat=True)
        return digests.difference(known)

    def _end(self, now: datetime) -> datetime:
        return now + timedelta(seconds=conf.SUBSCRIPTION_AGE)


class Subscription(models.Model):
    """A page hears a channel. The page is known by a digest alone, its connection id by nobody.

    The one with the channel "" is of the page itself: what is pushed to it alone.
    """

    class State(models.TextChoices):
        WAITING = "waiting", _("waiting for the page's socket")
        OPEN = "open", _("open")
        AWAY = "away", _("away: the page may come back")
        EXPIRED = "expired", _("expired")

    digest = models.CharField(_("digest of the page"), max_length=64)
    channel = models.CharField(_("channel"), max_length=MAX_NAME, blank=True)
    user = UserKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("user"),
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
        help_text=_("Whose page it is; it ends with them."),
    )
    path = models.CharField(_("page"), max_length=200, blank=True)
    epoch = models.CharField(_("epoch"), max_length=40)
    offset = models.PositiveBigIntegerField(
        _("offset"), help_text=_("It hears what comes after this publication.")
    )
    heard_epoch = models.CharField(_("epoch of what it heard"), max_length=40, blank=True)
    heard_offset = models.PositiveBigIntegerField(
        _("offset of what it heard"),
        default=0,
        help_text=_("The newest publication that its socket was handed before it went."),
    )
    created_at = models.DateTimeField(_("created"))
    opened_at = models.DateTimeField(_("socket opened"), null=True, blank=True)
    closed_at = models.DateTimeField(_("socket closed"), null=True, blank=True)
    expires_at = models.DateTimeField(_("expires"), db_index=True)

    objects = WrittenManager.from_queryset(SubscriptionQuerySet)()

    class Meta:
        ordering = ("-created_at", "channel")
        verbose_name = _("subscription")
        verbose_name_plural = _("subscriptions")
        constraints = (
            models.UniqueConstraint(fields=("digest", "channel"), name="subscription_of_page"),
        )
        indexes = (models.Index(fields=("channel",), name="subscription_channel"),)

    def __str__(self) -> str:
        return f"{self.channel or _('the page itself')} ({self.digest[:8]}…)"

    def state(self, now: datetime) -> "Subscription.State":
        """Those that hold at that time; a page whose server was killed is open until it expires."""
        if self.expires_at <= now:
            return self.State.EXPIRED
        if self.opened_at is None:
            return self.State.WAITING
        return self.State.AWAY if self.closed_at else self.State.OPEN

    @property
    def place(self) -> Place:
        first = Position(self.epoch, self.offset)
        heard = Position(self.heard_epoch, self.heard_offset) if self.heard_epoch else first
        seen = self.closed_at or self.opened_at or self.created_at
        return Place(first, heard, seen.timestamp())
