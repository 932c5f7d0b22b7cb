"""The OpenAPI description: it says what there is, and the answers are what it says."""

from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from django.test import Client
from django.urls import URLPattern
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import sampled_from
from schemathesis import GenerationMode
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import (
    ignored_auth,
    negative_data_rejection,
    positive_data_acceptance,
)

from broadcast import urls
from tests.rig.processes import ServerProcess

Json = dict[str, Any]


def described(client: Client) -> Json:
    found: Json = client.get("/api/schema/").json()
    return found


@pytest.mark.django_db
def test_every_path_and_method_is_described_and_no_other(client: Client) -> None:
    patterns = [one for one in urls.urlpatterns if isinstance(one, URLPattern) and one.name]
    there = {
        "/" + str(one.pattern).replace("<slug:slug>", "{slug}"): set(one.callback.methods)
        for one in patterns
        if str(one.name).startswith("api_")
    }
    said = {
        path: {name.upper() for name in item if name != "parameters"} | {"HEAD"}
        for path, item in described(client)["paths"].items()
    }
    assert said == there


@pytest.mark.django_db
def test_every_reference_leads_somewhere(client: Client) -> None:
    schema = described(client)

    def follow(value: Any) -> None:
        if isinstance(value, dict):
            if "$ref" in value:
                found: Any = schema
                for name in value["$ref"].removeprefix("#/").split("/"):
                    found = found[name]
            for one in value.values():
                follow(one)
        elif isinstance(value, list):
            for one in value:
                follow(one)

    follow(schema)
    assert schema["openapi"] == "3.1.0" and schema["servers"] == [{"url": "/"}]


@pytest.fixture(scope="module")
def server(servers: Callable[[str], ServerProcess]) -> ServerProcess:
    return servers("broadcast")


#: What is asked for at random: all but the events, which have no end that one could wait for.
OPERATIONS = [
    ("/api/streams/", "GET"),
    ("/api/streams/{slug}/", "GET"),
    ("/api/streams/{slug}/publications/", "GET"),
    ("/api/streams/{slug}/publications/", "POST"),
    ("/api/schema/", "GET"),
]


def test_all_but_the_events_is_asked_for_at_random(server: ServerProcess) -> None:
    said = {
        (path, method.upper())
        for path, item in load(server).raw_schema["paths"].items()
        for method in item
        if method != "parameters"
    }
    assert said - set(OPERATIONS) == {("/api/streams/{slug}/events/", "GET")}


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_what_is_asked_as_described_is_answered_as_described(
    server: ServerProcess, path: str, method: str
) -> None:
    # That `since` and `epoch` go together no schema of a parameter can say.
    together = [positive_data_acceptance] if path.endswith("/publications/") else []
    ask(server, path, method, GenerationMode.POSITIVE, together)


@pytest.mark.parametrize(("path", "method"), [one for one in OPERATIONS if "{" in one[0]])
def test_what_is_asked_otherwise_is_answered_as_described(
    server: ServerProcess, path: str, method: str
) -> None:
    # What of a query is not known is ignored; what is refused is tested by hand.
    ask(server, path, method, GenerationMode.NEGATIVE, [negative_data_rejection])


def ask(
    server: ServerProcess, path: str, method: str, mode: GenerationMode, ignored: list[Any]
) -> None:
    operation = load(server)[path][method]

    @given(operation.as_strategy(generation_mode=mode), sampled_from(["demo", "none", ""]))
    @settings(
        max_examples=30, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
    )
    def run(case: schemathesis.Case, slug: str) -> None:
        if slug and "slug" in case.path_parameters:
            # Of what exists there is more to say.
            case.path_parameters["slug"] = slug
        # The stream is for anybody: `test_permissions.py` asks who may what.
        case.call_and_validate(excluded_checks=[ignored_auth, *ignored])

    run()
    server.assert_clean_log()


def load(server: ServerProcess) -> BaseSchema:
    return schemathesis.openapi.from_url(f"{server.url}/api/schema/")
