"""The STUN and TURN servers that a page is given, with credentials that run out.

As in the TURN REST API (draft-uberti-behave-turn-rest): the username is `<expiry>:<user>`, expiry
in seconds since 1970, and the credential the Base64 of its HMAC-SHA1 under a secret that the TURN
server knows, too (`static-auth-secret` of coturn). No credential is ever logged.
"""

import hmac
from base64 import b64encode
from typing import Any

from ..conf import conf


def ice_servers(user: str, now: float) -> list[dict[str, Any]]:
    """`RTCConfiguration.iceServers` for a page opened `now`; TURN servers know who it is by `user`.

    A TURN server that has a credential in the settings keeps it.
    """
    return [with_credential(server, user, now) for server in conf.ICE_SERVERS]


def with_credential(server: dict[str, Any], user: str, now: float) -> dict[str, Any]:
    """`server.server`, if it is a TURN server without a credential with one, else as it is."""
    if not conf.TURN_SECRET or "credential" in server or not is_turn(server):
        return server
    username = f"{int(now + conf.TURN_AGE)}:{user}"
    digest = hmac.digest(conf.TURN_SECRET.encode(), username.encode(), "sha1")
    return {**server, "username": username, "credential": b64encode(digest).decode()}


def is_turn(server: dict[str, Any]) -> bool:
    urls = server["urls"]
    return any(url.startswith("turn") for url in ([urls] if isinstance(urls, str) else urls))
