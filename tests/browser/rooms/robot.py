"""A peer in Python: aiortc, which shares no code with browsers, in a thread of its own."""

import asyncio
import json
import threading
from typing import Any

from aiortc import RTCPeerConnection, RTCSessionDescription, VideoStreamTrack
from aiortc.sdp import candidate_from_sdp
from websockets.asyncio.client import connect

LINK = "a link of the robot's"


class Robot:
    """Somebody in the room, called Robot, with a camera and no microphone.

    `user_agent` decides who makes the offer: "chrome" waits for the others'. What came is kept in
    `said` (over the data channel) and `frames` (sizes of pictures). As a context manager it runs.
    """

    def __init__(self, ws: str, room: str, user_agent: str) -> None:
        self.address = f"{ws}/ws/signaling/"
        self.room = room
        self.status = {"name": "Robot", "user_agent": user_agent}
        self.said: list[dict[str, Any]] = []
        self.frames: list[tuple[int, int]] = []
        self.errors: list[BaseException] = []
        self.link: str | None = None

    def __enter__(self) -> "Robot":
        self.loop = asyncio.new_event_loop()
        self.task = self.loop.create_task(self._attend())
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.loop.call_soon_threadsafe(self.task.cancel)
        self.thread.join()
        self.loop.close()
        assert not self.errors, self.errors

    def _run(self) -> None:
        try:
            self.loop.run_until_complete(self.task)
        except asyncio.CancelledError:
            pass
        except BaseException as error:
            self.errors.append(error)

    async def _attend(self) -> None:
        self.connection = RTCPeerConnection()
        self.connection.on("track", self._watch)
        try:
            async with connect(self.address) as self.socket:
                await self._say({"event": "join_room", "room_id": self.room, "status": self.status})
                async for frame in self.socket:
                    await self._hear(json.loads(frame))
        finally:
            await self.connection.close()

    async def _say(self, message: dict[str, Any]) -> None:
        await self.socket.send(json.dumps(message))

    async def _hear(self, message: dict[str, Any]) -> None:
        if message["event"] == "joined_room":
            self.id = message["own_id"]
            [self.other] = [peer["peer_id"] for peer in message["peers"]]
            if self.status["user_agent"] != "chrome":
                self.link = LINK
                self._prepare()
                await self._describe("offer", await self.connection.createOffer())
        elif message["event"] == "offer":
            self.link = message["link"]
            await self.connection.setRemoteDescription(RTCSessionDescription(**message["sdp"]))
            if self.connection.localDescription is None:
                self._prepare()
            await self._describe("answer", await self.connection.createAnswer())
        elif message["event"] == "answer":
            assert message["link"] == self.link
            await self.connection.setRemoteDescription(RTCSessionDescription(**message["sdp"]))
        elif message["event"] == "ice_candidate":
            candidate = candidate_from_sdp(message["candidate"].removeprefix("candidate:"))
            candidate.sdpMid = message["sdpmid"]
            candidate.sdpMLineIndex = message["sdpmlineindex"]
            await self.connection.addIceCandidate(candidate)

    async def _describe(self, event: str, description: Any) -> None:
        await self.connection.setLocalDescription(description)
        local = self.connection.localDescription
        sdp = {"type": local.type, "sdp": local.sdp}
        data = {"event": event, "sdp": sdp, "link": self.link}
        await self._say({"event": "send_to_peer", "peer_id": self.other, "data": data})

    def _prepare(self) -> None:
        """Have a camera, and the data channel of our pages."""
        self.connection.addTrack(VideoStreamTrack())
        channel = self.connection.createDataChannel("broadcast", negotiated=True, id=0)
        channel.on("message", lambda text: self.said.append(json.loads(text)))

        def greet() -> None:
            here = {"event": "here", "peer_id": self.id, "visit": "of a robot"}
            sending = {"event": "sending", "microphone": False, "camera": True, "screen": False}
            for message in (here, sending):
                channel.send(json.dumps(message))

        channel.on("open", greet)

    async def _watch(self, track: Any) -> None:
        if track.kind != "video":
            return
        while len(self.frames) < 10:
            frame = await track.recv()
            self.frames.append((frame.width, frame.height))
