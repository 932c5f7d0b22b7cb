"""System checks: what is said of settings that cannot work, contradict or let too much in."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.checks import Tags, run_checks
from django.core.management import call_command, get_commands
from django.core.management.base import SystemCheckError
from django.test import override_settings
from pytest_django.fixtures import Settings

from broadcast.conf import KINDS, SETTINGS
from tests.rig.checks import found

REDIS_BACKEND = "broadcast.backends.redis.RedisBackend"
REDIS_LAYER = {"broadcast": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer"}}
REDIS = {
    "BROADCAST_REDIS_URL": "redis://:open-sesame@127.0.0.1/",
}
COOKIES = "django.contrib.sessions.backends.signed_cookies"


def ids(deploy: bool = False, **changed: Any) -> list[str]:
    """The checks that say something when these settings are changed."""
    with override_settings(**changed):
        return [message.id.removeprefix("broadcast.") for message in found(deploy)]


def test_what_the_project_comes_with_is_fine() -> None:
    assert ids() == []


def test_what_the_project_is_on_redis_is_fine_to_deploy() -> None:
    assert ids(deploy=True, **REDIS) == []


# -- values -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HISTORY_COUNT", "1000"),
        ("HISTORY_COUNT", 10.5),
        ("HISTORY_COUNT", True),
        ("HISTORY_COUNT", None),
        ("HISTORY_COUNT", -1),
        ("RING_COUNT", 0),
        ("MAX_FRAME", 0),
        ("SLOW_SECONDS", "30"),
        ("WATCH_SECONDS", 0),
        ("WATCH_SECONDS", float("nan")),
        ("LINGER_SECONDS", -0.1),
        ("RPC_PORT", 65536),
        ("RPC_HOST", None),
        ("BACKEND", 1),
        ("CHANNEL_LAYER", ["default"]),
        ("ALLOWED_ORIGINS", "https://www.example.org"),
        ("ALLOWED_ORIGINS", [1]),
        ("REDIS_URLS", "redis://:open-sesame@127.0.0.1/"),
        ("MAX_CONNECTIONS", 0),
        ("MAX_JOINS_PER_SECOND", "many"),
        ("EMBED_ANCESTORS", None),
        ("PREFIX", "a.b"),
        ("PREFIX", "a:b"),
        ("PREFIX", "ä"),
        ("PREFIX", "a\n"),
        ("PREFIX", "x" * 21),
        ("PREFIX", None),
    ],
)
def test_a_value_that_makes_no_sense_is_an_error(name: str, value: Any, settings: Settings) -> None:
    setattr(settings, f"BROADCAST_{name}", value)
    (message,) = (one for one in found(deploy=True) if one.id != "broadcast.W003")
    assert message.id == "broadcast.E002"
    assert message.msg.startswith(f"BROADCAST_{name} is ")
    assert "open-sesame" not in str(message)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HISTORY_COUNT", 0),
        ("HISTORY_BYTES", 0),
        ("LINGER_SECONDS", 0),
        ("SLOW_SECONDS", 10),
        ("SLOW_SECONDS", 0.1),
        ("RPC_MAX_CONNECTIONS", 0),
        ("ALLOWED_ORIGINS", ("https://www.example.org",)),
        ("PREFIX", "a-_Z0"),
        ("PREFIX", "x" * 20),
    ],
)
def test_a_value_that_makes_sense_is_none(name: str, value: Any) -> None:
    assert ids(**{f"BROADCAST_{name}": value}) == []


def test_every_default_is_sound_and_of_a_type_that_can_be_named() -> None:
    assert {setting.kind or type(setting.default) for setting in SETTINGS.values()} <= set(KINDS)
    assert not {name: setting.fault() for name, setting in SETTINGS.items() if setting.fault()}


def test_a_name_that_is_nearly_one_is_told_which(settings: Settings) -> None:
    settings.BROADCAST_HISTROY_COUNT = 10
    settings.BROADCAST_VOLUME = 11
    nearly, not_at_all = found()
    assert nearly.id == not_at_all.id == "broadcast.W001"
    assert nearly.hint == "Did you mean BROADCAST_HISTORY_COUNT?"
    assert "BROADCAST_VOLUME" in not_at_all.msg
    assert "docs/reference/settings.md" in not_at_all.hint


MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("small", "large", "sizes"),
    [
        ("MAX_FRAME", "MAX_MEDIA_FRAME", (2, 1)),
        ("MAX_FRAME", "HISTORY_BYTES", (2, 1)),
        ("MAX_FRAME", "RING_BYTES", (3, 2)),
        ("SLICE_BYTES", "RING_BYTES", (3, 2)),
        ("MAX_FRAME", "RPC_MAX_OBJECT", (2, 1)),
    ],
)
def test_sizes_that_contradict_each_other_are_told_both(
    small: str, large: str, sizes: tuple[int, int], settings: Settings
) -> None:
    for name, size in zip((small, large), sizes, strict=True):
        setattr(settings, f"BROADCAST_{name}", size * MIB)
    (message,) = found()
    assert message.id == "broadcast.W002"
    assert message.msg.startswith(f"BROADCAST_{small} is larger than BROADCAST_{large}")
    assert f"BROADCAST_{small}" in message.hint and f"BROADCAST_{large}" in message.hint
    # As long as one of them makes no sense, only that is told.
    setattr(settings, f"BROADCAST_{large}", -1)
    assert [message.id for message in found()] == ["broadcast.E002"]


# -- backend and channel layer ------------------------------------------------------------------


@pytest.mark.parametrize("layers", [{}, {"default": {}}])
def test_a_project_needs_no_channel_layer(layers: Any) -> None:
    assert ids(CHANNEL_LAYERS=layers) == []


@pytest.mark.parametrize("layers", [{}, {"other": REDIS_LAYER["broadcast"]}, {"live": {}}])
def test_no_channel_layer_of_the_name_that_is_set_is_an_error(layers: Any) -> None:
    given = {"CHANNEL_LAYERS": layers, "BROADCAST_CHANNEL_LAYER": "live"}
    assert ids(deploy=True, **given) == ["E001"]


def test_a_channel_layer_that_is_not_installed_is_an_error_that_says_so(settings: Settings) -> None:
    settings.CHANNEL_LAYERS = {"broadcast": {"BACKEND": "no_such_package.Layer"}}
    (message,) = found(deploy=True)
    assert message.id == "broadcast.E001" and "No module named" in message.msg


def test_the_layer_that_is_named_is_the_one_that_counts() -> None:
    layers = {"other": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    assert ids(CHANNEL_LAYERS=layers, BROADCAST_CHANNEL_LAYER="other") == []


def test_a_backend_that_is_not_there_is_an_error() -> None:
    assert ids(deploy=True, BROADCAST_BACKEND="broadcast.backends.Redis") == ["E003"]


def test_the_redis_backend_without_a_redis_is_an_error() -> None:
    assert ids(deploy=True, BROADCAST_BACKEND=REDIS_BACKEND) == ["E003"]


def test_all_in_the_memory_of_one_process_is_told_before_deployment_alone() -> None:
    assert ids(deploy=True) == ["W003"]
    assert ids(deploy=True, DEBUG=True) == []
    assert ids() == []


def test_that_only_the_backend_is_shared_is_told() -> None:
    layers = {"broadcast": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    assert ids(**{**REDIS, "CHANNEL_LAYERS": layers}) == ["W004"]


def test_that_only_the_layer_is_shared_is_told() -> None:
    assert ids(CHANNEL_LAYERS=REDIS_LAYER) == ["W004"]


# -- who may come in ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "origin",
    [
        *("www.example.org", "https://www.example.org/", "https://", "null", "*", ""),
        *("https://*.example.org", "https://WWW.example.org", "https://[::1", "http:/x"),
    ],
)
def test_an_origin_that_no_browser_sends_is_an_error(origin: str) -> None:
    assert ids(BROADCAST_ALLOWED_ORIGINS=[origin]) == ["E004"]


def test_origins_as_browsers_send_them_are_fine() -> None:
    origins = ["https://www.example.org", "http://localhost:3000", "http://[::1]:8000"]
    origins += ["chrome-extension://abcdefghijklmnop"]
    assert ids(BROADCAST_ALLOWED_ORIGINS=origins) == []


def test_open_hosts_are_told_unless_one_debugs() -> None:
    assert ids(ALLOWED_HOSTS=["*"]) == ["W005"]
    assert ids(ALLOWED_HOSTS=["www.example.org", "*"]) == ["W005"]
    assert ids(ALLOWED_HOSTS=["*"], DEBUG=True) == []
    assert ids(ALLOWED_HOSTS=[".example.org"]) == []


def test_sessions_that_cannot_be_ended_are_told_before_deployment() -> None:
    assert ids(deploy=True, **REDIS, SESSION_ENGINE=COOKIES) == ["W006"]
    assert ids(SESSION_ENGINE=COOKIES) == []


def test_a_proxy_that_is_not_believed_who_comes_by_https_is_told_before_deployment() -> None:
    believed = ("HTTP_X_FORWARDED_PROTO", "https")
    proxies = {**REDIS, "BROADCAST_PROXIES": ["127.0.0.1"]}
    assert ids(deploy=True, **proxies) == ["W020"]
    assert ids(**proxies) == []
    assert ids(deploy=True, **proxies, SECURE_PROXY_SSL_HEADER=believed) == []
    assert ids(deploy=True, **REDIS, SECURE_PROXY_SSL_HEADER=believed) == []


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.2", "rpc.example.org"])
def test_messagepack_rpc_for_other_machines_needs_a_secret_and_is_told(host: str) -> None:
    assert ids(BROADCAST_RPC_HOST=host) == ["E005"]
    assert ids(BROADCAST_RPC_HOST=host, BROADCAST_RPC_SECRET="secret") == ["W007"]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost"])
def test_messagepack_rpc_for_this_machine_is_fine(host: str) -> None:
    assert ids(BROADCAST_RPC_HOST=host) == []


def test_what_lets_too_much_in_is_among_the_security_checks(settings: Settings) -> None:
    settings.ALLOWED_HOSTS, settings.BROADCAST_RPC_HOST = ["*"], "0.0.0.0"
    settings.SESSION_ENGINE = COOKIES
    settings.BROADCAST_ALLOWED_ORIGINS = ["null"]
    told = run_checks(tags=[Tags.security], include_deployment_checks=True)
    ours = {message.id for message in told if message.id.startswith("broadcast.")}
    assert ours == {f"broadcast.{name}" for name in ("E004", "E005", "W005", "W006")}


# -- the server ---------------------------------------------------------------------------------


@pytest.fixture
def commands() -> Iterator[Any]:
    """Where commands come from is found out anew, then and afterwards."""
    yield get_commands.cache_clear
    get_commands.cache_clear()


@pytest.mark.parametrize("first", ["daphne", "django.contrib.staticfiles"])
def test_a_runserver_that_is_not_on_our_server_is_told(
    first: str, settings: Settings, commands: Any
) -> None:
    settings.INSTALLED_APPS = sorted(settings.INSTALLED_APPS, key=lambda app: app != first)
    commands()
    (message,) = (one for one in run_checks() if one.id.startswith("broadcast"))
    assert message.id == "broadcast.W008" and first in message.msg


def test_a_runserver_on_top_of_ours_is_fine(
    settings: Settings, commands: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from broadcast.management.commands.runserver import Command
    from broadcast.server.server import Server

    class Theirs(Command):
        server_cls = type("TheirServer", (Server,), {})

    monkeypatch.setattr("broadcast.checks.project.get_commands", lambda: {"runserver": "theirs"})
    monkeypatch.setattr("broadcast.checks.project.load_command_class", lambda app, name: Theirs())
    assert ids() == []


def test_with_an_error_nothing_is_served(settings: Settings) -> None:
    settings.BROADCAST_MAX_FRAME = "1 MiB"
    # Before anything is set up: the database may not be used here.
    for command in ("serve", "start"):
        with pytest.raises(SystemCheckError, match="E002"):
            call_command(command)
