"""What pages may say on their sockets, by the name of the action.

Broadcast imports the module `sockets` of every installed app, where handlers are at home.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from ..exceptions import BroadcastError

Handler = Callable[..., Any]
H = TypeVar("H", bound=Handler)

#: The actions that Broadcast answers itself.
OWN = ("ping", "call-route")

_handlers: dict[str, Handler] = {}


class NoSuchAction(BroadcastError):
    http_status = 404


def socket_handler(name: str) -> Callable[[H], H]:
    """Let pages call the decorated function as the action `name`.

    It is called with the message (a dict), the `PageSocket` of the page with its session and user
    as they are now, and the response: a dict of `id`, `status`, `headers` and `body`. It may change
    that one; a dict that it returns is the answer, anything else but None the answer's `body`.
    A coroutine function or a plain one, which runs in a thread. ValueError: the name is taken.
    """
    if name in OWN or not isinstance(name, str) or not name:
        raise ValueError(f"no handler can be called {name!r}")

    def register(handler: H) -> H:
        known = _handlers.setdefault(name, handler)
        if (known.__module__, known.__qualname__) != (handler.__module__, handler.__qualname__):
            raise ValueError(f"{known.__module__} has a handler {name!r} already")
        _handlers[name] = handler
        return handler

    return register


def find_handler(name: Any) -> Handler:
    """NoSuchAction: there is none."""
    handler = _handlers.get(name) if isinstance(name, str) else None
    if handler is None:
        raise NoSuchAction("there is no such action")
    return handler
