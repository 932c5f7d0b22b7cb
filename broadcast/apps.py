from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _


class BroadcastConfig(AppConfig):
    name = "broadcast"
    verbose_name = _("Broadcast")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # They need the models. The checks register themselves.
        from . import checks, lifespan  # noqa: F401
        from .access import changes
        from .pages import changes as page_changes

        changes.connect()
        page_changes.connect()
        lifespan.watch_forks()
        autodiscover_modules("sockets")
