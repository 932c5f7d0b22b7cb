"""Live video: one person broadcasts, others watch, through bad lines and restarts."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect
from websockets.sync.client import connect

from broadcast.media import Segmenter
from broadcast.publications import Mark
from tests.browser.conftest import Line, People
from tests.browser.embedding.elsewhere import Elsewhere, element
from tests.browser.video import (
    FILMS,
    NOISE_CAMERA,
    NOTE_FIRST_PICTURE,
    VIDEO,
    VP8,
    Feed,
    ThinLine,
    ages,
    broadcast,
    encode,
    open_studio,
    plays_on,
    repeat,
    state,
    wait_until_lag_is_shown,
    wait_until_live,
    watch,
    words,
)
from tests.rig.processes import ServerProcess, prepared_database


@pytest.fixture(scope="module")
def friend() -> Iterator[Elsewhere]:
    with Elsewhere() as site:
        yield site
        site.shutdown()


@pytest.fixture(scope="module")
def site(friend: Elsewhere, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for all tests: each has a stream of its own."""
    directory = tmp_path_factory.mktemp("video")
    (directory / "db.sqlite3").write_bytes(prepared_database())
    process = ServerProcess(
        "broadcast",
        directory,
        DJANGO_SETTINGS_MODULE="tests.settings",
        ALLOWED_ORIGINS=friend.origin,
    )
    process.start()
    yield process
    process.kill()
    process.assert_clean_log()


@pytest.fixture
def slug(site: ServerProcess) -> str:
    return site.unused_stream("media")


def test_two_watch_a_broadcast_a_third_comes_late_and_all_are_less_than_a_second_behind(
    people_with_chromium: People, slug: str
) -> None:
    people = people_with_chromium
    first, second = watch(people, slug), watch(people, slug)
    expect(words(first)).to_have_text("Waiting for the streamer")
    studio = broadcast(people, slug)
    for page in (first, second):
        expect(state(page)).to_have_text("Live")
        wait_until_live(page)
    late = watch(people, slug)
    wait_until_live(late)
    wait_until_lag_is_shown(late)
    expect(studio.locator("[data-listeners]")).to_have_text("3 listeners")
    expect(studio.locator("[data-upload]")).to_contain_text("bit/s")
    expect(studio.locator("[data-dropped]")).to_have_text("0")
    expect(studio.locator("[data-clock]")).not_to_have_text("0:00")
    # It began without a sound, which a browser lets nobody begin with.
    assert late.evaluate(f"{VIDEO}.muted")
    late.get_by_role("button", name="Unmute").last.click()
    assert not late.evaluate(f"{VIDEO}.muted")
    studio.get_by_role("button", name="Stop the broadcast").click()
    expect(studio.locator(".on-air strong")).to_have_text("Off air")
    expect(words(first)).to_have_text("Waiting for the streamer")


def test_the_first_picture_is_there_within_a_second_of_opening_the_page(
    people: People, slug: str
) -> None:
    broadcast(people, slug)
    context = people.browser.new_context()
    context.add_init_script(NOTE_FIRST_PICTURE)
    for _ in range(10):  # the machine may have something else to do
        page = people.open(f"/streams/{slug}/", context=context)
        page.wait_for_function("() => window.first")
        if page.evaluate("first") < 1000:
            return
        page.close()
    pytest.fail("the first picture never came within a second")


def test_after_a_restart_of_the_server_the_broadcast_goes_on_by_itself(
    people: People, site: ServerProcess, slug: str
) -> None:
    page, studio = watch(people, slug), broadcast(people, slug)
    wait_until_live(page)
    site.kill()
    expect(state(page)).to_have_text("Reconnecting")
    site.start()
    expect(state(page)).to_have_text("Live")
    wait_until_live(page)
    expect(studio.locator("[data-message]")).to_contain_text("a new recording")
    late = watch(people, slug)
    wait_until_live(late)


def test_a_line_that_carries_half_skips_and_plays_on(
    people: People, site: ServerProcess, slug: str, tmp_path: Path
) -> None:
    encode(tmp_path / "short.webm", 4, "1M", *VP8)
    recording = repeat(tmp_path / "short.webm", 10, "-cluster_time_limit", "200")
    line = ThinLine(site.port)
    with Feed(site, slug, recording, 40):
        page = watch(people, slug, line.url)
        page.evaluate("() => document.addEventListener('skipped', () => (window.skipped = true))")
        plays_on(page, 0.5)
        line.rate = len(recording) // 40 // 2
        page.wait_for_function("() => window.skipped")
        plays_on(page)
        # Between what it shows there are gaps, but it keeps up.
        assert page.evaluate(f"{VIDEO}.error") is None
        line.rate = 0
        expect(page.locator(".lag")).to_have_text(re.compile(r"^[0-2]\.\d"))
        plays_on(page)
    line.close()


