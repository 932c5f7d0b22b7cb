"""`LiveServer`, as tests of a project use it."""

import asyncio
import json
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from orders.models import Order
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from broadcast import publish
from broadcast.backends import is_serving
from broadcast.models import Stream
from broadcast.testing import LiveServer

former = []


@pytest.fixture
def stream(transactional_db):
    return Stream.objects.create(slug="orders", visibility="public", publishing="anyone")


def listen(server, query=""):
    socket = connect(f"{server.ws_url}/ws/listener/orders/{query}", subprotocols=["broadcast.v1"])
    assert json.loads(socket.recv(10))["event"] == "joined"
    return socket


def read(url):
    with urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def test_listeners_hear_what_the_test_publishes(broadcast_server, stream, published):
    with listen(broadcast_server) as socket:
        Order.objects.create(item="tea")
        publish("orders", b"\0")
        assert json.loads(socket.recv(10))["data"] == {"item": "tea"}
        assert socket.recv(10)[8:] == b"\0"
    assert published == [("orders", {"item": "tea"}), ("orders", b"\0")]


def test_what_was_published_before_the_server_began_is_in_its_history(stream):
    publish("orders", "early")
    with LiveServer() as server, listen(server, "?history=1") as socket:
        assert json.loads(socket.recv(10))["data"] == "early"


def test_the_test_hears_what_clients_publish(broadcast_server, stream, published):
    url = f"{broadcast_server.url}/api/streams/orders/publications/"
    request = Request(url, b'{"item": "milk"}', {"Content-Type": "application/json"})
    with urlopen(request, timeout=10) as answer:
        assert answer.status == 201
    assert published == [("orders", {"item": "milk"})]


def test_pages_and_static_files_are_served(broadcast_server, stream):
    page = read(f"{broadcast_server.url}/streams/orders/")
    assert "orders" in page
    assert "listener" in read(f"{broadcast_server.url}/static/broadcast/element.js")


def test_the_test_and_many_requests_use_the_database_together(broadcast_server, stream):
    with ThreadPoolExecutor(10) as pool:
        pages = [pool.submit(read, f"{broadcast_server.url}/streams/orders/") for _ in range(30)]
        users = [User.objects.create_user(f"user{number}") for number in range(10)]
        assert all("orders" in page.result(30) for page in pages)
    assert User.objects.count() == len(users)


@pytest.mark.parametrize("number", range(3))
def test_no_server_has_rows_streams_or_sockets_of_the_one_before(transactional_db, number):
    assert not Stream.objects.exists()
    Stream.objects.create(slug="orders")
    with LiveServer() as server:
        assert server.url not in former
        former.append(server.url)
        with listen(server) as socket:
            assert publish("orders", number).offset == 1
            assert json.loads(socket.recv(10))["data"] == number


def test_it_ends_soon_with_open_sockets_and_answers_nobody_any_more(stream):
    server = LiveServer()
    server.start()
    idle = socket.create_connection((server.host, server.port))
    listener = listen(server)
    began = time.monotonic()
    server.stop()
    assert time.monotonic() - began < 5
    with pytest.raises(ConnectionClosed):
        while True:
            listener.recv(10)
    assert listener.close_code == 4200
    idle.settimeout(10)
    with idle, suppress(ConnectionResetError):
        assert idle.recv(1) == b""
    with pytest.raises(URLError):
        urlopen(server.url, timeout=10)
    server.stop()


def test_publishing_goes_on_when_it_has_ended(stream, published):
    with LiveServer():
        pass
    assert not is_serving()
    publish("orders", 1)
    assert published == [("orders", 1)]


def test_it_leaves_the_port_of_programs_alone(broadcast_server):
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", settings.BROADCAST_RPC_PORT)).close()


def test_there_is_one_at_a_time(broadcast_server):
    with pytest.raises(RuntimeError, match="runs already"):
        LiveServer().start()
    with urlopen(broadcast_server.url, timeout=10) as answer:
        assert answer.status == 200


def test_one_that_cannot_start_leaves_nothing_behind(transactional_db):
    hosts = list(settings.ALLOWED_HOSTS)
    with pytest.raises(OSError):
        LiveServer("192.0.2.1").start()
    assert hosts == settings.ALLOWED_HOSTS and not is_serving()
    with LiveServer() as server, urlopen(server.url, timeout=10) as answer:
        assert answer.status == 200


def test_a_loop_beside_the_test_is_no_obstacle(broadcast_server, stream, monkeypatch):
    """As Playwright's is, which runs in the same thread."""
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")

    async def beside():
        publish("orders", {"item": "tea"})

    with listen(broadcast_server) as socket:
        asyncio.run(beside())
        assert json.loads(socket.recv(10))["data"] == {"item": "tea"}


def test_without_asking_for_it_sync_code_is_refused_within_a_loop(transactional_db):
    async def within():
        publish("orders", 1)

    assert "DJANGO_ALLOW_ASYNC_UNSAFE" not in os.environ
    with pytest.raises(RuntimeError, match="async"):
        asyncio.run(within())
