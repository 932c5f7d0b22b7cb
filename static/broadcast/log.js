/**
 * A bounded list of what came, in an `<ol>`: publications, and notes between them.
 *
 * It promises that a stream of any speed costs one change of the page per frame, that items and bytes kept are
 * bounded (the oldest go first), that nothing published is ever taken for markup, and that a list that is scrolled
 * to its end stays there while one that is read further up stays where it is.
 *
 * A publication `{"file": {"name": …, "size": …}}` announces a file: the binary publications that follow are shown
 * as that one file until its size is reached.
 */
import { bytes } from "./states.js";

const TEXT_SHOWN = 4000; // characters; the rest is for download
const BYTES_KEPT = 64 * 1024 * 1024;
const END = 32; // pixels: so near to its end, a list counts as scrolled to it

const TIME = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });

/** First bytes of images that browsers show. */
const IMAGES = [
  ["image/png", [0x89, 0x50, 0x4e, 0x47]],
  ["image/jpeg", [0xff, 0xd8, 0xff]],
  ["image/gif", [0x47, 0x49, 0x46, 0x38]],
  ["image/webp", [0x52, 0x49, 0x46, 0x46, null, null, null, null, 0x57, 0x45, 0x42, 0x50]],
];

export class Log {
  #list;
  #scroller;
  #limit;
  #onrender;
  #entries = []; // in the page, oldest first
  #pending = []; // not in the page yet
  #changed = new Set(); // in the page, to be drawn again
  #file = null; // the announced file that binary publications belong to
  #scheduled = false;

  /** `onrender(added, wasAtEnd)` is called after each change of the page, with the entries that came to stand in it. */
  constructor(list, scroller, { limit = 200, onrender = () => {} } = {}) {
    this.#list = list;
    this.#scroller = scroller;
    this.#limit = limit;
    this.#onrender = onrender;
  }

  add(publication) {
    if (publication.kind === "binary" && this.#file) {
      this.#continueFile(publication);
      return;
    }
    const file = announcedFile(publication);
    const entry = file ? new FileEntry(file, publication.offset) : entryOf(publication);
    if (file) {
      this.#endFile();
      this.#file = entry.isComplete ? null : entry;
    }
    this.#queue(entry);
  }

  /** What follows does not belong to the file that was coming, if one was. */
  #endFile() {
    this.#file?.stop();
    this.#drawAgain(this.#file);
    this.#file = null;
  }

  /** A line between publications: `kind` is "good", "plain", or "bad", after which nothing goes on as before. */
  note(words, kind = "plain") {
    if (kind === "bad") this.#endFile();
    this.#queue(new Note(words, kind));
  }

  get isAtEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    return scrollHeight - scrollTop - clientHeight <= END;
  }

  scrollToEnd() {
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }

  #continueFile(publication) {
    this.#file.append(publication);
    this.#drawAgain(this.#file);
    if (this.#file.isComplete) this.#file = null;
  }

  #drawAgain(entry) {
    if (!entry?.element) return;
    this.#changed.add(entry);
    this.#schedule();
  }

  #queue(entry) {
    this.#pending.push(entry);
    trim(this.#pending, this.#limit); // a hidden page draws nothing
    this.#schedule();
  }

  #schedule() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame(() => this.#render());
  }

  #render() {
    this.#scheduled = false;
    const wasAtEnd = this.isAtEnd;
    for (const entry of this.#changed) entry.redraw();
    this.#changed.clear();
    const added = this.#pending.splice(0);
    this.#list.append(...added.map((entry) => entry.draw()));
    this.#entries.push(...added);
    for (const entry of trim(this.#entries, this.#limit)) entry.remove();
    if (wasAtEnd) this.scrollToEnd();
    this.#onrender(added, wasAtEnd);
  }
}

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

class Note extends Entry {
  constructor(words, kind) {
    super();
    this.words = words;
    this.className = `note ${kind}`;
  }

  content() {
    return [make("p", "", this.words)];
  }
}

/** What publications have in common: where they stand, when they came. */
class PublicationEntry extends Entry {
  className = "publication";

  constructor(offset, summary) {
    super();
    this.offset = offset;
    this.summary = summary;
    this.time = new Date();
  }

  content() {
    const time = make("time", "", TIME.format(this.time));
    time.dateTime = this.time.toISOString();
    time.title = "when it came to this page";
    const body = make("div", "body");
    body.append(...this.body());
    return [make("span", "offset", `#${this.offset}`), body, time];
  }

  download(blob, name) {
    const link = make("a", "download", "Download");
    // Never under the type it claims to have: opened in a tab, it would be a page of this site.
    link.href = this.urlOf(new Blob([blob], { type: "application/octet-stream" }));
    link.download = name;
    link.setAttribute("aria-label", `Download ${name}`);
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
  constructor(offset, text, kind) {
    super(offset, text);
    this.text = text;
    this.kind = kind;
    this.size = text.length * 2;
  }

  body() {
    const shown = make("pre", this.kind, this.text.slice(0, TEXT_SHOWN));
    if (this.text.length <= TEXT_SHOWN) return [shown];
    const blob = new Blob([this.text]);
    const name = `publication-${this.offset}.${this.kind === "json" ? "json" : "txt"}`;
    return [shown, this.line(`… ${bytes(blob.size)} in all `, this.download(blob, name))];
  }
}

class BinaryEntry extends PublicationEntry {
  constructor(offset, data) {
    super(offset, `${bytes(data.byteLength)} of binary data`);
    this.size = data.byteLength;
    this.blob = new Blob([data]);
    this.type = imageType(data);
  }

  body() {
    const name = `publication-${this.offset}.${this.type ? this.type.slice("image/".length) : "bin"}`;
    const line = this.line(`${this.type ? "Image" : "Binary"}, ${bytes(this.size)} `, this.download(this.blob, name));
    return this.type ? [this.preview(this.blob, this.type, name), line] : [line];
  }
}

class FileEntry extends PublicationEntry {
  parts = [];
  received = 0;
  stopped = false;

  constructor({ name, size }, offset) {
    super(offset, `file ${name}, ${bytes(size)}`);
    this.name = name;
    this.total = size;
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
    if (this.received < this.total) {
      const rest = this.stopped ? "; the rest did not come" : "";
      return [title, this.line(`${bytes(this.received)} of ${bytes(this.total)}${rest}`)];
    }
    if (this.total > BYTES_KEPT) return [title, this.line(`${bytes(this.total)}, too large to be kept here`)];
    const blob = new Blob(this.parts);
    const line = this.line(`${bytes(this.total)} `, this.download(blob, this.name));
    return this.type ? [title, this.preview(blob, this.type, this.name), line] : [title, line];
  }
}

/** Take the oldest entries out until neither their number nor their bytes are too many; returns them. */
function trim(entries, limit) {
  let kept = entries.reduce((sum, { size }) => sum + size, 0);
  let out = 0;
  while (entries.length - out > limit || (kept > BYTES_KEPT && entries.length - out > 1)) kept -= entries[out++].size;
  return entries.splice(0, out);
}

function entryOf({ kind, offset, data }) {
  if (kind === "binary") return new BinaryEntry(offset, data);
  return new TextEntry(offset, kind === "json" ? JSON.stringify(data, null, 2) : data, kind);
}

/** The file that a publication announces, or null. */
function announcedFile({ kind, data }) {
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
