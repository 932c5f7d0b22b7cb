"""`{% load broadcast %}`: what pages of any application of the project show of streams."""

from typing import Any, cast
from urllib.parse import urljoin

from django import template
from django.contrib.staticfiles.storage import staticfiles_storage
from django.template.context import RequestContext
from django.template.loader import render_to_string
from django.templatetags.static import static
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, pgettext

from ..http import accounts, policy
from ..models import Stream, socket_path
from ..pages import markup

register = template.Library()

#: Where the rendering of a page notes that a script stands in it: the element's, that of words.
SCRIPT, WORDS = "broadcast.element", "broadcast.words"

#: All modules that the element's script needs: a browser that is told so does not find it out
#: file after file, and has a picture the sooner.
MODULES = [
    *("element/announcer", "element/attributes", "element/element", "element/entries"),
    *("element/item", "element/log", "element/view"),
    *("socket/connection", "socket/language", "socket/listener", "socket/states"),
    "socket/stream",
    *("video/append-queue", "video/bytes", "video/live-edge", "video/media", "video/mp4"),
    *("video/player", "video/player-view", "video/webm", "video/webm-joiner"),
]


@register.simple_tag(takes_context=True)
def listener(
    context: template.Context, stream: Stream | str | None, item: str = "", **attributes: object
) -> SafeString:
    """A `<broadcast-listener>` of a stream or of the slug of one, and its script once per page.

    `item` names a template of how a publication looks. Everything else becomes an attribute of
    the element: `history=20`, `token=…`, `label=…`, `limit=…`, `class=…`; True is one without a
    value, None or False is none, and an underscore in a name is a hyphen. A media stream has a
    picture from the start; of a slug the element finds that out. Who may not hear the stream is
    told so by the element: nothing is asked of the database here.
    """
    slug = stream.slug if isinstance(stream, Stream) else str(stream or "")
    title = str(stream or "")
    is_media = isinstance(stream, Stream) and stream.kind == Stream.Kind.MEDIA
    src, label = socket_path("listener", slug), gettext("Publications of %s") % title
    own = {"src": src, "label": label, "media": is_media}
    attributes = own | attributes
    return format_html(
        "{}<broadcast-listener{}>{}<noscript>{}</noscript></broadcast-listener>",
        script_once(context),
        format_html_join("", "{}", ((attribute(*pair),) for pair in attributes.items())),
        item_template(context, item),
        gettext("Hearing %s needs JavaScript.") % title,
    )


@register.simple_tag(takes_context=True)
def socket_attributes(context: template.Context) -> SafeString:
    """The attributes of the `<body>` of a page that has a socket: `<body {% socket_attributes %}>`.

    Needs `broadcast.middleware.SocketMiddleware` and a template that is rendered for a request.
    """
    request = request_of(context)
    if request is None:
        raise template.TemplateSyntaxError("socket_attributes needs a request to render for")
    socket = request.socket
    socket.is_rendered = True
    return markup.socket_attributes(socket.connection_id)


def attribute(name: str, value: object) -> SafeString:
    """` name="value"` of an HTML element, as `streams.listener` explains it."""
    if value is None or value is False:
        return SafeString("")
    name = name.replace("_", "-")
    return format_html(" {}", name) if value is True else format_html(' {}="{}"', name, value)


def item_template(context: template.Context, name: str) -> SafeString:
    """The `<template>` of how an item looks, from the template of that name."""
    if not name:
        return SafeString("")
    variables = cast(dict[str, Any], context.flatten())
    said = render_to_string(name, variables, request_of(context))
    return format_html("<template>{}</template>", said)


@register.simple_tag(takes_context=True)
def account_links(context: template.Context) -> accounts.AccountLinks | None:
    """Where the visitor finds the project's admin, logs in and out; None: on no request's page."""
    request = request_of(context)
    return accounts.account_links(request) if request else None


@register.simple_tag(takes_context=True)
def words(context: template.Context) -> SafeString:
    """The script with the words of other scripts in the language of the page, to stand before them.

    The catalogue of a language names it. English needs none, and a page needs it once.
    """
    english = "broadcast/words/en.js"
    # Translators: the static file with the words of the scripts in your language.
    name = pgettext("static file", "broadcast/words/en.js")
    if name == english or not is_first(context, WORDS):
        return SafeString("")
    return format_html('<script type="module" src="{}"></script>\n', static(name))


@register.simple_tag(takes_context=True)
def content_security_policy(context: template.Context) -> str:
    """In a base template: pages of Broadcast with this base run nothing but files of this site."""
    if request := request_of(context):
        policy.want(request)
    return ""


def request_of(context: template.Context) -> Any:
    """The request that a page is rendered for, whatever context processors there are; or None."""
    return context.request if isinstance(context, RequestContext) else context.get("request")


def module_url(script: str, name: str) -> str:
    """The URL by which the element's script imports a module: another one would load it twice."""
    if getattr(staticfiles_storage, "support_js_module_import_aggregation", False):
        # The storage has put the hashes of names into the scripts.
        return static(f"broadcast/{name}.js")
    # Beside it, and without a hash.
    return urljoin(script, f"{name}.js")


def is_first(context: template.Context, name: str) -> bool:
    """Whether it is asked for the first time while the page is rendered."""
    # The lowest of the dictionaries is that of the whole page; templates it includes have others.
    page = cast(dict[str, Any], context.render_context.dicts[0])
    is_new = name not in page
    page[name] = True
    return is_new


def script_once(context: template.Context) -> SafeString:
    """The element's script, unless this page has it."""
    if not is_first(context, SCRIPT):
        return SafeString("")
    script = static("broadcast/element.js")
    modules = ((module_url(script, name),) for name in MODULES)
    return format_html(
        '{}{}<script type="module" src="{}"></script>\n',
        words(context),
        format_html_join("", '<link rel="modulepreload" href="{}">\n', modules),
        script,
    )
