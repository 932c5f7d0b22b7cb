"""Tell the counter of each order, and the board of each that is ready, once it is committed."""

from functools import partial
from typing import Any

from broadcast import publish
from django.db import transaction
from django.db.models.signals import post_save
from django.dispatch import receiver

from .models import Order

#: Has no row: nobody hears it but pages that a view subscribed to it.
COUNTER = "theke"
#: The row of this stream, which a migration makes, lets everybody hear it.
BOARD = "tafel"


@receiver(post_save, sender=Order)
def tell(instance: Order, created: bool, **kwargs: Any) -> None:
    told = {"number": instance.pk, "tea": str(instance.tea), "guest": str(instance.guest)}
    if created:
        transaction.on_commit(partial(publish, COUNTER, told))
    elif instance.is_ready:
        transaction.on_commit(partial(publish, BOARD, told))
