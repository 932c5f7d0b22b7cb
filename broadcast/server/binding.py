"""Addresses to listen at, as people write them, and the sockets that listen there.

* `HOST:PORT`, `[IPv6]:PORT`, `HOST`; a name stands for its first address, of IPv4 if it has one.
  `:PORT` is that port of all addresses of IPv4, `[::]:PORT` of all there are.
* `unix:PATH` is a Unix socket, and `unix:@NAME` one without a file (abstract).

An address that cannot be had is told in one line (`CannotListen`), with the process that has it, if
that is known.

The file of a Unix socket has its mode from its first moment on. Where the file of a server that is
gone is in its place, that is replaced; everything else that is there stays. `Bound.close` removes
the file, unless another server has put its own there.
"""

import errno
import fcntl
import os
import re
import socket
import stat
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from ..logs import shown
from .holders import holder_of_port, holder_of_socket
from .listening import BACKLOG

#: What a name of a Unix socket begins with, and its name if it has no file.
UNIX, ABSTRACT = "unix:", "@"
#: Bytes of the path of a Unix socket, at most.
MOST_PATH = 107
#: The port of an address without one.
PORT = 8000
#: Ports below are for root, unless the system is told otherwise.
LOW_PORTS = 1024
#: The mode of the file of a Unix socket: its user and group may connect.
MODE = 0o660
#: Seconds to wait while another server makes a file in the same directory.
MAKING_SECONDS = 5.0
#: Seconds in which a living server takes a connection, or its system does.
ALIVE_SECONDS = 1.0

#: A host in brackets, a name or an address of IPv4, or nothing; a number alone would be an address.
WITH_PORT = re.compile(
    r"(?P<host>\[[^\[\]]*:[^\[\]]*\]|(?!\d+$)[^\[\]:]*)(?::(?P<port>\d+))?", re.ASCII
)

#: What is said of some errors; of others, the system's own words.
WORDS = {
    errno.EADDRNOTAVAIL: "it is no address of this machine",
    errno.EAFNOSUPPORT: "this machine has no addresses of that kind",
    errno.ENOENT: "its directory is not there",
    errno.ENOTDIR: "its directory is none",
    errno.EROFS: "its directory can only be read",
}


class CannotListen(OSError):
    """An address cannot be had; its text says which, and why, in one line."""

    def __init__(self, address: object, reason: str) -> None:
        super().__init__(shown(f"cannot listen at {address}: {reason}"))


class TCPAddress(NamedTuple):
    """A host, or its name, and a port; as a URL has them."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class UnixAddress(NamedTuple):
    """A Unix socket: the path of its file, or `@` and a name."""

    path: str

    def __str__(self) -> str:
        return UNIX + self.path


def parse(text: str) -> TCPAddress | UnixAddress:
    """The address that `text` is. CannotListen: it is none."""
    if text.startswith(UNIX):
        return _unix_address(text.removeprefix(UNIX))
    found = WITH_PORT.fullmatch(text)
    if not text or not found:
        raise CannotListen(
            repr(text), "an address is HOST:PORT, [IPv6]:PORT or unix:PATH, as in 127.0.0.1:8000"
        )
    return TCPAddress(found["host"].strip("[]"), int(found["port"] or PORT))


def _unix_address(path: str) -> UnixAddress:
    address = UnixAddress(path)
    if path in ("", ABSTRACT):
        raise CannotListen(address, "it has no path")
    if "\0" in path or len(os.fsencode(path)) > MOST_PATH:
        raise CannotListen(address, f"a path has at most {MOST_PATH} bytes, and no NUL")
    return address


class Bound:
    """A socket that listens. `path`: its file, which is ours and goes with it."""

    def __init__(self, sock: socket.socket, path: str = "") -> None:
        self.socket = sock
        self._path = os.path.abspath(path) if path else ""
        # As long as the file is open, no other one is taken for it.
        self._file = os.open(path, os.O_PATH | os.O_NOFOLLOW) if path else -1

    def close(self) -> None:
        """Listen no more, and remove the file. Other processes that have the socket go on."""
        self.socket.close()
        if self._path:
            with suppress(OSError), _making(self._path):
                if os.path.samestat(os.lstat(self._path), os.fstat(self._file)):
                    os.unlink(self._path)
            os.close(self._file)
            self._path = ""


@contextmanager
def opened(
    addresses: Sequence[TCPAddress | UnixAddress], mode: int = MODE
) -> Iterator[list[socket.socket]]:
    """Sockets that listen at all the addresses, meanwhile. CannotListen: one cannot be had.

    `mode`: of the files of Unix sockets.
    """
    with ExitStack() as ends:
        sockets = []
        for address, others in _apart(addresses):
            if isinstance(address, UnixAddress):
                bound = _bind_unix(address, mode)
            else:
                bound = Bound(_bind_tcp(address, others))
            ends.callback(bound.close)
            sockets.append(bound.socket)
        yield sockets


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at an address. CannotListen: it cannot be had."""
    return _bind_tcp(TCPAddress(host.strip("[]"), port), ())


