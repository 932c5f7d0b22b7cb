/**
 * Hears one stream under `broadcast.v1`.
 *
 * It promises each publication exactly once and in order, across any number of reconnects, or to say what is missing:
 * it keeps its position (epoch and offset), resumes after it, drops what it has heard before, and reports every gap.
 *
 * Events, each with a `detail`:
 * - `joined` {stream, epoch, offset, live, contentType, outcome, missed}: the socket is in. The outcome is
 *   "first" (nothing was heard before), "recovered" (all that was missed follows),
 *   "missed" (publications `missed.from`–`missed.to` are gone), or
 *   "new-history" (the server began a new history: what was missed in the old one cannot be known);
 * - `publication` {offset, data, kind, header}: kind "text" (a string), "json" (any value) or "binary" (a Uint8Array);
 * - `skipped` {from, to}: these offsets will not come;
 * - `live`, `idle`: a streamer came, went; `reset`: a new recording, its header follows;
 * - `error` {message}: the server complained, or said something that is not `broadcast.v1`;
 * - `state` {name}, as the property `state`: "connecting", "live", "idle" (waiting for the streamer), "behind" (with
 *   `missing`: how many publications are known to be still under way), "reconnecting" (with `reason`, `seconds`, `at`),
 *   "gone" (will not come back, with `reason`), "closed".
 */
import { socketURL } from "./connection.js";
import { StreamSocket } from "./stream.js";
import { text } from "./language.js";

const OFFSET_BYTES = 8;

export class Listener extends StreamSocket {
  #src;
  #history;
  #epoch = null;
  #offset = null;
  #expected = 0; // the newest offset that is known to exist: below it, this listener is behind
  #header = null; // the offset of the header that was heard
  #headerNext = null; // the offset that the server just said is a header
  #begins = false; // whether this is a newcomer of a media stream that was handed none of its segments yet
  #joined = false;
  #live = false;

  /**
   * `src`: the listener socket, e.g. "/ws/listener/news/". Options:
   * - `history`: so many of the last publications come first, to a newcomer;
   * - `position`: `{epoch, offset}` to resume after;
   * - `token`: a grant for a private stream;
   * - what `Connection` takes.
   */
  constructor(src, { history = 0, position = null, token = "", ...options } = {}) {
    super(() => this.#url(), token, options);
    this.#src = src;
    this.#history = history;
    this.#epoch = position?.epoch ?? null;
    this.#offset = position?.offset ?? null;
  }

  /** `{epoch, offset}` of the last publication that came or was skipped; null before the first `joined`. */
  get position() {
    return this.#epoch === null ? null : { epoch: this.#epoch, offset: this.#offset };
  }

  /** Whether it was let in and is connected. */
  get isJoined() {
    return this.#joined;
  }

  /** Somebody who knows tells that the stream has reached this position: until it is heard, the listener is behind. */
  expect({ epoch, offset }) {
    if (epoch !== this.#epoch) return;
    this.#expected = Math.max(this.#expected, offset);
    this.#refreshState();
  }

  /**
   * With a position, the history is asked for too: it is for the case that the position is no longer known. Who
   * waits for a place to begin at goes on waiting: what follows its position may be the middle of a segment.
   */
  #url() {
    const parameters = this.#history > 0 ? { history: this.#history } : {};
    if (this.position && !this.#begins) Object.assign(parameters, { epoch: this.#epoch, since: this.#offset });
    return socketURL(this.#src, parameters);
  }

  _receiveEvent(event) {
    switch (event?.event) {
      case "joined":
        return this.#join(event);
      case "publication":
        return this.#hear(event.offset, event.data, typeof event.data === "string" ? "text" : "json");
      case "header":
        this.#headerNext = event.offset;
        return;
      case "skipped":
        return this.#skip(event.from, event.to);
      case "live":
      case "idle":
        return this.#streamerIs(event.event);
      case "reset":
        return this._emit("reset");
    }
  }

  _receiveBinary(frame) {
    if (frame.byteLength < OFFSET_BYTES) {
      this._complain(text("The server sent a binary frame without an offset."));
      return;
    }
    const offset = Number(new DataView(frame).getBigUint64(0));
    this.#hear(offset, new Uint8Array(frame, OFFSET_BYTES), "binary");
  }

  #join({ stream, epoch, offset, live, recovered, content_type: contentType = null }) {
    const before = this.position;
    const outcome = this.#outcome(before, epoch, offset, recovered);
    const missed = outcome === "missed" ? { from: before.offset + 1, to: offset } : null;
    if (outcome !== "recovered") {
      this.#offset = offset;
      this.#begins = contentType !== null;
    }
    if (epoch !== this.#epoch) {
      this.#header = null;
      this.#expected = 0;
    }
    this.#epoch = epoch;
    this.#headerNext = null;
    this.#joined = true;
    this.#live = live;
    this.#refreshState();
    this._emit("joined", { stream, epoch, offset, live, contentType, outcome, missed });
  }

  #outcome(before, epoch, offset, recovered) {
    if (before === null) return "first";
    if (before.epoch !== epoch || offset < before.offset) return "new-history";
    return recovered || offset === before.offset ? "recovered" : "missed";
  }

  #hear(offset, data, kind) {
    const header = this.#headerNext === offset;
    this.#headerNext = null;
    if (offset <= this.#offset) {
      // A newcomer's header is older than where it starts. Anything else this old was heard before.
      if (!header || this.#header === offset) return;
    } else {
      if (offset > this.#offset + 1) this.#skip(this.#offset + 1, offset - 1);
      this.#offset = offset;
    }
    if (header) this.#header = offset;
    else this.#begins = false;
    if (this.state.name === "behind") this.#refreshState();
    this._emit("publication", { offset, data, kind, header });
  }

  #skip(from, to) {
    if (to <= this.#offset) return;
    const first = Math.max(from, this.#offset + 1);
    this.#offset = to;
    this.#refreshState();
    this._emit("skipped", { from: first, to });
  }

  #streamerIs(name) {
    this.#live = name === "live";
    this.#refreshState();
    this._emit(name);
  }

  _left(state) {
    this.#joined = false;
    super._left(state);
  }

  #refreshState() {
    if (!this.#joined) return;
    const missing = Math.max(0, this.#expected - this.#offset);
    const name = missing > 0 ? "behind" : this.#live ? "live" : "idle";
    if (name !== this.state.name) this._become(name === "behind" ? { name, missing } : { name });
  }
}
