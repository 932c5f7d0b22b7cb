import os

from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
django_application = get_asgi_application()

from broadcast.http import HTTPApplication  # noqa: E402
from broadcast.routing import websocket_application  # noqa: E402

application = ProtocolTypeRouter(
    {"http": HTTPApplication(django_application), "websocket": websocket_application}
)
