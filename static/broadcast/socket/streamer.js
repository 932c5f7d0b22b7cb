/**
 * Feeds one stream under `broadcast.v1`, as one run.
 *
 * It promises that each publication stands in the stream exactly once and in order, across any number of reconnects:
 * the publications of a run are counted from 1, what the server has not accepted is kept and sent again from where
 * `ready.accepted` says, each with the mark or reset that precedes it. When the server lost its memory, what was
 * accepted before stays in the past; the rest goes on in the new history.
 *
 * It promises not to flood: a send waits while the socket's buffer is above a limit, or while too much is unaccepted.
 * `await streamer.send(…)` resolves with the publication's number when it was handed over; whoever does not await
 * keeps the memory that waits.
 *
 * Events, each with a `detail`:
 * - `ready` {stream, epoch, offset, newHistory}: the server takes publications now;
 * - `accepted` {accepted, offset}: so many of the run are in the stream;
 * - `listeners` {count}; `error` {message};
 * - `state` {name}, as the property `state`: "connecting", "live" (the server takes publications), "reconnecting" (with
 *   `reason`, `seconds`, `at`), "gone" (will not come back, with `reason`), "closed".
 */
import { socketURL } from "./connection.js";
import { StreamSocket } from "./stream.js";
import { uuid } from "./uuid.js";
import { say, text } from "./language.js";

const KIB = 1024;
const MIB = 1024 * KIB;
const BUFFER_CHECK = 20; // milliseconds: a WebSocket does not tell when its buffer drained
const MARKS = ["header", "entry"];

export class Streamer extends StreamSocket {
  #src;
  #run;
  #limits;
  #clock;
  #ready = false;
  #epoch = null;
  #offset = null;
  #listeners = 0;
  #count = 0; // publications given to this streamer
  #accepted = 0; // how many of them are in the stream
  #reached = 0; // how many of them were ever handed to a socket
  #base = null; // our count minus the server's count of the run
  #items = []; // not accepted yet, oldest first
  #sent = 0; // how many of #items were handed to this connection
  #sentBytes = 0;
  #controls = []; // marks and resets that precede the publication to come
  #controlsSent = 0; // how many of the next item's were handed to this connection
  #timer = null;
  #settling = [];

  /**
   * Whether what was not accepted when a new history begins is dropped instead of sent again: the rest of a recording
   * is of no use to anybody when its beginning is gone.
   */
  perishable = false;

