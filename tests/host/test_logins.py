"""Where visitors of other people's projects log in and out."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.rig.hosts import URLS, Host

ACCOUNTS = URLS + 'urlpatterns += [path("accounts/", include("django.contrib.auth.urls"))]\n'
OWN = (
    URLS
    + """
from django.http import HttpResponse
urlpatterns += [
    path("come-in/", lambda request: HttpResponse(), name="come_in"),
    path("go/", lambda request: HttpResponse(), name="account_logout"),
]
"""
)
ASK = """
import re
from urllib.parse import urlsplit

Stream.objects.create(slug="mine", visibility="private")
def links(client):
    home = client.get("/live/").text
    return (re.findall('href="([^"]+)">Log in<', home), re.findall('action="([^"]+)"', home))
answer = Client().get("/live/streams/mine/?a=b")
tell(refused=[answer.status_code, answer.get("Location", "")])
tell(nobody=links(Client())[0])
for name in ("root", "ann"):
    client = Client()
    user = User.objects.create_user(name, is_staff=name == "root", is_superuser=name == "root")
    client.force_login(user)
    tell(**{name: links(client)})
"""
BACK = "?next=/live/streams/mine/%3Fa%3Db"


@pytest.mark.parametrize(
    ("options", "login", "logouts"),
    [
        # Nobody can log in here, but in the admin.
        ({}, "", ("/admin/logout/", "")),
        ({"settings": 'LOGIN_URL = "admin:login"'}, "/admin/login/", ("/admin/logout/", "")),
        ({"urls": ACCOUNTS}, "/accounts/login/", ("/accounts/logout/", "/accounts/logout/")),
        ({"settings": 'LOGIN_URL = "come_in"', "urls": OWN}, "/come-in/", ("/go/", "/go/")),
        (
            {"settings": 'LOGIN_URL = "https://id.example.org/"'},
            "https://id.example.org/",
            ("/admin/logout/", ""),
        ),
    ],
    ids=["nowhere", "admin", "accounts", "own", "elsewhere"],
)
def test_visitors_are_led_to_the_login_of_the_project(
    host: Callable[..., Host], options: dict[str, Any], login: str, logouts: tuple[str, str]
) -> None:
    told = host(**options).run(ASK)
    assert told["refused"] == ([302, login + BACK] if login else [403, ""])
    assert told["nobody"] == ([f"{login}?next=/live/"] if login else [])
    assert told["root"] == [[], [logouts[0]]]
    assert told["ann"] == [[], [logouts[1]] if logouts[1] else []]
