"""The settings of production: Redis for everything, and a server at the MessagePack-RPC port."""

import os

import dj_database_url

SECRET_KEY = "shop"
INSTALLED_APPS = [
    "broadcast",
    "daphne",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "orders",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "broadcast.middleware.SocketMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
ROOT_URLCONF = "shop.urls"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [os.environ["TEMPLATES"]],
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
STATIC_URL = "static/"
STATICFILES_DIRS = [os.environ["STATIC"]]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True

#: A file, or SQLite's own default for tests: the memory.
TEST_DATABASE = os.environ.get("TEST_DATABASE") or None
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": "production.sqlite3",
        "TEST": {"NAME": TEST_DATABASE},
    }
}
if url := os.environ.get("DATABASE_URL"):
    DATABASES["default"] = dj_database_url.parse(url)

BROADCAST_REDIS_URL = "" if os.environ.get("IN_MEMORY") else os.environ["REDIS_URL"]
BROADCAST_PREFIX = os.environ.get("BROADCAST_PREFIX", "")
BROADCAST_RPC_PORT = int(os.environ["BROADCAST_RPC_PORT"])

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}
