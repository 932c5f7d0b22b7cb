"""The static files, as safe as the pages, and ours for the pages of any site."""

from django.conf import settings
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.exceptions import SuspiciousFileOperation
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.views.static import serve

from .policy import is_for_all, protect

#: Where the modules of `<broadcast-listener>` are.
SHARED = "broadcast/"


class StaticFilesHandler(ASGIStaticFilesHandler):
    """Django's, which no middleware is around: ours get their policy here, and where a project has
    our policy on all of its answers, all do, 404 too.

    A browser loads a module of another site only where that site allows it. Ours are the same
    for everybody, and are asked for without cookies.
    """

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        response = await super().get_response_async(request)
        return protect(response) if self.is_ours(request) or is_for_all() else response

    def is_ours(self, request: HttpRequest) -> bool:
        return self.file_path(request.path).startswith(SHARED)

    def serve(self, request: HttpRequest) -> HttpResponse | FileResponse:
        try:
            response = self._serve(request)
        except SuspiciousFileOperation:
            # A path that leads out of the directory leads to no file, and is no fault of ours.
            raise Http404 from None
        if self.is_ours(request):
            response.headers["Access-Control-Allow-Origin"] = "*"
        return response

    def _serve(self, request: HttpRequest) -> HttpResponse | FileResponse:
        """What the apps have, or what `collectstatic` made of it."""
        try:
            return super().serve(request)
        except Http404:
            if not settings.STATIC_ROOT:
                raise
        # A storage with hashes in its names has files that no app has.
        path = self.file_path(request.path)
        response: HttpResponse | FileResponse = serve(request, path, settings.STATIC_ROOT)
        return response
