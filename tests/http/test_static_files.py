"""Static files as projects keep them: with hashes in their names, on other sites, collected."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from django.contrib.staticfiles.storage import ManifestStaticFilesStorage, staticfiles_storage
from django.core.management import call_command
from django.template import Context, Template
from django.templatetags.static import static
from django.test import override_settings
from pytest_django.fixtures import Settings

from broadcast.http.policy import content_security_policy
from broadcast.http.static_files import StaticFilesHandler
from tests.rig.asgi import ask

HASHED = re.compile(r"\.[0-9a-f]{12}\.")
IMPORT = re.compile(r"""(?:\bfrom|\bimport|\bimport\()\s*["'](\.[^"']+)["']""")


class Aggregating(ManifestStaticFilesStorage):
    """Puts the hashed names into the scripts that import them, as WhiteNoise needs it to keep
    hashed files alone."""

    support_js_module_import_aggregation = True


@pytest.fixture(scope="module", params=[ManifestStaticFilesStorage, Aggregating])
def collected(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The static files of the project, collected by such a storage, which is in use."""
    from django.conf import settings

    root = tmp_path_factory.mktemp("static")
    backend = f"{request.param.__module__}.{request.param.__name__}"
    storages = {**settings.STORAGES, "staticfiles": {"BACKEND": backend}}
    with override_settings(STATIC_ROOT=root, STORAGES=storages):
        call_command("collectstatic", verbosity=0, interactive=False)
        yield root


async def fail(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("the path is that of a static file")


async def get(url: str) -> Any:
    return await ask(StaticFilesHandler(fail), url)


@pytest.mark.parametrize(
    "name", ["element.js", "site/home.js", "studio/studio.js", "rooms.js", "broadcast.css"]
)
async def test_our_own_handler_serves_hashed_names(collected: Path, name: str) -> None:
    url = static(f"broadcast/{name}")
    assert HASHED.search(url)
    status, headers, body = await get(url)
    assert (status, headers["access-control-allow-origin"]) == (200, "*")
    assert body == (collected / url.removeprefix("/static/")).read_bytes()
    assert (await get(f"/static/broadcast/{name}"))[0] == 200


async def test_no_path_leads_out_of_the_collected_files(collected: Path) -> None:
    (collected.parent / "secret.txt").write_text("secret")
    for path in ("/static/../secret.txt", "/static/broadcast/../../secret.txt", "/static/"):
        assert (await get(path))[0] == 404


def test_every_import_leads_to_a_file(collected: Path) -> None:
    """Also in what a storage takes for an import, such as an example in a comment."""
    aggregates = getattr(staticfiles_storage, "support_js_module_import_aggregation", False)
    hashed = [path for path in collected.rglob("broadcast/**/*.js") if HASHED.search(path.name)]
    assert len(hashed) > 50
    imports = [(path, name) for path in hashed for name in IMPORT.findall(path.read_text())]
    assert len(imports) > 50
    for path, name in imports:
        assert (path.parent / name).is_file(), (path, name)
        assert bool(HASHED.search(name)) == aggregates, (path, name)


def test_a_page_preloads_the_modules_that_the_script_imports(collected: Path) -> None:
    page = Template("{% load broadcast %}{% listener 'news' %}").render(Context())
    preloaded = set(re.findall(r'modulepreload" href="([^"]+)"', page))
    (script,) = re.findall(r'src="([^"]+element[^"/]*\.js)"', page)
    loaded, coming = set[str](), [script]
    while coming:
        url = coming.pop()
        text = (collected / url.removeprefix("/static/")).read_text()
        more = {urljoin(url, name) for name in IMPORT.findall(text)} - loaded
        loaded |= more
        coming += more
    assert preloaded == loaded


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("/static/", ""),
        ("https://cdn.example/static/", " https://cdn.example"),
        ("http://cdn.example:8080/s/", " http://cdn.example:8080"),
        ("//cdn.example/", " https://cdn.example"),
    ],
)
def test_pages_may_have_their_files_from_where_the_project_has_them(
    settings: Settings, url: str, origin: str
) -> None:
    settings.STATIC_URL = url
    assert content_security_policy().startswith(
        f"default-src 'self'{origin}; img-src 'self'{origin} "
    )


def test_the_modules_on_a_cdn_are_those_beside_the_script(settings: Settings) -> None:
    settings.STATIC_URL = "https://cdn.example/static/"
    page = Template("{% load broadcast %}{% listener 'news' %}").render(Context())
    urls = re.findall(r'(?:href|src)="([^"]+\.js)"', page)
    assert len(urls) > 10
    assert all(url.startswith("https://cdn.example/static/broadcast/") for url in urls)