  /**
   * `src`: the streamer socket, e.g. "/ws/streamer/news/". Options:
   * - `run`: a UUID that names this run;
   * - `token`: a grant to publish;
   * - `frameLimit`: bytes of a frame that the server accepts;
   * - `bufferLimit`: bytes waiting in the socket above which a send waits;
   * - `unacceptedLimit`, `unacceptedBytes`: how much may be under way without the server having accepted it;
   * - what `Connection` takes.
   */
  constructor(src, options = {}) {
    const { run = uuid(), token = "", frameLimit = MIB, bufferLimit = MIB, ...rest } = options;
    const { unacceptedLimit = 1000, unacceptedBytes = 16 * MIB, ...connection } = rest;
    super(() => this.#url(), token, connection);
    this.#src = src;
    this.#run = run;
    this.#limits = { frame: frameLimit, buffer: bufferLimit, items: unacceptedLimit, bytes: unacceptedBytes };
    this.#clock = connection.clock ?? globalThis;
  }

  get run() {
    return this.#run;
  }

  /** `{epoch, offset}` of the stream when it last told; null before the first `ready`. */
  get position() {
    return this.#epoch === null ? null : { epoch: this.#epoch, offset: this.#offset };
  }

  get listeners() {
    return this.#listeners;
  }

  /** How many publications were given to this streamer. */
  get count() {
    return this.#count;
  }

  /** How many of them are in the stream. */
  get accepted() {
    return this.#accepted;
  }

  /** Bytes that one publication may have. */
  get frameLimit() {
    return this.#limits.frame;
  }

  /** Bytes that were given to this streamer and are not in the stream. */
  get unacceptedBytes() {
    return this.#items.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** Publish a text. RangeError: it is larger than the server accepts. Error: the streamer is gone. */
  async send(text) {
    return this.#publish(publicationFrame(String(text)));
  }

  /** Publish any value that JSON knows; a string is a text. */
  async sendJSON(value) {
    if (JSON.stringify(value) === undefined) throw new TypeError("this value has no JSON");
    return this.#publish(publicationFrame(value));
  }

  /** Publish bytes: a Blob, an ArrayBuffer or a view of one. They are copied: the caller may use its buffer again. */
  async sendBinary(data) {
    return this.#publish(data instanceof Blob ? data : copy(data));
  }

  /** The next publication is the stream's `"header"`, or an `"entry"` point. */
  mark(as) {
    if (!MARKS.includes(as)) throw new TypeError(`a mark is one of ${MARKS.join(", ")}`);
    this.#control({ event: "mark", as });
  }

  /** A new recording begins with the next publication: header and entry points are forgotten. */
  reset() {
    this.#control({ event: "reset" });
  }

  /** Resolves when everything that was given to this streamer so far is in the stream. */
  settled() {
    if (this.#accepted >= this.#count) return Promise.resolve();
    if (this._connection.isOver) return Promise.reject(this.#over());
    return new Promise((resolve, reject) => this.#settling.push({ number: this.#count, resolve, reject }));
  }

  /**
   * Publish a file in binary chunks; resolves when the stream has all of it. `onprogress` is called with
   * `{sent, accepted, total}` in bytes. Aborting `signal` rejects at once: no further chunk is sent, what was stays.
   */
  async sendFile(file, { chunkSize = 64 * KIB, onprogress = () => {}, signal } = {}) {
    const progress = new FileProgress(file.size, onprogress);
    const follow = () => progress.follow(this.#accepted);
    const aborted = abortion(signal);
    this.addEventListener("accepted", follow);
    try {
      for (let start = 0; start < file.size; start += chunkSize) {
        const chunk = await Promise.race([aborted, file.slice(start, start + chunkSize).arrayBuffer()]);
        progress.handed(await Promise.race([aborted, this.#publish(chunk)]), chunk.byteLength);
      }
      await Promise.race([aborted, this.settled()]);
      follow();
    } finally {
      this.removeEventListener("accepted", follow);
    }
  }

  #url() {
    return socketURL(this.#src, { run: this.#run });
  }

  // -- what is to be sent

  #publish(frame) {
    const bytes = size(frame);
    if (bytes > this.#limits.frame) {
      return Promise.reject(new RangeError(say("{bytes} bytes are more than the {most} of one publication", { bytes, most: this.#limits.frame })));
    }
    if (this._connection.isOver) return Promise.reject(this.#over());
    const item = { number: ++this.#count, controls: this.#controls, frame, bytes };
    this.#controls = [];
    this.#items.push(item);
    return new Promise((resolve, reject) => {
      Object.assign(item, { resolve, reject });
      this.#pump();
    });
  }

  #control(event) {
    this.#controls.push(JSON.stringify(event));
    this.#pump();
  }

  /** Hand over as much as may be under way now. Called again by whatever may have made room. */
  #pump() {
    this.#clock.clearTimeout(this.#timer);
    while (this.#ready && this.#sent < this.#items.length && this.#hasRoom()) {
      if (this._connection.bufferedAmount > this.#limits.buffer) {
        this.#timer = this.#clock.setTimeout(() => this.#pump(), BUFFER_CHECK);
        return;
      }
      this.#handOver(this.#items[this.#sent]);
    }
    // With nothing before it, a reset is told at once: it also ends a recording that nothing follows.
    if (this.#ready && this.#sent === this.#items.length) this.#sendControls(this.#controls);
  }

  #hasRoom() {
    const { items, bytes } = this.#limits;
    const next = this.#items[this.#sent];
    return this.#sent === 0 || (this.#sent < items && this.#sentBytes + next.bytes <= bytes);
  }

  #handOver(item) {
    this.#sendControls(item.controls);
    this.#controlsSent = 0;
    this._connection.send(item.frame);
    this.#sent += 1;
    this.#sentBytes += item.bytes;
    this.#reached = Math.max(this.#reached, item.number);
    item.resolve(item.number);
  }

  #sendControls(controls) {
    while (this.#controlsSent < controls.length) this._connection.send(controls[this.#controlsSent++]);
  }

  // -- what the server says

  _receiveBinary() {
    this._complain(text("The server sent a binary frame to a streamer."));
  }

  _receiveEvent(event) {
    switch (event?.event) {
      case "ready":
        return this.#begin(event);
      case "accepted":
        this.#offset = event.offset;
        return this.#advance(this.#base + event.accepted);
      case "listeners":
        this.#listeners = event.count;
        return this._emit("listeners", { count: event.count });
    }
  }

  #begin({ stream, epoch, offset, accepted }) {
    const newHistory = this.#epoch !== null && this.#epoch !== epoch;
    if (newHistory && this.perishable) this.#dropUnaccepted();
    const known = this.#base + accepted;
    // A server that knows less than it accepted, or more than it was ever sent, counts from somewhere else.
    if (this.#base === null || known < this.#accepted || known > this.#reached) this.#base = this.#accepted - accepted;
    this.#epoch = epoch;
    this.#offset = offset;
    this.#sent = this.#sentBytes = this.#controlsSent = 0;
    this.#ready = true;
    this._become({ name: "live" });
    this._emit("ready", { stream, epoch, offset, newHistory });
    this.#advance(this.#base + accepted);
  }

  #dropUnaccepted() {
    const error = new Error(say("A new history began."));
    for (const { reject } of this.#items.splice(0)) reject(error); // nothing to those handed over
    this.#controls = [];
    this.#accepted = this.#count;
  }

  #advance(accepted) {
    const done = this.#items.splice(0, accepted - this.#accepted);
    for (const item of done) {
      if (this.#sent > 0) {
        this.#sent -= 1;
        this.#sentBytes -= item.bytes;
      }
      item.resolve(item.number);
    }
    this.#accepted += done.length;
    if (done.length > 0) this._emit("accepted", { accepted: this.#accepted, offset: this.#offset });
    while (this.#settling[0]?.number <= this.#accepted) this.#settling.shift().resolve();
    this.#pump();
  }

  _left(state) {
    this.#ready = false;
    super._left(state);
    if (this._connection.isOver) this.#rejectAll();
  }

  #rejectAll() {
    this.#clock.clearTimeout(this.#timer);
    const error = this.#over();
    for (const { reject } of [...this.#items, ...this.#settling]) reject(error); // nothing to those handed over
    this.#settling = [];
  }

  #over() {
    return new Error(this.state.reason ?? say("This streamer was closed."));
  }
}

/** How much of a file was handed over and accepted, its chunks being some of the publications of a run. */
class FileProgress {
  #total;
  #onprogress;
  #sent = 0;
  #accepted = 0;
  #chunks = []; // {number, bytes} handed over, not accepted

  constructor(total, onprogress) {
    this.#total = total;
    this.#onprogress = onprogress;
  }

  handed(number, bytes) {
    this.#sent += bytes;
    this.#chunks.push({ number, bytes });
    this.#tell();
  }

  follow(accepted) {
    while (this.#chunks[0]?.number <= accepted) this.#accepted += this.#chunks.shift().bytes;
    this.#tell();
  }

  #tell() {
    this.#onprogress({ sent: this.#sent, accepted: this.#accepted, total: this.#total });
  }
}

/** A promise that rejects when `signal` is aborted, and otherwise never settles. */
function abortion(signal) {
  const aborted = new Promise((_, reject) => {
    if (signal?.aborted) reject(signal.reason);
    signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
  aborted.catch(() => {}); // it may come when nobody waits any more
  return aborted;
}

/** Half a surrogate pair, which JSON writes as an escape, is no Unicode: a server has to refuse it. */
function publicationFrame(data) {
  const frame = JSON.stringify({ event: "publication", data });
  return frame.replace(/(?<!\\)((?:\\\\)*)\\ud[89a-f][0-9a-f]{2}/g, "$1\ufffd");
}

function size(frame) {
  if (typeof frame === "string") return new TextEncoder().encode(frame).byteLength;
  return frame instanceof Blob ? frame.size : frame.byteLength;
}

function copy(data) {
  if (data instanceof ArrayBuffer) return data.slice(0);
  return data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength);
}
