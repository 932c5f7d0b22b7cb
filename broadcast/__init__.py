"""Live streams, rooms and push for Django.

from broadcast import publish, apublish

publish("news", {"headline": "…"})
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from .exceptions import RoomError as RoomError
    from .hub.publishing import apublish as apublish
    from .hub.publishing import publish as publish
    from .pages.handlers import socket_handler as socket_handler
    from .publications import Position as Position
    from .rooms.peers import Peer as Peer
    from .rooms.peers import room_handler as room_handler

_WHERE = {
    "Peer": "rooms.peers",
    "Position": "publications",
    "RoomError": "exceptions",
    "apublish": "hub.publishing",
    "publish": "hub.publishing",
    "room_handler": "rooms.peers",
    "socket_handler": "pages.handlers",
}

__all__ = [
    "Peer",
    "Position",
    "RoomError",
    "apublish",
    "publish",
    "room_handler",
    "socket_handler",
]


def __getattr__(name: str) -> Any:
    # Imported on first use: the models behind them need Django's app registry, which imports this.
    from importlib import import_module

    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_WHERE[name]}", __name__), name)
