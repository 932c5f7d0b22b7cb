from django.apps import AppConfig


class OrdersConfig(AppConfig):
    name = "orders"
    verbose_name = "Bestellungen"

    def ready(self) -> None:
        from . import signals  # noqa: F401  # they register themselves
