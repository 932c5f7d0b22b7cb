"""The example: who votes, what is counted, what is pushed of it."""

from typing import Any

import pytest
from django.test import Client

from broadcast.exceptions import Unavailable
from broadcast.pages.subscriptions import PageSocket
from project.vote.models import Vote

pytestmark = pytest.mark.django_db


@pytest.fixture
def pushed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was pushed to everybody who has the page open."""
    messages: list[Any] = []

    def push(socket: PageSocket, message: Any, channel: str) -> None:
        assert channel == "vote"
        messages.append(message)

    monkeypatch.setattr(PageSocket, "push", push)
    return messages


def vote(client: Client, choice: str) -> None:
    response = client.post("/vote/", {"choice": choice})
    assert (response.status_code, response.headers["Location"]) == (302, "/vote/")


def test_each_visitor_has_one_vote_and_may_change_it(client: Client, pushed: list[Any]) -> None:
    other = Client()
    vote(client, "tea")
    vote(client, "tea")
    vote(other, "coffee")
    assert pushed[-1] == {
        "total": 2,
        "tea": {"votes": 1, "percent": 50},
        "coffee": {"votes": 1, "percent": 50},
        "cocoa": {"votes": 0, "percent": 0},
    }
    vote(other, "tea")
    assert pushed[-1]["tea"] == {"votes": 2, "percent": 100}
    assert pushed[-1] == Vote.objects.results()


def test_the_page_shows_all_votes_and_the_visitors_own(client: Client, pushed: list[Any]) -> None:
    vote(Client(), "coffee")
    vote(client, "cocoa")
    page = client.get("/vote/").content.decode()
    assert 'value="cocoa" required checked' in page
    assert 'value="coffee" required>' in page
    assert '<b data-channel="vote" data-field="coffee.votes">1</b>' in page
    assert '<b data-channel="vote" data-field="total" data-missed="reload">2</b>' in page


@pytest.mark.parametrize("choice", ["", "rum", "Tea", "tea\0", "t" * 100_000])
def test_nonsense_is_refused_and_not_counted(
    client: Client, pushed: list[Any], choice: str
) -> None:
    response = client.post("/vote/", {"choice": choice})
    assert (response.status_code, response.content) == (400, b"There is no such choice.")
    assert client.post("/vote/").status_code == 400
    assert Vote.objects.results()["total"] == 0
    assert pushed == []


def test_forms_of_other_sites_do_not_vote(pushed: list[Any]) -> None:
    client = Client(enforce_csrf_checks=True)
    client.get("/vote/")
    assert client.post("/vote/", {"choice": "tea"}).status_code == 403
    assert Vote.objects.results()["total"] == 0


def test_of_votes_at_the_same_time_the_last_push_has_all(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed: list[Any] = []

    def push(socket: PageSocket, message: Any, channel: str) -> None:
        if not pushed:
            # Somebody else votes, and their push overtakes this one.
            Vote.objects.create(voter="somebody else", choice="tea")
            pushed.append(Vote.objects.results())
        pushed.append(message)

    monkeypatch.setattr(PageSocket, "push", push)
    vote(client, "tea")
    assert [message["total"] for message in pushed] == [2, 1, 2]


def test_while_the_engine_is_away_a_page_says_to_come_back(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(socket: PageSocket, *arguments: Any) -> None:
        raise Unavailable("the engine is away")

    monkeypatch.setattr(PageSocket, "subscribe", fail)
    monkeypatch.setattr(PageSocket, "push", fail)
    for response in (client.get("/vote/"), client.post("/vote/", {"choice": "tea"})):
        assert response.status_code == 503
        assert int(response.headers["Retry-After"]) > 0
        assert "Trying again in a few seconds helps." in response.content.decode()
    assert Vote.objects.results()["total"] == 1
    assert not [record for record in caplog.records if record.exc_info]
