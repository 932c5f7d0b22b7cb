"""Where a server listens: sockets that it inherits, several addresses, and a Unix socket."""

import asyncio
import contextlib
import os
import signal
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from broadcast.server import inherited
from broadcast.server.binding import CannotListen, UnixAddress, listen, opened
from tests.rig.doors import V1
from tests.rig.listening import (
    PROGRAM,
    ListeningProcess,
    RawUnixSocket,
    answers,
    other,
    running,
)
from tests.rig.processes import PATIENCE, ServerProcess, free_port, prepared_database
from tests.rig.raw import TEXT, handshake

#: Who comes, as a proxy says.
PERSON = "198.51.100.7"


# -- sockets that were inherited ------------------------------------------------------------------


def bound(family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM) -> socket.socket:
    sock = socket.socket(family, kind)
    sock.bind(("127.0.0.1", 0))
    return sock


@pytest.mark.parametrize("listens", [True, False])
def test_an_inherited_socket_listens_and_goes_no_further(listens: bool) -> None:
    theirs = bound()
    if listens:
        theirs.listen()
    theirs.set_inheritable(True)
    (sock,) = inherited.take([theirs.detach()])
    with sock:
        assert not sock.get_inheritable()
        socket.create_connection(sock.getsockname()).close()


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda: bound(kind=socket.SOCK_DGRAM), "none for connections"),
        (lambda: socket.socket(socket.AF_INET), "has no address"),
        (lambda: socket.socket(socket.AF_UNIX), "has no address"),
        (lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW), "neither of TCP nor a Unix"),
        (tempfile.TemporaryFile, "no socket is open there"),
    ],
)
def test_what_is_inherited_and_no_socket_to_listen_at_is_refused(made: Any, reason: str) -> None:
    with made() as theirs:
        number = theirs.fileno()
        with pytest.raises(
            CannotListen, match=f"^cannot listen at descriptor {number}: .*{reason}"
        ):
            inherited.take([number])
        # It is somebody else's, and left as it is.
        os.fstat(number)


def test_a_connection_is_no_socket_to_listen_at() -> None:
    """As systemd passes it to a service with `Accept=yes`."""
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(CannotListen, match="is a connection .*Accept=no"):
        inherited.take([ours.fileno()])


@pytest.mark.parametrize("number", [-1, 999_999, 2**40, 2**70])
def test_a_descriptor_that_is_not_open_is_refused(number: int) -> None:
    with pytest.raises(CannotListen, match="no socket is open there"):
        inherited.take([number])


def test_what_systemd_passes_is_for_one_process_alone() -> None:
    passed = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2"}
    assert inherited.from_systemd(passed) == [3, 4]
    assert inherited.from_systemd({**passed, "LISTEN_FDS": "0"}) == []
    assert inherited.from_systemd({**passed, "LISTEN_PID": str(os.getppid())}) == []
    assert inherited.from_systemd({}) == []


