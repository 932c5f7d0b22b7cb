"""Where a server listens: what an address is, what cannot be had, and what comes through it."""

import asyncio
import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from broadcast.server import inherited
from broadcast.server.binding import (
    CannotListen,
    TCPAddress,
    UnixAddress,
    describe,
    listen,
    listen_at,
    opened,
    parse,
)
from broadcast.server.holders import beginning, holder_of_port, in_words
from tests.rig.doors import V1
from tests.rig.listening import (
    ListeningProcess,
    RawUnixSocket,
    answers,
    running,
    without_rights,
)
from tests.rig.processes import PATIENCE, ServerProcess, free_port, prepared_database
from tests.rig.raw import TEXT, handshake

#: Who comes, as a proxy says.
PERSON = "198.51.100.7"

needs_ipv6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="there is no IPv6")


# -- addresses ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8001", TCPAddress("127.0.0.1", 8001)),
        ("127.0.0.1", TCPAddress("127.0.0.1", 8000)),
        ("localhost:0", TCPAddress("localhost", 0)),
        (":8001", TCPAddress("", 8001)),
        ("[::1]:8001", TCPAddress("::1", 8001)),
        ("[::]", TCPAddress("::", 8000)),
        ("[fe80::1%eth0]:8001", TCPAddress("fe80::1%eth0", 8001)),
        ("unix:/run/broadcast.sock", UnixAddress("/run/broadcast.sock")),
        ("unix:run/broadcast.sock", UnixAddress("run/broadcast.sock")),
        ("unix:@broadcast", UnixAddress("@broadcast")),
        ("unix:" + "a" * 107, UnixAddress("a" * 107)),
    ],
)
def test_an_address_is_read_as_people_write_it(text: str, address: object) -> None:
    assert parse(text) == address


@pytest.mark.parametrize(
    "text",
    [
        *("", "8000", "::1", "::1:8000", "[::1", "[]:8000", "[127.0.0.1]:8000", "127.0.0.1:"),
        *("127.0.0.1:http", "http://127.0.0.1:8000", "127.0.0.1:8000/", "127.0.0.1:٣", "a:1:2"),
        *("unix:", "unix:@", "unix:" + "a" * 108, "unix:" + "ä" * 54, "unix:/run/\0"),
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(CannotListen, match="^cannot listen at "):
        parse(text)


def refusal(*addresses: str) -> str:
    """Why these addresses cannot be had."""
    with pytest.raises(CannotListen) as raised, opened([parse(one) for one in addresses]):
        pass
    (line,) = str(raised.value).splitlines()
    return line


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("192.0.2.1:8000", "it is no address of this machine"),
        ("no.such.host.invalid:8000", "the name has no address"),
        (f"{'a' * 300}:8000", "the name has no address"),
        ("127.0.0.1:65536", "a port is a number from 0 to 65535"),
        ("unix:/nowhere/x", "its directory is not there"),
        ("unix:/etc/passwd/x", "its directory is none"),
        ("unix:/etc/passwd", "something is there that is no socket"),
        ("unix:/", "something is there that is no socket"),
    ],
)
def test_what_cannot_be_had_is_refused_with_the_reason(address: str, reason: str) -> None:
    assert refusal(address) == f"cannot listen at {address}: {reason}"


def test_a_low_port_is_refused_with_what_it_needs() -> None:
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) < 1024:
        pytest.skip("everybody may have it here")
    with without_rights():
        assert refusal("127.0.0.1:1023").endswith(
            ": a port below 1024 needs root, or the capability CAP_NET_BIND_SERVICE"
        )


def test_a_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with without_rights():
        assert refusal(f"unix:{tmp_path}/x").endswith(
            f": this user may not make or replace it in {tmp_path}"
        )


def test_all_addresses_listen_and_are_named(tmp_path: Path) -> None:
    asked = ["127.0.0.1:0", "127.0.0.1:0", f"unix:{tmp_path}/x", f"unix:@{tmp_path}"]
    with opened([parse(one) for one in asked]) as sockets:
        ports = [one.getsockname()[1] for one in sockets[:2]]
        assert [describe(one) for one in sockets] == [
            *(f"http://127.0.0.1:{port}/" for port in ports),
            *asked[2:],
        ]
        for one in sockets:
            with socket.socket(one.family) as client:
                client.connect(one.getsockname())
    assert all(one.fileno() < 0 for one in sockets)


