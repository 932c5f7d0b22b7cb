"""The common part of streams and rooms: they can be closed, and tokens let in."""

import time
from datetime import datetime
from typing import TYPE_CHECKING, Self, TypeVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from .. import tokens
from ..conf import conf
from ..tokens import Grant
from .users import is_staff

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User

    AnyUser = User | AnonymousUser

AnyVenue = TypeVar("AnyVenue", bound="Venue")


class VenueQuerySet(models.QuerySet[AnyVenue]):
    def listed_for(self, user: "AnyUser") -> Self:
        """Those that a list shows to `user`: public ones, one's own, to staff all."""
        if is_staff(user):
            return self
        public = models.Q(visibility="public")
        return self.filter(public | models.Q(owner=user.pk) if user.pk else public)


class Venue(models.Model):
    title = models.CharField(_("title"), max_length=200)
    tokens_valid_from = models.DateTimeField(
        _("tokens are valid from"),
        null=True,
        blank=True,
        help_text=_("Tokens that were made before were withdrawn."),
    )
    closed_at = models.DateTimeField(_("closed"), null=True, blank=True)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        abstract = True

    def _make_token(self, grant: Grant, max_age: float | None, now: float | None) -> str:
        now = time.time() if now is None else now
        max_age = conf.TOKEN_AGE if max_age is None else max_age
        if not max_age >= 1:
            raise ValueError("a token is valid for a second at least")
        return tokens.make(self.pk, grant, now, now + max_age)

    def check_token(self, token: str, grant: Grant, now: float) -> None:
        """Whether the token grants it at that time. Forbidden, BadToken: no, and why."""
        valid_from = self.tokens_valid_from.timestamp() if self.tokens_valid_from else 0
        tokens.check(token, self.pk, grant, valid_from, now)

    def withdraw_tokens(self, now: datetime) -> None:
        """No token that was made before `now` grants anything any more."""
        self.tokens_valid_from = now
        self.save(update_fields=["tokens_valid_from"])

    def close(self, now: datetime) -> None:
        """Nobody may come in from now on, and everybody is sent away."""
        self.closed_at = now
        self.save(update_fields=["closed_at"])

    def reopen(self) -> None:
        self.closed_at = None
        self.save(update_fields=["closed_at"])
