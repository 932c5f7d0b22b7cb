"""Policies of other people's projects: theirs holds on all pages, if there is one."""

from collections.abc import Callable
from pathlib import Path

from tests.rig.hosts import URLS, Host

FRAMES = """
BROADCAST_EMBED_ANCESTORS = "https://frames.example.org"
"""
#: As Django 6 has it; here where there is none.
POLICIES = """
from importlib.util import find_spec
SECURE_CSP = {"default-src": ["'self'", "https://cdn.example.org"]}
MIDDLEWARE.insert(0, "django.middleware.csp.ContentSecurityPolicyMiddleware"
                  if find_spec("django.middleware.csp") else "shop.policies.polite")
"""
POLITE = """
def polite(get_response):
    def middleware(request):
        request._csp_nonce = "x"
        response = get_response(request)
        response.headers.setdefault(
            "Content-Security-Policy", "default-src 'self' https://cdn.example.org"
        )
        return response
    return middleware

def determined(get_response):
    def middleware(request):
        response = get_response(request)
        response.headers["Content-Security-Policy"] = "default-src 'none'"
        return response
    return middleware
"""
WITH_HOME = (
    URLS
    + """
from django.http import HttpResponse
urlpatterns += [path("", lambda request: HttpResponse("<script>1</script>"))]
"""
)
ASK = """
from datetime import timedelta
from django.core.files.base import ContentFile
from django.utils import timezone
from broadcast.models import Recording
from broadcast.models.recordings import get_storage

news = Stream.objects.create(slug="news", publishing="anyone")
file = get_storage().save("film.webm", ContentFile(b"<script>1</script>"))
film = Recording.objects.create(stream=news, name=file, content_type="text/html", state="ended",
    started_at=timezone.now(), ended_at=timezone.now())
paths = {
    "home": "/", "admin": "/admin/login/", "list": "/live/", "watch": "/live/streams/news/",
    "studio": "/live/streams/news/studio/", "rooms": "/live/rooms/", "room": "/live/rooms/tea/",
    "embed": "/live/streams/news/embed/", "lost": "/live/streams/lost/embed/",
    "api": "/live/api/streams/", "film": film.get_absolute_url(),
}
answers = {name: Client().get(path) for name, path in paths.items()}
tell(policies={name: one.get("Content-Security-Policy") for name, one in answers.items()})
tell(frames={name: one.get("X-Frame-Options") for name, one in answers.items()})
tell(permissions={name: one.get("Permissions-Policy", "") for name, one in answers.items()})
"""
PAGES = {"list", "watch", "studio", "rooms", "room"}
#: Of ours, and nothing of the project's in them.
BARE = {"embed", "lost", "api", "film"}
THEIRS = {"home", "admin"}
CDN = "default-src 'self' https://cdn.example.org"


def names(policies: dict[str, str | None], policy: str | None) -> set[str]:
    """Those that are under a policy which begins so; None: under none."""
    return {
        name
        for name, one in policies.items()
        if one == policy or (policy and one and one.split(";")[0] == policy)
    }


def test_our_pages_have_our_policy_and_those_of_the_project_none(host: Callable[..., Host]) -> None:
    shop = host(settings=FRAMES, urls=WITH_HOME)
    told = shop.run(ASK)
    policies = told["policies"]
    assert names(policies, "default-src 'self'") == PAGES | BARE
    assert names(policies, None) == THEIRS
    assert policies["watch"].endswith("; frame-ancestors 'none'")
    for name in ("embed", "lost"):
        assert policies[name].endswith("; frame-ancestors https://frames.example.org")
        assert told["frames"][name] is None
    assert told["frames"]["watch"] == "DENY"
    assert "camera=(self)" in told["permissions"]["room"] and not told["permissions"]["home"]


def test_a_policy_of_the_project_holds_on_our_pages(host: Callable[..., Host]) -> None:
    files = {"shop/policies.py": POLITE}
    told = host(settings=FRAMES + POLICIES, urls=WITH_HOME, files=files).run(ASK)
    assert names(told["policies"], CDN) == PAGES | THEIRS
    assert names(told["policies"], "default-src 'self'") == BARE
    assert told["policies"]["embed"].endswith("; frame-ancestors https://frames.example.org")


def test_a_policy_that_a_project_sets_on_everything_is_on_everything(
    host: Callable[..., Host],
) -> None:
    settings = 'MIDDLEWARE.append("shop.policies.determined")'
    told = host(settings=settings, urls=WITH_HOME, files={"shop/policies.py": POLITE}).run(ASK)
    assert names(told["policies"], "default-src 'none'") == PAGES | THEIRS | BARE


def test_pages_in_a_base_of_the_projects_own_are_under_no_policy_of_ours(
    host: Callable[..., Host],
) -> None:
    base = "<script>1</script>{% block content %}{% endblock %}"
    files = {"templates/base.html": base, "templates/broadcast/base.html": base}
    told = host(urls=WITH_HOME, files=files, settings='X_FRAME_OPTIONS = "SAMEORIGIN"').run(ASK)
    assert names(told["policies"], None) == PAGES | THEIRS
    assert told["policies"]["api"].endswith("; frame-ancestors 'self'")


def test_static_files_of_the_project_are_under_no_policy_of_ours(
    host: Callable[..., Host], tmp_path: Path
) -> None:
    told = host(
        settings='STATICFILES_DIRS.append(BASE_DIR / "own")', files={"own/page.html": "<p>"}
    ).run("""
        from asgiref.sync import async_to_sync
        from django.core.asgi import get_asgi_application
        from django.test import AsyncRequestFactory
        from broadcast.http.static_files import StaticFilesHandler

        handler = StaticFilesHandler(get_asgi_application())
        def policy(path):
            request = AsyncRequestFactory().get(path)
            answer = async_to_sync(handler.get_response_async)(request)
            return [answer.status_code, "Content-Security-Policy" in answer]
        names = ("page.html", "nothing.html", "broadcast/mark.svg")
        tell(**{name: policy(f"/static/{name}") for name in names})
    """)
    assert told == {
        **{"page.html": [200, False], "nothing.html": [404, False]},
        "broadcast/mark.svg": [200, True],
    }
