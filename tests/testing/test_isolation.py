"""Nothing that a test of a project publishes leaves its process."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.rig.processes import PREFIX, ServerProcess, free_port
from tests.rig.shop import Shop, Spy

PUBLISH = "from broadcast import publish; publish('orders', 'a line')"


@pytest.fixture
def redis() -> Iterator[Spy]:
    with Spy() as spy:
        yield spy


@pytest.fixture
def rpc() -> Iterator[Spy]:
    with Spy() as spy:
        yield spy


@pytest.fixture
def shop(tmp_path: Path, redis: Spy, rpc: Spy) -> Shop:
    """A project on a Redis and beside a server that would notice any call."""
    return Shop(tmp_path, REDIS_URL=redis.url, BROADCAST_RPC_PORT=str(rpc.port))


def offset(server: ServerProcess, slug: str) -> int:
    with urlopen(f"{server.url}/api/streams/{slug}/", timeout=30) as answer:
        return int(json.load(answer)["position"]["offset"])


def test_djangos_runner_calls_nobody(shop: Shop, redis: Spy, rpc: Spy) -> None:
    assert "OK" in shop.django("orders.test_ways")
    assert redis.count() == rpc.count() == 0


def test_pytest_calls_nobody(shop: Shop, redis: Spy, rpc: Spy) -> None:
    assert " passed" in shop.pytest("orders/test_ways.py")
    assert redis.count() == rpc.count() == 0


def test_parallel_processes_call_nobody(shop: Shop, redis: Spy, rpc: Spy) -> None:
    assert "OK" in shop.django("orders.test_ways", "--parallel", "2")
    shop.pytest("orders/test_ways.py", "-n", "2")
    assert redis.count() == rpc.count() == 0


@pytest.mark.parametrize("engine", ["redis", "memory"])
def test_closed_ports_are_not_missed(tmp_path: Path, engine: str) -> None:
    shop = Shop(
        tmp_path,
        REDIS_URL=f"redis://127.0.0.1:{free_port()}",
        BROADCAST_RPC_PORT=str(free_port()),
        IN_MEMORY="yes" if engine == "memory" else "",
    )
    assert "OK" in shop.django("orders.test_ways")
    assert " passed" in shop.pytest("orders/test_ways.py")


def test_outside_of_tests_the_same_project_calls_its_redis(shop: Shop, redis: Spy) -> None:
    # It has no database, of which this needs nothing.
    shop.environment["BROADCAST_PREFIX"] = "shop"
    shop.run("manage.py", "shell", "-v0", "-c", PUBLISH.replace("orders", "page:1"))
    assert redis.count()


def test_a_server_that_runs_hears_only_what_is_published_outside_of_tests(
    tmp_path: Path, redis: Spy, servers: Callable[[str], ServerProcess]
) -> None:
    server = servers("broadcast")
    slug = server.unused_stream()
    shop = Shop(
        tmp_path,
        REDIS_URL=redis.url,
        BROADCAST_RPC_PORT=str(server.rpc_port),
        BROADCAST_PREFIX=PREFIX,
        IN_MEMORY="yes",
        STREAM=slug,
    )
    assert "OK" in shop.django("orders.test_ways")
    assert " passed" in shop.pytest("orders/test_ways.py")
    assert offset(server, slug) == 0
    done = shop.run("manage.py", "shell", "-v0", "-c", PUBLISH.replace("orders", slug))
    assert done.returncode == 0, done.stdout
    assert offset(server, slug) == 1


WISHES = """
import os

from django.test import SimpleTestCase, override_settings

from broadcast import publish
from broadcast.exceptions import Unavailable

PORT = int(os.environ["BROADCAST_RPC_PORT"])


class WishTests(SimpleTestCase):
    def test_a_server(self):
        publish("demo", 1)
        with override_settings(BROADCAST_RPC_PORT=PORT, BROADCAST_PREFIX="tests"):
            position = publish("demo", 2)
        assert publish("demo", 3).epoch != position.epoch

    @override_settings(BROADCAST_RPC_PORT=PORT)
    def test_a_server_that_is_of_no_test(self):
        with self.assertRaisesRegex(Unavailable, "another installation"):
            publish("demo", 1)

    def test_overrides_within_each_other(self):
        with self.settings(BROADCAST_RPC_PORT=PORT):
            with self.settings(BROADCAST_RPC_PORT=PORT):
                pass
            with self.assertRaises(Unavailable):
                publish("demo", 1)
        publish("demo", 1)
"""


def test_a_test_that_asks_for_a_server_by_overriding_its_port_has_it(
    tmp_path: Path, redis: Spy, servers: Callable[[str], ServerProcess]
) -> None:
    server = servers("broadcast")
    shop = Shop(
        tmp_path, REDIS_URL=redis.url, BROADCAST_RPC_PORT=str(server.rpc_port), IN_MEMORY="yes"
    )
    shop.write("orders/test_wishes.py", WISHES)
    before = offset(server, "demo")
    shop.django("orders.test_wishes")
    assert offset(server, "demo") == before + 1


ENGINE = """
from django.conf import settings
from django.test import SimpleTestCase, override_settings

from broadcast.backends import get_backend
from broadcast.backends.memory import MemoryBackend
from broadcast.backends.redis import RedisBackend
from broadcast.hub.layer import MemoryLayer, get_layer


class EngineTests(SimpleTestCase):
    @override_settings(BROADCAST_REDIS_URL=settings.BROADCAST_REDIS_URL)
    def test_both(self):
        assert type(get_backend()) is RedisBackend
        assert "Redis" in type(get_layer()).__name__

    @override_settings(BROADCAST_BACKEND="broadcast.backends.redis.RedisBackend")
    def test_the_backend(self):
        assert type(get_backend()) is RedisBackend

    @override_settings(
        CHANNEL_LAYERS={"broadcast": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer"}}
    )
    def test_the_layer(self):
        assert "Redis" in type(get_layer()).__name__

    def test_neither(self):
        assert type(get_backend()) is MemoryBackend
        assert type(get_layer()) is MemoryLayer
"""


def test_a_test_that_asks_for_an_engine_by_overriding_its_setting_has_it(shop: Shop) -> None:
    shop.write("orders/test_engine.py", ENGINE)
    shop.django("orders.test_engine")


AGAIN = """
from broadcast import publish


def test_one():
    assert publish("log", 1).offset == 1


def test_another():
    assert publish("log", 1).offset == 1
"""


def test_with_pytest_no_test_finds_what_another_published(shop: Shop) -> None:
    shop.write("test_again.py", AGAIN)
    shop.pytest("test_again.py")


PLAIN = """
import sys


def test_something():
    assert "broadcast.conf" not in sys.modules
"""


def test_the_plugin_leaves_projects_without_django_alone(shop: Shop) -> None:
    shop.write("pytest.ini", "[pytest]\n")
    shop.write("test_plain.py", PLAIN)
    shop.pytest("test_plain.py", "-p", "no:django")


def test_broadcast_testing_needs_no_pytest(shop: Shop) -> None:
    shop.write("pytest.py", "raise ImportError('not installed')\n")
    code = "import broadcast.testing as t; t.capture, t.reset, t.FreshMixin, t.LiveServer"
    done = shop.run("manage.py", "shell", "-v0", "-c", code)
    assert done.returncode == 0, done.stdout
