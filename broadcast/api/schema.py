"""The description of the HTTP API: OpenAPI 3.1, by hand, held against the answers by tests."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.urls import reverse

from ..conf import conf
from ..http.answers import resource
from ..models import Stream
from .publications import MOST_KEY

Json = dict[str, Any]

OFFSET = {"type": "integer", "minimum": 0}
TEXT = {"type": "string"}

DESCRIPTION = """\
Streams, their history, and a way to publish on them and to hear them. What needs somebody's
permission is granted to a token, or to the session of a logged-in user."""


def reference(kind: str, name: str) -> Json:
    return {"$ref": f"#/components/{kind}/{name}"}


def schema_of(name: str) -> Json:
    return reference("schemas", name)


def thing(about: str = "", required: list[str] | None = None, /, **properties: Json) -> Json:
    """An object of which all properties are there, unless `required` names some."""
    found: Json = {
        "type": "object",
        "properties": properties,
        "required": required or list(properties),
        "additionalProperties": False,
    }
    return found | ({"description": about} if about else {})


def answer(description: str, schema: Json, media_type: str = "application/json") -> Json:
    return {"description": description, "content": {media_type: {"schema": schema}}}


def parameter(name: str, schema: Json, description: str, place: str = "query") -> Json:
    found = {"name": name, "in": place, "schema": schema, "description": description}
    return found | ({"required": True} if place == "path" else {})


ERRORS = {
    "400": ("BadRequest", "The request makes no sense."),
    "401": ("BadToken", "The token is none, ran out or was withdrawn."),
    "403": ("Forbidden", "The client may not do this, or is a page of another site."),
    "404": ("NoSuchStream", "There is no such stream."),
    "405": ("NotAllowed", "There is no such method here; `Allow` says which there are."),
    "406": ("NotAcceptable", "The request does not accept what this answers."),
    "410": ("StreamClosed", "The stream was closed."),
    "413": ("TooLarge", "The publication is larger than the limit of the stream."),
    "415": ("Unsupported", "A charset or a content encoding that is not taken."),
    "429": ("TooMany", "A limit is reached; `Retry-After` says when to try again."),
    "501": ("NotHere", "The server runs without its ASGI application for events."),
    "503": ("Unavailable", "Where the streams are kept does not answer now."),
}


def errors(*statuses: int) -> Json:
    return {str(status): reference("responses", ERRORS[str(status)][0]) for status in statuses}


def operation(summary: str, id: str, responses: Json, **more: Any) -> Json:
    return {"summary": summary, "operationId": id, "responses": responses, **more}


SLUG = parameter(
    "slug", {"type": "string", "pattern": "^[-a-zA-Z0-9_]+$"}, "The name of the stream.", "path"
)
SINCE = parameter(
    "since",
    {"type": "integer", "minimum": 0, "maximum": 10**20 - 1},
    "Only what comes after this offset; goes together with `epoch`.",
)
EPOCH = parameter("epoch", TEXT, "The epoch that `since` is of.")


def schemas() -> Json:
    """The schemas of bodies."""
    return {
        "Error": thing(error={"type": "string"}),
        "Position": thing(
            "The life of the stream's history, and the number of a publication in it.",
            epoch={"type": "string", "minLength": 1},
            offset=OFFSET,
        ),
        "Stream": stream_schema(),
        "Publication": publication_schema(),
        "History": history_schema(),
    }


def stream_schema() -> Json:
    return thing(
        slug=TEXT,
        title=TEXT,
        description=TEXT,
        kind={"enum": list(Stream.Kind.values)},
        live={"type": "boolean", "description": "Whether a streamer is connected."},
        listeners={"type": "integer", "minimum": 0},
        position=schema_of("Position"),
        limits=thing(
            frame={"type": "integer", "description": "Bytes of a publication."},
            history=thing(
                count={"type": "integer"},
                bytes={"type": "integer"},
                seconds={"type": "number"},
            ),
        ),
        url=TEXT,
    )


def publication_schema() -> Json:
    return thing(
        "",
        ["offset", "time", "type", "data"],
        offset={"type": "integer", "minimum": 1},
        time={"type": "number", "description": "Seconds since 1970."},
        type={"enum": ["text", "json", "binary"]},
        marks={
            "type": "array",
            "items": {"enum": ["header", "entry", "reset"]},
            "minItems": 1,
        },
        data={"description": "Text as a string, JSON as it is, binary in Base64."},
    )


def history_schema() -> Json:
    return thing(
        stream=TEXT,
        epoch={"type": "string", "minLength": 1},
        offset=OFFSET | {"description": "The newest there is."},
        complete={
            "type": "boolean",
            "description": "Nothing is missing between `since` (without one: the "
            "beginning) and the first publication given here.",
        },
        header={
            "description": "What a newcomer needs first, where it is not among them.",
            "oneOf": [schema_of("Publication"), {"type": "null"}],
        },
        publications={"type": "array", "items": schema_of("Publication")},
    )


def security_schemes() -> Json:
    """How somebody shows who they are."""
    return {
        "token": {
            "type": "http",
            "scheme": "bearer",
            "description": "A token that grants one thing on one stream.",
        },
        "tokenInQuery": {"type": "apiKey", "in": "query", "name": "token"},
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "name": settings.SESSION_COOKIE_NAME,
            "description": "The session of a logged-in user. A POST needs its CSRF token in "
            "the header X-CSRFToken, too.",
        },
    }


def components() -> Json:
    return {
        "schemas": schemas(),
        "responses": {
            name: answer(description, schema_of("Error")) for name, description in ERRORS.values()
        },
        "securitySchemes": security_schemes(),
    }


def publish_operation() -> Json:
    key = parameter(
        "Idempotency-Key",
        {"type": "string", "pattern": f"^[!-~]{{1,{MOST_KEY}}}$"},
        "A repeat with the same key publishes nothing, and answers the first position.",
        "header",
    )
    return operation(
        "Publish",
        "publish",
        {
            "201": answer("It is published there.", schema_of("Position")),
            **errors(400, 401, 403, 404, 410, 413, 415, 429, 503),
        },
        parameters=[key],
        requestBody={
            "required": True,
            "description": "One publication.",
            "content": {
                "application/json": {"schema": {}},
                "text/plain": {"schema": {"type": "string"}},
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            },
        },
    )


def publications() -> Json:
    limit = parameter(
        "limit",
        {"type": "integer", "minimum": 1, "maximum": 10**20 - 1, "default": conf.HISTORY_LIMIT},
        f"How many at most; more than {conf.HISTORY_REPLAY} are cut to that.",
    )
    return {
        "parameters": [SLUG],
        "get": operation(
            "History",
            "readHistory",
            {
                "200": answer("The publications, oldest first.", schema_of("History")),
                **errors(400, 401, 403, 404, 410, 503),
            },
            parameters=[SINCE, EPOCH, limit],
            description="What came after `since`, or the last `limit` without one. When `since` "
            "cannot be continued from, `complete` is false, and the last `limit` come instead.",
        ),
        "post": publish_operation(),
    }


def events() -> Json:
    last = "Where to resume: the `id` of the last event, `<epoch>:<offset>`."
    return {
        "parameters": [SLUG],
        "get": operation(
            "Server-Sent Events",
            "hearEvents",
            {
                "200": answer("Events, without an end.", {"type": "string"}, "text/event-stream"),
                **errors(400, 401, 403, 404, 406, 410, 429, 501, 503),
            },
            parameters=[
                parameter("Last-Event-ID", TEXT, last, "header"),
                parameter("last_event_id", TEXT, last),
                parameter("history", OFFSET, "Replay the last so many first."),
                EPOCH,
                SINCE,
            ],
        ),
    }


def paths() -> Json:
    return {
        "/api/streams/": {
            "get": operation(
                "The streams that this client sees listed",
                "listStreams",
                {
                    "200": answer(
                        "The streams.",
                        thing(streams={"type": "array", "items": schema_of("Stream")}),
                    ),
                    **errors(503),
                },
            )
        },
        "/api/streams/{slug}/": {
            "parameters": [SLUG],
            "get": operation(
                "One stream",
                "describeStream",
                {
                    "200": answer("The stream.", schema_of("Stream")),
                    **errors(400, 401, 403, 404, 503),
                },
            ),
        },
        "/api/streams/{slug}/publications/": publications(),
        "/api/streams/{slug}/events/": events(),
        "/api/schema/": {
            "get": operation(
                "This description",
                "readSchema",
                {"200": answer("OpenAPI 3.1.", {"type": "object"})},
            )
        },
    }


async def describe(request: HttpRequest) -> JsonResponse:
    prefix = reverse("broadcast:api_schema").removesuffix("/api/schema/")
    return JsonResponse(
        {
            "openapi": "3.1.0",
            "info": {"title": "Broadcast", "version": "1", "description": DESCRIPTION},
            "servers": [{"url": prefix or "/"}],
            "security": [{}, {"token": []}, {"tokenInQuery": []}, {"session": []}],
            "paths": paths(),
            "components": components(),
        }
    )


schema = resource(GET=describe)
