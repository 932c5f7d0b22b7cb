/**
 * `<broadcast-listener src="/ws/listener/news/" history="20">`: a stream, heard and shown.
 *
 * Attributes, each a property of that name too:
 * - `src`: the listener socket, absolute or relative to the page, `https:` or `wss:`;
 * - `history`: so many of the last publications first;
 * - `token`: a grant for a private stream; it goes out as a sub-protocol, and so into no access log;
 * - `limit`: items kept on the page, 200;
 * - `label`: what a screen reader calls the list;
 * - `lang`: the language it speaks, and with it all that scripts say on the page, see `language.js`;
 * - `media`: it shows video and sound; without it, it finds that out from what comes, and changes its size then;
 * - `paused`: the list stands still, and what comes waits; a picture stands still, and goes on live.
 * The attribute `state` follows the listener's state, for style sheets. A `<template>` in the element says how an item
 * looks, see `item.js`.
 *
 * Methods: `open()` connects now, after it was over again; `close()`; `clear()` empties the list. `position` is
 * `{epoch, offset}` of the last publication, `listener` the `Listener` behind it all.
 *
 * Events, which bubble:
 * - `publication` {offset, data, kind, header}, see `listener.js`, once for each and in order; `preventDefault()`
 *   keeps it out of the list;
 * - `state` {name, label, text, …}: the name as in `listener.js`, and a word or two and a sentence for a person;
 * - `joined`, `skipped` {from, to}, as in `listener.js`.
 *
 * It needs nothing but this directory: no Django, no style sheet of the page. Colours follow the page's
 * `color-scheme` and the custom properties `--broadcast-…`; it works under `default-src 'self'`. What comes is told
 * to screen readers in one polite sentence every few seconds at most. Taken out of the page it closes its socket, and
 * put in again it goes on where it was.
 */
import { Announcer } from "./announcer.js";
import { reflect } from "./attributes.js";
import { itemOf, removeItems } from "./item.js";
import { buildView } from "./view.js";
import { Listener } from "../socket/listener.js";
import { isPublication, Log } from "./log.js";
import { isMediaType, readHeader } from "../video/media.js";
import { PlayerView } from "../video/player-view.js";
import { joinedWords, listenerWords, pictureWords, skippedWords } from "../socket/states.js";
import { say, sayCount, sayServer } from "../socket/language.js";

const LIMIT = 200;
const COUNTDOWN = 250; // milliseconds between two looks at the seconds until the next attempt

const TEXTS = ["src", "token", "label"];
const NUMBERS = { history: 0, limit: LIMIT };
const SWITCHES = ["paused", "media"];

export class BroadcastListener extends HTMLElement {
  static observedAttributes = ["src", "token", "label", "limit", ...SWITCHES];

  #listener = null;
  #hearing = null; // the source that the listener is for; null: none
  #source = null; // that of the position
  #position = null;
  #left = null; // the position that was given up to begin again at the newest
  #contentType = null;
  #view = null; // of the picture
  #log;
  #parts;
  #announcer;
  #forgetting = null; // aborted, a former listener tells nothing any more
  #countdown = null;
  #settling = false;
  #newer = 0;

