import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")

from broadcast.asgi import get_application

application = get_application()
