"""Sockets that this process was started with: `--fd`, and socket activation of systemd.

systemd passes its sockets as descriptors from 3 on, and says in the environment how many they are
and whose (sd_listen_fds(3)). No process that this one starts takes them for its own.
"""

import os
import socket
from collections.abc import Iterable, MutableMapping

from .binding import CannotListen
from .listening import BACKLOG

#: The first descriptor of systemd.
FIRST = 3
#: More sockets than that are no number, but a mistake.
MOST = 1000
#: Where it says whose they are, how many, and what else it says of them.
PID, NUMBER = "LISTEN_PID", "LISTEN_FDS"
OTHERS = ("LISTEN_FDNAMES", "LISTEN_PIDFDID")


def take(descriptors: Iterable[int]) -> list[socket.socket]:
    """The sockets of these descriptors, which listen. CannotListen: one is no such socket."""
    return [_take(descriptor) for descriptor in descriptors]


def from_systemd(environment: MutableMapping[str, str]) -> list[int]:
    """The descriptors that systemd passed to this process; [] if none. Then it knows none more.

    CannotListen: their number is none.
    """
    found = {name: environment.get(name, "") for name in (PID, NUMBER)}
    if found[PID] != str(os.getpid()):
        return []
    for name in (PID, NUMBER, *OTHERS):
        environment.pop(name, None)
    number = found[NUMBER]
    if not number.isascii() or not number.isdecimal() or int(number) > MOST:
        raise CannotListen("the sockets of systemd", f"{NUMBER} is {number!r}, and no number")
    return list(range(FIRST, FIRST + int(number)))


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
