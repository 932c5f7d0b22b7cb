"""Where a page says its connection id: the attributes of its `<body>`."""

import re

from django.urls import get_script_prefix
from django.utils.html import format_html
from django.utils.safestring import SafeString

from ..models import socket_path

#: Whatever may not be taken for the body's tag: comments, elements whose content is text, tags
#: with their quoted attributes; and at last that tag. Each alternative takes all it can, so that
#: no page needs longer than its length.
ATTRIBUTES = r"""(?>(?:[^"'>]+|"[^"]*(?:"|\Z)|'[^']*(?:'|\Z))*)>?"""
TEXTS = "script|style|textarea|title|template|noscript|iframe|xmp"
MARKUP = re.compile(
    rf"<!--(?:-?>|.*?(?:--!?>|\Z))|<({TEXTS})\b{ATTRIBUTES}.*?(?:</\1\b[^>]*(?:>|\Z)|\Z)"
    rf"|(?P<body><body)(?=[\s/>])|<[a-z/!?]{ATTRIBUTES}",
    re.IGNORECASE | re.DOTALL,
)


def socket_attributes(connection_id: str) -> SafeString:
    """What `page-socket.js`, or a snippet, opens the page's socket with."""
    # At the root snippets and `page-socket.js` find it by themselves.
    is_at_root = get_script_prefix() == "/"
    path = "" if is_at_root else format_html(' data-socket-path="{}"', socket_path("socket"))
    return format_html('data-socket-connection-id="{}"{}', connection_id, path)


def with_attributes(page: str, attributes: str) -> str:
    """The page with attributes in its body's tag; as it was, where it has none."""
    for found in MARKUP.finditer(page):
        if found["body"]:
            return f"{page[: found.end()]} {attributes}{page[found.end() :]}"
    return page
