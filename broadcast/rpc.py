"""Push from any program: a MessagePack-RPC server.

Bare MessagePack objects one after another on TCP. A request `[0, msgid, method, params]` is
answered `[1, msgid, error or nil, result]`, in any order; a notification `[2, method, params]`
never (github.com/msgpack-rpc/msgpack-rpc/blob/master/spec.md). `Decoder` turns bytes into calls
and knows no socket; `METHODS` says what can be called; `serve` listens.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from inspect import signature
from typing import Any, NamedTuple

import msgpack

from . import metrics
from .backends import get_backend
from .conf import conf
from .exceptions import BadRequest, BroadcastError
from .publishing import apublish, serve_here

logger = logging.getLogger(__name__)

REQUEST, RESPONSE, NOTIFICATION = 0, 1, 2


class Call(NamedTuple):
    """A request, or with `msgid` None a notification. `error`: it makes no sense, and why."""

    msgid: int | None
    method: str
    params: list[Any]
    error: str = ""


class Decoder:
    """Bytes in, calls out. ValueError: what follows on the connection makes no sense any more.

    Clients that know only the old *raw* type send bytes as `str`, and some send names as `bin`:
    both are taken.
    """

    def __init__(self, max_object: int) -> None:
        self._unpacker = msgpack.Unpacker(
            max_buffer_size=max_object,
            strict_map_key=False,
            unicode_errors="surrogateescape",
        )

    def feed(self, data: bytes) -> Iterator[Call]:
        try:
            self._unpacker.feed(data)
        except msgpack.BufferFull:
            raise ValueError("an object is too large") from None
        while (message := self._next()) is not self:
            yield _call(message)

    def _next(self) -> Any:
        """The next object; the decoder itself when there is no whole one yet."""
        try:
            return self._unpacker.unpack()
        except msgpack.OutOfData:
            return self
        except (msgpack.UnpackException, ValueError, TypeError) as error:
            # TypeError: an array or a map as the key of a map.
            raise ValueError(f"no MessagePack, or too large an object: {error!r}") from None


def _call(message: Any) -> Call:
    if not isinstance(message, list) or not message:
        raise ValueError("a message is an array")
    if message[0] == NOTIFICATION and len(message) == 3:
        msgid, method, params = None, message[1], message[2]
    elif message[0] == REQUEST and len(message) == 4 and _is_msgid(message[1]):
        msgid, method, params = message[1:]
    elif message[0] == REQUEST and len(message) > 1 and _is_msgid(message[1]):
        return Call(message[1], "", [], "a request is [0, msgid, method, params]")
    else:
        raise ValueError("a message is [0, msgid, method, params] or [2, method, params]")
    if isinstance(method, bytes):
        method = method.decode("utf-8", "surrogateescape")
    if not isinstance(method, str) or not isinstance(params, list):
        return Call(msgid, str(method), [], "a method has a name, and its params are an array")
    return Call(msgid, method, params)


def _is_msgid(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**32


# -- what can be called ---------------------------------------------------------------------


async def publish(stream: Any, payload: Any, options: Any = None) -> dict[str, Any]:
    """str → text, bin → binary, else JSON; options `header`, `entry`, `idempotency_key`."""
    if not isinstance(options, dict | None):
        raise BadRequest("options are a map")
    given = {_text(key): value for key, value in (options or {}).items()}
    unknown = set(given) - {"header", "entry", "idempotency_key"}
    if unknown:
        raise BadRequest(f"unknown options: {', '.join(sorted(unknown))}")
    position = await apublish(
        _text(stream),
        _plain(payload),
        header=bool(given.get("header")),
        entry=bool(given.get("entry")),
        idempotency_key=_text(given.get("idempotency_key", "")),
    )
    return {"epoch": position.epoch, "offset": position.offset}


async def ping() -> str:
    return "pong"


METHODS: dict[str, Callable[..., Awaitable[Any]]] = {"publish": publish, "ping": ping}


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    if not isinstance(value, str):
        raise BadRequest("a name is a string")
    return value


def _plain(payload: Any) -> Any:
    """A `str` that is not UTF-8 was bytes of the old *raw* type."""
    if isinstance(payload, str):
        try:
            payload.encode()
        except UnicodeEncodeError:
            return payload.encode("utf-8", "surrogateescape")
    return payload


async def answer(call: Call) -> tuple[str | None, Any]:
    """Carry out a call: its error (None: there was none), and its result."""
    method = METHODS.get(call.method)
    if call.error:
        return call.error, None
    if method is None:
        return f"method `{call.method}' is not accepted", None
    try:
        signature(method).bind(*call.params)
    except TypeError as error:
        return f"wrong parameters for `{call.method}': {error}", None
    try:
        return None, await method(*call.params)
    except BroadcastError as error:
        metrics.note_refusal("rpc", type(error))
        return f"{type(error).__name__}: {error}", None
    except Exception:
        logger.exception("The call of %r failed", call.method)
        return "internal error", None


# -- connections ----------------------------------------------------------------------------

_connections = 0

#: Seconds between two attempts to listen where another process does.
RETRY_SECONDS = 1.0


async def serve() -> None:
    """Listen at `RPC_HOST`:`RPC_PORT` until cancelled, or until then wait for the port.

    Of several server processes on one machine so one listens, and another when it is gone.
    """
    serve_here()
    async with await _listen() as server:
        await server.serve_forever()


async def _listen() -> asyncio.Server:
    """Listen as soon as nobody else does. It is logged once that somebody does, and the end."""
    host, port = conf.RPC_HOST, conf.RPC_PORT
    waits = False
    while True:
        try:
            server = await asyncio.start_server(_talk, host, port, backlog=256)
        except OSError as error:
            if not waits:
                # It does not matter who of many listens, where all have the same streams.
                level = logging.INFO if get_backend().shared else logging.WARNING
                logger.log(level, "No MessagePack-RPC here yet: %s", error.strerror)
                waits = True
            await asyncio.sleep(RETRY_SECONDS)
        else:
            if waits:
                logger.info("MessagePack-RPC is here now, at %s:%s", host, port)
            return server


async def _talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    global _connections
    _connections += 1
    try:
        if _connections <= conf.RPC_MAX_CONNECTIONS:
            await _answer_all(reader, writer)
        else:
            metrics.note_refusal("rpc", "too_many_connections")
            logger.warning("A MessagePack-RPC connection was refused: there are %d", _connections)
    except ValueError as error:
        metrics.note_refusal("rpc", BadRequest)
        logger.warning("A MessagePack-RPC connection was closed: %s", error)
    except ConnectionError:
        pass
    finally:
        _connections -= 1
        writer.close()


async def _answer_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer call after call, and read no more than is answered and taken."""
    decoder = Decoder(conf.RPC_MAX_OBJECT)
    while data := await reader.read(65536):
        for call in decoder.feed(data):
            error, result = await answer(call)
            if call.msgid is not None:
                answered = [RESPONSE, call.msgid, error, result]
                # What an error repeats of a call need not be UTF-8.
                writer.write(msgpack.packb(answered, unicode_errors="replace"))
        await writer.drain()
