"""Which ASGI application of a project is served."""

from importlib.util import find_spec
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string

#: How deep an application may be in others, such as middleware, to be found.
DEEPEST = 12


def name_application() -> None:
    """Set `ASGI_APPLICATION` where the project has not: see `application_path`."""
    if path := application_path():
        settings.ASGI_APPLICATION = path


def application_path() -> str:
    """The dotted path of the project's application; "": none is found.

    It is `ASGI_APPLICATION`, or in the `asgi.py` beside the URLs: `startproject` makes that file,
    and nothing but Channels asks for the setting.
    """
    path: str = getattr(settings, "ASGI_APPLICATION", None) or ""
    package = settings.ROOT_URLCONF.rpartition(".")[0]
    if not path and package and find_spec(f"{package}.asgi"):
        return f"{package}.asgi.application"
    return path


def import_application() -> Any:
    """The project's application; None: there is none. Errors of its module come through."""
    path = application_path()
    return import_string(path) if path else None


def serves_sockets(application: Any) -> bool:
    """Whether the sockets of Broadcast are in the application, or in one that it wraps."""
    level, seen = [application], set[int]()
    for _ in range(DEEPEST):
        below: list[Any] = []
        for one in level:
            if getattr(one, "serves_broadcast", False) is True:
                return True
            seen.add(id(one))
            below += [part for part in _parts(one) if id(part) not in seen]
        level = below
    return False


def _parts(one: Any) -> list[Any]:
    """What an application may call: what its attributes, routes and closure have."""
    if isinstance(one, dict):
        return list(one.values())
    if isinstance(one, list | tuple):
        return list(one)
    cells = getattr(one, "__closure__", None) or ()
    found = [cell.cell_contents for cell in cells] + list(getattr(one, "__dict__", {}).values())
    return [part for part in found if callable(part) or isinstance(part, dict | list | tuple)]
