"""Cameras that show the time, pages that watch them, and lines that carry less than is sent."""

import socket
import subprocess
import threading
import time
from pathlib import Path

from playwright.sync_api import Locator, Page, expect
from websockets.sync.client import connect

from tests.browser.conftest import PATIENCE, Line, People
from tests.rig.processes import ServerProcess

VP8 = ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus")
VP9 = ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus")
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-c:a", "aac")
FRAGMENTED = ("-movflags", "frag_keyframe+empty_moov+default_base_moof")
#: What ffmpeg makes, by codec: the name of its file, and the options.
FILMS = {
    "vp8": ("a.webm", VP8),
    "vp9": ("b.webm", VP9),
    "h264": ("c.mp4", (*H264, *FRAGMENTED)),
}

#: A camera whose picture is the time, in milliseconds: 16 bits of it, each a field, white or black.
CLOCK_CAMERA = """
navigator.mediaDevices.getUserMedia = async ({ audio }) => {
  const canvas = document.createElement("canvas");
  canvas.width = 320;
  canvas.height = 180;
  const context = canvas.getContext("2d", { alpha: false });
  const draw = () => {
    const now = Date.now();
    for (let bit = 0; bit < 16; bit++) {
      context.fillStyle = (now >> bit) & 1 ? "#fff" : "#000";
      context.fillRect((bit % 8) * 40, bit < 8 ? 0 : 90, 40, 90);
    }
  };
  draw();
  setInterval(draw, 40);
  const stream = canvas.captureStream(25);
  if (audio) {
    const sound = new AudioContext();
    const out = sound.createMediaStreamDestination();
    const tone = sound.createOscillator();
    tone.connect(out);
    tone.start();
    for (const track of out.stream.getAudioTracks()) stream.addTrack(track);
  }
  return stream;
};
"""

#: A camera whose picture is noise, which takes all the bits that there are.
NOISE_CAMERA = """
navigator.mediaDevices.getUserMedia = async () => {
  const canvas = document.createElement("canvas");
  canvas.width = 320;
  canvas.height = 180;
  const context = canvas.getContext("2d", { alpha: false });
  const picture = context.createImageData(320, 180);
  const pixels = new Uint32Array(picture.data.buffer);
  setInterval(() => {
    for (let i = 0; i < pixels.length; i++) pixels[i] = 0xff000000 | (Math.random() * 0xffffff);
    context.putImageData(picture, 0, 0);
  }, 66);
  return canvas.captureStream(15);
};
"""

#: Notes when the first picture of a page is shown, in milliseconds since its navigation began.
NOTE_FIRST_PICTURE = """addEventListener("DOMContentLoaded", async () => {
  await customElements.whenDefined("broadcast-listener");
  const { shadowRoot } = document.querySelector("broadcast-listener");
  const note = (now) => (window.first = now);
  shadowRoot.querySelector("video").requestVideoFrameCallback(note);
})"""

#: The next so many pictures that are shown, as milliseconds since they were taken, the least first.
READ_CLOCK = """([number, patience]) => new Promise((resolve, reject) => {
  const video = document.querySelector("broadcast-listener").shadowRoot.querySelector("video");
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [64, 36];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const ages = [];
  const look = () => {
    context.drawImage(video, 0, 0, 64, 36);
    const { data } = context.getImageData(0, 0, 64, 36);
    let taken = 0;
    for (let bit = 0; bit < 16; bit++) {
      const place = (bit < 8 ? 9 : 27) * 64 + (bit % 8) * 8 + 4;
      if (data[place * 4] > 128) taken |= 1 << bit;
    }
    ages.push((Date.now() - taken) & 0xffff);
    if (ages.length === number) resolve(ages.sort((a, b) => a - b));
    else video.requestVideoFrameCallback(look);
  };
  setTimeout(() => reject(new Error(`${ages.length} pictures of ${number}`)), patience);
  video.requestVideoFrameCallback(look);
})"""


def open_studio(people: People, slug: str, home: str = "", camera: str = CLOCK_CAMERA) -> Page:
    """The studio of a media stream, with a camera that is a script."""
    context = people.browser.new_context()
    context.add_init_script(camera)
    return people.open(f"/streams/{slug}/studio/", home, context=context)


def broadcast(people: People, slug: str, home: str = "") -> Page:
    """A studio that is on air."""
    studio = open_studio(people, slug, home)
    studio.get_by_role("button", name="Start the broadcast").click()
    expect(studio.locator(".on-air strong")).to_have_text("On air")
    return studio


