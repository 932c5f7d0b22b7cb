"""Users in the admin, of whatever model the project has."""

from typing import Any

from django.contrib.auth import get_user_model


def user_name_of(relation: str) -> str:
    """The lookup of the name that the user of a relation logs in with."""
    field: Any = get_user_model()._meta.get_field(get_user_model().USERNAME_FIELD)
    # The name may be a relation itself: then it is what that one points at.
    target = f"__{field.target_field.name}" if field.is_relation else ""
    return f"{relation}__{field.name}{target}"
