"""This installation, of all that may share a Redis, a database server or a machine."""

from django.db import models
from django.utils.crypto import get_random_string
from django.utils.translation import gettext_lazy as _

from .database import WrittenManager

#: Most characters of a prefix: names of groups have less than 100, and a stream's is in them.
MOST = 20
#: Characters of a random one.
CHARACTERS = 8

ONLY = 1


def new_prefix() -> str:
    return get_random_string(CHARACTERS, "abcdefghijklmnopqrstuvwxyz0123456789")


class InstallationQuerySet(models.QuerySet["Installation"]):
    def prefix(self) -> str:
        """The prefix of this database's installation."""
        found = self._find()
        if found is None:
            # The table was emptied, or made without the migrations. Two processes that notice
            # together agree on the row that is kept.
            self.bulk_create([Installation(prefix=new_prefix())], ignore_conflicts=True)
            found = self._find()
        assert found
        return found

    def take(self, server: str) -> str:
        """Say that this process serves the installation; answers which one said so before."""
        found = self.filter(pk=ONLY).values_list("server", flat=True).first()
        if found is None:
            self.prefix()
        if found != server:
            self.filter(pk=ONLY).update(server=server)
        return found or ""

    def _find(self) -> str | None:
        return self.filter(pk=ONLY).values_list("prefix", flat=True).first()


class Installation(models.Model):
    """The one row of its table, which a migration makes: see `broadcast.installation`."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=ONLY, editable=False)
    prefix = models.CharField(_("prefix"), max_length=MOST)
    #: The process that said last that it serves the installation out of its memory: see
    #: `access.sole_process`.
    server = models.CharField(_("server"), max_length=16, blank=True, default="")

    objects = WrittenManager.from_queryset(InstallationQuerySet)()

    class Meta:
        verbose_name = _("installation")
        verbose_name_plural = _("installations")

    def __str__(self) -> str:
        return self.prefix