def test_the_name_of_a_socket_is_shown_on_one_line(tmp_path: Path) -> None:
    with opened([UnixAddress(f"{tmp_path}/a\n\udcff")]) as (sock,):
        assert describe(sock) == f"unix:{tmp_path}/a\\n\\udcff"


def test_a_name_stands_for_its_address_of_ipv4() -> None:
    with listen("localhost", 0) as sock:
        assert sock.getsockname()[0] == "127.0.0.1"


def test_an_endpoint_of_daphne_is_an_address() -> None:
    with listen_at("tcp:port=0:interface=127.0.0.1") as sock:
        assert sock.getsockname()[0] == "127.0.0.1"
    with pytest.raises(CannotListen, match="only tcp is known here"):
        listen_at("ssl:port=443")


@needs_ipv6
@pytest.mark.parametrize("order", [1, -1])
def test_all_of_ipv4_and_all_of_ipv6_share_a_port(order: int) -> None:
    port = free_port()
    asked = [f"0.0.0.0:{port}", f"[::]:{port}"][::order]
    with opened([parse(one) for one in asked]):
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, port)).close()


@needs_ipv6
def test_all_of_ipv6_alone_is_all_of_ipv4_too() -> None:
    with opened([parse("[::]:0")]) as (sock,):
        assert describe(sock).startswith("http://[::]:")
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, sock.getsockname()[1])).close()


def test_when_one_address_cannot_be_had_the_others_are_given_back(tmp_path: Path) -> None:
    port = free_port()
    refusal(f"127.0.0.1:{port}", f"unix:{tmp_path}/x", "unix:/nowhere/x")
    assert not (tmp_path / "x").exists()
    listen("127.0.0.1", port).close()


# -- what is taken ------------------------------------------------------------------------------

