"""Sockets that this process was started with: `--fd`, and socket activation of systemd.

systemd passes its sockets as descriptors from 3 on, and says in the environment how many they are
and for which process (sd_listen_fds(3)). Twisted takes that out of the environment for itself when
it is imported, which may be before any line of ours. So it is looked for where the system keeps the
environment that the process was started with.
"""

import os
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path

from .binding import CannotListen
from .listening import BACKLOG

#: The first descriptor of systemd.
FIRST = 3
#: More sockets than that are no number, but a mistake.
MOST = 1000
#: Where it says for which process they are, and how many.
PID, NUMBER = "LISTEN_PID", "LISTEN_FDS"


def take(descriptors: Iterable[int]) -> list[socket.socket]:
    """The sockets of these descriptors, which listen. CannotListen: one is no such socket."""
    return [_take(descriptor) for descriptor in descriptors]


def from_systemd(environment: Mapping[str, str]) -> list[int]:
    """The descriptors that systemd passed to this process; [] if none.

    `environment`: that of its start. CannotListen: their number is none.
    """
    # A process that one of them starts has the variables, and not the sockets.
    if environment.get(PID) != str(os.getpid()):
        return []
    number = environment.get(NUMBER, "")
    if not number.isascii() or not number.isdecimal() or int(number) > MOST:
        raise CannotListen("the sockets of systemd", f"{NUMBER} is {number!r}, and no number")
    return list(range(FIRST, FIRST + int(number)))


def first_environment() -> dict[str, str]:
    """The environment that this process was started with; {} where that is not known."""
    try:
        lines = os.fsdecode(Path("/proc/self/environ").read_bytes()).split("\0")
    except OSError:
        return {}
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def _take(descriptor: int) -> socket.socket:
    where = f"descriptor {descriptor}"
    try:
        sock = socket.socket(fileno=descriptor)
    except (OSError, OverflowError, ValueError):
        raise CannotListen(where, "no socket is open there") from None
    if reason := _unfit(sock):
        sock.detach()
        raise CannotListen(where, reason)
    # No further: what this process starts must not keep the port.
    sock.set_inheritable(False)
    return sock


def _unfit(sock: socket.socket) -> str:
    """Why it is no socket to listen at; "": it listens from now on."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
        return "the socket is neither of TCP nor a Unix socket"
    if sock.type != socket.SOCK_STREAM:
        return "the socket is none for connections (SOCK_STREAM)"
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return ""
    if _is_connected(sock):
        return "the socket is a connection (with systemd: Accept=no)"
    if not _is_bound(sock):
        return "the socket has no address"
    sock.listen(BACKLOG)
    return ""


def _is_connected(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


def _is_bound(sock: socket.socket) -> bool:
    name = sock.getsockname()
    return bool(name if sock.family == socket.AF_UNIX else name[1])
