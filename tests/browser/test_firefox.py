"""Live video from and to a browser that is not Chromium."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import PATIENCE, People
from tests.browser.firefox import Firefox
from tests.browser.video import FILMS, READ_CLOCK, VIDEO, Feed, broadcast, encode, plays_on, watch
from tests.rig.processes import ServerProcess


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for all tests: each has a stream of its own."""
    with ServerProcess("broadcast", tmp_path_factory.mktemp("firefox")) as process:
        yield process
        process.assert_clean_log()


@pytest.fixture
def slug(site: ServerProcess) -> str:
    return site.unused_stream("media")


def test_it_shows_what_chromium_broadcasts(
    people: People, site: ServerProcess, firefox: Firefox, slug: str
) -> None:
    broadcast(people, slug)
    page = firefox.open(f"{site.url}/streams/{slug}/")
    page.wait_for(f"{VIDEO}?.currentTime > 0")
    # Pictures that come seconds after one another are old when they are shown.
    page.wait_for(f"({READ_CLOCK})([25, {PATIENCE}]).then((ages) => ages[20] < 1000)")
    assert page.evaluate(f"{VIDEO}.error") is None


def test_what_it_broadcasts_is_shown(
    people: People, site: ServerProcess, firefox: Firefox, slug: str
) -> None:
    studio = firefox.open(f"{site.url}/streams/{slug}/studio/")
    studio.press("Start the broadcast")
    studio.wait_for("document.querySelector('.on-air strong').textContent === 'On air'")
    page = watch(people, slug)
    plays_on(page)
    here = firefox.open(f"{site.url}/streams/{slug}/")
    here.wait_for(f"{VIDEO}?.currentTime > 0")
    studio.press("Stop the broadcast")
    expect(page.locator("broadcast-listener .words")).to_have_text("Waiting for the streamer")


@pytest.mark.parametrize(("name", "codecs"), FILMS.values(), ids=FILMS)
def test_it_plays_what_ffmpeg_makes(
    site: ServerProcess, firefox: Firefox, tmp_path: Path, name: str, codecs: tuple[str, ...]
) -> None:
    slug = site.unused_stream("film")
    with Feed(site, slug, encode(tmp_path / name, 8, "300k", *codecs), 8):
        page = firefox.open(f"{site.url}/streams/{slug}/")
        page.wait_for(f"{VIDEO}?.currentTime > 0")
        assert page.evaluate(f"{VIDEO}.videoWidth") == 320