  constructor() {
    super();
    this.#parts = buildView(this.attachShadow({ mode: "open" }));
    const { list, scroller, retry, pause, newer, spoken } = this.#parts;
    this.#log = new Log(list, scroller, {
      limit: LIMIT,
      look: (entry) => itemOf(this, entry),
      onrender: (added, wasAtEnd) => this.#rendered(added, wasAtEnd),
      onwait: (number) => this.#tellNewer(number),
    });
    this.#announcer = new Announcer((text) => setText(spoken, this.#isAlone ? text : `${this.label}: ${text}`));
    retry.addEventListener("click", () => this.open());
    pause.addEventListener("click", () => (this.paused = !this.paused));
    newer.addEventListener("click", () => this.#showNewest());
    scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
  }

  // -- what a page sees of it

  get listener() {
    return this.#listener;
  }

  /** `{epoch, offset}` of the last publication that came or was skipped; null before anything was heard. */
  get position() {
    return this.#listener?.position ?? this.#position;
  }

  /** Connect now: instead of later, or again when it is over. Nothing when it is connected. */
  open() {
    if (!this.isConnected) return;
    if (!this.#listener || ["gone", "closed"].includes(this.#listener.state.name)) this.#start();
    else this.#listener.retry();
  }

  /** Leave the stream until `open()`. */
  close() {
    if (this.#isResting) this.#became({ name: "closed" });
    else this.#listener?.close();
  }

  clear() {
    this.#log.clear();
    this.#parts.empty.hidden = false;
    this.#forgetNewer();
  }

  // -- what the page does with it

  connectedCallback() {
    if (!this.#listener) this.#upgrade();
    this.#settleSoon();
  }

  disconnectedCallback() {
    this.#settleSoon();
  }

  attributeChangedCallback(name, before, now) {
    if (before === now) return;
    if (name === "label") this.#parts.scroller.setAttribute("aria-label", this.label || say("Publications"));
    else if (name === "limit") this.#log.limit = this.limit;
    else if (name === "paused") this.#pause(now !== null);
    else if (name === "media") this.#showPicture();
    else this.#settleSoon();
  }

  /** Take over properties that were set before this class was there, and the items of a clone. */
  #upgrade() {
    removeItems(this);
    for (const name of [...TEXTS, ...Object.keys(NUMBERS), ...SWITCHES]) {
      if (!Object.hasOwn(this, name)) continue;
      const value = this[name];
      delete this[name];
      this[name] = value;
    }
  }

  /** Once for all that changes together: who moves in the page stays connected, who gets a token too connects once. */
  #settleSoon() {
    if (this.#settling) return;
    this.#settling = true;
    queueMicrotask(() => {
      this.#settling = false;
      this.#settle();
    });
  }

  #settle() {
    const wanted = this.isConnected ? JSON.stringify([this.src, this.token]) : null;
    if (wanted === this.#hearing) {
      this.#view?.player.resume(); // who moves in the page is stopped by the browser
      return;
    }
    this.#hearing = wanted;
    if (wanted) this.#start();
    else this.#stop();
  }

  #start() {
    this.#forget();
    this.#view?.connect();
    if (this.#source !== this.src) this.#change(this.src);
    if (!this.src) {
      this.#became({ name: "gone", reason: say("This listener was given no address: src is missing.") });
      return;
    }
    this.#hear();
    this.#became(this.#listener.state);
  }

  #hear() {
    const { token } = this;
    const history = this.media ? 0 : this.history; // a picture begins at the newest entry point
    this.#listener = new Listener(this.src, { history, token, position: this.#position });
    this.#follow(this.#listener);
    this.#listener.open();
  }

  /** Start again at the newest position: older data is no longer live. */
  #hearLive() {
    this.#leave();
    this.#hear();
  }

  #leave() {
    this.#forget();
    this.#left = this.#position ?? this.#left;
    this.#position = null;
  }

  /** Another source is another stream: what was heard of the former one is no position in it. */
  #change(source) {
    if (this.#source) this.clear();
    this.#view?.player.stop();
    this.#source = source;
    this.#position = this.#left = null;
  }

  #follow(listener) {
    this.#forgetting = new AbortController();
    const heard = {
      state: (detail) => this.#became(detail),
      joined: (detail) => this.#joined(detail),
      publication: (detail) => this.#heard(detail),
      skipped: (detail) => this.#skipped(detail),
      reset: () => this.#reset(),
      error: ({ message }) => this.#complained(message),
    };
    for (const [name, tell] of Object.entries(heard)) {
      listener.addEventListener(name, ({ detail }) => tell(detail), { signal: this.#forgetting.signal });
    }
  }

  /** Out of the page. */
  #stop() {
    this.#listener?.close();
    this.#forget();
    this.#view?.disconnect();
    this.#announcer.stop();
  }

  #forget() {
    clearInterval(this.#countdown);
    this.#forgetting?.abort();
    this.#position = this.position;
    this.#listener?.close();
    this.#listener = null;
  }

  // -- what the listener tells

  #became(state) {
    const { label, detail: text } = this.#words(state);
    if (this.getAttribute("state") !== state.name && state.name !== "connecting") this.#announcer.say(label);
    this.setAttribute("state", state.name);
    this.#showRetry(state);
    this.#view?.connection(state.name);
    this.#tell(state);
    clearInterval(this.#countdown);
    if (state.at) this.#countdown = setInterval(() => this.#tell(state), COUNTDOWN);
    this.#emit("state", { ...state, label, text });
  }

  #showRetry(state) {
    const { retry } = this.#parts;
    retry.hidden = !(state.name === "reconnecting" && state.at !== null) && !["gone", "closed"].includes(state.name);
    setText(retry, state.name === "reconnecting" ? say("Try now") : say("Try again"));
  }

  #tell(state) {
    const { label, detail } = this.#words(state);
    setText(this.#parts.label, label);
    setText(this.#parts.detail, detail);
  }

  #words(state) {
    return this.media ? pictureWords(state) : listenerWords(state);
  }

  #joined(detail) {
    this.#contentType = detail.contentType;
    if (isMediaType(detail.contentType)) this.media = true;
    if (detail.outcome !== "recovered") this.#view?.player.interrupt();
    this.#tellLeft(detail);
    const [words, kind] = joinedWords(detail);
    if (words) {
      this.#log.note(words, kind);
      this.#announcer.say(words);
    }
    this.#emit("joined", detail);
  }

  /** The gap between the position that was given up and the one that was joined at. */
  #tellLeft({ epoch, offset }) {
    const left = this.#left;
    this.#left = null;
    if (left?.epoch === epoch && offset > left.offset) this.#emit("skipped", { from: left.offset + 1, to: offset });
  }

  #heard(publication) {
    const { kind, header, data } = publication;
    if (!this.#emit("publication", publication, { cancelable: true })) return;
    if (header && kind === "binary" && !this.media && readHeader(data)) this.media = true;
    if (!this.media) this.#log.add(publication);
    else if (kind === "binary") this.#view.feed(publication, this.position.epoch, this.#contentType);
  }

  #skipped(detail) {
    this.#log.note(skippedWords(detail), "bad");
    this.#view?.player.interrupt();
    this.#emit("skipped", detail);
  }

  #reset() {
    this.#log.note(say("A new recording begins."));
    this.#view?.player.interrupt();
  }

  /** Why a listener is not let in, its state says. */
  #complained(message) {
    if (this.#listener.isJoined) this.#log.note(sayServer(message, "The server did not take what was sent."), "bad");
  }

  /** False: somebody prevented what would be done. */
  #emit(name, detail, options = {}) {
    return this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true, ...options }));
  }

  // -- the picture

  /** From now on it shows what is published as a picture. */
  #showPicture() {
    if (!this.media || this.#view) return;
    this.#view = new PlayerView(this.shadowRoot, this.#parts.stage, {
      late: () => this.#hearLive(),
      rest: () => this.#goToRest(),
      wake: () => this.#isResting && this.#hearLive(),
      hold: (held) => (this.paused = held),
    });
    if (!this.#listener) return;
    this.#view.connect();
    this.#became(this.#listener.state);
  }

  #goToRest() {
    if (!this.#listener || ["gone", "closed"].includes(this.#listener.state.name)) return;
    this.#leave();
    this.#became({ name: "resting" });
  }

  get #isResting() {
    return this.getAttribute("state") === "resting";
  }

  // -- the list

  #rendered(added, wasAtEnd) {
    const publications = added.filter(isPublication);
    if (added.length > 0) this.#parts.empty.hidden = true;
    if (publications.length > 0) this.#announcer.publications(publications.length, publications.at(-1).spoken);
    if (wasAtEnd) this.#forgetNewer();
    else this.#tellNewer(this.#newer + publications.length);
  }

  #pause(paused) {
    this.#view?.hold(paused);
    this.#log.paused = paused;
    this.#parts.pause.setAttribute("aria-pressed", paused);
    if (!paused) this.#forgetNewer();
  }

  #tellNewer(number) {
    this.#newer = number;
    const { newer } = this.#parts;
    setText(newer, this.#newerWords(number));
    newer.hidden = number === 0;
    if (number > 0) this.#parts.empty.hidden = true;
  }

  #newerWords(number) {
    if (this.paused) return sayCount(number, "{count} newer publication, paused ↓", "{count} newer publications, paused ↓");
    return sayCount(number, "{count} newer publication ↓", "{count} newer publications ↓");
  }

  #showNewest() {
    this.paused = false;
    this.#log.scrollToEnd();
    this.#forgetNewer();
    this.#parts.scroller.focus();
  }

  #scrolled() {
    if (this.#log.isAtEnd && !this.paused) this.#forgetNewer();
  }

  #forgetNewer() {
    this.#newer = 0;
    this.#parts.newer.hidden = true;
  }

  get #isAlone() {
    return !this.label || document.querySelectorAll("broadcast-listener").length === 1;
  }
}

reflect(BroadcastListener.prototype, { texts: TEXTS, numbers: NUMBERS, switches: SWITCHES });

/** Set only what changed: setting a text again drops its selection. */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Under hashed file names a page may meet this module twice.
if (!customElements.get("broadcast-listener")) customElements.define("broadcast-listener", BroadcastListener);
