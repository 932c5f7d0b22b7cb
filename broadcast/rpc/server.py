"""The connections of MessagePack-RPC: who may connect, what is under way, who listens.

A connection's calls are begun in the order in which they came, so its publications on a stream
keep theirs, and are answered as they finish. It is read no further while `RPC_MAX_CALLS` of its
calls are under way, while these hold too many bytes, or while its answers are not taken: TCP slows
the client down, and nothing piles up here.

In one turn of the event loop all connections together begin a bounded piece of work, each in its
turn (`Pace`): however many send at once, sockets and pages are served in between.

A program that reaches the port may publish on every stream, and read every one, private ones too:
there are no users here. So it listens on loopback, unless there is a secret; on a machine that
several people share it needs one as well. A page in
a browser on this machine can send requests to it; they are no MessagePack-RPC from the first byte,
and end their connection there.
"""

import asyncio
import errno
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial

from .. import metrics
from ..access.addresses import is_loopback
from ..backends import get_backend, remote
from ..conf import conf
from ..exceptions import BadRequest, Unavailable
from ..hub.serving import serve_here
from ..ingest.programs import Feeds
from ..installation import get_prefix, learn
from ..logs import get_logger
from .decoder import Call, Decoder
from .methods import METHODS, answer, encode_answer, figures, weigh

logger = get_logger(__name__)

#: Bytes that are read at a time: the calls in them are begun in one go.
READ_BYTES = 16 * 1024
#: Calls that are begun in one turn of the event loop, and the bytes of one that count as a call.
TURN_CALLS, CALL_BYTES = 256, 256
#: Seconds between two attempts to listen where another process does.
RETRY_SECONDS = 1.0
#: Seconds for which what comes is dropped before a connection is closed: closed with something
#: unread, it would take its last answers along.
LINGER_SECONDS = 1.0
#: Seconds in which a client takes its last answers.
END_SECONDS = 30.0
#: Seconds to say the secret, and bytes of the call that does.
UNLOCK_SECONDS = 10.0
UNLOCK_BYTES = 4096


class Pace:
    """Bounds what all connections of a server do in one turn of the event loop.

    A connection that has the turn takes bytes apart and begins calls, and waits for nobody but the
    loop meanwhile. Turns have the order in which they were asked for.
    """

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        #: Calls begun and decoded since the loop had its turn.
        self.calls = self.bytes = 0

    @property
    def is_spent(self) -> bool:
        return self.calls + self.bytes // CALL_BYTES >= TURN_CALLS

    async def rest(self) -> None:
        """Give everybody else a turn of the loop, when enough was done in this one."""
        if self.is_spent:
            self.calls = self.bytes = 0
            await asyncio.sleep(0)


