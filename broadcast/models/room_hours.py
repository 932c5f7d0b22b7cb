"""Statistics of rooms by hour."""

from collections.abc import Mapping
from datetime import datetime

from django.db import IntegrityError, models, transaction
from django.db.models import F
from django.utils.translation import gettext_lazy as _

from .database import written_at

#: An hour, what is counted, and its value.
Counted = tuple[datetime, str, int]


class RoomHourQuerySet(models.QuerySet["RoomHour"]):
    def add(self, counts: Mapping[Counted, int]) -> None:
        """Add to what is counted, all or nothing, whatever other processes add meanwhile."""
        with transaction.atomic(written_at(self.model)):
            for (hour, kind, value), count in sorted(counts.items()):
                self._add_one({"hour": hour, "kind": kind, "value": value}, count)

    def _add_one(self, of: dict[str, object], count: int) -> None:
        if self.filter(**of).update(count=F("count") + count):
            return
        try:
            with transaction.atomic(written_at(self.model)):
                self.create(**of, count=count)
        except IntegrityError:
            # Another process was first.
            self.filter(**of).update(count=F("count") + count)

    def by_hour(self) -> list[dict[str, object]]:
        """The hours, the newest first: `hour`, `peaks` and `minutes` (value: count)."""
        hours: dict[datetime, dict[str, object]] = {}
        for row in self.order_by("-hour", "kind", "value"):
            found = hours.setdefault(row.hour, {"hour": row.hour, "peaks": {}, "minutes": {}})
            name = "peaks" if row.kind == RoomHour.Kind.PEAK else "minutes"
            found[name][row.value] = row.count  # type: ignore[index]
        return list(hours.values())


class RoomHour(models.Model):
    """How many rooms that ended in an hour had which peak; how many stays had which minutes."""

    class Kind(models.TextChoices):
        PEAK = "peak", _("rooms, by the most members they had at a time")
        MINUTES = "minutes", _("stays, by whole minutes")

    hour = models.DateTimeField(_("hour"))
    kind = models.CharField(_("what"), max_length=10, choices=Kind)
    value = models.PositiveIntegerField(_("members or minutes"))
    count = models.PositiveBigIntegerField(_("how many"), default=0)

    objects = RoomHourQuerySet.as_manager()

    class Meta:
        ordering = ("-hour", "kind", "value")
        verbose_name = _("hour of rooms")
        verbose_name_plural = _("hours of rooms")
        constraints = (
            models.UniqueConstraint(fields=("hour", "kind", "value"), name="room_hour_once"),
        )

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H:00} {self.get_kind_display()} {self.value}: {self.count}"
