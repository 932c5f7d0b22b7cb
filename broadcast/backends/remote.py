"""Calls of a process that is no server to the running one, through its MessagePack-RPC port.

A `Client` is one connection, for one thread. Calls may be pipelined: `send` many, then `receive`
as many. The server answers as calls finish, and `receive` in the order in which they were sent.

Another installation on this machine may have the port. So a client first asks the server which
installation it is of, and says nothing else, no secret either, unless that is its own.
"""

import math
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import msgpack

from .. import exceptions
from ..conf import conf
from ..exceptions import BadRequest, BroadcastError, Unavailable
from ..installation import get_prefix, is_isolated
from ..publications import MARKS, Draft, Kind, Position

#: The numbers of calls are this wide.
MSGID = 0xFFFFFFFF
#: Seconds to wait for the server to take or to answer anything.
TIMEOUT = 30.0
#: Streams that are asked for in one call.
MOST_NAMES = 1000
#: Seconds in which a program says whose port it has.
OWNER_SECONDS = 2.0


class Client:
    """A connection to a server's MessagePack-RPC port. Unavailable: nobody answers there.

    `timeout`: the most seconds for one step, and `most` for all together, about.
    """

    def __init__(
        self, host: str, port: int, timeout: float = TIMEOUT, most: float = math.inf
    ) -> None:
        self.until = time.monotonic() + most
        try:
            self.socket = socket.create_connection((host.strip("[]"), port), timeout)
        except OSError as error:
            raise Unavailable(
                f"no server answers at {host}:{port} ({error.strerror or error}): start it with "
                "`manage.py start`. Without a Redis, and among greenlets, other processes publish "
                "through the MessagePack-RPC port of a running server: `manage.py serve` and "
                "`runserver` have one, `manage.py rpcserver` is one beside Redis, plain Daphne has "
                "none. Or set BROADCAST_REDIS_URL"
            ) from None
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.unpacker = msgpack.Unpacker(max_buffer_size=conf.RPC_MAX_OBJECT, strict_map_key=False)
        #: How many calls were sent, and how many answers given out; by msgid, those that are early.
        self.sent = self.received = 0
        self.early: dict[int, tuple[str | None, Any]] = {}

    def close(self) -> None:
        self.socket.close()

    def send(self, method: str, *calls: Iterable[Any]) -> None:
        """Call a method with these parameters, once for each: all of them in one go.

        BadRequest: MessagePack cannot carry one of them; those before it were sent.
        """
        requests = bytearray()
        fault = None
        for params in calls:
            try:
                msgid = (self.sent + 1) & MSGID
                requests += msgpack.packb([0, msgid, method, tuple(params)])
            except (OverflowError, ValueError) as error:
                fault = BadRequest(f"MessagePack cannot carry it: {error}")
                break
            self.sent += 1
        try:
            self.socket.sendall(requests)
        except OSError as error:
            raise Unavailable(f"the server went away: {error}") from None
        if fault:
            raise fault

    def receive(self) -> Any:
        """The result of the oldest call without one. BroadcastError: it was answered with that."""
        msgid = (self.received + 1) & MSGID
        while msgid not in self.early:
            match self._next():
                case [1, int(answered), None | str() as error, result]:
                    self.early[answered] = (error, result)
                case _:
                    raise Unavailable("what answers there is no server of Broadcast")
        self.received += 1
        error, result = self.early.pop(msgid)
        if error is not None:
            raise _error(error)
        return result

    def receive_all(self) -> Any:
        """Wait for all answers. The last result; or, in the end, the first error."""
        result, first = None, None
        while self.under_way:
            before = self.received
            try:
                result = self.receive()
            except BroadcastError as error:
                first = first or error
                if self.received == before:
                    # No answer: none will come.
                    break
        if first:
            raise first
        return result

    @property
    def under_way(self) -> int:
        """Calls whose answer was not received."""
        return self.sent - self.received

    def _next(self) -> Any:
        while True:
            try:
                return self.unpacker.unpack()
            except msgpack.OutOfData:
                self._read()
            except (msgpack.UnpackException, ValueError, TypeError):
                raise Unavailable("what answers there speaks no MessagePack-RPC") from None

    def _read(self) -> None:
        if time.monotonic() > self.until:
            raise Unavailable("the server does not answer in time")
        try:
            data = self.socket.recv(65536)
        except OSError as error:
            raise Unavailable(f"the server does not answer: {error}") from None
        if not data:
            raise Unavailable("the server closed the connection")
        self.unpacker.feed(data)

    def call(self, method: str, *params: Any) -> Any:
        self.send(method, params)
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
    """A `Client` of this installation's server that may call.

    Forbidden: it has another secret. Unavailable: the port is that of another installation, or of
    another program, or tests run here that have not asked for it.
    """
    if is_isolated("BROADCAST_RPC_HOST", "BROADCAST_RPC_PORT"):
        raise Unavailable(
            "tests do not call a server, unless they override BROADCAST_RPC_HOST or _PORT"
        )
    with closing(Client(conf.RPC_HOST, conf.RPC_PORT)) as client:
        where, prefix, owner = f"{conf.RPC_HOST}:{conf.RPC_PORT}", get_prefix(), _owner(client)
        if not owner:
            raise Unavailable(f"the server at {where} is of an earlier version: restart it")
        if owner != prefix:
            raise Unavailable(
                f"the server at {where} is of another installation ({owner!r}, and this one is "
                f"{prefix!r}). Set BROADCAST_RPC_PORT to the port of this one's server"
            )
        if conf.RPC_SECRET:
            client.call("authenticate", conf.RPC_SECRET)
        yield client


