"""Which ASGI application of a project is served."""

from importlib.util import find_spec

from django.conf import settings


def name_application() -> None:
    """Set `ASGI_APPLICATION` where the project has not: to the `asgi.py` beside its URLs.

    `startproject` makes that file, and nothing but Channels asks for the setting.
    """
    if getattr(settings, "ASGI_APPLICATION", None):
        return
    package = settings.ROOT_URLCONF.rpartition(".")[0]
    if package and find_spec(f"{package}.asgi"):
        settings.ASGI_APPLICATION = f"{package}.asgi.application"
