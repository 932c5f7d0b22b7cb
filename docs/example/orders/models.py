from django.conf import settings
from django.db import models


class Tea(models.Model):
    name = models.CharField("Name", max_length=50)
    note = models.CharField("Beschreibung", max_length=200, blank=True)
    price = models.DecimalField("Preis", max_digits=5, decimal_places=2)

    class Meta:
        verbose_name = "Tee"
        verbose_name_plural = "Tees"
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Order(models.Model):
    tea = models.ForeignKey(Tea, models.PROTECT, verbose_name="Tee")
    guest = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, verbose_name="Gast")
    placed_at = models.DateTimeField("bestellt", auto_now_add=True)
    is_ready = models.BooleanField("fertig", default=False)

    class Meta:
        verbose_name = "Bestellung"
        verbose_name_plural = "Bestellungen"
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"Nr. {self.pk}: {self.tea}"