def owner_of(host: str, port: int) -> str:
    """The prefix of the installation whose server has the port; "": none says that it has it."""
    try:
        with closing(Client(host, port, OWNER_SECONDS, OWNER_SECONDS)) as client:
            return _owner(client)
    except Unavailable:
        return ""


def _owner(client: Client) -> str:
    """The prefix that a server names; "": it does not know the question, but is Broadcast's.

    Unavailable: it is something else.
    """
    try:
        owner = client.call("installation")
    except Unavailable:
        raise
    except BroadcastError:
        return ""
    if not isinstance(owner, str):
        raise Unavailable("what answers there is no server of Broadcast")
    return owner


def publish_params(stream: str, draft: Draft, idempotency_key: str = "") -> tuple[Any, ...]:
    """The parameters of the method `publish`."""
    options: dict[str, Any] = {name: True for name, mark in MARKS.items() if draft.marks & mark}
    if idempotency_key:
        options["idempotency_key"] = idempotency_key
    if draft.kind == Kind.JSON:
        # MessagePack has no whole numbers beyond 64 bits, for one.
        options["json"] = True
    payload = draft.payload if draft.kind == Kind.BINARY else draft.payload.decode()
    return (stream, payload, options)


def publish(stream: str, draft: Draft, idempotency_key: str = "") -> Position:
    """Publish one draft through the running server. BroadcastError as `apublish` raises it."""
    with connected() as client:
        answer = client.call("publish", *publish_params(stream, draft, idempotency_key))
    return as_position(answer)


def look(streams: list[str]) -> dict[str, dict[str, Any]]:
    """The answer of the running server to `positions`. BroadcastError: the server's error."""
    parts = (streams[start : start + MOST_NAMES] for start in range(0, len(streams), MOST_NAMES))
    found: dict[str, dict[str, Any]] = {}
    with connected() as client:
        for part in parts:
            answer = client.call("positions", part)
            if not isinstance(answer, dict) or not all(map(_is_place, answer.values())):
                raise Unavailable("what answers there is no server of Broadcast")
            found.update(answer)
    return found


def _is_place(value: Any) -> bool:
    match value:
        case {"epoch": str(), "offset": int(), "streamer": str(), "listeners": int()}:
            return True
    return False


def as_position(answer: Any) -> Position:
    """What `publish` answers. Unavailable: it is something else."""
    match answer:
        case {"epoch": str(epoch), "offset": int(offset)}:
            return Position(epoch, offset)
    raise Unavailable("what answers there is no server of Broadcast")
