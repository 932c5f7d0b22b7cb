"""Every way to publish, in tests of each kind."""

import os
from threading import Thread

from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import SimpleTestCase, TestCase, TransactionTestCase

from broadcast import apublish, publish
from broadcast.backends import get_backend
from broadcast.backends.memory import MemoryBackend
from broadcast.exceptions import StreamClosed
from broadcast.hub.layer import get_layer
from broadcast.installation import get_prefix
from broadcast.layers import MemoryLayer
from broadcast.models import Installation, Stream
from broadcast.testing import capture

STREAM = os.environ.get("STREAM", "orders")


class WithoutDatabaseTests(SimpleTestCase):
    def test_sync_code_publishes(self):
        with capture() as published:
            publish(STREAM, "a line")
        assert published == [(STREAM, "a line")]

    async def test_coroutines_publish(self):
        with capture() as published:
            await apublish(STREAM, b"bytes")
        assert published == [(STREAM, b"bytes")]

    def test_all_is_in_this_process(self):
        assert type(get_backend()) is MemoryBackend
        assert type(get_layer()) is MemoryLayer
        assert get_prefix().startswith("test-")


class WithDatabaseTests(TestCase):
    def test_1_a_name_without_a_row_is_open(self):
        with self.assertNumQueries(1):
            publish(STREAM, 1)

    def test_2_a_row_of_the_transaction_is_seen(self):
        Stream.objects.create(slug=STREAM, closed_at="2020-01-01T00:00:00Z")
        with self.assertRaises(StreamClosed):
            publish(STREAM, 1)

    def test_3_the_row_of_another_test_is_gone(self):
        publish(STREAM, 1)

    def test_views_publish(self):
        Stream.objects.create(slug=STREAM, publishing="anyone")
        with capture() as published:
            answer = self.client.post(
                f"/api/streams/{STREAM}/publications/", {"a": 1}, content_type="application/json"
            )
        assert answer.status_code == 201, answer.content
        assert published == [(STREAM, {"a": 1})]

    def test_commands_publish(self):
        with capture() as published:
            call_command("publish", STREAM, "a line", verbosity=0)
        assert published == [(STREAM, "a line")]

    def test_who_logs_in_and_out_is_told_nobody_else(self):
        with self.captureOnCommitCallbacks(execute=True):
            self.client.force_login(User.objects.create_user("ada"))
            self.client.logout()

    def test_pages_show(self):
        Stream.objects.create(slug=STREAM, visibility="public")
        publish(STREAM, 1)
        assert self.client.get("/").status_code == 200

    def test_the_row_of_the_installation_is_left_alone(self):
        before = Installation.objects.values().get()
        publish(STREAM, 1)
        self.client.get("/")
        assert Installation.objects.values().get() == before


class ThreadTests(TransactionTestCase):
    def test_threads_publish(self):
        with capture() as published:
            thread = Thread(target=publish, args=("page:1", 1))
            thread.start()
            thread.join(10)
        assert published == [("page:1", 1)]
