"""Whose session a socket came with, for all that come at once.

Django asks the database twice for each session: for its row and for its user. Here handshakes that
wait go together: one hop to a thread and two queries for all of them. Only what is beyond doubt is
answered so, a session in the database whose user the default backend knows; for everything else
(other session engines and backends, sessions signed with an older key) Django is asked as usual.
"""

import asyncio
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from importlib import import_module
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

from django.conf import settings
from django.contrib.auth import (
    BACKEND_SESSION_KEY,
    HASH_SESSION_KEY,
    SESSION_KEY,
    get_user,
    get_user_model,
)
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.db import SessionStore
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from ..loops import PerLoop, Rounds
from ..models import users
from ..models.database import database_sync_to_async
from .visitors import Visitor

if TYPE_CHECKING:
    from django.contrib.sessions.backends.base import SessionBase

    from ..models import AnyUser

#: Sessions that are looked up together: the first one waits for all.
MOST = 100

MODEL_BACKEND = "django.contrib.auth.backends.ModelBackend"


class Session(dict[str, Any]):
    """The content of a session, to look at: no cookie could tell the browser of a change."""

    #: When it ends unless it is prolonged, where its engine keeps that: in the database.
    end: datetime | None = None

    def cycle_key(self) -> None:
        """Django would go on with a new key; the browser goes on with the old one."""

    def flush(self) -> None:
        """Django would end it; it ends with the next request."""


class Look(NamedTuple):
    """A session: what it has under a name ("": nothing), its user's key, and its `Session.end`.

    The key of a user that is no more, or may not log in, or whose password was changed since, is
    None.
    """

    value: Any
    user: Any
    end: datetime | None


class Question(NamedTuple):
    key: str
    ask: "Callable[[AnyUser], bool]"
    answer: asyncio.Future[bool]


async def ask(visitor: Visitor, question: "Callable[[AnyUser], bool]") -> bool:
    """The answer of `question`, called in a thread, for the user of the visitor's session.

    For a user whom a middleware has found, as the database knows them now.
    """
    if visitor.user is not None:
        answered: bool = await database_sync_to_async(_ask_again)(visitor.user, question)
        return answered
    if not visitor.key:
        return question(AnonymousUser())
    answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    _get_lookups().add("", Question(visitor.key, question, answer))
    return await answer


async def name_of(visitor: Visitor) -> str:
    """The name of the visitor's user; "" for an unknown one."""
    names: list[str] = []

    def take(user: "AnyUser") -> bool:
        names.append(users.name_of(user))
        return True

    await ask(visitor, take)
    return names[0]


async def load(visitor: Visitor) -> "tuple[SessionBase, AnyUser]":
    """The visitor's session and its user, for code that may change them."""
    found: tuple[SessionBase, AnyUser] = await database_sync_to_async(_load)(visitor)
    return found


async def enter(visitor: Visitor) -> "tuple[SessionBase, AnyUser, datetime | None]":
    """The same, and when the session ends unless it is prolonged; None: that is not known."""
    found: tuple[SessionBase, AnyUser, datetime | None]
    found = await database_sync_to_async(_enter)(visitor)
    return found


def _enter(visitor: Visitor) -> "tuple[SessionBase, AnyUser, datetime | None]":
    session, user = _load(visitor)
    if type(session) is not SessionStore or visitor.user is not None:
        return session, user, None
    rows = SessionStore.get_model_class().objects.filter(session_key=session.session_key)
    return session, user, rows.values_list("expire_date", flat=True).first()


def _load(visitor: Visitor) -> "tuple[SessionBase, AnyUser]":
    session = _open(visitor.key)
    # A session is read when it is first asked for something: here, where that may take time.
    session.get(SESSION_KEY)
    user = visitor.user or get_user(SimpleNamespace(session=session))  # type: ignore[arg-type]
    return session, user


async def look_at(keys: Iterable[str], name: str) -> dict[str, "Look"]:
    """The sessions of these keys, with their value under `name`."""
    found: dict[str, Look]
    found = await database_sync_to_async(_look_at)(list(keys), name)
    return found


