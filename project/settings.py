"""Settings of the project. Everything that differs between machines comes from the environment.

`SECRET_KEY`, `DEBUG`, `ALLOWED_HOSTS`, `FIRST_STEPS`, `DATABASE_URL`, `REDIS_URL`,
`RECORDINGS_DIR`, `HTTPS`, `HSTS_SECONDS`,
`BROADCAST_PREFIX`, `BROADCAST_PROXIES`, `BROADCAST_RPC_HOST`, `BROADCAST_RPC_PORT`,
`BROADCAST_RPC_SECRET` and `BROADCAST_METRICS_TOKEN`; docs/reference/settings.md says
what each is for. Without any of them the project runs in one process, on SQLite, reachable from
its machine only.
"""

import logging
import os
from pathlib import Path
from typing import Any

import dj_database_url
from django.core.exceptions import ImproperlyConfigured

from broadcast.logs import OneLine

from .private_files import keep_database_private, local_secret_key

BASE_DIR = Path(__file__).resolve().parent.parent


YES, NO = {"1", "true", "yes", "on"}, {"0", "false", "no", "off"}


def env_bool(name: str, default: bool) -> bool:
    word = os.environ.get(name, "").strip().lower()
    if word and word not in YES | NO:
        # A mistyped `true` must not leave a site open.
        raise ImproperlyConfigured(f"{name} is true or false, not {word!r}")
    return word in YES if word else default


def env_int(name: str, default: int) -> int:
    return int(os.environ.get(name, default))


def env_list(name: str, default: str) -> list[str]:
    return [item.strip() for item in os.environ.get(name, default).split(",") if item.strip()]


SECRET_KEY = os.environ.get("SECRET_KEY") or local_secret_key(BASE_DIR / ".secret_key")
DEBUG = env_bool("DEBUG", False)
ALLOWED_HOSTS = env_list("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
# Whether the start page shows every visitor how to publish. A site that no other machine reaches is
# one that somebody tries.
FIRST_STEPS = env_bool("FIRST_STEPS", DEBUG or not os.environ.get("ALLOWED_HOSTS"))

INSTALLED_APPS = [
    "broadcast",  # first: its `runserver` stands before the one of Daphne and of Django
    "daphne",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "project.vote",
]

MIDDLEWARE = [
    "broadcast.middleware.ContentSecurityPolicyMiddleware",  # first: errors of the others, too
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "broadcast.middleware.SocketMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "project.urls"
ASGI_APPLICATION = "project.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]


def database(url: str) -> dict[str, Any]:
    """Django's settings for `url`; SQLite so that readers never wait for a writer.

    There are `BROADCAST_THREADS` connections, kept open. No pool: it would make everybody wait for
    a database that is away, where a new connection fails at once.
    """
    config: dict[str, Any] = dict(
        dj_database_url.parse(url, conn_max_age=60, conn_health_checks=True)
    )
    if config["ENGINE"].endswith("postgresql"):
        # A database host that drops packets must not keep a thread for minutes.
        config["OPTIONS"] = {"connect_timeout": 5, **config.get("OPTIONS", {})}
    if config["ENGINE"].endswith("sqlite3"):
        if config["NAME"] != ":memory:":
            keep_database_private(Path(config["NAME"]))
        config["OPTIONS"] = {
            "transaction_mode": "IMMEDIATE",
            "timeout": 10,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        }
    return config


DATABASES = {
    "default": database(os.environ.get("DATABASE_URL", f"sqlite:///{BASE_DIR / 'db.sqlite3'}"))
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# With Redis any number of server processes are one; without it there is one, and all is in its
# memory.
BROADCAST_REDIS_URL = os.environ.get("REDIS_URL") or os.environ.get("BROADCAST_REDIS_URL", "")

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "broadcast.permissions.StreamPermissionBackend",
]
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "broadcast:stream_list"

LANGUAGE_CODE = "en-gb"
# A visitor has the first of them that their browser asks for.
LANGUAGES = [("en-gb", "English"), ("de", "Deutsch")]
LOCALE_PATHS = [BASE_DIR / "project" / "locale"]
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True

# Recordings are for those who may hear the stream, from its page: no web server gives them out.
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    "recordings": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": os.environ.get("RECORDINGS_DIR") or BASE_DIR / "recordings"},
    },
}

STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "static"]

X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"

# The server speaks HTTP: with `HTTPS` all the world comes through a proxy that speaks TLS.
HTTPS = env_bool("HTTPS", False)
SECURE_SSL_REDIRECT = SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SECURE_HSTS_SECONDS = env_int("HSTS_SECONDS", 30 * 24 * 3600) if HTTPS else 0
# They bind a whole domain, its other sites too, and cannot be taken back: not for us to decide.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
# Probes come from next door, not through the proxy.
SECURE_REDIRECT_EXEMPT = ["^healthz$", "^metrics$"]

# Anybody can send the header: it says something only where all come through a proxy that sets it.
if BROADCAST_PROXIES := env_list("BROADCAST_PROXIES", ""):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

BROADCAST_PREFIX = os.environ.get("BROADCAST_PREFIX", "")
BROADCAST_RPC_HOST = os.environ.get("BROADCAST_RPC_HOST", "127.0.0.1")
BROADCAST_RPC_PORT = env_int("BROADCAST_RPC_PORT", 18800)
BROADCAST_RPC_SECRET = os.environ.get("BROADCAST_RPC_SECRET", "")
BROADCAST_METRICS_TOKEN = os.environ.get("BROADCAST_METRICS_TOKEN", "")


one_line = OneLine()


def brief(record: logging.LogRecord) -> bool:
    """A request that Django refuses is no fault of ours: it takes one line, without a traceback."""
    if record.name.startswith("django.security"):
        record.exc_info = None
        one_line.filter(record)
    return True


LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "filters": {
        # While Redis is away pages go on asking, and of that we tell once.
        "available": {
            "()": "django.utils.log.CallbackFilter",
            "callback": lambda record: getattr(record, "status_code", 0) != 503,
        },
        "brief": {"()": "django.utils.log.CallbackFilter", "callback": brief},
    },
    "handlers": {
        "console": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["brief"]}
    },
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {
        "broadcast": {"level": "INFO"},
        "django.request": {"filters": ["available"]},
        # It prints a traceback each second while Redis is away, of which we tell once.
        "channels_redis": {"level": "CRITICAL"},
    },
}
