"""Users in the admin, of whatever model the project has."""

from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.auth import get_user_model


def user_name_of(relation: str) -> str:
    """The lookup of the name that the user of a relation logs in with."""
    field: Any = get_user_model()._meta.get_field(get_user_model().USERNAME_FIELD)
    # The name may be a relation itself: then it is what that one points at.
    target = f"__{field.target_field.name}" if field.is_relation else ""
    return f"{relation}__{field.name}{target}"


def can_search_users(site: AdminSite) -> bool:
    """Whether the site has users registered, with something to search them by."""
    model = get_user_model()
    return site.is_registered(model) and bool(site.get_model_admin(model).search_fields)
