/**
 * The entries of a `Log`: texts, JSON, bytes, files that come in parts, and notes between them.
 *
 * An entry is drawn as an `<li>`, or in the way that the page wants it, see `item.js`.
 */
import { bytes } from "../socket/states.js";
import { locale, say } from "../socket/language.js";

const TEXT_SHOWN = 4000; // characters; the rest is for download
/** The bytes of all entries of a list together. */
export const BYTES_KEPT = 64 * 1024 * 1024;


/** First bytes of images that browsers show. */
const IMAGES = [
  ["image/png", [0x89, 0x50, 0x4e, 0x47]],
  ["image/jpeg", [0xff, 0xd8, 0xff]],
  ["image/gif", [0x47, 0x49, 0x46, 0x38]],
  ["image/webp", [0x52, 0x49, 0x46, 0x46, null, null, null, null, 0x57, 0x45, 0x42, 0x50]],
];

/** One item of the list. `draw` makes its element, `redraw` brings it up to date. */
class Entry {
  element = null;
  size = 0;
  #urls = [];

  draw() {
    this.element = make("li", this.className);
    this.redraw();
    return this.element;
  }

  redraw() {
    this.#revoke();
    this.element.replaceChildren(...this.content());
  }

  remove() {
    this.#revoke();
    this.element.remove();
    this.element = null;
  }

  /** An address of these bytes that lives as long as this drawing. */
  urlOf(blob) {
    const url = URL.createObjectURL(blob);
    this.#urls.push(url);
    return url;
  }

  #revoke() {
    this.#urls.splice(0).forEach((url) => URL.revokeObjectURL(url));
  }
}

export class Note extends Entry {
  constructor(words, kind) {
    super();
    this.words = words;
    this.className = `note ${kind}`;
  }

  content() {
    return [make("p", "", this.words)];
  }
}

/**
 * What publications have in common: where they stand, when they came, `kind` and `data` as they were published, and
 * `text`, the whole of it in a line or more of plain text.
 */
class PublicationEntry extends Entry {
  className = "publication";
  #item = null;

  constructor({ offset, kind, data }) {
    super();
    this.offset = offset;
    this.kind = kind;
    this.data = data;
    this.time = new Date();
  }

  /** `look(entry)` answers the `Item` that the page has for it, or null. */
  draw(look) {
    this.#item = look(this);
    if (!this.#item) return super.draw();
    this.element = this.#item.slot;
    this.redraw();
    return this.element;
  }

  redraw() {
    if (this.#item) this.#item.fill(this);
    else super.redraw();
  }

  remove() {
    this.#item?.remove();
    super.remove();
  }

  /** The text for a screen reader: the one on the page. */
  get spoken() {
    return this.#item?.words || this.text;
  }

  content() {
    const time = make("time", "", this.timeText);
    time.dateTime = this.time.toISOString();
    time.title = say("when it came to this page");
    const body = make("div", "body");
    body.append(...this.body());
    return [make("span", "offset", `#${this.offset}`), body, time];
  }

  get timeText() {
    return this.time.toLocaleTimeString(locale("en-GB"), { timeStyle: "medium" });
  }

  download(blob, name) {
    const link = make("a", "download", say("Download"));
    // Never under the type it claims to have: opened in a tab, it would be a page of this site.
    link.href = this.urlOf(new Blob([blob], { type: "application/octet-stream" }));
    link.download = name;
    link.setAttribute("aria-label", say("Download {name}", { name }));
    return link;
  }

  line(words, ...more) {
    const line = make("p", "line", words);
    line.append(...more);
    return line;
  }

  preview(blob, type, name) {
    const image = make("img", "preview");
    image.alt = name;
    image.src = this.urlOf(new Blob([blob], { type }));
    return image;
  }
}

class TextEntry extends PublicationEntry {
  constructor(publication) {
    super(publication);
    const { kind, data } = publication;
    this.shown = kind === "json" ? JSON.stringify(data, null, 2) : data;
    this.size = this.shown.length * 2;
  }

  get text() {
    return this.kind === "json" ? JSON.stringify(this.data) : this.data;
  }

  body() {
    const shown = make("pre", this.kind, this.shown.slice(0, TEXT_SHOWN));
    if (this.shown.length <= TEXT_SHOWN) return [shown];
    const blob = new Blob([this.shown]);
    const name = `publication-${this.offset}.${this.kind === "json" ? "json" : "txt"}`;
    return [shown, this.line(`${say("… {size} in all", { size: bytes(blob.size) })} `, this.download(blob, name))];
  }
}

class BinaryEntry extends PublicationEntry {
  constructor({ data, ...publication }) {
    super({ ...publication, data: null }); // the bytes are kept once
    this.size = data.byteLength;
    this.blob = new Blob([data]);
    this.type = imageType(data);
  }

  get text() {
    const size = bytes(this.size);
    return this.type ? say("Image ({type}), {size}", { type: this.type, size }) : say("Binary data, {size}", { size });
  }

  body() {
    const name = `publication-${this.offset}.${this.type ? this.type.slice("image/".length) : "bin"}`;
    const size = bytes(this.size);
    const words = this.type ? say("Image, {size}", { size }) : say("Binary, {size}", { size });
    const line = this.line(`${words} `, this.download(this.blob, name));
    return this.type ? [this.preview(this.blob, this.type, name), line] : [line];
  }
}

export class FileEntry extends PublicationEntry {
  parts = [];
  received = 0;
  stopped = false;

  constructor(publication) {
    super(publication);
    const { name, size } = announcedFile(publication);
    this.name = name;
    this.total = size;
  }

  get text() {
    return say("File {name}, {progress}", { name: this.name, progress: this.progress });
  }

  get progress() {
    if (this.received >= this.total) return bytes(this.total);
    const values = { received: bytes(this.received), total: bytes(this.total) };
    if (this.stopped) return say("{received} of {total}; the rest did not come", values);
    return say("{received} of {total}", values);
  }

  get isComplete() {
    return this.received >= this.total || this.stopped;
  }

  append({ data }) {
    if (this.received === 0) this.type = imageType(data);
    this.received += data.byteLength;
    if (this.total > BYTES_KEPT) return; // it is counted, and not kept
    this.parts.push(new Blob([data]));
    this.size = this.received;
  }

  /** Something else came where the file should have gone on. */
  stop() {
    this.stopped = true;
  }

  body() {
    const title = make("p", "file", this.name);
    if (this.received < this.total) return [title, this.line(this.progress)];
    if (this.total > BYTES_KEPT) return [title, this.line(say("{size}, too large to be kept here", { size: bytes(this.total) }))];
    const blob = new Blob(this.parts);
    const line = this.line(`${bytes(this.total)} `, this.download(blob, this.name));
    return this.type ? [title, this.preview(blob, this.type, this.name), line] : [title, line];
  }
}

export function entryOf(publication) {
  return publication.kind === "binary" ? new BinaryEntry(publication) : new TextEntry(publication);
}

/** The file that a publication announces, or null. */
export function announcedFile({ kind, data }) {
  const file = kind === "json" ? data?.file : null;
  return typeof file?.name === "string" && Number.isSafeInteger(file.size) && file.size >= 0 ? file : null;
}

function imageType(data) {
  const matches = ([, magic]) => magic.every((byte, i) => byte === null || data[i] === byte);
  return IMAGES.find(matches)?.[0] ?? null;
}

function make(name, className, text = "") {
  const element = document.createElement(name);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}
