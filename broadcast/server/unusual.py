"""Data frames that are not a whole, plain message: fragments, compressed ones, and nonsense.

`websockets`' sans-I/O protocol reads them (RFC 6455, section 5; RFC 7692). It says what breaks the
protocol, and inflates no more than fits into a message. Fragments are limited in number, too: an
empty one costs its sender six bytes, and would cost the server more.
"""

import codecs
from typing import Any

from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame
from websockets.protocol import State
from websockets.server import ServerProtocol

from ..wire.frames import TEXT

#: Fragments of one message, at most.
MOST_FRAGMENTS = 4096


class Broken(Exception):
    """The client breaks the protocol; `code` is that of the close which tells it so."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class UnusualMessage:
    """One message that is being put together."""

    __slots__ = ("_decoder", "_number", "_opcode", "_parts", "_protocol")

    def __init__(self, max_size: int, inflates: bool) -> None:
        """`inflates`: compressed ones were agreed on, each of which stands by itself."""
        self._protocol = ServerProtocol(state=State.OPEN, max_size=max_size)
        if inflates:
            self._protocol.extensions = [PerMessageDeflate(True, True, 15, 15)]
        self._parts: list[Any] = []
        self._number = self._opcode = 0
        self._decoder: codecs.IncrementalDecoder | None = None

    def feed(self, data: bytes) -> dict[str, Any] | None:
        """Take a frame; answers the ASGI message that it completes.

        Also a part of a frame, whose header breaks the protocol. Broken: it does.
        """
        self._protocol.receive_data(data)
        for frame in self._protocol.events_received():
            assert isinstance(frame, Frame)
            self._add(frame)
            if frame.fin:
                return self._message()
        if said := self._protocol.close_sent:
            raise Broken(said.code, said.reason)
        return None

    def _add(self, frame: Frame) -> None:
        self._number += 1
        if self._number > MOST_FRAGMENTS:
            raise Broken(1008, f"{MOST_FRAGMENTS} fragments are the most")
        if self._number == 1:
            self._opcode = frame.opcode
            if frame.opcode == TEXT:
                self._decoder = codecs.getincrementaldecoder("utf-8")()
        if self._decoder is None:
            self._parts.append(bytes(frame.data))
            return
        try:
            self._parts.append(self._decoder.decode(bytes(frame.data), frame.fin))
        except UnicodeDecodeError:
            raise Broken(1007, "a text is no UTF-8") from None

    def _message(self) -> dict[str, Any]:
        if self._opcode == TEXT:
            return {"type": "websocket.receive", "text": "".join(self._parts)}
        return {"type": "websocket.receive", "bytes": b"".join(self._parts)}