@pytest.mark.parametrize("number", ["", "x", "-1", "1.5", "²", "10000000000"])
def test_a_number_of_sockets_that_is_none_is_refused(number: str) -> None:
    with pytest.raises(CannotListen, match="LISTEN_FDS is"):
        inherited.from_systemd({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": number})


# -- the command ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["rw", "8", "1777", "-1", ""])
@pytest.mark.parametrize("command", ["serve", "start"])
def test_a_mode_that_is_none_is_refused(command: str, mode: str) -> None:
    # Before anything is set up: the database may not be used here.
    with pytest.raises(CommandError, match="--socket-mode is three octal digits"):
        call_command(command, socket_mode=mode)


@pytest.mark.parametrize("command", ["serve", "start"])
def test_an_address_that_is_none_is_refused_before_anything_is_done(command: str) -> None:
    with pytest.raises(CommandError, match="an address is HOST:PORT"):
        call_command(command, bind=["8000"])
    with pytest.raises(CommandError, match="no socket is open there"):
        call_command(command, fd=[999_999])


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory with a database."""
    (tmp_path / "db.sqlite3").write_bytes(prepared_database())
    return tmp_path


async def test_a_server_listens_at_all_addresses_and_says_so(directory: Path) -> None:
    ports = [free_port(), free_port()]
    asked = [f"127.0.0.1:{ports[0]}", f"unix:{directory}/x", f"unix:@{directory}"]
    options = [word for address in asked for word in ("--bind", address)]
    server = ListeningProcess(
        directory, "start", *options, "--port", str(ports[1]), "--socket-mode", "600"
    )
    with running(server):
        http = [f"http://127.0.0.1:{port}/" for port in reversed(ports)]
        assert server.addresses == [*http, *asked[1:]]
        for address in server.addresses:
            assert await answers(address)
        assert stat.S_IMODE((directory / "x").stat().st_mode) == 0o600
        assert server.stop() == 0
    assert not (directory / "x").exists()


async def test_a_server_takes_the_place_of_a_killed_one_and_of_no_other(directory: Path) -> None:
    address = f"unix:{directory}/x"
    server = ListeningProcess(directory, "serve", "--bind", address)
    with running(server):
        server.kill()
    assert (directory / "x").is_socket()
    with running(server):
        assert server.process and await answers(address)
        refused = server.manage("serve", "--bind", address)
        assert refused.returncode == 1
        assert refused.stderr == (
            f"CommandError: cannot listen at {address}: it is taken by process "
            f"{server.process.pid} ({PROGRAM} manage.py serve)\n"
        )
        assert await answers(address)


async def test_inherited_sockets_are_served(directory: Path) -> None:
    with listen("127.0.0.1", 0) as first, bound() as second:
        server = ListeningProcess(
            directory, "serve", "--fd", str(first.fileno()), "--fd", str(second.fileno())
        )
        server.inherited = [first, second]
        with running(server):
            ports = [sock.getsockname()[1] for sock in (first, second)]
            assert server.addresses == [f"http://127.0.0.1:{port}/" for port in ports]
            for address in server.addresses:
                assert await answers(address)


async def test_sockets_of_systemd_are_served_and_clients_wait_for_the_next_server(
    directory: Path,
) -> None:
    path = f"{directory}/x"
    with listen("127.0.0.1", 0) as tcp, opened([UnixAddress(path)]) as (unix,):
        server = ListeningProcess(directory, "serve")
        server.passed = [tcp, unix]
        with running(server):
            port = tcp.getsockname()[1]
            assert server.addresses == [f"http://127.0.0.1:{port}/", f"unix:{path}"]
            for address in server.addresses:
                assert await answers(address)
            assert server.stop() == 0
            # The file is systemd's.
            assert stat.S_ISSOCK(os.stat(path).st_mode)
            waiting = [asyncio.create_task(answers(address)) for address in server.addresses]
            server.start()
            assert await asyncio.gather(*waiting) == [True, True]


async def test_an_address_that_is_given_takes_the_place_of_the_sockets_of_systemd(
    directory: Path,
) -> None:
    port = free_port()
    with listen("127.0.0.1", 0) as passed:
        server = ListeningProcess(directory, "serve", "--port", str(port))
        server.passed = [passed]
        with running(server):
            assert server.addresses == [f"http://127.0.0.1:{port}/"]
            assert "The sockets of systemd are not used" in server.said()


def test_a_development_server_says_who_has_its_port(directory: Path) -> None:
    with other("AF_INET", "127.0.0.1") as (pid, port):
        server = ServerProcess("runserver", directory)
        done = server.manage("runserver", "--noreload", f"127.0.0.1:{port}")
        assert (
            f"cannot listen at 127.0.0.1:{port}: it is taken by process {pid} ({PROGRAM})"
            in done.stdout + done.stderr
        )


# -- through a Unix socket ------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["", "unix:"])
def proxies(request: pytest.FixtureRequest) -> str:
    """Whether those who come through the Unix socket are named proxies."""
    return str(request.param)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, proxies: str) -> Iterator[ListeningProcess]:
    """A server at a Unix socket alone, which lets two in from each address."""
    directory = tmp_path_factory.mktemp("unix")
    (directory / "db.sqlite3").write_bytes(prepared_database())
    process = ListeningProcess(
        directory,
        *("serve", "--bind", f"unix:{directory}/x"),
        DJANGO_SETTINGS_MODULE="tests.settings",
        BROADCAST_PROXIES=proxies,
        BROADCAST_MAX_CONNECTIONS_PER_ADDRESS="2",
    )
    with running(process):
        yield process
        assert process.stop() == 0
        process.assert_clean_log()


@pytest.fixture
def name(server: ListeningProcess) -> str:
    return server.addresses[0].removeprefix("unix:")


def forwarded(path: str, person: str = PERSON) -> bytes:
    """A handshake that a proxy has passed on."""
    return handshake(path)[:-2] + f"X-Forwarded-For: 6.6.6.6, {person}\r\n\r\n".encode()


async def publish(name: str, slug: str, text: str) -> None:
    async with RawUnixSocket(name) as client:
        status, answer = await client.ask(
            "POST", f"/api/streams/{slug}/publications/", text, Content_Type="text/plain"
        )
    assert status == 201, answer


async def test_pages_the_api_and_static_files_come_through(
    server: ListeningProcess, name: str
) -> None:
    for path, expected in [
        ("/", b"</html>"),
        ("/api/streams/demo/", b'"demo"'),
        ("/static/broadcast/broadcast.css", b".broadcast"),
    ]:
        async with RawUnixSocket(name) as client:
            status, answer = await client.ask("GET", path)
        assert status == 200 and expected in answer


async def test_a_websocket_hears_what_is_published(server: ListeningProcess, name: str) -> None:
    slug = server.unused_stream()
    async with RawUnixSocket(name) as listener:
        await listener.open(f"/ws/listener/{slug}/")
        await publish(name, slug, "Grüße")
        assert await listener.frame() == (TEXT, "Grüße".encode())


async def test_an_event_stream_hears_what_is_published(server: ListeningProcess, name: str) -> None:
    slug = server.unused_stream()
    async with RawUnixSocket(name) as listener:
        await listener.send(
            f"GET /api/streams/{slug}/events/ HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        )
        assert (await listener.head()).startswith(b"HTTP/1.1 200 ")
        await publish(name, slug, "Grüße")
        async with asyncio.timeout(PATIENCE):
            while b"Gr" not in listener.buffer:
                await listener.more()


async def test_a_client_has_the_address_that_the_proxy_says_or_none(
    server: ListeningProcess, name: str, proxies: str
) -> None:
    server.new_log()
    async with RawUnixSocket(name) as client:
        await client.send(forwarded("/ws/listener/nowhere/"))
        await client.head()
        assert await client.ended() == 4504
    (record,) = (one for one in server.new_records() if one.logger == "broadcast.consumers")
    assert f" from {PERSON}:0 " in record.text if proxies else " from ? " in record.text


async def test_limits_of_an_address_are_those_of_people_behind_a_proxy(
    server: ListeningProcess, name: str, proxies: str
) -> None:
    slug = server.unused_stream()
    async with contextlib.AsyncExitStack() as ends:

        async def come(person: str) -> RawUnixSocket:
            client = await ends.enter_async_context(RawUnixSocket(name))
            await client.send(forwarded(f"/ws/listener/{slug}/", person))
            await client.head()
            return client

        listeners = [await come(PERSON), await come(PERSON), await come("198.51.100.8")]
        one_more = await come(PERSON)
        # Without a proxy that is believed nobody has an address, and they count in all alone.
        if proxies:
            assert await one_more.ended() == 4429
        else:
            listeners.append(one_more)
        await publish(name, slug, "to all")
        for listener in listeners:
            assert await listener.frame() == (TEXT, b"to all")


async def test_a_flood_of_connections_that_say_nothing_useful_hurts_nobody(
    server: ListeningProcess, name: str
) -> None:
    for data in (b"", b"\x00\xff\r\n\r\n", b"GET", handshake("/ws/listener/demo/")[:40]):
        for _ in range(20):
            async with RawUnixSocket(name) as client:
                await client.send(data)
    async with RawUnixSocket(name) as client:
        assert (await client.ask("GET", "/api/streams/demo/"))[0] == 200


async def test_a_drain_tells_clients_and_removes_the_file(directory: Path) -> None:
    path = directory / "x"
    server = ListeningProcess(
        directory,
        *("serve", "--bind", f"unix:{path}"),
        DJANGO_SETTINGS_MODULE="tests.settings",
        BROADCAST_DRAIN_SECONDS="0.5",
    )
    with running(server):
        async with RawUnixSocket(str(path)) as listener:
            await listener.open("/ws/listener/demo/", V1)
            assert b"joined" in (await listener.frame())[1]
            server.process.send_signal(signal.SIGTERM)
            frames, code = await listener.rest()
            assert b"shutdown" in frames[-1][1] and code == 4200
        assert await asyncio.to_thread(server.process.wait, PATIENCE) == 0
    assert not path.exists()
