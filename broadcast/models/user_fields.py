"""Relations to the project's users, who may be in another database.

No database has constraints or joins across two of them. So where a router puts users elsewhere,
these relations are columns without a constraint; users are looked up on their own; and when a user
is deleted there, their rows here follow by a signal (`connect`), since Django would look for those
in the database of the users.
"""

from typing import Any

from django.contrib.auth import get_user_model
from django.db import models, router
from django.db.models.fields.related_descriptors import ForwardManyToOneDescriptor
from django.db.models.fields.reverse_related import ManyToOneRel
from django.db.models.signals import post_delete

from .database import written_at


def are_apart(model: type[models.Model], users: Any = None) -> bool:
    """Whether users are in another database than the rows of `model`."""
    return written_at(model) != written_at(users or get_user_model())


class UserRelation(ManyToOneRel):
    """Django deletes nothing across databases: see `connect`."""

    @property
    def on_delete(self) -> Any:
        key: Any = self.field
        return models.DO_NOTHING if key.is_apart else self.declared

    @on_delete.setter
    def on_delete(self, value: Any) -> None:
        self.declared = value


class UserDescriptor(ForwardManyToOneDescriptor):  # type: ignore[type-arg]
    """Has a router asked for users as such, and not for those of a row of ours."""

    def get_queryset(self, **hints: Any) -> models.QuerySet[Any]:
        return super().get_queryset(**({} if self.field.is_apart else hints))


class UserKey(models.ForeignKey):  # type: ignore[type-arg]
    """A foreign key to a user."""

    rel_class = UserRelation
    forward_related_accessor_class = UserDescriptor

    @property
    def is_apart(self) -> bool:
        users = self.remote_field.model
        # Only of a model that is complete can be asked: a migration copies fields of none.
        is_complete = hasattr(self, "model") and not isinstance(users, str)
        return is_complete and are_apart(self.model, users)

    @property
    def db_constraint(self) -> bool:
        return bool(self.__dict__["db_constraint"]) and not self.is_apart

    @db_constraint.setter
    def db_constraint(self, value: bool) -> None:
        self.__dict__["db_constraint"] = value

    def deconstruct(self) -> Any:
        # As it was declared, whatever this project's databases are.
        name, path, arguments, options = super().deconstruct()
        options.pop("db_constraint", None)
        relation: Any = self.remote_field
        return name, path, arguments, {**options, "on_delete": relation.declared}

    def validate(self, value: Any, model_instance: Any) -> None:
        # The row would have a router take its own database for that of the users.
        super().validate(value, None if self.is_apart else model_instance)


class UsersField(models.ManyToManyField):  # type: ignore[type-arg]
    """A relation to many users: in the table between, the key of the user is a `UserKey`."""

    def contribute_to_class(self, cls: Any, name: str, *args: Any, **kwargs: Any) -> None:
        super().contribute_to_class(cls, name, *args, **kwargs)
        through: Any = self.remote_field.through
        if through is None or isinstance(through, str) or not through._meta.auto_created:
            return
        key = through._meta.local_fields[-1]
        relation = key.remote_field
        relation.declared = relation.__dict__.pop("on_delete")
        relation.__class__, key.__class__ = UserRelation, UserKey
        setattr(through, key.name, UserDescriptor(key))


def connect() -> None:
    """Have the rows of users who are deleted in another database follow them."""
    post_delete.connect(_user_deleted, sender=get_user_model())


def _user_deleted(instance: Any, **kwargs: Any) -> None:
    for relation in instance._meta.get_fields(include_hidden=True):
        field = getattr(relation, "field", None)
        if isinstance(relation, UserRelation) and field and field.is_apart:
            rows = field.model._base_manager.using(router.db_for_write(field.model))
            found = rows.filter(**{field.name: instance.pk})
            if relation.declared is models.CASCADE:
                found.delete()
            else:
                found.update(**{field.name: None})
