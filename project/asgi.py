"""The ASGI application: pages and static files over HTTP, Broadcast's sockets over WebSocket."""

import os

from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

django_application = get_asgi_application()

# They need the app registry.
from broadcast.access.addresses import ProxyMiddleware  # noqa: E402
from broadcast.http import HTTPApplication  # noqa: E402
from broadcast.http.static_files import StaticFilesHandler  # noqa: E402
from broadcast.hub.publishing import serve_here  # noqa: E402
from broadcast.routing import websocket_application  # noqa: E402

serve_here()

application = ProtocolTypeRouter(
    {
        "http": ProxyMiddleware(HTTPApplication(StaticFilesHandler(django_application))),
        "websocket": websocket_application,
    }
)
