"""Publishing from a process that is not the server, through its MessagePack-RPC port.

A `Client` is one connection, for one thread. Calls may be pipelined: `send` many, then `receive`
as many; the server answers one connection's calls in their order.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgpack

from . import exceptions
from .conf import conf
from .exceptions import BadRequest, BroadcastError, Unavailable
from .publications import Draft, Kind, Mark, Position, decode_json

#: Seconds to wait for the server to take or to answer anything.
TIMEOUT = 30.0


class Client:
    """A connection to the server's MessagePack-RPC port. Unavailable: nobody answers there."""

    def __init__(self) -> None:
        address = (conf.RPC_HOST, conf.RPC_PORT)
        try:
            self.socket = socket.create_connection(address, timeout=TIMEOUT)
        except OSError as error:
            raise Unavailable(
                f"no server answers at {address[0]}:{address[1]} ({error.strerror or error}). "
                "Without a shared channel layer, publishing from another process goes through the "
                "running server's MessagePack-RPC port: start it with `manage.py start`"
            ) from None
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.unpacker = msgpack.Unpacker(max_buffer_size=conf.RPC_MAX_OBJECT, strict_map_key=False)
        self.sent = 0

    def close(self) -> None:
        self.socket.close()

    def send(self, method: str, *params: Any) -> None:
        self.sent = (self.sent + 1) & 0xFFFFFFFF
        try:
            request = msgpack.packb([0, self.sent, method, params])
        except (OverflowError, ValueError) as error:
            raise BadRequest(f"MessagePack cannot carry it: {error}") from None
        try:
            self.socket.sendall(request)
        except OSError as error:
            raise Unavailable(f"the server went away: {error}") from None

    def receive(self) -> Any:
        """The result of the next answer. BroadcastError: the error it was answered with."""
        match self._next():
            case [1, int(), None, result]:
                return result
            case [1, int(), str(error), _]:
                raise _error(error)
        raise Unavailable("what answers there is no server of Broadcast")

    def _next(self) -> Any:
        while True:
            try:
                return self.unpacker.unpack()
            except msgpack.OutOfData:
                self._read()
            except (msgpack.UnpackException, ValueError, TypeError):
                raise Unavailable("what answers there speaks no MessagePack-RPC") from None

    def _read(self) -> None:
        try:
            data = self.socket.recv(65536)
        except OSError as error:
            raise Unavailable(f"the server does not answer: {error}") from None
        if not data:
            raise Unavailable("the server closed the connection")
        self.unpacker.feed(data)

    def call(self, method: str, *params: Any) -> Any:
        self.send(method, *params)
        return self.receive()


def _error(said: str) -> BroadcastError:
    """The error that the server names, as it stands in front of its text."""
    name, _, text = said.partition(": ")
    kind = getattr(exceptions, name, None)
    if isinstance(kind, type) and issubclass(kind, BroadcastError):
        return kind(text)
    return BroadcastError(said)


@contextmanager
def connected() -> Iterator[Client]:
    client = Client()
    try:
        yield client
    finally:
        client.close()


def publish_params(stream: str, draft: Draft, idempotency_key: str = "") -> tuple[Any, ...]:
    """The parameters of the method `publish`."""
    options: dict[str, Any] = {}
    if draft.marks & Mark.HEADER:
        options["header"] = True
    if draft.marks & Mark.ENTRY:
        options["entry"] = True
    if idempotency_key:
        options["idempotency_key"] = idempotency_key
    payload: Any = draft.payload
    if draft.kind != Kind.BINARY:
        payload = draft.payload.decode()
    if draft.kind == Kind.JSON:
        payload = decode_json(payload)
        if isinstance(payload, str):
            raise BadRequest("a JSON string is a text publication")
    return (stream, payload, options)


def publish(stream: str, draft: Draft, idempotency_key: str = "") -> Position:
    """Publish one draft through the running server. BroadcastError as `apublish` raises it."""
    with connected() as client:
        answer = client.call("publish", *publish_params(stream, draft, idempotency_key))
    return as_position(answer)


def as_position(answer: Any) -> Position:
    """What `publish` answers. Unavailable: it is something else."""
    match answer:
        case {"epoch": str(epoch), "offset": int(offset)}:
            return Position(epoch, offset)
    raise Unavailable("what answers there is no server of Broadcast")
