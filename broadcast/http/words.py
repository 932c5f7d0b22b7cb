"""The words of an error for the person at a page.

This is the one place where they are translated. `str(error)` is English always: sockets,
MessagePack-RPC, the HTTP API, the command line and logs say that, and programs know it by its
words. A page that shows an error to a person says `words_of(error)` instead.

To add an error that pages show, add its text to `KNOWN`, up to its colon: what follows one is for
programmers. A text that is not there, since it has numbers or names in it, is told in other
languages than English in the words of its kind.
"""

from django.utils.translation import get_language, gettext, gettext_noop

from .. import exceptions
from ..exceptions import BroadcastError

KNOWN = {
    gettext_noop("you may not listen here"),
    gettext_noop("you may not publish here"),
    gettext_noop("you may not enter here"),
    gettext_noop("the token is none, or was tampered with"),
    gettext_noop("the token is for another stream"),
    gettext_noop("the token is for another room"),
    gettext_noop("the token is to listen, not to publish"),
    gettext_noop("the token is to publish, not to listen"),
    gettext_noop("the token was withdrawn"),
    gettext_noop("the token ran out"),
    gettext_noop("there is no such stream"),
    gettext_noop("the stream was closed"),
    gettext_noop("the room was closed"),
    gettext_noop("the database does not answer"),
    gettext_noop("the server is too busy"),
    gettext_noop("not JSON"),
}

#: The words of a kind of error, the most special kind first.
KINDS: dict[type[BroadcastError], str] = {
    exceptions.TooLarge: gettext_noop("this is larger than the server accepts"),
    exceptions.BadRequest: gettext_noop("the server cannot take this as it is"),
    exceptions.BadToken: gettext_noop("the token does not hold"),
    exceptions.Forbidden: gettext_noop("you have no permission for this"),
    exceptions.NoSuchStream: gettext_noop("there is no such stream"),
    exceptions.TooMany: gettext_noop("this is too much at a time"),
    exceptions.Unavailable: gettext_noop("this does not work just now"),
    BroadcastError: gettext_noop("this could not be done"),
}


def words_of(error: BroadcastError) -> str:
    """What a person reads of the error, in the language of the page; no sentence, no full stop."""
    if (get_language() or "en").startswith("en"):
        return str(error)
    said = str(error).partition(": ")[0]
    if said in KNOWN:
        return gettext(said)
    return gettext(next(words for kind, words in KINDS.items() if isinstance(error, kind)))
