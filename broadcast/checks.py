"""System checks: what of the settings cannot work, contradicts itself, or lets too much in.

    broadcast.E001  the channel layer is missing or cannot be imported
    broadcast.E002  the value of a setting makes no sense
    broadcast.E003  the backend cannot be imported, or has no Redis
    broadcast.E004  an allowed origin is none
    broadcast.E005  MessagePack-RPC can be reached from other machines, and has no secret
    broadcast.E006  backend or channel layer refuses what it is needed for  (--deploy)
    broadcast.E007  users are in another database, and the router lets no row belong to one
    broadcast.W001  there is no setting of this name
    broadcast.W002  sizes contradict each other
    broadcast.W003  backend or channel layer is not shared: one server process  (--deploy)
    broadcast.W004  of backend and channel layer only one is shared
    broadcast.W005  any host is allowed, and so any site's pages  (unless DEBUG)
    broadcast.W006  sessions in cookies cannot be ended  (--deploy)
    broadcast.W007  MessagePack-RPC can be reached from other machines
    broadcast.W008  `runserver` is not on our server, but on a slower one
    broadcast.W009  the middleware of page sockets does not stand behind that of sessions
    broadcast.W010  the backend may forget what it keeps  (--deploy)
    broadcast.W013  every user of the machine can read the recordings, or an SQLite database
                    (the database: --deploy)
    broadcast.W014  no user is known: the middleware that finds them is missing
    broadcast.W015  users are in another database than what belongs to them

Values that may hold a password are never shown.
"""

from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from asgiref.sync import async_to_sync
from channels.layers import InMemoryChannelLayer
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.core.files.storage import FileSystemStorage, InvalidStorageError, storages
from django.core.management import get_commands, load_command_class
from django.db import connections, router
from django.utils.module_loading import import_string

from .access.addresses import is_loopback
from .backends import REDIS_BACKEND, backend_path, redis_servers
from .conf import SETTINGS, conf
from .exceptions import Unavailable
from .hub.layer import REDIS_LAYER, layer_path
from .models import Stream
from .models.database import written_at
from .models.user_fields import are_apart
from .monitor.faults import find_faults

TAG = "broadcast"

#: What should not be larger than what, and what happens when it is.
SIZES = (
    ("MAX_FRAME", "MAX_MEDIA_FRAME", "who feeds a media stream may send less than anybody else"),
    ("MAX_FRAME", "HISTORY_BYTES", "the largest publications do not stay in history"),
    ("MAX_FRAME", "RING_BYTES", "who is a little behind reads the largest ones from history"),
    ("SLICE_BYTES", "RING_BYTES", "one listener may be handed more than the ring holds"),
    ("MAX_FRAME", "RPC_MAX_OBJECT", "what sockets may publish, MessagePack-RPC and `publish` not"),
)


# -- settings, one by one -------------------------------------------------------------------


@register(TAG)
def check_values(**kwargs: Any) -> list[CheckMessage]:
    return [
        Error(f"{name} {fault}.", hint=f"The default is {setting.default!r}.", id="broadcast.E002")
        for name, setting in SETTINGS.items()
        if (fault := setting.fault())
    ]


@register(TAG)
def check_names(**kwargs: Any) -> list[CheckMessage]:
    given = {name for name in dir(settings) if name.startswith("BROADCAST_")}
    return [
        Warning(f"There is no setting {name}.", hint=_similar(name), id="broadcast.W001")
        for name in sorted(given - set(SETTINGS))
    ]


def _similar(name: str) -> str:
    similar = get_close_matches(name, SETTINGS, n=1, cutoff=0.8)
    return f"Did you mean {similar[0]}?" if similar else "The README has a table of all settings."


@register(TAG)
def check_sizes(**kwargs: Any) -> list[CheckMessage]:
    return [
        Warning(
            f"BROADCAST_{small} is larger than BROADCAST_{large}: {consequence}.",
            hint=f"Lower BROADCAST_{small}, or raise BROADCAST_{large}.",
            id="broadcast.W002",
        )
        for small, large, consequence in SIZES
        # No history at all is a choice.
        if _are_sound(small, large) and getattr(conf, small) > getattr(conf, large) > 0
    ]


def _are_sound(*names: str) -> bool:
    """Whether these settings have values that can be worked with."""
    return not any(SETTINGS[f"BROADCAST_{name}"].fault() for name in names)


# -- backend and channel layer --------------------------------------------------------------


