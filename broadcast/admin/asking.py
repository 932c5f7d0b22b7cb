"""Pages that show connections: they ask before an action, do it, and say what became of it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from asgiref.sync import async_to_sync
from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import model_ngettext
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.cache import add_never_cache_headers
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..access import connections
from ..exceptions import BroadcastError
from ..http.words import words_of

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:
    # It takes a parameter in the type stubs alone.
    ModelAdmin = admin.ModelAdmin

#: What is done with one of those chosen, after a person said yes; what it answers goes into the
#: log.
Doing = Callable[[Any, dict[str, Any]], str]


class AskingAdmin(ModelAdmin):
    """Its actions begin with `_ask`; who is connected can be removed."""

    def topic_of(self, one: Any) -> str:
        """The name of the topic at which they are connected."""
        raise NotImplementedError

    def address_of(self, view: str, *args: Any) -> str:
        """The address of one of these pages, in the site of the admin that they belong to."""
        name = f"admin:broadcast_{self.opts.model_name}_{view}"
        return reverse(name, args=args, current_app=self.admin_site.name)

    def _view(self, name: str) -> str:
        return f"broadcast_{self.opts.model_name}_{name}"

    def get_urls(self) -> list[Any]:
        remove = self.admin_site.admin_view(self.remove_view)
        return [
            path("<int:pk>/remove/", remove, name=self._view("remove")),
            *super().get_urls(),
        ]

    def remove_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Remove the connection whose id is posted."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        one = self.get_object(request, str(pk))
        if one is None or not self.has_change_permission(request, one):
            return HttpResponse(status=404 if one is None else 403)
        connection = request.POST.get("connection", "")
        async_to_sync(connections.remove)(self.topic_of(one), connection)
        self.log_change(request, one, gettext("Removed a connection."))
        return HttpResponse(status=204)

    def _ask(
        self,
        request: HttpRequest,
        chosen: QuerySet[Any],
        action: Doing,
        kind: type[forms.Form] = forms.Form,
    ) -> HttpResponse | None:
        """Ask what is wanted, then do it with each of them, and tell what became of it."""
        form = kind(request.POST if "do" in request.POST else None)
        if form.is_valid():
            self._do(request, chosen, action, form.cleaned_data)
            # Back to where it was asked for.
            page = request.POST.get("page")
            return redirect(self.address_of("change", page)) if page else None
        name = request.POST["action"]
        title = dict(self.get_action_choices(request, []))[name]
        return self._page(request, "ask", title=title, chosen=chosen, form=form)

    def _do(
        self, request: HttpRequest, chosen: QuerySet[Any], action: Doing, said: dict[str, Any]
    ) -> None:
        done = 0
        for one in chosen:
            try:
                self.log_change(request, one, action(one, said))
                done += 1
            except BroadcastError as error:
                self.message_user(request, f"{one}: {words_of(error)}.", messages.ERROR)
        if done:
            told = _("Done with %(count)d %(names)s.")
            values = {"count": done, "names": model_ngettext(self.opts, done)}
            self.message_user(request, told % values, messages.SUCCESS)

    def _page(self, request: HttpRequest, name: str, **context: Any) -> TemplateResponse:
        # As Django's own pages do, so that links stay within their site.
        request.current_app = self.admin_site.name
        context = {**self.admin_site.each_context(request), "opts": self.opts, **context}
        return TemplateResponse(request, f"admin/broadcast/{name}.html", context)

    def _tell_tokens(self, request: HttpRequest, made: list[tuple[Model, str]]) -> HttpResponse:
        """Show tokens, this once."""
        answer = self._page(request, "tokens", tokens=made, title=_("New tokens"))
        add_never_cache_headers(answer)
        return answer
