/**
 * The people of a room as tiles, which lay themselves out: as large as they can be, or, while somebody shows a screen,
 * that one large and the others in a row below.
 */
import { linkWords } from "./words.js";
import { say } from "../socket/language.js";

const WIDEST = 16 / 9; // of a tile, width to height
const NARROWEST = 4 / 3;
const NARROWEST_UPRIGHT = 3 / 4; // on a phone
const GAP = 8;
const LEAST = 132; // pixels of width; smaller tiles help nobody, and the page scrolls instead
const STRIP = 0.2; // of the height is for the row below a screen
const LEAST_IN_STRIP = 72; // pixels
const LOUD = 0.02;

/** The size of `count` tiles that are as large as they can be: `{columns, width, height}` in pixels. */
export function arrange(count, width, height) {
  const narrowest = height > width ? NARROWEST_UPRIGHT : NARROWEST;
  let best = { columns: 1, width: 0, height: 0 };
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    const across = (width - GAP * (columns - 1)) / columns;
    const down = (height - GAP * (rows - 1)) / rows;
    const [w, h] = [Math.min(across, down * WIDEST), Math.min(down, across / narrowest)].map(Math.floor);
    if (w * h > best.width * best.height) best = { columns, width: w, height: h };
  }
  return best.width >= LEAST || count <= 1 ? best : scrolling(width);
}

/** As many columns as have the least width. */
function scrolling(width) {
  const columns = Math.max(1, Math.floor((width + GAP) / (LEAST + GAP)));
  const across = Math.floor((width - GAP * (columns - 1)) / columns);
  return { columns, width: across, height: Math.floor(across / NARROWEST) };
}

/** The size of `count` tiles in a row below a screen. */
function strip(count, width, height) {
  const down = Math.max(LEAST_IN_STRIP, Math.floor(height * STRIP));
  const across = (width - GAP * (count - 1)) / count;
  return { width: Math.floor(Math.max(LEAST_IN_STRIP, Math.min(across, down * WIDEST))), height: down };
}

export class Tiles {
  #list;
  #template;
  #tiles = new Map(); // person → Tile

  constructor(list, template) {
    this.#list = list;
    this.#template = template;
    new ResizeObserver(() => this.arrange()).observe(list);
  }

  /** The tile of somebody, a new one at the end where there is none. */
  of(whom) {
    let tile = this.#tiles.get(whom);
    if (!tile) {
      tile = new Tile(this.#template.content.firstElementChild.cloneNode(true), () => this.arrange());
      this.#tiles.set(whom, tile);
      this.#list.append(tile.element);
      this.arrange();
    }
    return tile;
  }

  remove(whom) {
    this.#tiles.get(whom)?.remove();
    this.#tiles.delete(whom);
    this.arrange();
  }

  clear() {
    for (const whom of [...this.#tiles.keys()]) this.remove(whom);
  }

  arrange() {
    const { clientWidth, clientHeight, style, dataset } = this.#list;
    const tiles = [...this.#tiles.values()];
    const shown = tiles.find((tile) => tile.isScreen);
    for (const tile of tiles) tile.element.toggleAttribute("data-large", tile === shown);
    dataset.screen = Boolean(shown);
    const others = tiles.length - 1;
    const { width, height } = shown
      ? strip(others, clientWidth, clientHeight)
      : arrange(tiles.length, clientWidth, clientHeight);
    style.setProperty("--tile-width", `${width}px`);
    style.setProperty("--tile-height", `${height}px`);
    style.setProperty("--large-height", `${clientHeight - (others > 0 ? height + GAP : 0)}px`);
  }
}

class Tile {
  isScreen = false;
  #rearrange;

  constructor(element, rearrange) {
    this.element = element;
    this.#rearrange = rearrange;
    this.video = element.querySelector("video");
  }

  /** One of the others. */
  showPeer(peer) {
    const { told, stream } = peer.link;
    const [track] = stream.getVideoTracks();
    const arrives = Boolean(track) && !track.muted;
    this.#show({
      name: peer.name || say("Guest"),
      stream,
      sending: told ?? { microphone: true, camera: arrives, screen: false },
      status: linkWords(peer),
    });
  }

  /** The person at this page. `stream` is what they send. */
  showSelf(name, stream, sending) {
    this.element.dataset.self = "true";
    this.video.muted = true;
    this.#show({ name: say("{name} (you)", { name }), stream, sending, status: "" });
  }

  /** Whether a person is heard just now. */
  hear(loudness) {
    this.element.toggleAttribute("data-speaking", loudness > LOUD);
  }

  remove() {
    this.video.srcObject = null;
    this.element.remove();
  }

  #show({ name, stream, sending, status }) {
    const { microphone, camera, screen } = sending;
    if (this.video.srcObject !== stream) this.video.srcObject = stream;
    Object.assign(this.element.dataset, { microphone, camera, screen });
    this.#text("name", name);
    this.#text("initial", initial(name));
    this.#text("status", status);
    const off = [!microphone && say("microphone off"), screen ? say("shows a screen") : !camera && say("camera off")];
    this.#text("words", off.filter(Boolean).map((words) => `, ${words}`).join(""));
    if (this.isScreen !== screen) {
      this.isScreen = screen;
      this.#rearrange();
    }
  }

  #text(name, text) {
    const element = this.element.querySelector(`[data-${name}]`);
    if (element.textContent !== text) element.textContent = text;
  }
}

/** The letter that stands for a name where there is no picture. */
function initial(name) {
  // A character that is a letter for the server may be white space here (U+FEFF).
  return [...name.trim()][0]?.toUpperCase() ?? "";
}
