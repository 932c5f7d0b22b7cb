"""Pages and views of the tests' own, beside those of the project: a `ROOT_URLCONF`."""

import asyncio
import json
import os
import signal
import time
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model, login, logout
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.template import Context, Template
from django.urls import path
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from broadcast import socket_handler
from broadcast.hub.page_writes import get_writes
from broadcast.hub.relay import get_relay
from broadcast.models import Subscription
from project.urls import urlpatterns as project_patterns

#: Seconds that a view takes which nothing can end.
SLEEP = 5.0

MARKUP = (
    '<!doctype html><title><body></title><!-- <body> --><script>"<body>"</script>'
    "<meta content='<body>'><body class=x><body>"
)


def page(request: Any) -> HttpResponse:
    """A page that is subscribed to some channels, and says its connection id in its body."""
    if channels := request.GET.getlist("subscribe"):
        request.socket.subscribe(*channels)
    said = {"id": request.socket.connection_id, "digest": request.socket.digest}
    return HttpResponse(f"{MARKUP}{json.dumps(said)}")


async def async_page(request: Any) -> HttpResponse:
    await request.socket.asubscribe(request.GET.getlist("subscribe"))
    said = {"id": request.socket.connection_id, "digest": await request.socket.adigest()}
    return HttpResponse(f"{MARKUP}{json.dumps(said)}")


def template_page(request: Any) -> HttpResponse:
    template = Template("{% load broadcast %}<body {% socket_attributes %}>")
    return HttpResponse(template.render(Context({"request": request})))


def bodiless_page(request: Any) -> HttpResponse:
    """HTML that says no `<body>`, with the `status` that is asked for."""
    request.socket.subscribe("a")
    return HttpResponse("<!doctype html><h1>Score</h1>", status=int(request.GET["status"]))


def plain_page(request: HttpRequest) -> HttpResponse:
    return HttpResponse(MARKUP)


def do(request: Any, action: str) -> HttpResponse:
    """`request.socket`'s method `action`, with the JSON list `arguments`."""
    getattr(request.socket, action)(*json.loads(request.GET.get("arguments", "[]")))
    return HttpResponse("done")


def is_closed(request: HttpRequest) -> HttpResponse:
    """Whether the socket of the page with this `digest` has gone."""
    rows = Subscription.objects.filter(digest=request.GET["digest"], closed_at=None)
    return HttpResponse("no" if rows.exists() else "yes")


def expire(request: HttpRequest) -> JsonResponse:
    """Have a page's subscription to a channel expire in so many `seconds`; says when that is."""
    row = Subscription.objects.get(digest=request.GET["digest"], channel=request.GET["channel"])
    row.expires_at = timezone.now() + timedelta(seconds=float(request.GET["seconds"]))
    row.save()
    return JsonResponse(row.expires_at.timestamp(), safe=False)


def expire_session(request: HttpRequest) -> HttpResponse:
    request.session.set_expiry(timezone.now() + timedelta(seconds=float(request.GET["seconds"])))
    return HttpResponse("done")


def push_bytes(request: Any) -> HttpResponse:
    request.socket.push(b"\x00\xff", request.GET["channel"])
    return HttpResponse("done")


def echo(request: Any) -> HttpResponse:
    said = {
        "method": request.method,
        "path": request.get_full_path(),
        "get": dict(request.GET.lists()),
        "post": dict(request.POST.lists()),
        "user": request.user.get_username(),
        "headers": dict(request.headers),
        "address": request.META["REMOTE_ADDR"],
        "connection_id": request.socket.connection_id,
    }
    return JsonResponse(said, headers={"X-Answer": "yes"})


@csrf_exempt
def exempt(request: HttpRequest) -> HttpResponse:
    return HttpResponse("let in")


def fail(request: HttpRequest) -> HttpResponse:
    raise ValueError("a fault of the view")


