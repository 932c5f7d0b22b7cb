"""The chat of the shop, as it was before Broadcast came: a consumer of Channels."""

from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer

GROUP = "chat"
#: Characters that one may say at a time.
MOST = 500


class ChatConsumer(AsyncJsonWebsocketConsumer):
    """Whoever is logged in talks to everybody who has the page open."""

    async def connect(self) -> None:
        if not self.scope["user"].is_authenticated:
            await self.close()
            return
        await self.channel_layer.group_add(GROUP, self.channel_name)
        await self.accept()

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        match content:
            case {"text": str(text)} if text.strip():
                message = {"who": str(self.scope["user"]), "text": text.strip()[:MOST]}
                await self.channel_layer.group_send(GROUP, {"type": "say", "message": message})

    async def say(self, event: dict[str, Any]) -> None:
        await self.send_json(event["message"])

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard(GROUP, self.channel_name)
