"""With Django's test runner: what is told, and to whom."""

from broadcast import apublish
from broadcast.models import Stream
from broadcast.routing import websocket_application
from broadcast.testing import FreshMixin, capture
from channels.testing import WebsocketCommunicator
from django.contrib.auth import get_user_model
from django.test import TestCase, TransactionTestCase

from .models import Order, Tea

User = get_user_model()


class OrderTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.ada = User.objects.create_user("ada@example.org", name="Ada")
        cls.tea = Tea.objects.get(name="Assam")

    def test_a_placed_order_is_told_to_the_counter(self):
        self.client.force_login(self.ada)
        with capture() as published, self.captureOnCommitCallbacks(execute=True):
            self.client.post(f"/bestellen/{self.tea.pk}/")
        order = Order.objects.get()
        told = {"number": order.pk, "tea": "Assam", "guest": "Ada"}
        self.assertEqual(published, [("theke", told)])

    def test_an_order_that_is_ready_is_told_to_the_board(self):
        order = Order.objects.create(tea=self.tea, guest=self.ada)
        self.client.force_login(User.objects.create_user("eva@example.org", is_staff=True))
        with capture() as published, self.captureOnCommitCallbacks(execute=True):
            self.client.post(f"/theke/{order.pk}/")
        self.assertEqual([one.stream for one in published], ["tafel"])

    def test_an_order_that_is_rolled_back_is_told_to_nobody(self):
        with capture() as published, self.captureOnCommitCallbacks() as callbacks:
            Order.objects.create(tea=self.tea, guest=self.ada)
        self.assertEqual((published, len(callbacks)), ([], 1))

    def test_the_counter_is_for_those_who_work_here(self):
        self.client.force_login(self.ada)
        self.assertEqual(self.client.get("/theke/").status_code, 302)


class BoardTests(FreshMixin, TransactionTestCase):
    async def test_who_watches_the_board_hears_that_an_order_is_ready(self):
        await Stream.objects.aget_or_create(slug="tafel")
        socket = WebsocketCommunicator(
            websocket_application, "/ws/listener/tafel/", subprotocols=["broadcast.v1"]
        )
        await socket.connect()
        self.assertEqual((await socket.receive_json_from())["event"], "joined")
        await apublish("tafel", {"number": 7})
        self.assertEqual((await socket.receive_json_from())["data"], {"number": 7})
        await socket.disconnect()

    async def test_nobody_hears_the_counter_without_its_page(self):
        socket = WebsocketCommunicator(websocket_application, "/ws/listener/theke/")
        await socket.connect()
        self.assertEqual((await socket.receive_output())["code"], 4504)
