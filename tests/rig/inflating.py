"""A client that inflates what it is sent."""

from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, Protocol, State


class Client:
    """A client that inflates with one window for all messages."""

    def __init__(self) -> None:
        self.protocol = Protocol(CLIENT, state=State.OPEN, max_size=None)
        self.protocol.extensions = [PerMessageDeflate(False, True, 15, 15)]
        self.heard: list[bytes] = []

    def read(self, frames: bytes) -> None:
        self.protocol.receive_data(frames)
        for one in self.protocol.events_received():
            assert isinstance(one, Frame) and one.opcode in (Opcode.TEXT, Opcode.BINARY)
            self.heard.append(bytes(one.data))
        assert self.protocol.parser_exc is None
