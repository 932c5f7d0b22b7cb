"""The paths of a project whose pages have sockets."""

import json
import time
from typing import Any

from django.http import HttpResponse, HttpResponseBadRequest, JsonResponse
from django.shortcuts import redirect
from django.template import RequestContext, Template
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt

from broadcast.pages.subscriptions import SocketRequest
from tests.rig import documents
from tests.rig.documents import blocks

SCRIPT = """<script type="module" src="{% static 'broadcast/page-socket.js' %}"></script>"""

PAGE = Template(
    """{% load static %}<!doctype html><html lang="en"><head><title>A page</title>"""
    + SCRIPT
    + """</head><body>
    <b id="whole" data-channel="news">Nothing yet</b>
    <b id="field" data-channel="news" data-field="ship.name">No ship yet</b>
    <progress id="bar" data-channel="news" data-field="percent" max="100"></progress>
    <ul id="log" data-channel="news" data-mode="append" data-max="3">
      <template><li><b data-field="text"></b>: <span data-text></span></li></template>
    </ul>
    <ol id="plain" data-channel="news" data-mode="append"></ol>
    <script type="application/json" id="code" data-channel="news">{}</script>
    <form id="marked" method="post" action="/echo/?a=1" data-socket-call>{% csrf_token %}
      <input name="text" value="ahoy"><input name="action" value="two"><input name="action">
      <button name="press" value="here">Send</button> <button formmethod="get">Get</button>
      <button formaction="/nowhere/">Get lost</button>
      <button formaction="/refusal/">Be refused</button>
      <button formaction="/redirect/page/">Come here</button>
      <button formaction="/redirect/bare/">Go away</button>
      <p role="status" data-socket-message="Done.">Before</p>
    </form>
    <form method="post" action="/echo/">{% csrf_token %}
      <button name="press" value="this" data-socket-call>Send this</button>
      <button name="press" value="that">Go there</button>
    </form>
    <form method="post" action="/echo/" enctype="multipart/form-data" data-socket-call>
      {% csrf_token %}<input type="file" name="file"><button>Send file</button>
    </form>
    </body></html>"""
)
BARE = Template("<!doctype html><html lang='en'><title>Bare</title><body><p>Nothing</body></html>")
#: The page of the how-to; its form calls a view that does not lead away.
DOCUMENTED = Template(
    "".join(blocks(documents.page("how-to/pages"), "html")).replace("/vote/", "/echo/")
)


def page(request: SocketRequest) -> HttpResponse:
    request.socket.subscribe("news", "sport")
    return HttpResponse(PAGE.render(RequestContext(request)))


def bare(request: SocketRequest) -> HttpResponse:
    """A page without a script of ours."""
    request.socket.subscribe("chan1")
    return HttpResponse(BARE.render(RequestContext(request)))


def documented(request: SocketRequest) -> HttpResponse:
    request.socket.subscribe("scores.home", "vote", "log")
    return HttpResponse(DOCUMENTED.render(RequestContext(request)))


@csrf_exempt
def push(request: SocketRequest, channel: str) -> HttpResponse:
    request.socket.push(json.loads(request.body), channel)
    return HttpResponse(status=204)


def echo(request: SocketRequest) -> HttpResponse:
    fields: dict[str, Any] = {
        "method": request.method,
        "query": dict(request.GET.lists()),
        "form": {k: v for k, v in request.POST.lists() if k != "csrfmiddlewaretoken"},
        "files": {name: file.size for name, file in request.FILES.items()},
    }
    return JsonResponse(fields)


def slow(request: SocketRequest) -> HttpResponse:
    time.sleep(0.5)
    return HttpResponse("at last")


def refusal(request: SocketRequest) -> HttpResponse:
    return HttpResponseBadRequest("not <b>this</b>", "text/plain")


def elsewhere(request: SocketRequest, where: str) -> HttpResponse:
    return redirect(f"/{where}/")


urlpatterns = [
    path("page/", page),
    path("bare/", bare),
    path("documented/", documented),
    path("push/<channel>/", push),
    path("echo/", echo),
    path("slow/", slow),
    path("refusal/", refusal),
    path("redirect/<where>/", elsewhere),
    path("", include("project.urls")),
]
