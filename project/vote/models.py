"""Votes: one for each visitor."""

from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _


class VoteQuerySet(models.QuerySet["Vote"]):
    def results(self) -> dict[str, Any]:
        """How many there are, and of each choice how many and which part of all:
        `{"total": 3, "tea": {"votes": 2, "percent": 67}, …}`.
        """
        counted = dict(self.order_by().values_list("choice").annotate(models.Count("pk")))
        total = sum(counted.values())
        results: dict[str, Any] = {"total": total}
        for choice in Vote.Choice.values:
            votes = counted.get(choice, 0)
            results[choice] = {"votes": votes, "percent": round(100 * votes / (total or 1))}
        return results


class Vote(models.Model):
    """What a visitor voted for. Who votes again changes their mind."""

    class Choice(models.TextChoices):
        TEA = "tea", _("Tea")
        COFFEE = "coffee", _("Coffee")
        COCOA = "cocoa", _("Cocoa")

    voter = models.CharField(max_length=32, unique=True, editable=False)
    choice = models.CharField(max_length=10, choices=Choice)

    objects = VoteQuerySet.as_manager()

    def __str__(self) -> str:
        return str(self.get_choice_display())
