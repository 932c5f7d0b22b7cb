"""Relations to users: with constraints, wherever a database can have them."""

import pytest
from django.db import connection, models

from broadcast.models import Room, Stream, Subscription


@pytest.mark.django_db
@pytest.mark.parametrize(
    "model",
    [Stream, Room, Subscription, Stream.may_listen_users.through, Room.may_enter_users.through],
)
def test_the_database_knows_who_a_user_is(model: type[models.Model]) -> None:
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, model._meta.db_table)
    assert ("auth_user", "id") in [one["foreign_key"] for one in found.values()]
