"""HTTP, as every door shares it.

Requests come in from any ASGI server; answers go out within limits of bytes, time, threads and
connections. `HTTPApplication` wraps Django's application; what must not go through Django, such as
an event stream, is an ASGI application of its own that a view names. Every answer says what caches
and browsers may do with it, and an error is JSON with its status, at every path of the API.
"""

from .application import HTTPApplication

__all__ = ["HTTPApplication"]
