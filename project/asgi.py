"""The ASGI application: pages and static files over HTTP, Broadcast's sockets over WebSocket."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

from broadcast.asgi import get_application

# The demonstration has no web server before it that would serve them.
application = get_application(static_files=True)