@register(TAG)
def check_channel_layer(**kwargs: Any) -> list[CheckMessage]:
    if not _are_sound("CHANNEL_LAYER"):
        return []
    alias = conf.CHANNEL_LAYER
    try:
        import_string(layer_path())
    except ImproperlyConfigured:
        # `check_backend` says it.
        return []
    except LookupError:
        message = f"CHANNEL_LAYERS has no {alias!r}: nothing that is published is heard."
    except ImportError as error:
        message = f"The channel layer {alias!r} cannot be imported: {error}."
        if layer_path() == REDIS_LAYER:
            hint = "Its package comes with the extra: install django-broadcast-live[redis]."
            return [Error(message, hint=hint, id="broadcast.E001")]
    else:
        return []
    hint = (
        f'Its BACKEND is "broadcast.layers.MemoryLayer" for one server process, '
        f'"{REDIS_LAYER}" for several.'
    )
    return [Error(message, hint=hint, id="broadcast.E001")]


@register(TAG)
def check_backend(**kwargs: Any) -> list[CheckMessage]:
    if not _are_sound("BACKEND", "REDIS_URL", "REDIS_URLS"):
        return []
    try:
        import_string(backend_path())
    except ImproperlyConfigured as error:
        return [Error(f"{error}.", id="broadcast.E003")]
    except ImportError as error:
        message = f"BROADCAST_BACKEND cannot be imported: {error}."
        hint = "Leave it out: BROADCAST_REDIS_URL says whether it is in Redis or in memory."
        return [Error(message, hint=hint, id="broadcast.E003")]
    if conf.BACKEND == REDIS_BACKEND and not redis_servers():
        message = "BROADCAST_BACKEND keeps everything in Redis, and BROADCAST_REDIS_URL is empty."
        hint = 'Name one: BROADCAST_REDIS_URL = "redis://127.0.0.1:6379/0".'
        return [Error(message, hint=hint, id="broadcast.E003")]
    return []


def backend_is_shared() -> bool:
    """Whether several processes see the same streams. ImportError: there is no such backend."""
    return bool(import_string(backend_path()).shared)


def layer_is_shared() -> bool:
    """Whether it reaches other processes. LookupError, ImportError: there is no such layer."""
    return not issubclass(import_string(layer_path()), InMemoryChannelLayer)


def reason_for_one_process(who: str = "several workers") -> str:
    """Why several processes would not be one server here; "": they would."""
    if not backend_is_shared():
        return (
            f"{who} need a shared backend, and here history and presence are in the memory of one "
            "process: set BROADCAST_REDIS_URL"
        )
    if not layer_is_shared():
        return (
            f"{who} need a shared channel layer, and here it is in the memory of one process: "
            f"CHANNEL_LAYERS[{conf.CHANNEL_LAYER!r}]"
        )
    return ""


def _can_be_had() -> bool:
    """Whether there are a backend and a layer to ask; what else, other checks say."""
    sound = _are_sound("BACKEND", "CHANNEL_LAYER", "REDIS_URL", "REDIS_URLS")
    return sound and not check_channel_layer() and not check_backend()


@register(TAG, deploy=True)
def check_one_process(**kwargs: Any) -> list[CheckMessage]:
    if settings.DEBUG or not _can_be_had() or not (reason := reason_for_one_process()):
        return []
    message = f"There can be one server process, and nobody takes over from it: {reason}."
    hint = "If one is enough, silence this check: SILENCED_SYSTEM_CHECKS = ['broadcast.W003']."
    return [Warning(message, hint=hint, id="broadcast.W003")]


@register(TAG)
def check_sharing(**kwargs: Any) -> list[CheckMessage]:
    if not _can_be_had() or backend_is_shared() == layer_is_shared():
        return []
    if backend_is_shared():
        message = (
            "History is shared by all processes, and the channel layer is not: what another "
            "process publishes is heard seconds later."
        )
        hint = f"Use {REDIS_LAYER} in CHANNEL_LAYERS."
    else:
        message = (
            "The channel layer reaches other processes, and each has a history of its own: with "
            "more than one, listeners are sent away again and again."
        )
        hint = "Set BROADCAST_REDIS_URL, and leave BROADCAST_BACKEND out."
    return [Warning(message, hint=hint, id="broadcast.W004")]


@register(TAG, deploy=True)
def check_engine(**kwargs: Any) -> list[CheckMessage]:
    """Asks Redis. A Redis that is away is no fault of the settings: nothing is said about it."""
    if not _can_be_had():
        return []
    try:
        remarks = async_to_sync(find_faults)()
    except ImproperlyConfigured as error:
        hint = "As it is, nothing can be published or heard, and no server starts."
        return [Error(f"{error}.", hint=hint, id="broadcast.E006")]
    except Unavailable:
        return []
    hint = "Set maxmemory-policy to noeviction; who publishes is told when Redis is full."
    return [Warning(f"{remark}.", hint=hint, id="broadcast.W010") for remark in remarks]


