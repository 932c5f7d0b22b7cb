"""Where visitors of this project log in and out, and where its admin is; all of it may be missing.

The project says with `LOGIN_URL` where its login is. For the way out there is no setting: it is
known by the names that Django, allauth and the admin give it.
"""

from typing import NamedTuple
from urllib.parse import urlsplit

from django.conf import global_settings, settings
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest
from django.shortcuts import resolve_url
from django.urls import NoReverseMatch, Resolver404, get_script_prefix, resolve, reverse

from ..access.visitors import user_of
from ..models.users import is_staff

#: Views that end a session when they are sent a form.
LOGOUTS = ("logout", "account_logout")


class AccountLinks(NamedTuple):
    """Addresses for a visitor; "": there is none, or none for this visitor."""

    admin: str
    login: str
    logout: str


def account_links(request: HttpRequest) -> AccountLinks:
    user = user_of(request)
    if not user.is_authenticated:
        return AccountLinks("", login_url(request), "")
    names = (*LOGOUTS, "admin:logout") if is_staff(user) else LOGOUTS
    return AccountLinks(
        address_of("admin:index") if is_staff(user) else "",
        "",
        next(filter(None, map(address_of, names)), ""),
    )


def login_url(request: HttpRequest) -> str:
    """Where a visitor logs in, and then comes back to what they asked for; "": nowhere."""
    try:
        url = resolve_url(settings.LOGIN_URL)
    except NoReverseMatch:
        return ""
    # Django's default is an address at which most projects have nothing.
    if settings.LOGIN_URL == global_settings.LOGIN_URL and not leads_somewhere(url):
        return ""
    return redirect_to_login(request.get_full_path(), url).url


def address_of(name: str) -> str:
    """The address of a view; "": there is none of that name."""
    try:
        return reverse(name)
    except NoReverseMatch:
        return ""


def leads_somewhere(url: str) -> bool:
    """Whether a view answers at the path."""
    try:
        resolve("/" + urlsplit(url).path.removeprefix(get_script_prefix()))
    except Resolver404:
        return False
    return True