def watch(people: People, slug: str, home: str = "") -> Page:
    return people.open(f"/streams/{slug}/", home)


def state(page: Page) -> Locator:
    return page.locator("broadcast-listener .label")


def words(page: Page) -> Locator:
    """What is said where the picture would be."""
    return page.locator("broadcast-listener .words")


def ages(page: Page, pictures: int = 10) -> list[int]:
    """Of the next pictures that are shown: milliseconds since the clock camera took them."""
    expect(page.locator("broadcast-listener video")).to_be_attached()
    found: list[int] = page.evaluate(READ_CLOCK, [pictures, PATIENCE])
    return found


def wait_until_live(page: Page, milliseconds: int = 1000) -> int:
    """Until half of ten pictures in a row are no older than that; how old the middle one is."""
    deadline = time.monotonic() + 2 * PATIENCE / 1000
    while (found := ages(page)[5]) > milliseconds:
        assert time.monotonic() < deadline, f"the picture stays {found} ms behind"
    return found


def wait_until_lag_is_shown(page: Page) -> None:
    """Until what the page shows is near what it is.

    It does not know how long a picture took before it came, which is little here.
    """
    deadline = time.monotonic() + 2 * PATIENCE / 1000
    while abs(float(page.locator(".lag").inner_text().split()[0]) - ages(page)[5] / 1000) > 0.5:
        assert time.monotonic() < deadline, "what is shown is not what it is"


def plays_on(page: Page, seconds: float = 1.0) -> None:
    """Until so much more of the recording was shown."""
    place = page.evaluate(f"{VIDEO}.currentTime")
    page.wait_for_function(f"place => {VIDEO}.currentTime > place", arg=place + seconds)


#: The video of a page, in a script.
VIDEO = "document.querySelector('broadcast-listener').shadowRoot.querySelector('video')"


class ThinLine(Line):
    """A line that carries `rate` bytes per second towards the browser; 0: as many as there are.

    While `open` is not set, nothing goes from the browser to the server.
    """

    rate = 0

    def __init__(self, port: int) -> None:
        self.open = threading.Event()
        self.open.set()
        super().__init__(port)

    def _connect(self) -> socket.socket:
        far = socket.socket()
        # What the line does not carry must be felt by the server, and not lie in a buffer.
        far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        far.connect(self.target)
        return far

    def _pass_on(self, data: bytes, to: socket.socket, is_near: bool) -> None:
        if is_near:
            self.open.wait(PATIENCE / 1000)
        elif self.rate:
            time.sleep(len(data) / self.rate)
        to.sendall(data)


def encode(path: Path, seconds: int, rate: str, *codecs: str) -> bytes:
    """A recording with pictures that are hard to compress, as ffmpeg makes it."""
    size = "testsrc2=size=320x180:rate=15,noise=alls=40:allf=t"
    command = [
        *(
            "ffmpeg",
            "-v",
            "error",
            "-y",
            "-f",
            "lavfi",
            "-i",
            size,
            "-f",
            "lavfi",
            "-i",
            "sine=440",
        ),
        *("-t", str(seconds), "-g", "15", "-b:v", rate, "-minrate", rate, "-maxrate", rate),
        *("-bufsize", rate, "-pix_fmt", "yuv420p", *codecs, str(path)),
    ]
    subprocess.run(command, check=True, timeout=60)
    return path.read_bytes()


def repeat(path: Path, times: int, *options: str) -> bytes:
    """A recording so many times in a row, as one: what takes long to encode is encoded once."""
    long = path.with_stem("long")
    command = [
        *("ffmpeg", "-v", "error", "-y", "-stream_loop", str(times - 1), "-i", str(path)),
        *("-c", "copy", *options, str(long)),
    ]
    subprocess.run(command, check=True, timeout=60)
    return long.read_bytes()


class Feed:
    """A program that sends a recording as fast as it plays; as a context manager it does so."""

    STEP = 0.1

    def __init__(self, site: ServerProcess, slug: str, recording: bytes, seconds: float) -> None:
        self.address = f"{site.ws}/ws/streamer/{slug}/"
        self.recording = recording
        self.seconds = seconds
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Feed":
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.ended.set()
        self.thread.join()

    def _run(self) -> None:
        began, sent = time.monotonic(), 0
        with connect(self.address, proxy=None) as streamer:
            while not self.ended.wait(self.STEP):
                due = int(len(self.recording) * (time.monotonic() - began + 0.5) / self.seconds)
                if part := self.recording[sent:due]:
                    streamer.send(part)
                sent = due
