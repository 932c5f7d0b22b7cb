"""Users of any model: a project's own need be no more than an `AbstractBaseUser`.

That one has a name (`USERNAME_FIELD`) and a password. Everything else may be missing: a full name,
`is_staff`, `is_superuser`, permissions.
"""

from typing import Any

from django.contrib.auth import get_user_model


def name_of(user: Any) -> str:
    """What the user logs in as; "" for an unknown one."""
    return str(user.get_username())


def full_name_of(user: Any) -> str:
    """The user's full name, where they have one, else what they log in as."""
    full_name = getattr(user, "get_full_name", str)
    return full_name() or name_of(user)


def is_staff(user: Any) -> bool:
    return bool(getattr(user, "is_staff", False))


def is_superuser(user: Any) -> bool:
    return bool(getattr(user, "is_superuser", False))


def has_perm(user: Any, permission: str, one: Any = None) -> bool:
    """Whether the user has the permission, for all or for `one`; not where users have none."""
    ask = getattr(user, "has_perm", None)
    return bool(ask and ask(permission, one))


def has_field(name: str) -> bool:
    """Whether users have a column of that name, to look them up by."""
    return any(field.name == name for field in get_user_model()._meta.concrete_fields)


def is_named(user: Any, relation: Any) -> bool:
    """Whether a row's relation to many users, such as `stream.may_listen_users`, names this one.

    One who was deactivated is not. Only the table between the two is asked: users may be in
    another database.
    """
    if not getattr(user, "is_active", True):
        return False
    named = {relation.source_field_name: relation.instance.pk, relation.target_field_name: user.pk}
    found: bool = relation.through._default_manager.filter(**named).exists()
    return found
