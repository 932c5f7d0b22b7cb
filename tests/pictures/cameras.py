"""What the cameras of the pictures film: a boat, and people, drawn for them."""

import json
from typing import Any
from urllib.parse import quote

from playwright.sync_api import Browser, Page

SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="960" height="540">{}</svg>'

HARBOUR = SVG.format(
    '<path fill="#35507f" d="M0 0h960v130H0z"/><path fill="#a97f6e" d="M0 130h960v90H0z"/>'
    '<path fill="#f0a765" d="M0 220h960v80H0z"/><circle cx="660" cy="250" r="46" fill="#fff0bd"/>'
    '<path fill="#45566c" d="M0 262l60 20 90-14 100 6 90-40 110 34 100-6 80 24 90-44 90 16 110-8'
    ' 80 30 60-10v62H0z"/><path fill="#3b6a80" d="M0 300h960v240H0z"/>'
    '<g fill="none" stroke="#7fa0ab" stroke-width="3"><path d="M0 340q60-10 120 0t120 0 120 0'
    ' 120 0 120 0 120 0 120 0 120 0"/><path d="M0 400q60-10 120 0t120 0 120 0 120 0 120 0 120 0'
    ' 120 0 120 0"/><path d="M0 470q60-10 120 0t120 0 120 0 120 0 120 0 120 0 120 0 120 0"/></g>'
    '<path fill="#5b2a22" d="M205 380h200l-24 42H230z"/>'
    '<path fill="#f6f2ea" d="M300 212l98 152-98 12z"/>'
    '<path fill="#e6dacb" d="M290 234v134l-64 4z"/>'
)
PERSON = SVG.format(
    '<path fill="{wall}" d="M0 0h960v540H0z"/><path fill="#ffffff66" d="M700 50h220v260H700z"/>'
    '<path fill="{hair}" d="M480 90c-100 0-150 80-150 170s50 180 150 180 150-90'
    ' 150-180-50-170-150-170z"/>'
    '<path fill="{skin}" d="M430 360h100v90q-50 60-100 0z"/>'
    '<ellipse cx="480" cy="285" rx="108" ry="132" fill="{skin}"/>'
    '<circle cx="440" cy="280" r="9"/><circle cx="520" cy="280" r="9"/>'
    '<path fill="none" stroke="#7a2d28" stroke-width="8" d="M440 342q40 40 80 0"/>'
    '<path fill="{shirt}" d="M170 540c10-110 100-140 260-142q50 70 100 0c160 2 250 32 260 142z"/>'
)
LOOKS: dict[str, dict[str, str]] = {
    "Ada": {"wall": "#c3d3e2", "hair": "#35211a", "skin": "#f0b48a", "shirt": "#27557d"},
    "Grace": {"wall": "#eddcc0", "hair": "#8d887b", "skin": "#ffd9b0", "shirt": "#6b313f"},
    "Hedy": {"wall": "#c9e4cd", "hair": "#15100e", "skin": "#d69463", "shirt": "#236b55"},
    "Katherine": {"wall": "#d9cbea", "hair": "#160e0b", "skin": "#8f5a34", "shirt": "#b98524"},
}

#: The page has this picture in place of its camera's. The microphone is that of the browser.
SCRIPT = """{
const picture = new Image();
picture.src = "data:image/svg+xml," + %s;
const devices = navigator.mediaDevices;
const real = devices.getUserMedia.bind(devices);
devices.getUserMedia = async (wish) => {
  const stream = await real(wish);
  for (const track of stream.getVideoTracks()) {
    stream.removeTrack(track);
    track.stop();
    stream.addTrack(drawn());
  }
  return stream;
};
function drawn() {
  const canvas = Object.assign(document.createElement("canvas"), { width: 960, height: 540 });
  const context = canvas.getContext("2d");
  setInterval(() => context.drawImage(picture, 0, 0, canvas.width, canvas.height), 100);
  return canvas.captureStream(10).getVideoTracks()[0];
}
}"""


def person(name: str) -> str:
    return PERSON.format(**LOOKS[name])


def open_with_camera(browser: Browser, svg: str, **options: Any) -> Page:
    """A new window whose camera films the drawing."""
    context = browser.new_context(locale="en-GB", permissions=["camera", "microphone"], **options)
    context.add_init_script(SCRIPT % json.dumps(quote(svg)))
    return context.new_page()