@pytest.mark.parametrize(("name", "codecs"), FILMS.values(), ids=FILMS)
def test_what_ffmpeg_makes_is_played(
    people: People,
    site: ServerProcess,
    slug: str,
    tmp_path: Path,
    name: str,
    codecs: tuple[str, ...],
) -> None:
    slug = site.unused_stream("film")
    recording = encode(tmp_path / name, 8, "300k", *codecs)
    with Feed(site, slug, recording, 8):
        page = watch(people, slug)
        plays_on(page)
        assert page.evaluate(f"{VIDEO}.videoWidth") == 320
        late = watch(people, slug)
        plays_on(late)


#: What a segment becomes that cannot be decoded.
BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "a cluster of nothing that could stand in one": lambda _: b"\x1f\x43\xb6\x75\x84" + bytes(4),
    # The code that a key frame of VP8 begins with: RFC 6386, section 9.1.
    "a key frame without its code": lambda data: data.replace(b"\x9d\x01\x2a", bytes(3), 1),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_it_gets_over_a_segment_that_cannot_be_decoded(
    people: People, site: ServerProcess, slug: str, tmp_path: Path, broken: str
) -> None:
    drafts = Segmenter().feed(encode(tmp_path / "a.webm", 6, "300k", *VP8))
    page = watch(people, slug)
    shown = f"() => {VIDEO}.readyState >= 2 && {VIDEO}.currentTime > 0"
    address = f"{site.ws}/ws/streamer/{slug}/"
    with connect(address, subprotocols=["broadcast.v1"], proxy=None) as streamer:  # type: ignore[list-item]
        entries = 0
        for draft in drafts:
            for mark in ("header", "entry"):
                if draft.marks & Mark[mark.upper()]:
                    streamer.send(json.dumps({"event": "mark", "as": mark}))
            entries += bool(draft.marks & Mark.ENTRY)
            if entries == 3 and draft.marks & Mark.ENTRY:
                page.wait_for_function(shown)
                page.evaluate(f"() => (window.before = {VIDEO}.src)")
                streamer.send(BROKEN[broken](draft.payload))
                page.wait_for_function(f"() => {VIDEO}.src !== before")
            streamer.send(draft.payload)
        page.wait_for_function(shown)
    assert page.evaluate(f"{VIDEO}.error") is None


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        ("NotAllowedError", "Allow it beside the address"),
        ("NotFoundError", "There is no such camera"),
        ("NotReadableError", "busy"),
    ],
)
def test_a_camera_that_cannot_be_had_is_told_with_what_to_do(
    people: People, slug: str, error: str, remedy: str
) -> None:
    refuse = f'async () => {{ throw new DOMException("", "{error}"); }}'
    studio = open_studio(people, slug, camera=f"navigator.mediaDevices.getUserMedia = {refuse};")
    studio.get_by_role("button", name="Start the broadcast").click()
    expect(studio.locator("[data-message]")).to_contain_text(remedy)
    expect(studio.get_by_role("button", name="Start the broadcast")).to_be_enabled()
    expect(studio.locator(".on-air strong")).to_have_text("Off air")


def test_the_studio_shows_and_broadcasts_a_camera_and_then_a_microphone(
    people: People, slug: str
) -> None:
    studio = people.open(f"/streams/{slug}/studio/")
    studio.get_by_role("button", name="Show the preview").click()
    expect(studio.locator("[data-preview-words]")).to_have_text("")
    # The fake microphone beeps.
    expect(studio.locator("[data-level-words]")).to_have_text("Heard")
    expect(studio.get_by_label("Camera").get_by_role("option")).to_have_count(2)
    page = watch(people, slug)
    studio.get_by_role("button", name="Start the broadcast").click()
    plays_on(page)
    studio.get_by_role("button", name="Stop the broadcast").click()
    expect(state(page)).to_have_text("Waiting for the streamer")
    studio.get_by_role("radio", name="Microphone alone").check()
    expect(studio.locator("[data-preview-words]")).to_have_text("Sound alone, no picture.")
    studio.get_by_role("button", name="Start the broadcast").click()
    expect(words(page)).to_have_text("Sound only")
    plays_on(page)


def test_the_studio_broadcasts_a_screen_until_its_sharing_is_ended(
    people: People, slug: str
) -> None:
    studio = people.open(f"/streams/{slug}/studio/")
    # The browser chooses a screen by itself here; of what it gives, the page ends one later.
    studio.evaluate("""() => {
      const { mediaDevices } = navigator, own = mediaDevices.getDisplayMedia.bind(mediaDevices);
      mediaDevices.getDisplayMedia = async (wish) => (window.screen_ = await own(wish));
    }""")
    studio.get_by_role("radio", name="Screen").check()
    studio.get_by_role("button", name="Start the broadcast").click()
    expect(studio.locator(".on-air strong")).to_have_text("On air")
    page = watch(people, slug)
    plays_on(page)
    assert page.evaluate(f"{VIDEO}.videoWidth") > 0
    studio.evaluate("""() => {
      const [track] = screen_.getVideoTracks();
      track.stop();
      track.dispatchEvent(new Event("ended"));  // as when its user ends the sharing
    }""")
    expect(studio.locator(".on-air strong")).to_have_text("Off air")
    expect(studio.locator("[data-message]")).to_contain_text("The broadcast ended.")
    expect(state(page)).to_have_text("Waiting for the streamer")


