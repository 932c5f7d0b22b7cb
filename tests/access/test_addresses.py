"""Where connections come from: through proxies that are named, and through nothing else."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, suppress
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import request_started
from pytest_django.fixtures import Settings

from broadcast.access.addresses import Proxies, ProxyMiddleware, address_of, household, parse
from project.asgi import application
from tests.rig.doors import PATIENCE, Door, ServerDoor
from tests.rig.processes import ServerProcess, prepared_database

# -- addresses -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:4711", "192.0.2.1"),
        ("[192.0.2.1]", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:0DB8:0::0001", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::ffff:c000:201", "192.0.2.1"),
        ("[::ffff:192.0.2.1]:80", "192.0.2.1"),
        ("::1", "::1"),
    ],
)
def test_an_address_is_found_however_it_is_written(text: str, address: str) -> None:
    assert str(parse(text)) == address


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "unknown", "_hidden", "unix:", "example.org", "localhost", "-", "null"),
        *("192.0.2", "192.0.2.1.1", "192.0.2.256", "192.0.02.1", "192.0.2.1:", "192.0.2.1:x"),
        *("192.0.2.1:123456", "192.0.2.1 evil", "192.0.2.1\n", "1", "0x7f000001", "١.٢.٣.٤"),
        *("[2001:db8::1", "2001:db8::1]", "[]", "[]:80", "[::1]80", "[::1]:x", "[[::1]]", ":::"),
        *("2001:db8::1::", "a" * 10_000, "\x00", "192.0.2.1/24", '"192.0.2.1"', "for=192.0.2.1"),
    ],
)
def test_what_is_no_address_is_none(text: str) -> None:
    assert parse(text) is None


@pytest.mark.parametrize(
    ("address", "counts_as"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:0:1:2:3:4:5", "2001:db8:0:1::/64"),
        ("2001:db8:0:1::", "2001:db8:0:1::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::1", "::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("user 5", "user 5"),
        ("", ""),
    ],
)
def test_a_64_of_ipv6_counts_as_one_and_ipv4_each_alone(address: str, counts_as: str) -> None:
    assert household(address) == counts_as


@pytest.mark.parametrize(
    ("client", "address"),
    [
        (["192.0.2.1", 4711], "192.0.2.1"),
        (("2001:db8::1", 4711), "2001:db8::1"),
        (["::ffff:192.0.2.1", 4711], "192.0.2.1"),
        (None, ""),
        ([], ""),
    ],
)
def test_the_address_of_a_scope(client: Any, address: str) -> None:
    assert address_of({"client": client}) == address


def test_a_scope_need_not_have_a_client() -> None:
    assert address_of({}) == ""


# -- proxies -------------------------------------------------------------------------------------

NONE: list[str] = []
ONE = ["10.0.0.1"]
SOME = ["10.0.0.0/8", "2001:db8:ffff::/48", "unix:"]

#: The proxies that are named, who came to us, what they say, and whom we see.
SEEN = [
    # Nobody is named: nobody is believed.
    (NONE, "192.0.2.1", "", "192.0.2.1"),
    (NONE, "192.0.2.1", "198.51.100.7", "192.0.2.1"),
    (NONE, "127.0.0.1", "198.51.100.7", "127.0.0.1"),
    (NONE, "", "198.51.100.7", ""),
    # Somebody else is named.
    (ONE, "192.0.2.1", "198.51.100.7", "192.0.2.1"),
    (ONE, "192.0.2.1", "198.51.100.7, 10.0.0.1", "192.0.2.1"),
    (ONE, "10.0.0.2", "198.51.100.7", "10.0.0.2"),
    (ONE, "", "198.51.100.7", ""),
    (ONE, "2001:db8::a00:1", "198.51.100.7", "2001:db8::a00:1"),
    # A proxy says who came.
    (ONE, "10.0.0.1", "198.51.100.7", "198.51.100.7"),
    (ONE, "::ffff:10.0.0.1", "198.51.100.7", "198.51.100.7"),
    (ONE, "10.0.0.1", "198.51.100.7:5555", "198.51.100.7"),
    (ONE, "10.0.0.1", "2001:db8::7", "2001:db8::7"),
    (ONE, "10.0.0.1", "[2001:db8::7]:5555", "2001:db8::7"),
    (ONE, "10.0.0.1", "::ffff:198.51.100.7", "198.51.100.7"),
    (ONE, "10.0.0.1", "  198.51.100.7\t", "198.51.100.7"),
    # What stood there before is the word of whoever came.
    (ONE, "10.0.0.1", "6.6.6.6, 198.51.100.7", "198.51.100.7"),
    (ONE, "10.0.0.1", "6.6.6.6,198.51.100.7", "198.51.100.7"),
    (ONE, "10.0.0.1", "10.0.0.1, 198.51.100.7", "198.51.100.7"),
    (ONE, "10.0.0.1", "6.6.6.6, 10.0.0.1, 198.51.100.7", "198.51.100.7"),
    (ONE, "10.0.0.1", "nonsense, 198.51.100.7", "198.51.100.7"),
    (ONE, "10.0.0.1", "6.6.6.6,, 198.51.100.7", "198.51.100.7"),
    (ONE, "10.0.0.1", "\x00\xff, 198.51.100.7", "198.51.100.7"),
    (ONE, "10.0.0.1", "unix:, 198.51.100.7", "198.51.100.7"),
    (ONE, "10.0.0.1", ", ".join(["6.6.6.6"] * 1000) + ", 198.51.100.7", "198.51.100.7"),
    # A proxy that says nothing, or nothing that can be read, stands for whoever came.
    (ONE, "10.0.0.1", "", "10.0.0.1"),
    (ONE, "10.0.0.1", " , ,", "10.0.0.1"),
    (ONE, "10.0.0.1", "unknown", "10.0.0.1"),
    (ONE, "10.0.0.1", "6.6.6.6, unknown", "10.0.0.1"),
    (ONE, "10.0.0.1", "6.6.6.6, unix:", "10.0.0.1"),
    (ONE, "10.0.0.1", "198.51.100.7,", "198.51.100.7"),
    # Proxies behind proxies.
    (SOME, "10.0.0.1", "198.51.100.7, 10.1.2.3", "198.51.100.7"),
    (SOME, "10.0.0.1", "6.6.6.6, 198.51.100.7, 10.1.2.3, 10.4.5.6:80", "198.51.100.7"),
    (SOME, "10.0.0.1", "6.6.6.6, 10.1.2.3, 198.51.100.7, 10.4.5.6", "198.51.100.7"),
    (SOME, "2001:db8:ffff::1", "198.51.100.7, 2001:db8:ffff:1::1", "198.51.100.7"),
    (SOME, "10.0.0.1", "6.6.6.6, unknown, 10.1.2.3", "10.1.2.3"),
    # One of them asks by itself.
    (SOME, "10.0.0.1", "10.1.2.3", "10.1.2.3"),
    (SOME, "10.0.0.1", "10.1.2.3, 10.4.5.6", "10.1.2.3"),
    # Through a Unix socket.
    (SOME, "", "198.51.100.7", "198.51.100.7"),
    (SOME, "", "", ""),
    (SOME, "10.0.0.1", "198.51.100.7, unix:", "198.51.100.7"),
    (SOME, "10.0.0.1", "unix:", "10.0.0.1"),
    (SOME, "/run/broadcast.sock", "198.51.100.7", "198.51.100.7"),
]


@pytest.mark.parametrize(("named", "peer", "forwarded", "seen"), SEEN)
def test_a_proxy_is_believed_as_far_as_it_is_named(
    named: list[str], peer: str, forwarded: str, seen: str
) -> None:
    assert Proxies(named).client(address_of({"client": [peer, 1]}), forwarded) == seen


@pytest.mark.parametrize("named", ["10.0.0.0/33", "proxy.example.org", "", "10.0.0.1:80", "unix"])
def test_what_is_no_proxy_is_told_when_a_server_starts(settings: Settings, named: str) -> None:
    settings.BROADCAST_PROXIES = ["10.0.0.1", named]
    with pytest.raises(ImproperlyConfigured, match="^BROADCAST_PROXIES: "):
        ProxyMiddleware(application)


async def seen_scope(scope: dict[str, Any]) -> dict[str, Any]:
    found: list[dict[str, Any]] = []

    async def inner(scope: dict[str, Any], receive: Any, send: Any) -> None:
        found.append(scope)

    await ProxyMiddleware(inner)(scope, None, None)
    return found[0]


async def test_several_headers_are_one_list(settings: Settings) -> None:
    settings.BROADCAST_PROXIES = ONE
    name = b"x-forwarded-for"
    headers = [(name, b"6.6.6.6"), (b"host", b"x"), (name, b"198.51.100.7, 10.0.0.1")]
    scope = {"client": ["10.0.0.1", 4711], "headers": headers}
    assert (await seen_scope(scope))["client"] == ["198.51.100.7", 0]
    # A scope belongs to whoever made it.
    assert scope["client"] == ["10.0.0.1", 4711]


@pytest.mark.parametrize("named", [NONE, ONE])
async def test_without_a_proxy_between_nothing_is_changed(
    settings: Settings, named: list[str]
) -> None:
    settings.BROADCAST_PROXIES = named
    scope = {"client": ["192.0.2.1", 4711], "headers": [(b"x-forwarded-for", b"6.6.6.6")]}
    assert await seen_scope(scope) is scope


@pytest.mark.parametrize(
    ("name", "believed"),
    [
        ("x-forwarded-proto", {}),
        ("x-scheme", {"SECURE_PROXY_SSL_HEADER": ("HTTP_X_SCHEME", "https")}),
        ("x-forwarded-host", {"USE_X_FORWARDED_HOST": True}),
        ("x-forwarded-port", {"USE_X_FORWARDED_PORT": True}),
    ],
)
async def test_only_a_proxy_says_how_a_person_came(
    settings: Settings, name: str, believed: dict[str, Any]
) -> None:
    settings.BROADCAST_PROXIES = ["10.0.0.1"]
    for setting, value in believed.items():
        setattr(settings, setting, value)
    said = [(b"host", b"x"), (name.encode(), b"https")]
    for peer, expected in (("10.0.0.1", said), ("192.0.2.1", said[:1])):
        assert (await seen_scope({"client": [peer, 1], "headers": said}))["headers"] == expected


@pytest.mark.parametrize(("named", "seen"), [(NONE, "10.0.0.1"), (ONE, "198.51.100.7")])
async def test_django_sees_the_person(
    in_process: Door, settings: Settings, named: list[str], seen: str
) -> None:
    settings.BROADCAST_PROXIES = named
    clients = []

    def note(scope: dict[str, Any], **kwargs: Any) -> None:
        clients.append(scope["client"][0])

    request_started.connect(note)
    scope = {
        **{"type": "http", "method": "GET", "path": "/api/streams/", "query_string": b""},
        **{"client": ["10.0.0.1", 4711], "server": ["127.0.0.1", 80]},
        "headers": [(b"host", b"127.0.0.1"), (b"x-forwarded-for", b"6.6.6.6, 198.51.100.7")],
    }
    asking = ApplicationCommunicator(application, scope)
    await asking.send_input({"type": "http.request", "body": b""})
    assert (await asking.receive_output(PATIENCE))["status"] == 200
    await asking.receive_output(PATIENCE)
    await asking.wait(PATIENCE)
    request_started.disconnect(note)
    assert clients == [seen]


# -- real servers, and a proxy that is one -------------------------------------------------------


@asynccontextmanager
async def proxy(port: int, address: str) -> AsyncIterator[int]:
    """A proxy before a server, which it asks from this address; answers its port.

    As real ones it adds to `X-Forwarded-For` who came to it.
    """

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()

    passing: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        passing.add(task)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        came = writer.get_extra_info("peername")[0]
        lines = head[:-4].split("\r\n")
        said = [line.partition(":")[2] for line in lines if line.lower().startswith("x-forwarded-")]
        lines = [line for line in lines if not line.lower().startswith("x-forwarded-")]
        lines.append(f"X-Forwarded-For: {','.join([*said, came])}")
        server = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
        server[1].write("\r\n".join([*lines, "", ""]).encode())
        await asyncio.gather(pass_on(reader, server[1]), pass_on(server[0], writer))

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        yield listening.sockets[0].getsockname()[1]
    for task in passing:
        task.cancel()
    await asyncio.gather(*passing, return_exceptions=True)
    await asyncio.sleep(0)


@pytest.fixture(scope="module", params=["broadcast", "uvicorn"])
def proxied(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """A server that knows one proxy, at 127.0.0.3."""
    directory = tmp_path_factory.mktemp(f"proxied-{request.param}")
    (directory / "db.sqlite3").write_bytes(prepared_database())
    process = ServerProcess(request.param, directory, BROADCAST_PROXIES="127.0.0.3")
    process.start()
    yield process
    process.kill()


async def address_in_log(process: ServerProcess, port: int, address: str, forwarded: str) -> str:
    """Whom the server sees in a socket that is opened at this port from this address."""
    process.new_log()
    door = ServerDoor(process, address, port)
    refused = await door.connect("/ws/listener/nowhere/", headers={"X-Forwarded-For": forwarded})
    assert await refused.closed() == 4504
    records = process.new_records()
    (record,) = (one for one in records if one.logger == "broadcast.consumers")
    return record.text.partition(" from ")[2].partition(" with ")[0].rpartition(":")[0]


@pytest.mark.parametrize("forwarded", ["6.6.6.6", "127.0.0.3", "6.6.6.6, 127.0.0.3", "nonsense"])
async def test_a_server_sees_who_is_behind_a_proxy_that_is_named(
    proxied: ServerProcess, forwarded: str
) -> None:
    async with proxy(proxied.port, "127.0.0.3") as port:
        assert await address_in_log(proxied, port, "127.0.0.9", forwarded) == "127.0.0.9"


async def test_a_server_sees_a_proxy_that_is_not_named_itself(proxied: ServerProcess) -> None:
    async with proxy(proxied.port, "127.0.0.4") as port:
        assert await address_in_log(proxied, port, "127.0.0.9", "6.6.6.6") == "127.0.0.4"


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.9"])
async def test_who_says_to_be_somebody_else_is_not_believed(
    proxied: ServerProcess, address: str
) -> None:
    assert await address_in_log(proxied, proxied.port, address, "6.6.6.6") == address


# -- the path at which a proxy has the site --------------------------------------------------------


async def home_page(process: ServerProcess, root: str, address: str) -> str:
    """The page of streams, for somebody at this address who says that the site is at `root`."""
    host = {"Host": "127.0.0.1", "Daphne-Root-Path": root, "Connection": "close"}
    lines = [f"{name}: {value}" for name, value in host.items()]
    port, local = process.port, (address, 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=local)
    with closing(writer):
        writer.write("\r\n".join(["GET / HTTP/1.1", *lines, "", ""]).encode())
        return (await asyncio.wait_for(reader.read(), PATIENCE)).decode()


@pytest.mark.parametrize("root", ["//evil.example", "/live", "/%0d%0aX-Evil:%20x"])
async def test_a_stranger_does_not_say_where_the_site_is(proxied: ServerProcess, root: str) -> None:
    for address in ("127.0.0.1", "127.0.0.9"):
        page = await home_page(proxied, root, address)
        assert page.startswith("HTTP/1.1 200 ") and 'href="/rooms/"' in page
        assert "evil" not in page.lower() and "/live/" not in page
        socket = await ServerDoor(proxied, address).connect(
            "/ws/socket/", headers={"Daphne-Root-Path": root}
        )
        await socket.close()


async def test_a_proxy_that_is_named_says_where_the_site_is(proxied: ServerProcess) -> None:
    page = await home_page(proxied, "/live", "127.0.0.3")
    # Servers that are not on Daphne know nothing of it.
    assert ('href="/live/rooms/"' in page) == (proxied.kind == "broadcast")
    # Whether it takes the path off itself, or not.
    for path in ("/ws/socket/", "/live/ws/socket/")[: 1 + (proxied.kind == "broadcast")]:
        socket = await ServerDoor(proxied, "127.0.0.3").connect(
            path, headers={"Daphne-Root-Path": "/live"}
        )
        await socket.send('{"id": 1, "action": "ping"}')
        assert "pong" in str(await socket.receive())
        await socket.close()


async def test_a_stranger_does_not_pass_by_what_pages_may_call(proxied: ServerProcess) -> None:
    """A root path would be cut off what a page calls, behind the rule for it."""
    for path, expected in (("/api/streams/", 200), ("/live/api/streams/", 404)):
        socket = await ServerDoor(proxied).connect(
            "/ws/socket/", headers={"Daphne-Root-Path": "/live"}
        )
        await socket.send(json.dumps({"id": 1, "action": "call-route", "uri": path}))
        assert json.loads(str(await socket.receive()))["status"] == expected
        await socket.close()
