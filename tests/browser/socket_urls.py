"""The paths of a project whose pages have sockets."""

import json
import time
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template import RequestContext, Template
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt

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


def page(request: HttpRequest) -> HttpResponse:
    request.socket.subscribe("news", "sport")
    return HttpResponse(PAGE.render(RequestContext(request)))


def bare(request: HttpRequest) -> HttpResponse:
    """A page without a script of ours."""
    request.socket.subscribe("chan1")
    return HttpResponse(BARE.render(RequestContext(request)))


@csrf_exempt
def push(request: HttpRequest, channel: str) -> HttpResponse:
    request.socket.push(json.loads(request.body), channel)
    return HttpResponse(status=204)


def echo(request: HttpRequest) -> HttpResponse:
    fields: dict[str, Any] = {
        "method": request.method,
        "query": dict(request.GET.lists()),
        "form": {k: v for k, v in request.POST.lists() if k != "csrfmiddlewaretoken"},
        "files": {name: file.size for name, file in request.FILES.items()},
    }
    return JsonResponse(fields)


def slow(request: HttpRequest) -> HttpResponse:
    time.sleep(0.5)
    return HttpResponse("at last")


urlpatterns = [
    path("page/", page),
    path("bare/", bare),
    path("push/<channel>/", push),
    path("echo/", echo),
    path("slow/", slow),
    path("", include("project.urls")),
]
