"""Pages of a private stream, opened by whoever has a token, or not."""

import re

from playwright.sync_api import expect

from tests.browser.conftest import People
from tests.rig.processes import ServerProcess

MAKE = """
from broadcast.models import Stream
news = Stream.objects.get(slug="news")
news.visibility, news.publishing = "private", "owner"
news.save()
print(news.make_token("listen"), news.make_token("publish"), news.make_token("listen", 60, now=0))
"""


def test_tokens_open_the_pages_of_a_private_stream_and_say_why_where_not(
    people: People, site: ServerProcess
) -> None:
    done = site.manage("shell", "-v0", "-c", MAKE)
    listen, publish, old = done.stdout.split()
    watch = people.open(f"/streams/news/?token={listen}")
    studio = people.open(f"/streams/news/studio/?token={publish}")
    expect(watch.get_by_text("1 listener")).to_be_visible()
    studio.get_by_role("textbox", name="Text").fill("for those who have a token")
    studio.get_by_role("button", name="Send text").click()
    expect(watch.get_by_text("for those who have a token")).to_be_visible()
    refused = people.open(f"/streams/news/?token={old}")
    expect(refused.locator("main")).to_contain_text("The token ran out.")
    refused = people.open(f"/streams/news/studio/?token={listen}")
    expect(refused.locator("main")).to_contain_text("The token is to listen, not to publish.")
    people.errors = [error for error in people.errors if not re.search("status of 40[13]", error)]
