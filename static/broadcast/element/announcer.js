/**
 * Tells a screen reader what matters, politely: one sentence every few seconds, however much comes.
 *
 * The list of publications itself is no live region. A `role="log"` would be read item by item, and a stream of some
 * speed would never let its listener go.
 */
import { sayCount, text } from "../socket/language.js";

const EVERY = 5000; // milliseconds from one sentence to the next
const EXCERPT = 120; // characters of a publication

const CLOCK = {
  now: () => Date.now(),
  setTimeout: (callback, delay) => globalThis.setTimeout(callback, delay),
  clearTimeout: (timer) => globalThis.clearTimeout(timer),
};

export class Announcer {
  #speak;
  #clock;
  #sentences = [];
  #publications = 0;
  #newest = "";
  #timer = null;
  #spokenAt = -Infinity;

  /** `speak(text)` is called with what is to be said: the text of a live region. */
  constructor(speak, clock = CLOCK) {
    this.#speak = speak;
    this.#clock = clock;
  }

  /** News of the connection. Of several that wait, the last two are told. */
  say(sentence) {
    this.#sentences = [...this.#sentences.slice(-1), sentence];
    this.#schedule();
  }

  /** So many publications came, the newest with this text. */
  publications(number, newest) {
    this.#publications += number;
    this.#newest = newest;
    this.#schedule();
  }

  /** Forget what was not said yet. */
  stop() {
    this.#clock.clearTimeout(this.#timer);
    this.#timer = null;
    this.#forget();
  }

  #schedule() {
    // Never at once: what comes together, as history does, is told together.
    const delay = Math.max(0, this.#spokenAt + EVERY - this.#clock.now());
    this.#timer ??= this.#clock.setTimeout(() => this.#tell(), delay);
  }

  #tell() {
    this.#timer = null;
    this.#spokenAt = this.#clock.now();
    const parts = [...this.#sentences, ...this.#summary()];
    this.#forget();
    this.#speak(parts.map((part) => part.replace(/[.\s]+$/, "")).join(". "));
  }

  #summary() {
    const newest = excerpt(this.#newest);
    if (this.#publications === 0) return [];
    if (this.#publications === 1) return [newest];
    const words = text("{count} new publications, the newest: {newest}");
    return [sayCount(this.#publications, words, words, { newest })];
  }

  #forget() {
    this.#sentences = [];
    this.#publications = 0;
  }
}

function excerpt(text) {
  const characters = [...text.slice(0, 2 * (EXCERPT + 1))]; // no more than it takes: a text may be long
  return characters.length > EXCERPT ? `${characters.slice(0, EXCERPT).join("")}…` : text;
}
