"""Make the pictures in docs/pictures anew, of the program as it is now.

    python -m tests.pictures

It follows docs/tutorial.md up to the step with the listener, and takes a picture of two windows.
"""

from base64 import b64encode
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser, Page, expect

from tests.rig.chromium import chromium
from tests.rig.launcher import ROOT
from tests.rig.tutorial import OPEN, Reader, steps

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


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    with (
        TemporaryDirectory() as directory,
        Reader(Path(directory)) as reader,
        chromium() as browser,
    ):
        referee, nobody = reader.window(browser), reader.window(browser)
        first, second, third, fourth, fifth, *_ = steps()
        reader.follow(first)
        for step, seen in ((second, "b"), (third, OPEN), (fourth, f"{OPEN} form")):
            reader.follow(step)
            reader.load_until(referee, seen)
        reader.log_in(referee)
        reader.follow(fifth)
        for page in (referee, nobody):
            page.goto(reader.url)
            page.locator(OPEN).wait_for()
        referee.locator(".publication").wait_for()
        for side in ("Harbour", "Harbour", "Hill"):
            referee.get_by_role("button", name=side).click()
            expect(referee.locator("form [role=status]")).to_have_text("Counted.")
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
