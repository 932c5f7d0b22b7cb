"""Whose session a socket came with: as Django would say, for many at once."""

import asyncio
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings as django_settings
from django.contrib.auth import BACKEND_SESSION_KEY, SESSION_KEY
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.sessions.models import Session
from django.db import DatabaseError, connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from broadcast.access import sessions
from broadcast.access.visitors import NOBODY, Visitor

pytestmark = pytest.mark.django_db


class OtherBackend(ModelBackend):
    """Knows the same people as Django's own, in a way of its own."""

    def get_user(self, user_id: Any) -> Any:
        return super().get_user(user_id)


OTHER = f"{__name__}.OtherBackend"


def visitor(key: str) -> Visitor:
    cookie = f"theme=dark; sessionid={key}".encode()
    return Visitor.of_scope({"headers": [(b"cookie", cookie)], "subprotocols": []})


def signed_in(name: str, backend: str | None = None) -> tuple[Any, str]:
    """A new user, and the key of a session of theirs."""
    user = User.objects.create_user(name)
    client = Client()
    client.force_login(user, backend)
    return user, client.cookies["sessionid"].value


async def name_of(key: str) -> str:
    """Whose session it is; "" for nobody's."""
    names: list[str] = []
    assert await sessions.ask(visitor(key), lambda user: not names.append(user.get_username()))
    return names[0]


async def test_many_sessions_are_looked_up_with_two_queries() -> None:
    keys = [(await sync_to_async(signed_in)(f"user{number}"))[1] for number in range(20)]
    queries = CaptureQueriesContext(connection)
    await sync_to_async(queries.__enter__)()
    names = await asyncio.gather(*map(name_of, keys))
    await sync_to_async(queries.__exit__)(None, None, None)
    assert await sync_to_async(len)(queries) == 2
    assert names == [f"user{number}" for number in range(20)]


async def test_more_sessions_than_are_looked_up_together_all_get_their_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sessions, "MOST", 3)
    keys = [(await sync_to_async(signed_in)(f"user{number}"))[1] for number in range(10)]
    assert await asyncio.gather(*map(name_of, keys)) == [f"user{number}" for number in range(10)]


@pytest.mark.parametrize("engine", ["db", "cached_db", "cache", "file", "signed_cookies"])
async def test_every_session_engine_of_django_is_understood(
    settings: Any, tmp_path: Any, engine: str
) -> None:
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
    settings.SESSION_FILE_PATH = tmp_path
    _, key = await sync_to_async(signed_in)("somebody")
    assert await asyncio.gather(name_of(key), name_of("0" * 32)) == ["somebody", ""]


async def test_the_session_of_another_authentication_backend_is_understood(settings: Any) -> None:
    settings.AUTHENTICATION_BACKENDS = [*settings.AUTHENTICATION_BACKENDS, OTHER]
    (_, usual), (_, other) = [
        await sync_to_async(signed_in)(name, backend)
        for name, backend in (("usual", sessions.MODEL_BACKEND), ("other", OTHER))
    ]
    assert await asyncio.gather(name_of(usual), name_of(other)) == ["usual", "other"]
    settings.AUTHENTICATION_BACKENDS = [OTHER]
    assert await asyncio.gather(name_of(usual), name_of(other)) == ["", "other"]


@pytest.mark.parametrize(
    "key", ["", "x", "0" * 32, "0" * 500, "%00" * 9, "a\x00" * 10, "\xe4" * 10, "' OR 1=1 --"]
)
async def test_a_key_that_is_none_disturbs_nobody_else(key: str) -> None:
    _, sound = await sync_to_async(signed_in)("somebody")
    assert await asyncio.gather(name_of(sound), name_of(key), name_of(sound)) == [
        *("somebody", "", "somebody")
    ]


def expire(user: Any, key: str) -> None:
    Session.objects.filter(session_key=key).update(expire_date=timezone.now() - timedelta(1))


def log_out(user: Any, key: str) -> None:
    Session.objects.filter(session_key=key).delete()


def change_password(user: Any, key: str) -> None:
    user.set_password("another")
    user.save()


def deactivate(user: Any, key: str) -> None:
    User.objects.update(is_active=False)


def delete_user(user: Any, key: str) -> None:
    user.delete()


def change_the_model_of_users(user: Any, key: str) -> None:
    session = import_module(django_settings.SESSION_ENGINE).SessionStore(key)
    session[SESSION_KEY] = "b7d0d2a0-uuid"
    session.save()


