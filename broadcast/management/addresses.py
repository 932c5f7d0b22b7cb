"""Where a command listens: the options for it, and the sockets that they ask for."""

import socket
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from django.core.management.base import CommandError

from broadcast.server import inherited
from broadcast.server.binding import (
    MODE,
    PORT,
    CannotListen,
    TCPAddress,
    UnixAddress,
    describe,
    opened,
    parse,
)

HOST = "127.0.0.1"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--host", help=f"address to listen at ({HOST})")
    parser.add_argument("--port", type=int, help=f"port to listen at ({PORT})")
    parser.add_argument(
        "--bind",
        action="append",
        metavar="ADDRESS",
        help="another address: HOST:PORT, [IPv6]:PORT, unix:PATH or unix:@NAME; may be repeated",
    )
    parser.add_argument(
        "--fd",
        action="append",
        type=int,
        metavar="N",
        help="descriptor of a socket that was inherited; may be repeated. With no address at all "
        "those of systemd are used, if it passes any",
    )
    parser.add_argument(
        "--socket-mode",
        default=f"{MODE:o}",
        metavar="MODE",
        help=f"permissions of the file of a Unix socket ({MODE:o}: its user and group)",
    )


class Addresses:
    """What the options ask for. CommandError: they make no sense.

    It is made before anything is opened, which might get a descriptor that somebody meant.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        with refusing():
            self._addresses = _addresses(options)
            descriptors = list(dict.fromkeys(options["fd"] or ()))
            passed = inherited.from_systemd(inherited.first_environment())
            is_given = bool(self._addresses or descriptors)
            #: Whether systemd passed sockets that nobody takes connections from.
            self.has_unused = is_given and bool(passed)
            self._inherited = inherited.take(descriptors if is_given else passed)
        if not is_given and not passed:
            self._addresses = [TCPAddress(HOST, PORT)]
        self._mode = _mode(options["socket_mode"])

    @contextmanager
    def opened(self) -> Iterator[list[socket.socket]]:
        """The sockets, meanwhile. CommandError: an address cannot be had."""
        with ExitStack() as ends:
            with refusing():
                sockets = ends.enter_context(opened(self._addresses, self._mode))
            for sock in self._inherited:
                ends.enter_context(sock)
            yield [*sockets, *self._inherited]


def _addresses(options: dict[str, Any]) -> list[TCPAddress | UnixAddress]:
    host, port = options["host"], options["port"]
    found: list[TCPAddress | UnixAddress] = []
    if host is not None or port is not None:
        # Users write IPv6 addresses with brackets, as in a URL; sockets take them without.
        host = HOST if host is None else host.strip("[]")
        found.append(TCPAddress(host, PORT if port is None else port))
    return found + [parse(text) for text in options["bind"] or ()]


def _mode(text: str) -> int:
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777:
        raise CommandError(f"--socket-mode is three octal digits, as in {MODE:o}")
    return mode


@contextmanager
def refusing() -> Iterator[None]:
    """Meanwhile an address that cannot be had ends the command."""
    try:
        yield
    except CannotListen as error:
        raise CommandError(str(error)) from None


def in_words(sockets: Sequence[socket.socket]) -> str:
    """Where they all listen."""
    *most, last = map(describe, sockets)
    return f"{', '.join(most)} and {last}" if most else last
