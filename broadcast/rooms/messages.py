"""The messages of peers and server in rooms: palava's protocol. Pure functions.

Every message is a JSON object in a text frame, named by its `event`. What was checked here is
known to make sense; what does not is a `RoomError` with the text that clients know
(`palava-client` 2.2.1, palava-machine 1.0).

What the members of a room are told is appended to the history of its stream, each message once.
A payload there is an address, then the message: `=` and the id of the one who gets it, or `*` for
all. So a member's encoding leaves out what is not meant for it by comparing the first bytes.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from ..exceptions import BadRequest, RoomError
from ..publications import Publication, decode_json, dump_json
from ..wire.frames import TEXT, Encoding, Message

PROTOCOL_VERSION = "1.0.0"

#: Characters of a room's id and of a name, at most.
MOST_ROOM_ID = MOST_NAME = 50
#: The fields of the status that a peer may give itself.
USER_AGENTS = ("firefox", "chrome", "safari", "unknown")
#: The events that one peer may send to another.
RELAYED = ("offer", "answer", "ice_candidate", "message")

#: A peer's id is a UUID as text.
ID_LENGTH = 36
ADDRESS_LENGTH = 1 + ID_LENGTH


# -- what a peer says -----------------------------------------------------------------------


class Said(NamedTuple):
    """A message of a peer: the name of its event, and all of it."""

    event: str
    message: dict[str, Any]


def parse(text: str | None) -> Said:
    """The message in a text frame; None: it was a binary one."""
    try:
        message = decode_json(text or "")
    except BadRequest:
        raise RoomError("invalid message") from None
    if not isinstance(message, dict):
        raise RoomError("invalid message: not a hash")
    event = message.get("event")
    if event is None or event is False:
        raise RoomError("no event given")
    if not isinstance(event, str):
        raise RoomError("unknown event")
    return Said(event, message)


def room_id_of(message: dict[str, Any]) -> str:
    """The room that somebody wants to join."""
    room = message.get("room_id")
    if room is None or room == "":
        raise RoomError("no room id given")
    if not isinstance(room, str) or not is_text(room):
        raise RoomError("invalid room id")
    if len(room) > MOST_ROOM_ID:
        raise RoomError("room id too long")
    return room


def status_of(message: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The status as it was sent, and what of it is kept."""
    status = message.get("status")
    if status is None:
        return {}, {}
    if not isinstance(status, dict):
        raise RoomError("invalid status")
    known = {key: status[key] for key in ("name", "user_agent") if status.get(key) is not None}
    if "name" in known:
        _check_name(known["name"])
    if "user_agent" in known and known["user_agent"] not in USER_AGENTS:
        raise RoomError("unknown user agent")
    return status, known


def _check_name(name: Any) -> None:
    if not isinstance(name, str):
        raise RoomError("invalid status")
    if not name.strip():
        raise RoomError("blank name not allowed")
    if len(name) > MOST_NAME:
        raise RoomError("name too long")


def data_of(message: dict[str, Any]) -> dict[str, Any]:
    """A message of one peer to another."""
    data = message.get("data")
    if not isinstance(data, dict):
        raise RoomError("cannot send raw data")
    return data


def is_relayed(data: dict[str, Any]) -> bool:
    return isinstance(data.get("event"), str) and data["event"] in RELAYED


def is_id(text: str) -> bool:
    """Whether a peer could have it for its id."""
    return len(text) == ID_LENGTH and text.isascii()


def is_text(text: str) -> bool:
    """Whether it is Unicode: JSON can name halves of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# -- what the server says -------------------------------------------------------------------


def encode(message: dict[str, Any]) -> bytes:
    """The message as JSON. RoomError: it has a number that JSON has not.

    TypeError: it has a value that no client can send, so it comes from an app's handler.
    """
    try:
        return dump_json(message).encode()
    except UnicodeEncodeError:
        # Half of a surrogate pair passes as it came: escaped.
        return dump_json(message, ensure_ascii=True).encode()
    except (ValueError, RecursionError):
        # 1e999 is JSON, and no number can hold it.
        raise RoomError("invalid message") from None


def as_message(message: dict[str, Any]) -> Message:
    return (TEXT, (encode(message),))


def error(text: str) -> dict[str, Any]:
    """An error: palava-machine calls its text message, palava-client reads description."""
    return {"event": "error", "message": text, "description": text}


def joined_room(own_id: str, peers: Iterable[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    known = [{"peer_id": peer, "status": status} for peer, status in peers]
    return {"event": "joined_room", "own_id": own_id, "peers": known}


def new_peer(peer: str, status: dict[str, Any]) -> bytes:
    # The newcomer itself hears what comes after it.
    return to_all({"event": "new_peer", "peer_id": peer, "status": status})


def peer_updated_status(peer: str, status: dict[str, Any]) -> bytes:
    return to_all({"event": "peer_updated_status", "status": status, "sender_id": peer})


# -- what is appended -----------------------------------------------------------------------


def to_peer(peer: str, message: dict[str, Any]) -> bytes:
    return f"={peer}".encode() + encode(message)


def to_all(message: dict[str, Any]) -> bytes:
    return b"*".ljust(ADDRESS_LENGTH) + encode(message)


#: The message for all who stay when a peer leaves, with `{}` for its id.
FAREWELL = to_all({"event": "peer_left", "sender_id": "{}"})


def encoding_of(peer: str, plain: Encoding) -> Encoding:
    """The encoding of a member's socket, as `plain` is one of those on its server.

    Nothing at all is made of publications of which none is meant for it. It tells no events: a
    member that was overtaken cannot be told what it missed, and is closed.
    """
    to_it = f"={peer}".encode()

    def is_meant(payload: bytes) -> bool:
        return payload[:1] == b"*" or payload[:ADDRESS_LENGTH] == to_it

    def encode_all(publications: Iterable[Publication]) -> Any:
        return plain.messages(
            (TEXT, (publication.payload[ADDRESS_LENGTH:],))
            for publication in publications
            if is_meant(publication.payload)
        )

    return Encoding(encode_all, plain.messages, tells=False)
