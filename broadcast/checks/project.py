"""What of the steps that add Broadcast to a project is missing."""

import os
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.staticfiles import finders
from django.core.checks import CheckMessage, Error, Info, Tags, Warning, register
from django.core.management import get_commands, load_command_class
from django.db import router
from django.urls import NoReverseMatch, reverse
from django.utils.module_loading import import_string

from ..conf import conf
from ..models import Stream
from ..models.database import written_at
from ..models.user_fields import are_apart
from ..server.applications import import_application, serves_sockets
from .engine import backend_is_shared, can_be_had
from .values import TAG, are_sound

#: One of the static files; the finder that finds those of apps.
SCRIPT = "broadcast/element.js"
APP_FINDER = "django.contrib.staticfiles.finders.AppDirectoriesFinder"


@register(TAG)
def check_runserver(**kwargs: Any) -> list[CheckMessage]:
    app = get_commands()["runserver"]
    if app == "broadcast":
        return []
    # It may be on top of ours, and its server then is ours.
    server = getattr(load_command_class(app, "runserver"), "server_cls", object)
    if any(base.__module__.startswith("broadcast.server.") for base in server.__mro__):
        return []
    message = (
        f"`runserver` is that of {app}: sockets take a slower path, and MessagePack-RPC is not "
        "served."
    )
    hint = "Put 'broadcast' before it in INSTALLED_APPS."
    return [Warning(message, hint=hint, id="broadcast.W008")]


@register(TAG)
def check_socket_middleware(**kwargs: Any) -> list[CheckMessage]:
    """`request.socket` keeps its key in the session, which must be saved behind it."""
    sockets = "broadcast.middleware.SocketMiddleware"
    sessions = "django.contrib.sessions.middleware.SessionMiddleware"
    names = list(settings.MIDDLEWARE)
    if sockets not in names or sessions in names[: names.index(sockets)]:
        return []
    message = f"{sockets} does not stand behind {sessions}: no page could use request.socket."
    return [Warning(message, hint="Put it right behind.", id="broadcast.W009")]


@register(TAG)
def check_users(**kwargs: Any) -> list[CheckMessage]:
    """Everything works without users, but for those who may do more than others."""
    users = "django.contrib.auth.middleware.AuthenticationMiddleware"
    if any(_is_like(name, users) for name in settings.MIDDLEWARE):
        return []
    message = f"{users} is missing: owners and staff are nobody here, and only tokens let in."
    hint = f"Put it behind the middleware of sessions, or silence {TAG}.W014."
    return [Warning(message, hint=hint, id="broadcast.W014")]


@register(TAG)
def check_databases_of_users(**kwargs: Any) -> list[CheckMessage]:
    """Only the router is asked, no database."""
    user = get_user_model()
    if not are_apart(Stream, user):
        return []
    message = (
        f"Streams are in the database {written_at(Stream)!r}, users in {written_at(user)!r}: "
        "without constraints, and the admin cannot show which users a stream or room names."
    )
    hint = f"Have the router put them into one database, or silence {TAG}.W015."
    found: list[CheckMessage] = [Warning(message, hint=hint, id="broadcast.W015")]
    here, there = Stream(), user()
    here._state.db, there._state.db = written_at(Stream), written_at(user)
    if not router.allow_relation(there, here):
        message = "The router lets no stream have an owner, since users are in another database."
        hint = "Its `allow_relation` has to answer True for rows of Broadcast and users."
        found.append(Error(message, hint=hint, id="broadcast.E007"))
    return found


def _is_like(name: str, path: str) -> bool:
    """Whether the middleware `name` is the class at `path`, or made from it."""
    try:
        found, wanted = import_string(name), import_string(path)
    except ImportError:
        # Django says so itself.
        return False
    return isinstance(found, type) and issubclass(found, wanted)


