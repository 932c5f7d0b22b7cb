"""Where the sockets are: paths from the root of the host, wherever the site is mounted on it."""

from urllib.parse import quote

from django.urls import get_script_prefix


def socket_path(*names: str) -> str:
    """The path of the socket of these names, whatever characters they have: `/ws/listener/news/`.

    The scheme and the host are those of the page.
    """
    path = "".join(f"{quote(name, safe='')}/" for name in names)
    return f"{get_script_prefix()}ws/{path}"
