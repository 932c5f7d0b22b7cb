"""Permissions on single streams, in Django's own way: `user.has_perm(permission, stream)`."""

from typing import Any

from django.contrib.auth.backends import BaseBackend

from .models import Stream


class StreamPermissionBackend(BaseBackend):
    """Grants a permission on one stream to those who are named in its row.

    One of `AUTHENTICATION_BACKENDS`; any other that knows permissions on objects works as well.
    """

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        if not isinstance(obj, Stream) or not user_obj.is_active or not user_obj.pk:
            return False
        return obj.names(user_obj, perm)