def forge(user: Any, key: str) -> None:
    Session.objects.filter(session_key=key).update(session_data="forged")


def forget_the_proof(user: Any, key: str) -> None:
    session = import_module(django_settings.SESSION_ENGINE).SessionStore(key)
    session.update({SESSION_KEY: str(user.pk), BACKEND_SESSION_KEY: sessions.MODEL_BACKEND})
    del session["_auth_user_hash"]
    session.save()


@pytest.mark.parametrize(
    "end",
    [expire, log_out, change_password, deactivate, delete_user, forge, forget_the_proof],
)
async def test_a_session_that_ended_is_nobodys(end: Any) -> None:
    user, key = await sync_to_async(signed_in)("somebody")
    _, other = await sync_to_async(signed_in)("other")
    if end is deactivate:
        await User.objects.filter(username="other").adelete()
    await sync_to_async(end)(user, key)
    assert (await asyncio.gather(name_of(key), name_of(other)))[0] == ""


async def test_a_session_whose_user_makes_no_sense_disturbs_nobody_else() -> None:
    user, key = await sync_to_async(signed_in)("somebody")
    _, other = await sync_to_async(signed_in)("other")
    await sync_to_async(change_the_model_of_users)(user, key)
    answers = await asyncio.gather(name_of(key), name_of(other), return_exceptions=True)
    assert isinstance(answers[0], Exception)
    assert answers[1] == "other"


async def test_a_session_signed_with_an_older_key_holds_and_is_not_changed(settings: Any) -> None:
    _, key = await sync_to_async(signed_in)("somebody")
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "a newer one"
    assert await name_of(key) == "somebody"
    assert await Session.objects.filter(session_key=key).aexists()
    settings.SECRET_KEY_FALLBACKS = []
    assert await name_of(key) == ""
    assert await Session.objects.filter(session_key=key).aexists()


async def test_a_question_that_fails_fails_for_who_asked_alone() -> None:
    _, key = await sync_to_async(signed_in)("somebody")

    def fail(user: Any) -> bool:
        raise ValueError("not for me")

    answers = await asyncio.gather(
        sessions.ask(visitor(key), fail), name_of(key), return_exceptions=True
    )
    assert isinstance(answers[0], ValueError)
    assert answers[1] == "somebody"


async def test_a_database_that_fails_fails_for_all_who_asked_and_for_nobody_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, key = await sync_to_async(signed_in)("somebody")

    def fail(keys: Any) -> None:
        raise DatabaseError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(sessions, "_load_sessions", fail)
        answers = await asyncio.gather(name_of(key), name_of(key), return_exceptions=True)
    assert [type(answer) for answer in answers] == [DatabaseError, DatabaseError]
    assert await name_of(key) == "somebody"


async def test_who_does_not_wait_for_the_answer_disturbs_nobody_else() -> None:
    _, key = await sync_to_async(signed_in)("somebody")
    gone = asyncio.ensure_future(name_of(key))
    stays = asyncio.ensure_future(name_of(key))
    await asyncio.sleep(0)
    gone.cancel()
    assert await stays == "somebody"


async def test_without_a_cookie_no_thread_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "database_sync_to_async", None)
    assert await sessions.ask(NOBODY, lambda user: isinstance(user, AnonymousUser))


async def test_the_user_of_a_middleware_stands() -> None:
    user, key = await sync_to_async(signed_in)("somebody")
    found = Visitor(key=key, user=user)
    assert await sessions.ask(found, lambda asked: asked == user)


async def test_the_user_of_a_middleware_may_what_they_may_now() -> None:
    user, _ = await sync_to_async(signed_in)("somebody")
    found = Visitor(user=user)
    await User.objects.filter(pk=user.pk).aupdate(is_staff=True)
    assert await sessions.ask(found, lambda asked: bool(asked.is_staff))
    await User.objects.filter(pk=user.pk).aupdate(is_active=False)
    assert await sessions.ask(found, lambda asked: isinstance(asked, AnonymousUser))


@pytest.mark.parametrize("engine", ["db", "cached_db"])
def test_a_key_that_no_row_has_is_not_looked_up(engine: str) -> None:
    # PostgreSQL fails at a NUL, and with it the query of all who came together.
    name = f"django.contrib.sessions.backends.{engine}"
    with override_settings(SESSION_ENGINE=name), CaptureQueriesContext(connection) as queries:
        assert sessions._load_sessions(["\0" * 32, "é" * 32]) == {"\0" * 32: {}, "é" * 32: {}}
    assert not queries.captured_queries