class Connection:
    """One client."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pace: Pace
    ) -> None:
        self.reader, self.writer, self.pace = reader, writer, pace
        self.locked = bool(conf.RPC_SECRET)
        self.max_calls, self.max_bytes = conf.RPC_MAX_CALLS, conf.RPC_MAX_OBJECT
        self.decoder = Decoder(UNLOCK_BYTES if self.locked else self.max_bytes, conf.MAX_ITEMS)
        #: The calls under way, and the bytes they came in.
        self.calls: set[asyncio.Task[None]] = set()
        self.bytes = 0
        self.feeds = Feeds()
        self.room = asyncio.Event()
        #: Answers that go out together, in this turn of the event loop.
        self.answers: list[bytes] = []
        self.has_answered = self.has_failed = self.is_ending = False
        self.life = asyncio.current_task()

    async def run(self) -> None:
        """Until the client or the server ends it."""
        is_over = False
        unlocking = asyncio.get_running_loop().call_later(UNLOCK_SECONDS, self._give_up)
        try:
            await self._read_all()
            is_over = True
        except ValueError as error:
            metrics.note_refusal("rpc", BadRequest)
            logger.warning("A MessagePack-RPC connection was closed: %s", error)
        except asyncio.CancelledError:
            # `stop`: what was begun is finished all the same.
            pass
        except OSError:
            # The client went without a word.
            is_over = True
        finally:
            unlocking.cancel()
            await self._end(is_over)

    def stop(self) -> None:
        """Read nothing more, finish and answer what was begun, and close."""
        if self.life and not self.is_ending:
            self.life.cancel()

    def _give_up(self) -> None:
        if self.locked:
            self.stop()

    async def _read_all(self) -> None:
        while data := await self.reader.read(READ_BYTES):
            calls = self.decoder.feed(data)
            is_more = True
            while is_more:
                await self._wait_for_room()
                async with self.pace.turn:
                    is_more = await self._begin_some(calls, len(data))
                    await self.pace.rest()

    async def _begin_some(self, calls: Iterator[Call], size: int) -> bool:
        """Begin what fits into this turn of the loop. False: there were no more in `size` bytes."""
        while self._has_room() and not self.pace.is_spent:
            call = next(calls, None)
            if call is None:
                self.pace.bytes += size
                return False
            self.pace.calls += weigh(call)
            self.pace.bytes += self.decoder.size
            if self.locked and call.method != "installation":
                await self._unlock(call)
            else:
                self._begin(call, self.decoder.size)
        return True

    async def _unlock(self, call: Call) -> None:
        if call.method == "authenticate" and not call.error:
            error, result = await answer(call, self.feeds)
        else:
            error = call.error or "Forbidden: the first call is authenticate(secret)"
            result = None
        if call.msgid is not None:
            self._say(encode_answer(call.msgid, error, result))
        if error:
            raise ValueError("it did not say the secret")
        self.locked = False
        self.decoder.max_object = self.max_bytes

    def _has_room(self) -> bool:
        return len(self.calls) < self.max_calls and self.bytes < self.max_bytes

    async def _wait_for_room(self) -> None:
        while not self._has_room():
            self.room.clear()
            await self.room.wait()
        if self.writer.transport.get_write_buffer_size():
            await self.writer.drain()

    def _begin(self, call: Call, size: int) -> None:
        task = asyncio.ensure_future(self._carry_out(call))
        self.calls.add(task)
        self.bytes += size
        task.add_done_callback(partial(self._ended, size))

    def _ended(self, size: int, task: asyncio.Task[None]) -> None:
        self.calls.discard(task)
        self.bytes -= size
        self.room.set()

    async def _carry_out(self, call: Call) -> None:
        error, result = await answer(call, self.feeds)
        if call.msgid is not None:
            self._say(encode_answer(call.msgid, error, result))
        elif error and (call.error or call.method in METHODS) and not self.has_failed:
            # Nobody else is told. Programs also send notifications that no server here knows.
            self.has_failed = True
            reason = error.partition(":")[0]
            logger.info("A MessagePack-RPC notification of %s failed: %s", call.method, reason)

    def _say(self, packed: bytes) -> None:
        if not self.answers:
            asyncio.get_running_loop().call_soon(self._flush)
        self.answers.append(packed)

    def _flush(self) -> None:
        answers, self.answers = self.answers, []
        if answers and not self.writer.is_closing():
            self.has_answered = True
            self.writer.write(b"".join(answers))

    async def _end(self, is_over: bool) -> None:
        """Close when all that was begun is answered. `is_over`: the client says nothing more."""
        self.is_ending = True
        if self.calls:
            await asyncio.wait(self.calls)
        await self._end_feeds()
        self._flush()
        with suppress(OSError, TimeoutError):
            if self.has_answered and not is_over:
                async with asyncio.timeout(LINGER_SECONDS):
                    self.writer.write_eof()
                    while await self.reader.read(READ_BYTES):
                        pass
        self.writer.close()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                await self.writer.wait_closed()
        # A client that takes no answers would stay for ever; to one that is gone, nothing happens.
        self.writer.transport.abort()

    async def _end_feeds(self) -> None:
        try:
            await self.feeds.end()
        except Exception:
            logger.exception("The feeds of a program could not be ended")


async def serve(
    host: str,
    port: int,
    announce: Callable[[], None] = lambda: None,
    taken: Callable[[bool], None] = lambda is_ours: None,
) -> None:
    """Listen at `host`:`port` until cancelled; while another process does, wait for it.

    Of several server processes on one machine so one listens, and another when it is gone.
    `announce` is called when it listens, `taken` when another process does: is it one of this
    installation? Cancelled, it answers what was begun. OSError, OverflowError: it cannot be had,
    and no waiting will help.
    """
    serve_here()
    connections: set[Connection] = set()
    talk = partial(_talk, connections, Pace())
    server = await _listen(talk, host, port, taken)
    announce()
    try:
        await asyncio.Event().wait()
    finally:
        server.close()
        for connection in connections:
            connection.stop()
        while connections:
            await asyncio.wait({connection.life for connection in connections if connection.life})


async def serve_beside(settled: Callable[[bool], None]) -> None:
    """`serve` within a server, which goes on without it.

    `settled` is called when it is known whether a process of this installation has the port.
    """
    try:
        await serve(conf.RPC_HOST, conf.RPC_PORT, lambda: settled(True), settled)
    except (OSError, OverflowError) as error:
        logger.error("No MessagePack-RPC here: %s", getattr(error, "strerror", None) or error)
        settled(False)


async def _listen(
    talk: Callable[..., Awaitable[None]], host: str, port: int, taken: Callable[[bool], None]
) -> asyncio.Server:
    """Listen as soon as nobody else does. It is logged once that somebody does, and the end."""
    is_told, asked = False, 0
    while True:
        try:
            server = await asyncio.start_server(talk, host.strip("[]"), port, backlog=256)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            if not is_told:
                owner = await asyncio.to_thread(remote.owner_of, host, port)
                # A process that is about to leave the port need not answer: it is asked twice.
                asked += 1
                if owner or asked > 1:
                    taken(await _tell_who_listens(owner, host, port))
                    is_told = True
            await asyncio.sleep(RETRY_SECONDS)
        else:
            if is_told:
                logger.info("MessagePack-RPC is here now, at %s:%s", host, port)
            if not is_loopback(host):
                logger.warning(
                    "MessagePack-RPC at %s:%s is open to other machines, and not encrypted",
                    *(host, port),
                )
            return server


async def _tell_who_listens(owner: str, host: str, port: int) -> bool:
    """Log it; answers whether it is a process of this installation."""
    with suppress(Unavailable):
        await learn()
        if owner == get_prefix():
            # It does not matter who of many listens, where all have the same streams.
            level = logging.INFO if get_backend().shared else logging.WARNING
            logger.log(level, "No MessagePack-RPC here yet: another process listens")
            return True
    who = f"another installation ({owner!r})" if owner else "a program that names no installation"
    logger.error(
        "No MessagePack-RPC here: %s listens at %s:%s. Set BROADCAST_RPC_PORT to another port",
        *(who, host, port),
    )
    return False


async def _talk(
    connections: set[Connection],
    pace: Pace,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    if len(connections) >= conf.RPC_MAX_CONNECTIONS:
        metrics.note_refusal("rpc", "too_many_connections")
        logger.warning("A MessagePack-RPC connection was refused: there are %d", len(connections))
        writer.close()
        return
    connection = Connection(reader, writer, pace)
    connections.add(connection)
    figures.connections += 1
    try:
        # Cancelled once more while it ends, it goes at once; asyncio would log that as a fault.
        with suppress(asyncio.CancelledError):
            await connection.run()
    finally:
        connections.discard(connection)
        figures.connections -= 1
