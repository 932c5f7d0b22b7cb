"""With pytest: the fixtures `published` and `broadcast_server`, and a page that is pushed to."""

import pytest
from broadcast.models import Stream
from django.contrib.auth import get_user_model

from orders.models import Order, Tea


@pytest.fixture
def ada(db):
    return get_user_model().objects.create_user("ada@example.org", name="Ada")


@pytest.fixture
def eva(db):
    return get_user_model().objects.create_user("eva@example.org", name="Eva", is_staff=True)


@pytest.fixture
def tea(db):
    return Tea.objects.create(name="Lapsang", note="geräuchert", price="4.10")


def test_an_order_is_told_when_it_is_committed(
    published, ada, tea, django_capture_on_commit_callbacks
):
    with django_capture_on_commit_callbacks(execute=True):
        order = Order.objects.create(tea=tea, guest=ada)
    assert published == [("theke", {"number": order.pk, "tea": "Lapsang", "guest": "Ada"})]


@pytest.mark.parametrize("path", ["", "rooms/", "rooms/tee/", "streams/tafel/"])
def test_broadcasts_pages_have_the_look_of_the_shop(client, db, path):
    Stream.objects.get_or_create(slug="tafel")
    page = client.get(f"/live/{path}").text
    assert "shop/shop.css" in page and "Teehaus" in page and "broadcast/broadcast.css" in page


def test_an_order_goes_from_the_guest_to_the_counter_and_to_the_board(
    ada, eva, tea, broadcast_server, new_page
):
    Stream.objects.get_or_create(slug="tafel")
    board = new_page("/tafel/")
    board.locator("broadcast-listener[state=idle]").wait_for()
    counter = new_page("/theke/", user=eva)
    counter.locator("body[data-socket-state=open]").wait_for()

    guest = new_page("/", user=ada)
    guest.get_by_role("button", name="Lapsang bestellen").click()
    guest.get_by_text("Danke!").wait_for()

    # It comes by itself; when the page is loaded again it is to be made.
    counter.locator("[data-channel] li").get_by_text("Lapsang").wait_for()
    counter.reload()
    counter.get_by_role("button", name="ist fertig").click()
    board.locator(".ready").get_by_text("Ada").wait_for()


def test_guests_talk_in_the_chat(ada, eva, broadcast_server, new_page):
    pages = [new_page("/chat/", user=user) for user in (ada, eva)]
    for page in pages:
        page.locator("[data-chat=open]").wait_for()
    pages[0].get_by_label("Deine Worte").fill("Moin!")
    pages[0].get_by_role("button", name="Sagen").click()
    pages[1].get_by_role("log").get_by_text("Moin!").wait_for()
