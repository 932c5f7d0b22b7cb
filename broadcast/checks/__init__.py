"""System checks: what of the settings cannot work, contradicts itself, or lets too much in.

    broadcast.E001  the channel layer is missing or cannot be imported
    broadcast.E002  the value of a setting makes no sense
    broadcast.E003  the backend cannot be imported, or has no Redis
    broadcast.E004  an allowed origin is none
    broadcast.E005  MessagePack-RPC can be reached from other machines, and has no secret
    broadcast.E006  backend or channel layer refuses what it is needed for  (--deploy)
    broadcast.E007  users are in another database, and the router lets no row belong to one
    broadcast.W001  there is no setting of this name
    broadcast.W002  sizes contradict each other
    broadcast.W003  backend or channel layer is not shared: one server process  (--deploy)
    broadcast.W004  of backend and channel layer only one is shared
    broadcast.W005  any host is allowed, and so any site's pages  (unless DEBUG)
    broadcast.W006  sessions in cookies cannot be ended  (--deploy)
    broadcast.W007  MessagePack-RPC can be reached from other machines
    broadcast.W008  `runserver` is not on our server, but on a slower one
    broadcast.W009  the middleware of page sockets does not stand behind that of sessions
    broadcast.W010  the backend may forget what it keeps  (--deploy)
    broadcast.W011  the middleware that gives requests a socket is missing
    broadcast.W012  the paths of the pages and of the API are missing
    broadcast.W013  every user of the machine can read the recordings, or an SQLite database
                    (the database: --deploy)
    broadcast.W014  no user is known: the middleware that finds them is missing
    broadcast.W015  users are in another database than what belongs to them
    broadcast.W016  the ASGI application has no sockets of Broadcast
    broadcast.W017  the static files of Broadcast will not be found
    broadcast.W018  they were not collected  (--deploy)
    broadcast.W019  several processes would serve, each out of its own memory
    broadcast.W020  visitors come by https, and Django does not believe the proxy that says so
                    (--deploy)
    broadcast.I001  permissions on single streams are known to Broadcast alone  (--deploy)
    broadcast.I002  there is no place for recordings  (--deploy)

Values that may hold a password are never shown.
"""

from . import access, engine, files, project, values
from .access import reason_for_loopback
from .engine import reason_for_one_process

__all__ = [
    "access",
    "engine",
    "files",
    "project",
    "reason_for_loopback",
    "reason_for_one_process",
    "values",
]
