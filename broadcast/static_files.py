"""The static files, as safe as the pages."""

from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.exceptions import SuspiciousFileOperation
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from .middleware import protect


class StaticFilesHandler(ASGIStaticFilesHandler):
    """Django's, which no middleware is around: its answers, 404 too, get their policy here."""

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        return protect(await super().get_response_async(request))

    def serve(self, request: HttpRequest) -> HttpResponse | FileResponse:
        try:
            return super().serve(request)
        except SuspiciousFileOperation:
            # A path that leads out of the directory leads to no file, and is no fault of ours.
            raise Http404 from None