OTHER = """
import socket, sys
family, name = sys.argv[1:3]
is_unix = family == "AF_UNIX"
sock = socket.socket(getattr(socket, family))
sock.bind(name.replace("@", chr(0)) if is_unix else (name, 0))
sock.listen()
print(0 if is_unix else sock.getsockname()[1], flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def other(family: str, name: str) -> Iterator[tuple[int, int]]:
    """Another process that listens somewhere; its number, and its port."""
    process = subprocess.Popen(
        [sys.executable, "-c", OTHER, family, name, "--password=secret"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        yield process.pid, int(process.stdout.readline())
    finally:
        process.communicate()


PROGRAM = os.path.basename(sys.executable)


@pytest.mark.parametrize("asked", ["127.0.0.1", "0.0.0.0", pytest.param("::", marks=needs_ipv6)])
@pytest.mark.parametrize("theirs", ["127.0.0.1", "0.0.0.0"])
def test_a_taken_port_is_told_with_the_process_that_has_it(asked: str, theirs: str) -> None:
    with other("AF_INET", theirs) as (pid, port):
        address = TCPAddress(asked, port)
        assert refusal(str(address)) == (
            f"cannot listen at {address}: it is taken by process {pid} ({PROGRAM})"
        )


@needs_ipv6
@pytest.mark.parametrize("theirs", ["::1", "::"])
def test_a_taken_port_of_ipv6_is_told_with_the_process_that_has_it(theirs: str) -> None:
    with other("AF_INET6", theirs) as (pid, port):
        assert refusal(f"[::1]:{port}").endswith(f": it is taken by process {pid} ({PROGRAM})")


def test_a_port_of_another_address_has_another_holder() -> None:
    with other("AF_INET", "127.0.0.1") as (_, port), listen("127.0.0.2", port):
        assert refusal(f"127.0.0.2:{port}").endswith("it is taken by this command itself")
        assert holder_of_port("127.0.0.3", port) == ""


def test_of_a_process_of_somebody_else_only_that_it_is_there() -> None:
    if os.geteuid():
        pytest.skip("all processes are this user's")
    with other("AF_INET", "127.0.0.1") as (_, port), without_rights():
        assert refusal(f"127.0.0.1:{port}").endswith(": it is taken: is another server there?")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("/usr/bin/python3 -m http.server 8000", "python3 -m http.server"),
        ("python manage.py serve --token=x", "python manage.py serve"),
        ("python manage.py --token=x serve", "python manage.py"),
        ("/usr/sbin/mysqld -psecret", "mysqld"),
        ("a\nb\x1b", "a\\nb\\x1b"),
        ("x" * 200, "x" * 80),
        ("", ""),
    ],
)
def test_of_a_command_line_only_the_beginning_is_told(line: str, told: str) -> None:
    assert beginning(line.replace(" ", "\0").encode() + b"\0") == told


def test_a_command_line_may_be_a_sentence() -> None:
    sentence = "nginx: master process /usr/sbin/nginx"
    assert beginning(sentence.encode() + b"\0\0") == sentence


def test_a_process_that_is_gone_is_told_without_a_command() -> None:
    process = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    assert in_words(int(process.stdout)) == f"process {int(process.stdout)}"


# -- files of Unix sockets ----------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_the_file_of_a_socket_has_its_mode_whatever_the_umask(tmp_path: Path, mode: int) -> None:
    before = os.umask(0o077)
    try:
        with opened([UnixAddress(f"{tmp_path}/x")], mode):
            assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == mode
    finally:
        os.umask(before)


def test_the_file_of_a_socket_is_never_open_to_more_people(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(os, "chmod", lambda path, mode: seen.append(os.stat(path).st_mode))
    before = os.umask(0)
    try:
        with opened([UnixAddress(f"{tmp_path}/x")], 0o600):
            assert [stat.S_IMODE(mode) for mode in seen] == [0o600]
    finally:
        os.umask(before)


def test_unless_told_its_user_and_group_may_connect(tmp_path: Path) -> None:
    with opened([UnixAddress(f"{tmp_path}/x")]):
        assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o660


def test_the_file_of_a_dead_server_is_replaced_and_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert path.is_socket()
    with opened([UnixAddress(str(path))]), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    assert not path.exists()


def test_a_file_in_the_working_directory_is_removed_wherever_that_is_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with opened([UnixAddress("x")]):
        assert (tmp_path / "x").is_socket()
        monkeypatch.chdir("/")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("kind", ["", "@"])
def test_the_socket_of_a_living_server_is_refused_with_its_process_and_left_alone(
    tmp_path: Path, kind: str
) -> None:
    name = f"{kind}{tmp_path}/x"
    with other("AF_UNIX", name) as (pid, _):
        assert refusal(f"unix:{name}") == (
            f"cannot listen at unix:{name}: it is taken by process {pid} ({PROGRAM})"
        )
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(name.replace("@", "\0"))


def test_a_server_that_takes_no_connections_is_alive(tmp_path: Path) -> None:
    path = f"{tmp_path}/x"
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as client:
        busy.bind(path)
        busy.listen(0)
        client.connect(path)
        assert refusal(f"unix:{path}").endswith(": it is taken: is another server there?")
        assert Path(path).is_socket()


def test_the_file_of_the_next_server_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "x"
    address = UnixAddress(str(path))
    with contextlib.ExitStack() as ends:
        with opened([address]) as (first,):
            # It drains: it takes no more connections, and has not ended yet.
            first.close()
            ends.enter_context(opened([address]))
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
    assert not path.exists()


def test_of_many_that_start_at_once_exactly_one_listens(tmp_path: Path) -> None:
    path = f"{tmp_path}/x"
    begin, end = threading.Barrier(8), threading.Barrier(8)
    refusals = []

    def serve() -> None:
        begin.wait(PATIENCE)
        with contextlib.ExitStack() as ends:
            try:
                ends.enter_context(opened([UnixAddress(path)]))
            except CannotListen as error:
                refusals.append(str(error))
            end.wait(PATIENCE)

    for _ in range(20):
        refusals.clear()
        threads = [threading.Thread(target=serve) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(refusals) == 7, refusals


def test_on_other_systems_a_unix_socket_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert "on Linux alone" in refusal(f"unix:{tmp_path}/x")


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
