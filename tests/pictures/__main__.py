"""Make the pictures of the documentation again, of the program as it is now.

    python -m tests.pictures

It opens a page of another site with streams in it, follows docs/tutorial.md up to the step with the
listener, for a picture of two windows, and looks at pages of the project (`pages`).
"""

import json
from base64 import b64encode
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser, Page, expect
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.browser.embedding.elsewhere import Elsewhere
from tests.pictures.pages import pages
from tests.rig.chromium import chromium
from tests.rig.launcher import ROOT
from tests.rig.processes import ServerProcess
from tests.rig.tutorial import ANSWER, OPEN, Reader, steps

PICTURES = ROOT / "docs/pictures"

#: Windows side by side, each with a title.
FRAME = """<!doctype html>
<style>
  body {{ display: flex; gap: 24px; width: max-content; margin: 0; padding: 24px }}
  figure {{ margin: 0; overflow: hidden; border-radius: 10px; box-shadow: 0 4px 18px #0003 }}
  figcaption {{ padding: 10px 16px; font: 600 15px system-ui; color: #445; background: #f6f8fa }}
  img {{ display: block }}
</style>
<body>{windows}"""
WINDOW = '<figure><figcaption>{title}</figcaption><img src="data:image/png;base64,{data}"></figure>'


#: A page of another site, without Django.
GAZETTE = """<meta charset="utf-8">
<style>
  body {{ margin: 0; padding: 24px 32px; font: 17px Georgia, serif; color: #22302f;
    background: #fbf6ec;
    --broadcast-card: #fffdf6; --broadcast-line: #e6dcc0; --broadcast-listener-height: 390px }}
  header {{ margin-bottom: 24px; border-bottom: 3px double }}
  h1 {{ margin: 0 }} h2 {{ font-size: 19px }}
  main {{ display: grid; grid-template-columns: 7fr 6fr; gap: 32px }}
  li {{ display: grid; grid-template-columns: 6em 1fr auto; padding: 10px 8px;
    border-bottom: 1px solid #e6dcc0 }}
  time {{ color: #8a6d3b }}
  i {{ padding: 0 8px; border-radius: 4px; color: #fff; background: #22302f }}
  i:empty {{ display: none }}
  iframe {{ width: 100%; height: 410px; border: 0 }}
</style>
<header><h1>The Harbour Gazette</h1><p>A page of another site, without Django</p></header>
<main>
<section><h2>Departures: the element</h2>
<script type="module" src="{home}/static/broadcast/element.js"></script>
<broadcast-listener src="{home}/ws/listener/departures/" history="9" label="Departures"><template>
<li><time data-time></time> <b data-field="ship"></b> <i data-field="pier"></i></li>
</template></broadcast-listener></section>
<section><h2>The newsroom: a frame</h2>
<iframe src="{home}/streams/newsroom/embed/?history=9&theme=light" title="Newsroom"></iframe>
</section></main>"""

#: What is published on each of its streams.
SAID: dict[str, list[str | dict[str, object]]] = {
    "departures": [
        {"ship": "Ferry to Sylt, on time", "pier": 2},
        {"ship": "Ferry to Föhr, ten minutes late", "pier": 4},
        {"ship": "Fog: take care on pier three"},
        {"ship": "Ferry to Amrum, boarding", "pier": 1},
        {"ship": "Ferry to Pellworm, full", "pier": 3},
    ],
    "newsroom": [
        "The fog should lift by nine.",
        {"ships": 3, "pier": "east"},
        "Ferry to Amrum leaves with 212 on board.",
    ],
}
ROWS = """
from broadcast.models import Stream
for slug in ("departures", "newsroom"):
    Stream.objects.create(slug=slug, title=slug.title(), publishing="anyone")
"""


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    expect.set_options(timeout=30_000)
    with chromium() as browser:
        gazette(browser)
        scoreboard(browser)
        pages(browser)


def gazette(browser: Browser) -> None:
    """A stream in a page of another site: as an element, and as a frame."""
    with ExitStack() as ends:
        directory = Path(ends.enter_context(TemporaryDirectory()))
        elsewhere = ends.enter_context(Elsewhere())
        ends.callback(elsewhere.shutdown)
        settings = {"DJANGO_SETTINGS_MODULE": "tests.settings", "ALLOWED_ORIGINS": elsewhere.origin}
        server = ends.enter_context(ServerProcess("broadcast", directory, setup=ROWS, **settings))
        for slug, said in SAID.items():
            address = f"{server.ws}/ws/streamer/{slug}/"
            streamer = ends.enter_context(
                connect(address, subprotocols=[Subprotocol("broadcast.v1")])
            )
            for data in said:
                streamer.send(json.dumps({"event": "publication", "data": data}))
        page = browser.new_page(viewport={"width": 980, "height": 640})
        page.goto(elsewhere.origin + elsewhere.page(GAZETTE.format(home=server.url)))
        for place, said in zip((page, page.frame_locator("iframe")), SAID.values(), strict=True):
            expect(place.locator("broadcast-listener .label").first).to_have_text("Live")
            expect(place.locator(".publication, li")).to_have_count(len(said))
        page.screenshot(path=ROOT / "docs/embed.png")
        print("Wrote docs/embed.png.")


def scoreboard(browser: Browser) -> None:
    """Two windows of the tutorial, at the step with the listener."""
    with TemporaryDirectory() as directory, Reader(Path(directory)) as reader:
        referee, nobody = reader.window(browser), reader.window(browser)
        first, second, third, fourth, fifth, *_ = steps()
        reader.follow(first)
        for step, seen in ((second, "b"), (third, OPEN), (fourth, f"{OPEN} form")):
            reader.follow(step)
            reader.load_until(referee, seen)
        reader.log_in(referee)
        reader.follow(fifth)
        reader.load_until(referee, ".publication")
        for page in (referee, nobody):
            page.goto(reader.url)
            page.locator(OPEN).wait_for()
        referee.locator(".publication").wait_for()
        for side in ("Harbour", "Harbour", "Hill"):
            referee.get_by_role("button", name=side).click()
            expect(referee.locator(ANSWER)).to_have_text("Counted.")
        nobody.get_by_role("button", name="Hill").click()
        expect(nobody.locator(ANSWER)).not_to_be_empty()
        expect(nobody.locator("b")).to_contain_text("2 : 1")
        write(browser, "scoreboard.png", {"The referee": referee, "Everybody else": nobody})


def write(browser: Browser, name: str, windows: dict[str, Page]) -> None:
    figures = [
        WINDOW.format(title=title, data=b64encode(page.screenshot()).decode())
        for title, page in windows.items()
    ]
    page = browser.new_page()
    page.set_content(FRAME.format(windows="".join(figures)))
    page.locator("body").screenshot(path=PICTURES / name)
    print(f"Wrote {(PICTURES / name).relative_to(ROOT)}.")


if __name__ == "__main__":
    main()
