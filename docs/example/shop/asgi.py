import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")

from broadcast.asgi import get_application  # Broadcast: it sets Django up
from channels.auth import AuthMiddlewareStack
from channels.security.websocket import AllowedHostsOriginValidator
from django.urls import path

from chat.consumers import ChatConsumer

# The shop's own sockets come first, each in what it needs.
chat = AllowedHostsOriginValidator(AuthMiddlewareStack(ChatConsumer.as_asgi()))

application = get_application(websocket=[path("ws/chat/", chat)])  # Broadcast
