from django.apps import AppConfig, apps
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _


class BroadcastConfig(AppConfig):
    name = "broadcast"
    verbose_name = _("Broadcast")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        if not apps.is_installed("django.contrib.auth"):
            # A check would come too late: much of ours cannot even be imported then.
            raise ImproperlyConfigured(
                "Broadcast needs 'django.contrib.auth' and 'django.contrib.contenttypes' in "
                "INSTALLED_APPS, whatever the model of users"
            )
        # They need the models. The checks register themselves.
        from . import checks, lifespan  # noqa: F401
        from .access import changes
        from .models import user_fields
        from .pages import changes as page_changes

        user_fields.connect()
        changes.connect()
        page_changes.connect()
        lifespan.watch_forks()
        autodiscover_modules("sockets")
