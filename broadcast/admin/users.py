"""Users in the admin, of whatever model and in whatever database the project has them."""

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import ManyToManyField, QuerySet
from django.http import HttpRequest

from ..models.user_fields import are_apart

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:
    # It takes a parameter in the type stubs alone.
    ModelAdmin = admin.ModelAdmin

#: Users whose things one search in another database finds.
MOST = 1000


class UsersAdmin(ModelAdmin):
    """Pages of rows that belong to users."""

    #: Relations to users, the first one to whom it belongs: its rows can be searched by their name.
    user_fields: tuple[str, ...] = ()

    @property
    def autocomplete_fields(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.user_fields if can_search_users(self.admin_site) else ()

    @property
    def raw_id_fields(self) -> tuple[str, ...]:  # type: ignore[override]
        # A list to choose from could have all users of a large site in it.
        return () if can_search_users(self.admin_site) else self.user_fields

    def get_search_fields(self, request: HttpRequest) -> Any:
        fields = super().get_search_fields(request)
        if are_apart(self.model):
            return fields
        return (*fields, f"{self.user_fields[0]}__{user_name()}")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        found, has_doubles = super().get_search_results(request, queryset, search_term)
        if search_term and are_apart(self.model):
            named = {f"{user_name()}__icontains": search_term}
            users = get_user_model()._default_manager.filter(**named)
            keys = list(users.values_list("pk", flat=True)[:MOST])
            found |= queryset.filter(**{f"{self.user_fields[0]}__in": keys})
        return found, has_doubles

    def get_list_select_related(self, request: HttpRequest) -> Any:
        related = super().get_list_select_related(request)
        return () if are_apart(self.model) else related

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Without relations to many users that another database has: they cannot be listed."""
        fieldsets = super().get_fieldsets(request, obj)
        if not are_apart(self.model):
            return fieldsets
        return [
            (title, {**options, "fields": tuple(filter(self._can_be_shown, options["fields"]))})
            for title, options in fieldsets
        ]

    def _can_be_shown(self, name: Any) -> bool:
        is_of_users = name in self.user_fields
        return not is_of_users or not isinstance(self.opts.get_field(name), ManyToManyField)


def user_name() -> str:
    """The lookup of what users log in as."""
    field: Any = get_user_model()._meta.get_field(get_user_model().USERNAME_FIELD)
    # The name may be a relation itself: then it is what that one points at.
    target = f"__{field.target_field.name}" if field.is_relation else ""
    return f"{field.name}{target}"


def can_search_users(site: admin.AdminSite) -> bool:
    """Whether the site has users registered, with something to search them by."""
    model = get_user_model()
    return site.is_registered(model) and bool(site.get_model_admin(model).search_fields)