# -- who may come in ------------------------------------------------------------------------


@register(TAG, Tags.security)
def check_allowed_origins(**kwargs: Any) -> list[CheckMessage]:
    if not _are_sound("ALLOWED_ORIGINS"):
        return []
    return [
        Error(
            f"BROADCAST_ALLOWED_ORIGINS has {origin!r}, and no browser sends that as an Origin.",
            hint="An origin is a scheme and a host, nothing behind: https://www.example.org",
            id="broadcast.E004",
        )
        for origin in conf.ALLOWED_ORIGINS
        if not _is_origin(origin)
    ]


def _is_origin(origin: str) -> bool:
    """Whether it is a scheme and a host as browsers write them; "null" may be any site's."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    whole = f"{parts.scheme}://{parts.netloc}" == origin == origin.lower()
    return whole and bool(parts.scheme and parts.hostname) and "*" not in origin


@register(TAG, Tags.security)
def check_hosts(**kwargs: Any) -> list[CheckMessage]:
    if settings.DEBUG or "*" not in settings.ALLOWED_HOSTS:
        return []
    message = (
        "ALLOWED_HOSTS has '*': the pages of any site may open sockets, and publish where anybody "
        "may, from the machines of their visitors."
    )
    hint = "Name the hosts of this site. Those of others go into BROADCAST_ALLOWED_ORIGINS."
    return [Warning(message, hint=hint, id="broadcast.W005")]


@register(TAG, Tags.security, deploy=True)
def check_sessions(**kwargs: Any) -> list[CheckMessage]:
    if settings.SESSION_ENGINE != "django.contrib.sessions.backends.signed_cookies":
        return []
    message = (
        "Sessions are in cookies, and cannot be ended: a copied cookie opens sockets after its "
        "owner has logged out."
    )
    hint = "Set SESSION_ENGINE to 'django.contrib.sessions.backends.db'."
    return [Warning(message, hint=hint, id="broadcast.W006")]


@register(TAG, Tags.security)
def check_rpc_host(**kwargs: Any) -> list[CheckMessage]:
    if not _are_sound("RPC_HOST", "RPC_SECRET") or is_loopback(conf.RPC_HOST):
        return []
    if reason := reason_for_loopback(conf.RPC_HOST):
        hint = "Set BROADCAST_RPC_SECRET, or BROADCAST_RPC_HOST to 127.0.0.1."
        return [Error(f"{reason}.", hint=hint, id="broadcast.E005")]
    message = (
        f"MessagePack-RPC listens at {conf.RPC_HOST!r}, not encrypted: a listener on "
        "the network learns the secret, can publish on every stream, and read private ones."
    )
    hint = "Set BROADCAST_RPC_HOST to 127.0.0.1, or let nobody but your programs reach the port."
    return [Warning(message, hint=hint, id="broadcast.W007")]


def reason_for_loopback(host: str) -> str:
    """Why MessagePack-RPC must not listen at `host`; "": it may."""
    if is_loopback(host) or conf.RPC_SECRET:
        return ""
    return f"at {host!r} MessagePack-RPC is open to other machines, and has no secret"


# -- the server -----------------------------------------------------------------------------


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


# -- files ----------------------------------------------------------------------------------


@register(TAG, Tags.security)
def check_recordings(**kwargs: Any) -> list[CheckMessage]:
    """New ones are for their user alone; those of an older version may not be."""
    try:
        storage = storages[conf.RECORDINGS_STORAGE]
    except InvalidStorageError:
        return []
    if not isinstance(storage, FileSystemStorage):
        return []
    return _for_everybody(Path(storage.location), "700")


@register(TAG, Tags.security, deploy=True)
def check_databases(**kwargs: Any) -> list[CheckMessage]:
    found = []
    for connection in connections.all():
        name = connection.settings_dict["NAME"]
        if connection.vendor == "sqlite" and name and not str(name).startswith((":", "file:")):
            found += _for_everybody(Path(name), "600")
    return found


def _for_everybody(path: Path, mode: str) -> list[CheckMessage]:
    try:
        if not path.stat().st_mode & 0o007:
            return []
    except OSError:
        return []
    message = f"Every user of this machine can read {path}."
    return [Warning(message, hint=f"Run: chmod {mode} {path}", id="broadcast.W013")]
