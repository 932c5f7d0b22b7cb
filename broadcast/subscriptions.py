"""The names that annotations of views use: `from broadcast.subscriptions import SocketRequest`."""

from .pages.subscriptions import PageSocket, SocketRequest

__all__ = ["PageSocket", "SocketRequest"]
