"""The shop's own socket, in the application that it shares with Broadcast."""

from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.contrib.auth import get_user_model
from django.test import Client, TransactionTestCase

from shop.asgi import application

ORIGIN = (b"origin", b"http://localhost")


class ChatTests(TransactionTestCase):
    def open(self, *names):
        for name in names:
            client = Client()
            client.force_login(get_user_model().objects.create_user(f"{name}@example.org"))
            cookie = f"{settings.SESSION_COOKIE_NAME}={client.cookies['sessionid'].value}"
            yield WebsocketCommunicator(
                application, "/ws/chat/", headers=[ORIGIN, (b"cookie", cookie.encode())]
            )

    def setUp(self):
        self.ada, self.eva = self.open("ada", "eva")

    async def test_what_one_says_all_hear(self):
        for socket in (self.ada, self.eva):
            self.assertTrue((await socket.connect())[0])
        await self.ada.send_json_to({"text": " Moin! "})
        for socket in (self.ada, self.eva):
            said = await socket.receive_json_from()
            self.assertEqual(said, {"who": "ada", "text": "Moin!"})
            await socket.disconnect()

    async def test_who_is_not_logged_in_is_refused(self):
        socket = WebsocketCommunicator(application, "/ws/chat/", headers=[ORIGIN])
        self.assertFalse((await socket.connect())[0])
