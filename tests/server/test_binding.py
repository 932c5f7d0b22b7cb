"""Addresses to listen at: what is one, what cannot be had, and the files of Unix sockets."""

import contextlib
import os
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

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
from tests.rig.listening import PROGRAM, other, without_rights
from tests.rig.processes import PATIENCE, free_port

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