def _look_at(keys: list[str], name: str) -> dict[str, "Look"]:
    sessions = _load_sessions(keys)
    users = _load_users(sessions.values())
    return {
        key: Look(session.get(name, ""), _user(session, users).pk, session.end)
        for key, session in sessions.items()
    }


def _ask_again(user: "AnyUser", question: "Callable[[AnyUser], bool]") -> bool:
    """Ask for `user` with what is so by now: permissions are kept by the object."""
    if user.pk is None:
        return question(user)
    found = get_user_model()._default_manager.filter(pk=user.pk).first()
    return question(found if found and found.is_active else AnonymousUser())


async def _answer_some(_: str, questions: list[Question]) -> None:
    try:
        answers = await database_sync_to_async(_answers)(questions)
    except Exception as error:
        answers = [error] * len(questions)
    for question, answer in zip(questions, answers, strict=True):
        if question.answer.done():
            continue  # Its socket went meanwhile.
        if isinstance(answer, Exception):
            question.answer.set_exception(answer)
        else:
            question.answer.set_result(answer)


#: All lookups of an event loop are of one kind.
_get_lookups: PerLoop[Rounds[str, Question]] = PerLoop(lambda: Rounds(_answer_some, MOST))


def _answers(questions: list[Question]) -> list[bool | Exception]:
    sessions = _load_sessions({question.key for question in questions})
    users = _load_users(sessions.values())
    answers: list[bool | Exception] = []
    for question in questions:
        try:
            answers.append(question.ask(_user(sessions[question.key], users)))
        except Exception as error:
            answers.append(error)
    return answers


def _open(key: str) -> Any:
    """The session of that key, as the engine has it; an empty one for a key that no row has."""
    engine = import_module(settings.SESSION_ENGINE).SessionStore
    is_sound = not issubclass(engine, SessionStore) or _is_sound(key)
    return engine(key if is_sound else None)


def _load_sessions(keys: Iterable[str]) -> dict[str, Session]:
    engine = import_module(settings.SESSION_ENGINE).SessionStore
    if engine is not SessionStore:
        return {key: Session(_content(_open(key))) for key in keys}
    sessions = {key: Session() for key in keys}
    sound = [key for key in keys if _is_sound(key)]
    rows = SessionStore.get_model_class().objects
    for row in rows.filter(session_key__in=sound, expire_date__gt=timezone.now()):
        sessions[row.session_key].update(SessionStore(row.session_key).decode(row.session_data))
        sessions[row.session_key].end = row.expire_date
    return sessions


def _content(session: Any) -> dict[str, Any]:
    found: dict[str, Any] = session.load() if session.session_key else {}
    return found


def _is_sound(key: str) -> bool:
    """Whether it can be the key of a row: others fail the query of all, PostgreSQL takes no NUL."""
    return bool(re.fullmatch("[0-9a-z]{8,40}", key))


def _load_users(sessions: Iterable[Session]) -> dict[str, Any]:
    """The users whom the default backend would find, by what the sessions say of them."""
    if MODEL_BACKEND not in settings.AUTHENTICATION_BACKENDS:
        return {}
    model = get_user_model()
    ids = set()
    for session in filter(_is_default, sessions):
        # One of before the model of users was changed must not fail the query of all.
        with suppress(ValidationError):
            ids.add(model._meta.pk.to_python(session[SESSION_KEY]))
    return {str(pk): user for pk, user in model._default_manager.in_bulk(ids).items()}


def _is_default(session: Session) -> bool:
    return SESSION_KEY in session and session.get(BACKEND_SESSION_KEY) == MODEL_BACKEND


def _user(session: Session, users: dict[str, Any]) -> "AnyUser":
    user = users.get(session[SESSION_KEY]) if _is_default(session) else None
    if user and ModelBackend().user_can_authenticate(user):
        proof = session.get(HASH_SESSION_KEY) or ""
        if constant_time_compare(proof, user.get_session_auth_hash()):
            known: AnyUser = user
            return known
    # get_user() looks at nothing of a request but its session.
    return get_user(SimpleNamespace(session=session))  # type: ignore[arg-type]
