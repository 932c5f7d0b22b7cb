"""Plain Channels on Daphne, as its tutorial teaches it: one group member per listener.

python plain_channels.py PORT
"""

import sys
from typing import Any

import django
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import get_channel_layer
from channels.routing import ProtocolTypeRouter, URLRouter
from daphne.endpoints import build_endpoint_description_strings
from daphne.server import Server
from django.conf import settings
from django.urls import path

settings.configure(
    CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
)
django.setup()


class Streamer(AsyncWebsocketConsumer):
    """Sends each frame it receives to the group."""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        event = {"type": "publication", "text_data": text_data, "bytes_data": bytes_data}
        await get_channel_layer().group_send("x", event)


class Listener(AsyncWebsocketConsumer):
    """A member of the group that passes on what the group was sent."""

    groups = ["x"]

    async def publication(self, event: dict[str, Any]) -> None:
        await self.send(event["text_data"], event["bytes_data"])


application = ProtocolTypeRouter(
    {
        "websocket": URLRouter(
            [
                path("ws/streamer/x/", Streamer.as_asgi()),
                path("ws/listener/x/", Listener.as_asgi()),
            ]
        )
    }
)

if __name__ == "__main__":
    endpoints = build_endpoint_description_strings(host="127.0.0.1", port=int(sys.argv[1]))
    Server(application, endpoints=endpoints, signal_handlers=True).run()
