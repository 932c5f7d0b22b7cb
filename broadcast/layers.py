"""The channel layer of one server process, for `CHANNEL_LAYERS`: see `hub.layer`."""

from .hub.layer import MemoryLayer

__all__ = ["MemoryLayer"]