async def never(request: HttpRequest) -> HttpResponse:
    await asyncio.Event().wait()
    return HttpResponse()


def sleep(request: HttpRequest) -> HttpResponse:
    time.sleep(SLEEP)
    return HttpResponse()


def large(request: HttpRequest) -> HttpResponse:
    return HttpResponse("x" * int(request.GET["size"]))


def streamed(request: HttpRequest) -> StreamingHttpResponse:
    async def parts() -> Any:
        for part in ("a", "ä", "z"):
            yield part

    return StreamingHttpResponse(parts())


def set_cookie(request: HttpRequest) -> HttpResponse:
    response = HttpResponse("done")
    response.set_cookie("secret", "value", httponly=True)
    return response


def log_in(request: HttpRequest, name: str) -> HttpResponse:
    user, _ = get_user_model().objects.get_or_create(username=name)
    login(request, user, "django.contrib.auth.backends.ModelBackend")
    return HttpResponse("done")


def log_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    return HttpResponse("done")


_waiting: dict[str, asyncio.Event] = {}


async def wait_for(request: Any, name: str) -> HttpResponse:
    """Answers when `release` was called with the same name."""
    await _waiting.setdefault(name, asyncio.Event()).wait()
    return HttpResponse("released")


async def release(request: Any, name: str) -> HttpResponse:
    _waiting.setdefault(name, asyncio.Event()).set()
    return HttpResponse("done")


@socket_handler("say-hello")
async def greet(message: dict[str, Any], socket: Any, response: dict[str, Any]) -> None:
    response["body"] = f"Hello {message.get('name')}, {socket.user.get_username() or 'nobody'}"


@socket_handler("listen")
async def listen(message: dict[str, Any], socket: Any, response: dict[str, Any]) -> dict[str, Any]:
    await socket.asubscribe(message["channel"])
    await socket.apush("you listen", message["channel"])
    return response | {"status": 201, "headers": {"a": "b"}, "body": socket.connection_id}


@socket_handler("push-and-stop")
async def push_and_stop(message: dict[str, Any], socket: Any, response: dict[str, Any]) -> None:
    """Push `messages` to a `channel` that is busy, and have the server stop before they go out."""
    topic = get_relay().topics[message["channel"]]
    # As if it were busy with writing until then.
    get_writes().ended = asyncio.get_running_loop().time() + 600
    for one in message["messages"]:
        await socket.apush(one, topic.name)
    while topic.offset < len(message["messages"]):  # noqa: ASYNC110
        await asyncio.sleep(0)
    assert topic.flushed == 0
    os.kill(os.getpid(), signal.SIGTERM)


@socket_handler("count")
def count(message: dict[str, Any], socket: Any, response: dict[str, Any]) -> int:
    return int(get_user_model().objects.count())


@socket_handler("stumble")
def stumble(message: dict[str, Any], socket: Any, response: dict[str, Any]) -> None:
    raise ValueError("a fault of the handler")


@socket_handler("mumble")
def mumble(message: dict[str, Any], socket: Any, response: dict[str, Any]) -> Any:
    return {"body": {1, 2}}


urlpatterns = [
    path("page/", page),
    path("async-page/", async_page),
    path("template-page/", template_page),
    path("bodiless-page/", bodiless_page),
    path("plain-page/", plain_page),
    path("do/<str:action>/", do),
    path("is-closed/", is_closed),
    path("expire/", expire),
    path("expire-session/", expire_session),
    path("push-bytes/", push_bytes),
    path("echo/", echo),
    path("exempt/", exempt),
    path("fail/", fail),
    path("never/", never),
    path("sleep/", sleep),
    path("large/", large),
    path("streamed/", streamed),
    path("set-cookie/", set_cookie),
    path("log-in/<str:name>/", log_in),
    path("log-out/", log_out),
    path("wait-for/<str:name>/", wait_for),
    path("release/<str:name>/", release),
    *project_patterns,
]
