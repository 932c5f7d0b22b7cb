"""Tokens: what they grant, and how each that does not is told apart."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcast.exceptions import BadToken, Forbidden
from broadcast.models import Stream
from broadcast.tokens import Grant

NOW = 1_000_000_000.0


def stream(pk: int = 1) -> Stream:
    return Stream(pk=pk, slug="s")


@pytest.mark.parametrize("grant", Grant)
def test_a_token_grants_its_grant_until_it_runs_out(grant: Grant) -> None:
    token = stream().make_token(grant, max_age=60, now=NOW)
    stream().check_token(token, grant, NOW)
    stream().check_token(token, grant, NOW + 59)
    with pytest.raises(BadToken, match="ran out"):
        stream().check_token(token, grant, NOW + 60)


def test_the_deed_may_be_named_by_a_string() -> None:
    token = stream().make_token("publish", now=NOW)
    stream().check_token(token, Grant.PUBLISH, NOW)


def test_a_token_is_valid_for_as_long_as_the_setting_says(settings: Any) -> None:
    settings.BROADCAST_TOKEN_AGE = 10
    token = stream().make_token("listen", now=NOW)
    stream().check_token(token, Grant.LISTEN, NOW + 9)
    with pytest.raises(BadToken, match="ran out"):
        stream().check_token(token, Grant.LISTEN, NOW + 10)


@pytest.mark.parametrize(("grant", "max_age"), [("dance", 60), ("listen", 0), ("listen", -1)])
def test_a_token_that_grants_nothing_is_not_made(grant: str, max_age: float) -> None:
    with pytest.raises(ValueError):
        stream().make_token(grant, max_age=max_age)
    with pytest.raises(ValueError):
        stream().make_token("listen", max_age=float("nan"))


def test_a_token_for_another_stream_or_deed_says_so() -> None:
    token = stream(1).make_token("listen", now=NOW)
    with pytest.raises(Forbidden, match="for another stream") as other:
        stream(2).check_token(token, Grant.LISTEN, NOW)
    with pytest.raises(Forbidden, match="to listen, not to publish"):
        stream(1).check_token(token, Grant.PUBLISH, NOW)
    assert not isinstance(other.value, BadToken)


def test_what_was_withdrawn_grants_nothing_and_what_is_made_then_does() -> None:
    former = stream().make_token("listen", now=NOW)
    row = stream()
    row.tokens_valid_from = datetime.fromtimestamp(NOW + 0.001, UTC)
    with pytest.raises(BadToken, match="withdrawn"):
        row.check_token(former, Grant.LISTEN, NOW + 1)
    row.check_token(row.make_token("listen", now=NOW + 0.001), Grant.LISTEN, NOW + 1)


@given(st.integers(min_value=0), st.characters(codec="utf-8"))
def test_a_token_with_any_character_changed_is_none(place: int, character: str) -> None:
    token = stream().make_token("listen", now=NOW)
    place %= len(token)
    changed = token[:place] + character + token[place + 1 :]
    if changed != token:
        with pytest.raises(BadToken, match="tampered"):
            stream().check_token(changed, Grant.LISTEN, NOW)


@given(st.text())
def test_no_text_is_a_token(text: str) -> None:
    with pytest.raises(BadToken, match="tampered"):
        stream().check_token(text, Grant.LISTEN, NOW)


def test_what_is_signed_for_something_else_is_no_token() -> None:
    from django.core.signing import Signer

    foreign = Signer(sep=".").sign_object([1, "listen", NOW, NOW + 60])
    with pytest.raises(BadToken, match="tampered"):
        stream().check_token(foreign, Grant.LISTEN, NOW)


def test_a_former_secret_key_still_counts_while_it_is_a_fallback(settings: Any) -> None:
    token = stream().make_token("listen", now=NOW)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another"
    stream().check_token(token, Grant.LISTEN, NOW)
    settings.SECRET_KEY_FALLBACKS = []
    with pytest.raises(BadToken, match="tampered"):
        stream().check_token(token, Grant.LISTEN, NOW)


@pytest.mark.parametrize("pk", [1, 10**9])
@pytest.mark.parametrize("grant", Grant)
def test_a_token_is_legal_in_a_url_and_as_a_subprotocol(pk: int, grant: Grant) -> None:
    token = stream(pk).make_token(grant)
    # Unreserved in RFC 3986, and characters of a token in RFC 9110.
    assert re.fullmatch(r"[A-Za-z0-9._-]{20,200}", token)
