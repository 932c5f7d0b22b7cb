"""Messages of a WebSocket that wait for its application, bounded both ways.

A client whose messages the application does not take is read no more until the application has
caught up. An application takes a bounded number of messages in one turn of the event loop.
"""

import asyncio
from typing import Any, Protocol

#: Messages and bytes that wait for the application before its client is read no more, and how few
#: messages must be left before it is read again.
INBOUND_COUNT = 256
INBOUND_BYTES = 4 * 1024 * 1024
INBOUND_RESUME = 64
#: Messages and bytes that an application takes in one turn of the event loop.
TURN_COUNT = 64
TURN_BYTES = 256 * 1024


class Readable(Protocol):
    """A client's connection."""

    def pause_reading(self) -> None:
        """Read no more of it."""

    def resume_reading(self) -> None:
        """Read on."""


class InboundQueue:
    """Messages for an application that is busy, in place of Daphne's unbounded queue.

    Also much smaller than an `asyncio.Queue`, which has four deques of 600 bytes each.
    """

    __slots__ = ("messages", "over", "paused", "protocol", "size", "taken", "waiter")

    def __init__(self, protocol: Readable) -> None:
        #: Until the last message: they hold each other.
        self.protocol: Readable | None = protocol
        self.messages: list[dict[str, Any]] = []
        self.size = 0
        #: Messages taken since others had their turn, as a part of a turn.
        self.taken = 0.0
        self.paused = False
        #: Whether the last message is a disconnect: nothing follows it.
        self.over = False
        self.waiter: asyncio.Future[None] | None = None

    def put_nowait(self, message: dict[str, Any]) -> None:
        if self.over:
            return
        self.over = message["type"] == "websocket.disconnect"
        self.messages.append(message)
        self.size += len(message.get("bytes") or message.get("text") or b"")
        if self.over:
            # The client's own close must be read, however much still waits.
            self._resume()
            self.protocol = None
        elif self.protocol and not self.paused and self._is_full():
            self.paused = True
            self.protocol.pause_reading()
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    async def get(self) -> dict[str, Any]:
        while not self.messages:
            self.taken = 0
            self.waiter = asyncio.get_running_loop().create_future()
            try:
                await self.waiter
            finally:
                self.waiter = None
        if self.taken >= 1:
            self.taken = 0
            await asyncio.sleep(0)
        message = self.messages.pop(0)
        size = len(message.get("bytes") or message.get("text") or b"")
        self.size -= size
        self.taken += 1 / TURN_COUNT + size / TURN_BYTES
        if self.paused and len(self.messages) <= INBOUND_RESUME:
            self._resume()
        return message

    def _is_full(self) -> bool:
        return len(self.messages) >= INBOUND_COUNT or self.size >= INBOUND_BYTES

    def _resume(self) -> None:
        if self.paused and self.protocol:
            self.paused = False
            self.protocol.resume_reading()
