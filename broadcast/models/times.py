"""Times as rows keep them."""

from datetime import UTC, datetime

from django.conf import settings


def moment(seconds: float) -> datetime:
    """The time so many seconds after 1970, as `timezone.now` would answer it then.

    With `USE_TZ = False` the database takes no time zone: local time, as Django has it.
    """
    return datetime.fromtimestamp(seconds, UTC if settings.USE_TZ else None)