def test_on_a_stream_of_messages_video_is_a_tab_and_the_list_gives_way_to_the_picture(
    people: People, site: ServerProcess
) -> None:
    slug = site.unused_stream()
    page, studio = watch(people, slug), open_studio(people, slug)
    studio.get_by_role("tab", name="Video").click()
    studio.get_by_role("button", name="Start the broadcast").click()
    assert len(ages(page)) == 10
    expect(page.locator("broadcast-listener .scroller")).to_be_hidden()
    expect(studio.get_by_role("tab", name="Text")).to_be_disabled()
    studio.get_by_role("button", name="Stop the broadcast").click()
    expect(studio.get_by_role("tab", name="Text")).to_be_enabled()
    expect(words(page)).to_have_text("Nothing is coming just now")


def test_a_studio_whose_line_stands_still_drops_and_goes_on_at_a_key_frame(
    people: People, site: ServerProcess, slug: str
) -> None:
    line = ThinLine(site.port)
    page, studio = watch(people, slug), open_studio(people, slug, line.url, NOISE_CAMERA)
    studio.get_by_role("button", name="Start the broadcast").click()
    plays_on(page)
    line.open.clear()
    expect(studio.locator("[data-dropped]")).not_to_have_text("0")
    expect(words(page)).to_have_text("Nothing is coming just now")
    line.open.set()
    plays_on(page)
    assert page.evaluate(f"{VIDEO}.error") is None
    line.close()


def test_a_studio_whose_line_breaks_goes_on_with_the_same_recording(
    people: People, site: ServerProcess, slug: str
) -> None:
    line = Line(site.port)
    page, studio = watch(people, slug), broadcast(people, slug, line.url)
    wait_until_live(page)
    page.evaluate(f"() => (window.before = {VIDEO}.src)")
    line.cut()
    expect(state(page)).to_have_text("Waiting for the streamer")
    line.mend()
    expect(state(page)).to_have_text("Live")
    plays_on(page)
    wait_until_live(page)
    # Nobody noticed but by what was missing for a while: it is the same recording.
    assert page.evaluate(f"() => {VIDEO}.src === before && !{VIDEO}.error")
    expect(studio.locator("[data-message]")).not_to_contain_text("a new recording")
    line.close()


def test_it_plays_in_a_page_of_another_site_in_a_frame_and_where_media_sources_are_managed(
    people: People, friend: Elsewhere, site: ServerProcess, slug: str
) -> None:
    broadcast(people, slug)
    elsewhere = people.open(friend.page(element(site.url, slug)), friend.origin)
    wait_until_live(elsewhere)
    context = people.browser.new_context()
    context.add_init_script("window.ManagedMediaSource = MediaSource; delete window.MediaSource;")
    embed = people.open(f"/streams/{slug}/embed/", context=context)
    wait_until_live(embed)
    assert embed.evaluate(f"{VIDEO}.disableRemotePlayback")


def test_whoever_pauses_for_long_loads_nothing_more_and_goes_on_live(
    people: People, slug: str
) -> None:
    studio = broadcast(people, slug)
    page = watch(people, slug)
    wait_until_live(page)
    page.clock.install()
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("broadcast-listener")).to_have_attribute("paused", "")
    page.clock.fast_forward(31_000)
    expect(state(page)).to_have_text("Paused")
    expect(studio.locator("[data-listeners]")).to_have_text("0 listeners")
    page.get_by_role("button", name="Go on, live").click()
    expect(state(page)).to_have_text("Live")
    assert len(ages(page)) == 10


HIDDEN = """(hidden) => {
  Object.defineProperty(document, "visibilityState", {
    value: hidden ? "hidden" : "visible", configurable: true,
  });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


def test_a_page_that_is_hidden_rests_after_a_while_unless_somebody_may_hear_it(
    people: People, slug: str
) -> None:
    studio = broadcast(people, slug)
    heard, page = watch(people, slug), watch(people, slug)
    for one in (heard, page):
        wait_until_live(one)
        one.clock.install()
    heard.get_by_role("button", name="Unmute").last.click()
    for one in (heard, page):
        one.evaluate(HIDDEN, True)
        one.clock.fast_forward(31_000)
    expect(studio.locator("[data-listeners]")).to_have_text("1 listener")
    plays_on(heard)
    page.evaluate(HIDDEN, False)
    expect(state(page)).to_have_text("Live")
    assert len(ages(page)) == 10
    expect(studio.locator("[data-listeners]")).to_have_text("2 listeners")
