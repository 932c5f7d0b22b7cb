"""One WebSocket of our server (RFC 6455): what comes is read here, what goes is in `writing`.

* *Plain frames are read here*: whole messages, pings, pongs and closes. `unusual` reads the others.
* *A turn is bounded.* A client's frames are looked at so many at a time, then others have their
  turn. Of pings only the newest is answered (section 5.5.3), and none to a client that does not
  read. Control frames and small fragments cost their sender nothing, so they have a rate.
* *Flow control.* A client whose messages the application does not take is read no more, until the
  application has caught up (`inbound`).
"""

import asyncio
from typing import Any

from websockets.exceptions import ProtocolError
from websockets.frames import Close

try:
    from websockets.speedups import apply_mask
except ImportError:
    # Where its C extension was not built.
    from websockets.utils import apply_mask

from ..wire.frames import BINARY, TEXT
from .unusual import Broken, UnusualMessage
from .writing import State, WritingSocket

#: Frames that are looked at in one turn: a read may have 10,000.
TURN_FRAMES = 256
#: For how many more one counts that `unusual` reads, which takes ten times as long.
UNUSUAL_FRAMES = 7
#: Control frames and small fragments that may come per second, and how many at once.
SMALL_RATE, SMALL_BURST = 200.0, 2000
#: Bytes of a fragment that is not small. Clients with little memory send messages in such parts.
SMALL_BYTES = 128

#: Lengths from here on have a bit that must not be set (RFC 6455, section 5.2).
MOST_LENGTH = 1 << 63
#: First bytes of whole messages and of control frames.
WHOLE = WHOLE_TEXT, WHOLE_BINARY = 0x80 | TEXT, 0x80 | BINARY
CLOSE, PING, PONG = 0x88, 0x89, 0x8A
#: What is told of a header that `websockets` finds nothing wrong with, and we do.
UNREADABLE = Broken(1002, "a frame cannot be read")


class WebSocket(WritingSocket):
    """As the extension `wire.frames` a `wire.sinks.FrameTransport`."""

    __slots__ = ("_needed", "_small_until", "_tail", "_unusual", "_waits")

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        #: The start of a frame, or frames that wait for their turn; None: nothing.
        self._tail: bytearray | None = None
        #: How long the frame in the tail will be, at least.
        self._needed = 0
        #: Whether frames in the tail wait for their turn.
        self._waits = False
        #: Until when the small frames that came last, at their rate.
        self._small_until = 0.0
        #: A message that is being put together.
        self._unusual: UnusualMessage | None = None

    def data_received(self, data: bytes) -> None:
        self.quiet = 0
        if self._tail is not None:
            self._tail += data
            if self.state == State.CONNECTING or len(self._tail) < self._needed:
                return
            data, self._tail = bytes(self._tail), None
        elif self.state == State.CONNECTING:
            # It should have waited for the answer.
            self._tail = bytearray(data)
            self.connection.pause_reading()
            return
        if self.held is None:
            self._take_frames(data)

    def opened(self) -> None:
        if self._tail is not None:
            self._go_on_later()

    def _take_frames(self, data: bytes) -> None:
        """Take the frames of `data`, as many as there is time for, and keep the rest."""
        try:
            at = self._take(data)
        except Broken as error:
            self.fail(error.code, str(error))
            return
        if at < len(data) and self.held is None:
            self._tail = bytearray(memoryview(data)[at:])

    def _take(self, data: bytes) -> int:
        """Answers where the first frame begins that was not taken. Broken: the protocol."""
        at, end, left, small = 0, len(data), TURN_FRAMES, 0
        short, ping = min(125, self.max_frame), b""
        self._needed = 0
        while end - at >= 2:
            if left <= 0 or self.queue.paused:
                self._go_on_later()
                break
            left -= 1
            first, length, start = data[at], data[at + 1] - 0x80, at + 6
            if not 0 <= length <= short:
                start, length = self._measure(data, at)
            stop = start + length
            if stop > end:
                self._needed = stop - at
                break
            if first in WHOLE and self._unusual is None:
                self._take_message(first, apply_mask(data[start:stop], data[start - 4 : start]))
            else:
                small += length < SMALL_BYTES
                if first == PING and length < 126:
                    ping = data[start - 4 : stop]
                elif first == CLOSE and length < 126:
                    self._take_close(apply_mask(data[start:stop], data[start - 4 : start]))
                    return stop
                elif first != PONG or length >= 126:
                    left -= UNUSUAL_FRAMES
                    self._take_unusual(data[at:stop])
            at = stop
        if small:
            self._take_small(small)
        if ping:
            self.pong(apply_mask(ping[4:], ping[:4]))
        return at

    def _measure(self, data: bytes, at: int) -> tuple[int, int]:
        """Where the payload begins of a frame with a longer header, and its length.

        Before all of its header is there, of a frame that is none. Broken: it is not masked, or is
        too large.
        """
        second = data[at + 1]
        length = second & 0x7F
        start = at + 6 + (0 if length < 126 else 2 if length == 126 else 8)
        if second & 0x80 and start > len(data):
            return start, 0
        if length >= 126:
            length = int.from_bytes(data[at + 2 : start - 4], "big")
        if not second & 0x80 or length > self.max_frame:
            if length < MOST_LENGTH:
                self._take_unusual(data[at:])
            raise UNREADABLE
        return start, length

    def _take_message(self, first: int, payload: bytes) -> None:
        """Hand a whole message to the application."""
        if first == WHOLE_BINARY:
            self.queue.put_nowait({"type": "websocket.receive", "bytes": payload})
            return
        try:
            text = payload.decode()
        except UnicodeDecodeError:
            raise Broken(1007, "a text is no UTF-8") from None
        self.queue.put_nowait({"type": "websocket.receive", "text": text})

    def _take_unusual(self, frame: bytes) -> None:
        if self._unusual is None:
            self._unusual = UnusualMessage(self.max_frame, self.inflates)
        if message := self._unusual.feed(frame):
            self._unusual = None
            self.queue.put_nowait(message)

    def _take_close(self, payload: bytes) -> None:
        try:
            close = Close.parse(payload)
        except ProtocolError as error:
            raise Broken(1002, str(error)) from None
        except UnicodeDecodeError:
            raise Broken(1007, "the reason of a close is no UTF-8") from None
        self.client_closed(close.code if payload else None)

    def _take_small(self, number: int) -> None:
        now = asyncio.get_running_loop().time()
        self._small_until = max(self._small_until, now) + number / SMALL_RATE
        if self._small_until - now > SMALL_BURST / SMALL_RATE:
            raise Broken(1008, "too many control frames or small fragments")

    # -- turns ------------------------------------------------------------------------------

    def _go_on_later(self) -> None:
        """Give others their turn before the rest of what was read."""
        self.connection.pause_reading()
        if not self._waits and not self.queue.paused:
            self._waits = True
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        self._waits = False
        if self.queue.paused or self.connection.is_closing:
            return
        if self._tail is not None:
            data, self._tail = bytes(self._tail), None
            self._take_frames(data)
        if not (self._waits or self.queue.paused):
            self.connection.resume_reading()

    def resume_reading(self) -> None:
        self._go_on_later()