def listen_at(endpoint: str) -> socket.socket:
    """A socket for an endpoint, as `runserver` names it: `tcp:port=8000:interface=127.0.0.1`.

    CannotListen: it cannot be had, or is of another kind.
    """
    kind, *options = re.split(r"(?<!\\):", endpoint)
    if kind != "tcp":
        raise CannotListen(endpoint, "of Daphne's endpoints only tcp is known here")
    found = dict(option.replace("\\", "").split("=", 1) for option in options)
    return listen(found.get("interface", ""), int(found["port"]))


def describe(sock: socket.socket) -> str:
    """Where a socket listens: a URL, or the name of a Unix socket."""
    name: Any = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        # Without a file it begins with NUL.
        return shown(UNIX + os.fsdecode(name).replace("\0", ABSTRACT, 1))
    return f"http://{TCPAddress(*name[:2])}/"


# -- TCP ------------------------------------------------------------------------------------


class _Place(NamedTuple):
    """An address of the system."""

    family: int
    name: Any


def _apart(
    addresses: Sequence[TCPAddress | UnixAddress],
) -> Iterator[tuple[TCPAddress | UnixAddress, list[TCPAddress]]]:
    """Each address, and the others that have the same port."""
    tcp = [one for one in addresses if isinstance(one, TCPAddress)]
    for address in addresses:
        port = address.port if isinstance(address, TCPAddress) else None
        yield address, [one for one in tcp if one.port == port and one is not address]


def _bind_tcp(address: TCPAddress, others: Iterable[TCPAddress]) -> socket.socket:
    """`others`: at the same port, which are listened at, too."""
    place = _resolve(address)
    # One that takes IPv4, too, leaves no room for another that has the port there.
    takes_both = (
        place.family == socket.AF_INET6
        and socket.has_dualstack_ipv6()
        and not any(_resolve(other).family == socket.AF_INET for other in others)
    )
    try:
        return socket.create_server(
            place.name, family=place.family, backlog=BACKLOG, dualstack_ipv6=takes_both
        )
    except OSError as error:
        raise CannotListen(address, _tcp_reason(address, place, error)) from None


def _resolve(address: TCPAddress) -> _Place:
    host, port = address
    if not 0 <= port < 1 << 16:
        raise CannotListen(address, "a port is a number from 0 to 65535")
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, ValueError):
        raise CannotListen(address, "the name has no address") from None
    places = [_Place(family, name) for family, _, _, _, name in found]
    return min(places, key=lambda place: place.family != socket.AF_INET)


def _tcp_reason(address: TCPAddress, place: _Place, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return taken_by(holder_of_port(place.name[0], address.port))
    if error.errno == errno.EACCES and address.port < LOW_PORTS:
        return f"a port below {LOW_PORTS} needs root, or the capability CAP_NET_BIND_SERVICE"
    return _reason(error)


def taken_by(holder: str) -> str:
    return f"it is taken by {holder}" if holder else "it is taken: is another server there?"


def _reason(error: OSError) -> str:
    return WORDS.get(error.errno or 0) or (os.strerror(error.errno) if error.errno else str(error))


# -- Unix sockets ---------------------------------------------------------------------------


def _bind_unix(address: UnixAddress, mode: int) -> Bound:
    if sys.platform != "linux":
        raise CannotListen(address, "Unix sockets can be had on Linux alone")
    try:
        if address.path.startswith(ABSTRACT):
            return Bound(_bind(address, "\0" + address.path[1:], mode))
        with _making(address.path):
            _make_room(address)
            sock = _bind(address, address.path, mode)
            os.chmod(address.path, mode)
            return Bound(sock, address.path)
    except CannotListen:
        raise
    except OSError as error:
        raise CannotListen(address, _unix_reason(address, error)) from None


def _bind(address: UnixAddress, name: str, mode: int) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    try:
        # Its file has no more than this from the beginning.
        os.fchmod(sock.fileno(), mode)
        sock.bind(name)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        if error.errno != errno.EADDRINUSE:
            raise
        raise CannotListen(address, _taken(name) or taken_by("")) from None
    return sock


@contextmanager
def _making(path: str) -> Iterator[None]:
    """Meanwhile no other server of ours makes or removes a file in the directory of `path`.

    Two that start at once would each take the other's, which does not listen yet, for dead.
    """
    directory = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        _lock(directory)
        yield
    finally:
        os.close(directory)


def _lock(directory: int) -> None:
    late = time.monotonic() + MAKING_SECONDS
    while True:
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # Somebody else may hold it for reasons of their own: then it goes without.
            if time.monotonic() < late:
                time.sleep(0.01)
                continue
        return


def _make_room(address: UnixAddress) -> None:
    """Remove the file of a server that is gone. CannotListen: it is something else."""
    try:
        found = os.lstat(address.path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise CannotListen(address, "something is there that is no socket")
    if reason := _taken(address.path):
        raise CannotListen(address, reason)
    os.unlink(address.path)


def _taken(name: str) -> str:
    """Why a Unix socket cannot be had; "": nobody listens there."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(ALIVE_SECONDS)
        try:
            client.connect(name)
        except (ConnectionRefusedError, FileNotFoundError):
            return ""
        except (TimeoutError, BlockingIOError):
            return taken_by("")
        return taken_by(holder_of_socket(client))


def _unix_reason(address: UnixAddress, error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"this user may not make or replace it in {Path(address.path).absolute().parent}"
    return _reason(error)