@register(TAG)
def check_middleware(**kwargs: Any) -> list[CheckMessage]:
    sockets = "broadcast.middleware.SocketMiddleware"
    if sockets in settings.MIDDLEWARE:
        return []
    message = f"{sockets} is missing: no view has request.socket, and no page a socket of its own."
    hint = f"Put it at the end of MIDDLEWARE, or silence {TAG}.W011."
    return [Warning(message, hint=hint, id="broadcast.W011")]


@register(TAG, Tags.urls)
def check_urls(**kwargs: Any) -> list[CheckMessage]:
    try:
        reverse("broadcast:stream_list")
    except NoReverseMatch:
        message = "The pages and the HTTP API have no paths, and nothing leads to a stream."
        hint = 'Add path("live/", include("broadcast.urls")) to urlpatterns.'
        return [Warning(message, hint=hint, id="broadcast.W012")]
    except Exception:
        # Django says what is wrong with the paths of the project.
        return []
    return []


@register(TAG)
def check_application(**kwargs: Any) -> list[CheckMessage]:
    try:
        application = import_application()
    except Exception:
        # It tells more where it is served; here it would only be in the way of other commands.
        return []
    if application is not None and serves_sockets(application):
        return []
    which = "There is no ASGI application" if application is None else f"{application!r} has none"
    message = f"{which}: the sockets of Broadcast are not served."
    hint = (
        "In asgi.py: from broadcast.asgi import get_application; "
        "application = get_application(websocket=[…])"
    )
    return [Warning(message, hint=hint, id="broadcast.W016")]


@register(TAG, Tags.staticfiles)
def check_static_files(**kwargs: Any) -> list[CheckMessage]:
    if not apps.is_installed("django.contrib.staticfiles") or finders.find(SCRIPT):
        return []
    message = f"STATICFILES_FINDERS find no {SCRIPT}: the pages stay blank."
    hint = f"Put {APP_FINDER} among them."
    return [Warning(message, hint=hint, id="broadcast.W017")]


@register(TAG, Tags.staticfiles, deploy=True)
def check_collected_files(**kwargs: Any) -> list[CheckMessage]:
    root = settings.STATIC_ROOT
    if settings.DEBUG or not root or Path(root, SCRIPT).is_file():
        return []
    message = f"STATIC_ROOT has no {SCRIPT}: the pages stay blank where it is served."
    return [Warning(message, hint="Run: manage.py collectstatic", id="broadcast.W018")]


@register(TAG)
def check_concurrency(**kwargs: Any) -> list[CheckMessage]:
    """gunicorn, uvicorn and hosting services read the number of processes from there."""
    number = os.environ.get("WEB_CONCURRENCY", "")
    if not number.isdecimal() or int(number) < 2 or not can_be_had() or backend_is_shared():
        return []
    message = (
        f"WEB_CONCURRENCY asks for {number} processes, and each would have streams of its own: "
        "half of the listeners hear nothing."
    )
    hint = "Set BROADCAST_REDIS_URL, or WEB_CONCURRENCY=1."
    return [Warning(message, hint=hint, id="broadcast.W019")]


@register(TAG, deploy=True)
def check_permission_backend(**kwargs: Any) -> list[CheckMessage]:
    backend = "broadcast.permissions.StreamPermissionBackend"
    if backend in settings.AUTHENTICATION_BACKENDS:
        return []
    message = (
        'user.has_perm("broadcast.listen_stream", stream) knows no user that the stream names. '
        "Sockets and pages of Broadcast do."
    )
    hint = f"If code of the project asks it, add {backend!r} to AUTHENTICATION_BACKENDS."
    return [Info(message, hint=hint, id="broadcast.I001")]


@register(TAG, deploy=True)
def check_recordings_storage(**kwargs: Any) -> list[CheckMessage]:
    if not are_sound("RECORDINGS_STORAGE") or conf.RECORDINGS_STORAGE in settings.STORAGES:
        return []
    message = f"STORAGES has no {conf.RECORDINGS_STORAGE!r}: no broadcast can be recorded."
    hint = "Add a storage of that name which no web server gives out, if streams are recorded."
    return [Info(message, hint=hint, id="broadcast.I002")]
