"""The paths of a project that uses Broadcast in a page of its own."""

from django.http import HttpRequest, HttpResponse
from django.template import RequestContext, Template
from django.urls import include, path

from broadcast.models import Stream

PAGE = Template(
    """{% load broadcast %}<!doctype html><html lang="en"><title>A page of a project</title>
    <main>{% listener first history=20 label="First" %}{% listener second label="Second" %}</main>
    """
)


def page(request: HttpRequest, first: str, second: str) -> HttpResponse:
    return HttpResponse(PAGE.render(RequestContext(request, {"first": first, "second": second})))


def token(request: HttpRequest, slug: str) -> HttpResponse:
    return HttpResponse(Stream.objects.get(slug=slug).make_token("listen"))


urlpatterns = [
    path("token/<slug>/", token),
    path("page/<first>/<second>/", page),
    path("", include("project.urls")),
]
