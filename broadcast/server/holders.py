"""Which process has an address, as far as the system tells it to this user.

A command line may have a secret in it, so of that only the beginning is told: the program, and what
it runs.
"""

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from ..logs import shown

PROC = Path("/proc")
#: The state of a listening socket in /proc/net/tcp.
LISTENING = "0A"
#: A process and its user and group, as a Unix socket tells them.
CREDENTIALS = struct.Struct("3i")
#: Words of a command line, at most, and their characters.
MOST_WORDS, MOST_CHARACTERS = 3, 80

Address = IPv4Address | IPv6Address


def holder_of_port(host: str, port: int) -> str:
    """The process that listens at a TCP port, where it is in the way of this address.

    In words: `process 4711 (python manage.py serve)`; "": that cannot be known.
    """
    wanted = plain(host)
    for inodes in _listening(wanted, port):
        if pids := [pid for pid in _processes() if _has_socket(pid, inodes)]:
            # The parent of several workers is older than they are.
            return in_words(min(pids))
    return ""


def holder_of_socket(client: socket.socket) -> str:
    """The process that listens at the other end of a Unix socket; "": that cannot be known."""
    size = CREDENTIALS.size
    pid, _, _ = CREDENTIALS.unpack(client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return in_words(pid) if pid and (PROC / str(pid)).exists() else ""


def in_words(pid: int) -> str:
    """A process: its number and the beginning of its command."""
    if pid == os.getpid():
        return "this command itself"
    command = _command(pid)
    return f"process {pid} ({command})" if command else f"process {pid}"


def plain(host: str) -> Address:
    """An address; those of IPv4 are the same where they are written as IPv6."""
    found = ip_address(host.partition("%")[0])
    return getattr(found, "ipv4_mapped", None) or found


def _listening(wanted: Address, port: int) -> Iterator[set[str]]:
    """Sockets that listen at the port: those of this very address, then others in its way."""
    same, others = set[str](), set[str]()
    for address, inode in _rows(port):
        if address == wanted:
            same.add(inode)
        elif address.is_unspecified or wanted.is_unspecified:
            others.add(inode)
    yield from filter(None, (same, others))


def _rows(port: int) -> Iterator[tuple[Address, str]]:
    """Address and inode of each socket that listens at the port."""
    for name in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (PROC / "net" / name).read_text().splitlines()[1:]:
                _, here, _, state, *_, inode = line.split()[:10]
                host, _, its_port = here.partition(":")
                if state == LISTENING and int(its_port, 16) == port:
                    yield plain(_host(host)), inode


def _host(digits: str) -> str:
    """An address of the kernel's tables: words of 32 bits, in the order of this machine."""
    words = [int(digits[at : at + 8], 16) for at in range(0, len(digits), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


def _processes() -> Iterator[int]:
    return (int(path.name) for path in PROC.iterdir() if path.name.isdecimal())


def _has_socket(pid: int, inodes: set[str]) -> bool:
    links = {f"socket:[{inode}]" for inode in inodes}
    # It may have ended, or be another user's.
    with suppress(OSError):
        return any(_link(path) in links for path in (PROC / str(pid) / "fd").iterdir())
    return False


def _link(path: Path) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _command(pid: int) -> str:
    try:
        return beginning((PROC / str(pid) / "cmdline").read_bytes())
    except OSError:
        return ""


def beginning(line: bytes) -> str:
    """The program of a command line, whose words end with NUL, and what that runs."""
    program, *arguments = line.decode(errors="replace").rstrip("\0").split("\0")
    # Some processes write a sentence there.
    words = [program if " " in program else os.path.basename(program)]
    for argument in arguments[: MOST_WORDS - 1]:
        if argument.startswith("-") and argument != "-m":
            break
        words.append(argument)
    return shown(" ".join(words))[:MOST_CHARACTERS]
