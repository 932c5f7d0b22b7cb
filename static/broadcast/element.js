/**
 * `<broadcast-listener src="/ws/listener/news/" history="20">`: a stream, heard and shown.
 *
 * Attributes: `src` (required), `history` (so many of the last publications first), `limit` (items kept on the page,
 * 200), `label` (what a screen reader calls it), `token` (a grant for a private stream). The attribute `state`
 * follows the listener's state, for style sheets and scripts.
 *
 * Events: `publication`, `state`, `joined`, each with the detail that `listener.js` gives it. `element.listener` is
 * the listener itself.
 *
 * It needs nothing but this directory: no Django, no style sheet of the page. Colours follow the page's
 * `color-scheme` and the custom properties `--broadcast-…`; it works under `default-src 'self'`. What comes is told
 * to screen readers in one polite sentence every few seconds at most.
 */
import { Listener } from "./listener.js";
import { Log } from "./log.js";
import { count, listenerWords } from "./states.js";

const ANNOUNCE_EVERY = 5000;
const ANNOUNCED_TEXT = 120;

const STYLE = new CSSStyleSheet();
STYLE.replaceSync(`
  :host {
    --ink: var(--broadcast-ink, light-dark(#1a1c20, #e9ebef));
    --muted: var(--broadcast-muted, light-dark(#5d626b, #9ba2ae));
    --card: var(--broadcast-card, light-dark(#ffffff, #1a1d23));
    --line: var(--broadcast-line, light-dark(#e2e0d9, #2d3139));
    --soft: var(--broadcast-soft, light-dark(#f4f3ef, #21252c));
    --brand: var(--broadcast-brand, light-dark(#0d5c63, #66c7c9));
    --live: var(--broadcast-live, light-dark(#d3281c, #ff6f61));
    --warn: var(--broadcast-warn, light-dark(#8f5200, #f0ac4a));
    --good: var(--broadcast-good, light-dark(#17703f, #58c98f));
    --focus: var(--broadcast-focus, light-dark(#1f5fd6, #8db4ff));
    --mono: ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace;
    display: grid;
    grid-template-rows: auto minmax(0, 1fr);
    block-size: var(--broadcast-listener-height, 26rem);
    overflow: hidden;
    color: var(--ink);
    background: var(--card);
    border: 1px solid var(--line);
    border-radius: 0.75rem;
    font-family: inherit;
    font-size: 1rem;
    line-height: 1.5;
  }
  :host([hidden]) { display: none; }
  * { box-sizing: border-box; margin: 0; }

  .status {
    display: grid;
    grid-template-columns: auto minmax(0, 1fr) auto;
    gap: 0 0.75rem;
    align-items: center;
    padding: 0.75rem 1rem;
    border-block-end: 1px solid var(--line);
  }
  .label { font-weight: 650; }
  .detail {
    grid-column: 2;
    min-block-size: 1.4em;
    color: var(--muted);
    font-size: 0.875rem;
    line-height: 1.4;
  }
  .retry { grid-column: 3; grid-row: 1 / 3; }
  .retry[hidden] { display: block; visibility: hidden; }

  .dot {
    inline-size: 0.75rem;
    block-size: 0.75rem;
    border: 2px solid var(--muted);
    border-radius: 50%;
  }
  :host([state="live"]) .dot {
    border-color: var(--live);
    background: var(--live);
    box-shadow: 0 0 0 4px color-mix(in srgb, var(--live) 20%, transparent);
  }
  :host([state="live"]) .label { color: var(--live); }
  :host([state="behind"]) .dot { border-color: var(--warn); background: linear-gradient(90deg, var(--warn) 50%, transparent 50%); }
  :host(:is([state="behind"], [state="reconnecting"])) .label { color: var(--warn); }
  :host([state="reconnecting"]) .dot { border-color: var(--warn); border-style: dashed; }
  :host([state="gone"]) .dot { border-radius: 0; border-color: var(--ink); background: var(--ink); }
  @media (prefers-reduced-motion: no-preference) {
    :host(:is([state="reconnecting"], [state="connecting"])) .dot { animation: turn 2s linear infinite; }
    :host([state="connecting"]) .dot { border-block-start-color: transparent; }
  }
  @keyframes turn { to { rotate: 1turn; } }

  .stage { position: relative; min-block-size: 0; }
  .scroller { block-size: 100%; overflow-y: auto; overscroll-behavior: contain; scrollbar-gutter: stable; }
  .scroller:focus-visible { outline: 3px solid var(--focus); outline-offset: -3px; border-radius: 0 0 0.7rem 0.7rem; }
  .empty { position: absolute; inset: 0; display: grid; place-content: center; padding: 1rem; text-align: center; color: var(--muted); }
  .empty[hidden] { display: none; }

  ol { list-style: none; padding: 0; }
  li { overflow-wrap: anywhere; }
  .publication {
    display: grid;
    grid-template-columns: minmax(3.25rem, auto) minmax(0, 1fr) auto;
    gap: 0 0.75rem;
    align-items: baseline;
    padding: 0.5rem 1rem;
    border-block-end: 1px solid var(--line);
  }
  .offset, time { color: var(--muted); font-size: 0.8125rem; font-variant-numeric: tabular-nums; }
  pre { white-space: pre-wrap; font: inherit; }
  pre.json { padding: 0.5rem 0.75rem; border-radius: 0.375rem; background: var(--soft); font: 0.8125rem/1.5 var(--mono); }
  .file { font-weight: 600; }
  .line { color: var(--muted); font-size: 0.875rem; font-variant-numeric: tabular-nums; }
  .preview {
    display: block;
    block-size: 10rem;
    max-inline-size: 100%;
    margin-block: 0.25rem;
    object-fit: contain;
    object-position: left;
    border-radius: 0.375rem;
  }
  a { color: var(--brand); border-radius: 2px; }
  .note { padding: 0.375rem 1rem; border-block-end: 1px solid var(--line); background: var(--soft); color: var(--muted); font-size: 0.875rem; }
  .note.good { color: var(--good); }
  .note.bad { color: var(--warn); font-weight: 600; }

  button {
    padding: 0.375rem 0.75rem;
    border: 1px solid var(--line);
    border-radius: 999px;
    color: var(--ink);
    background: var(--card);
    font: inherit;
    font-size: 0.875rem;
    cursor: pointer;
  }
  button:hover { border-color: var(--muted); }
  :is(button, a):focus-visible { outline: 3px solid var(--focus); outline-offset: 2px; }
  .newer {
    position: absolute;
    inset-block-end: 0.75rem;
    inset-inline: 0;
    margin-inline: auto;
    inline-size: fit-content;
    color: var(--card);
    background: var(--brand);
    border-color: transparent;
  }
  .newer[hidden] { display: none; }
  .spoken { position: absolute; inline-size: 1px; block-size: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }

  @media (max-width: 30rem) {
    .detail { grid-column: 2 / -1; min-block-size: 2.8em; }
    .retry { grid-row: 1; }
    .publication { grid-template-columns: 1fr auto; padding-inline: 0.75rem; }
    .publication .body { grid-column: 1 / -1; grid-row: 2; }
    .status { padding-inline: 0.75rem; }
  }
`);

const MARKUP = `
  <div class="status" part="status">
    <span class="dot" aria-hidden="true"></span>
    <strong class="label" part="label"></strong>
    <span class="detail" part="detail"></span>
    <button class="retry" type="button" hidden>Try now</button>
  </div>
  <div class="stage">
    <div class="scroller" part="scroller" tabindex="0" role="region"><ol part="publications"></ol></div>
    <p class="empty">Nothing was published yet.</p>
    <button class="newer" type="button" hidden></button>
  </div>
  <p class="spoken" role="status"></p>
`;

export class BroadcastListener extends HTMLElement {
  static observedAttributes = ["src", "token"];

  #listener = null;
  #position = null;
  #log = null;
  #parts = {};
  #announcer = null;
  #clock = null;
  #newer = 0;

  get listener() {
    return this.#listener;
  }

  connectedCallback() {
    if (!this.shadowRoot) this.#build();
    this.#start();
  }

  disconnectedCallback() {
    this.#stop();
  }

  /** Another source is another stream: what was heard of the former one is no position in it. */
  attributeChangedCallback(name, before, now) {
    if (before === now || !this.#listener) return;
    this.#stop();
    if (name === "src") this.#position = null;
    this.#start();
  }

  #build() {
    const root = this.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [STYLE];
    root.innerHTML = MARKUP;
    for (const name of ["label", "detail", "retry", "scroller", "empty", "newer", "spoken"]) {
      this.#parts[name] = root.querySelector(`.${name}`);
    }
    const { retry, scroller, newer, spoken } = this.#parts;
    const limit = number(this.getAttribute("limit"), 200);
    const onrender = (added, wasAtEnd) => this.#rendered(added, wasAtEnd);
    this.#log = new Log(root.querySelector("ol"), scroller, { limit, onrender });
    this.#announcer = new Announcer(spoken);
    scroller.setAttribute("aria-label", this.getAttribute("label") ?? "Publications");
    retry.addEventListener("click", () => this.#listener.retry());
    newer.addEventListener("click", () => this.#showNewest());
    scroller.addEventListener("scroll", () => this.#log.isAtEnd && this.#forgetNewer(), { passive: true });
  }

  #start() {
    const src = this.getAttribute("src");
    if (!src) return;
    const listener = new Listener(src, {
      history: number(this.getAttribute("history"), 0),
      token: this.getAttribute("token") ?? "",
      position: this.#position,
    });
    this.#listener = listener;
    listener.addEventListener("state", ({ detail }) => this.#became(detail));
    listener.addEventListener("joined", ({ detail }) => this.#joined(detail));
    listener.addEventListener("publication", ({ detail }) => this.#heard(detail));
    listener.addEventListener("skipped", ({ detail }) => this.#log.note(skippedWords(detail), "bad"));
    listener.addEventListener("reset", () => this.#log.note("A new recording begins."));
    listener.addEventListener("error", ({ detail }) => this.#log.note(detail.message, "bad"));
    this.#became(listener.state);
    listener.open();
  }

  #stop() {
    clearInterval(this.#clock);
    this.#position = this.#listener?.position ?? null;
    this.#listener?.close();
    this.#listener = null;
  }

  #became(state) {
    if (this.getAttribute("state") !== state.name) this.#announcer.say(listenerWords(state).label);
    this.setAttribute("state", state.name);
    this.#parts.retry.hidden = state.name !== "reconnecting" || state.at === null;
    this.#tell(state);
    clearInterval(this.#clock);
    if (state.at) this.#clock = setInterval(() => this.#tell(state), 250); // the seconds until the next attempt
    this.dispatchEvent(new CustomEvent("state", { detail: state, bubbles: true, composed: true }));
  }

  #tell(state) {
    const { label, detail } = listenerWords(state);
    setText(this.#parts.label, label);
    setText(this.#parts.detail, detail);
  }

  #joined(detail) {
    const [words, kind] = joinedWords(detail);
    if (words) {
      this.#log.note(words, kind);
      this.#announcer.say(words);
    }
    this.dispatchEvent(new CustomEvent("joined", { detail, bubbles: true, composed: true }));
  }

  #heard(publication) {
    this.#log.add(publication);
    this.dispatchEvent(new CustomEvent("publication", { detail: publication, bubbles: true, composed: true }));
  }

  #rendered(added, wasAtEnd) {
    const publications = added.filter(({ offset }) => offset !== undefined);
    if (added.length > 0) this.#parts.empty.hidden = true;
    if (publications.length > 0) this.#announcer.publications(publications.length, publications.at(-1).summary);
    if (wasAtEnd) return;
    this.#newer += publications.length;
    this.#parts.newer.textContent = `${count(this.#newer, "newer publication")} ↓`;
    this.#parts.newer.hidden = this.#newer === 0;
  }

  #showNewest() {
    this.#log.scrollToEnd();
    this.#forgetNewer();
    this.#parts.scroller.focus();
  }

  #forgetNewer() {
    this.#newer = 0;
    this.#parts.newer.hidden = true;
  }
}

/** Tells a screen reader what matters, politely: one sentence every few seconds, however much comes. */
class Announcer {
  #element;
  #sentences = [];
  #publications = 0;
  #newest = "";
  #timer = null;

  constructor(element) {
    this.#element = element;
  }

  say(sentence) {
    this.#sentences = [...this.#sentences.slice(-1), sentence];
    this.#schedule();
  }

  publications(number, newest) {
    this.#publications += number;
    this.#newest = newest;
    this.#schedule();
  }

  #schedule() {
    this.#timer ??= setTimeout(() => this.#speak(), this.#element.textContent ? ANNOUNCE_EVERY : 0);
  }

  #speak() {
    this.#timer = null;
    const newest = this.#newest.slice(0, ANNOUNCED_TEXT);
    const came = { 0: [], 1: [newest] }[this.#publications];
    const parts = [...this.#sentences, ...(came ?? [`${this.#publications} new publications, the newest: ${newest}`])];
    this.#element.textContent = parts.join(". ");
    this.#sentences = [];
    this.#publications = 0;
  }
}

/** What a join means for who was here before, and whether it is good or bad news. */
function joinedWords({ outcome, missed }) {
  if (outcome === "recovered") return ["Connected again. Nothing was lost.", "good"];
  if (outcome === "new-history") {
    return ["Connected again. A new history began: what was sent in between cannot be known.", "bad"];
  }
  if (outcome === "missed") return [`Connected again. Some publications were missed: ${range(missed)}.`, "bad"];
  return ["", ""];
}

function skippedWords(skipped) {
  const number = skipped.to - skipped.from + 1;
  return `${count(number, "publication")} skipped: ${range(skipped)}.`;
}

function range({ from, to }) {
  return from === to ? `#${from}` : `#${from} to #${to}`;
}

function number(text, otherwise) {
  return /^\d+$/.test(text ?? "") ? Number(text) : otherwise;
}

/** Only what changed: a text that is set anew is a text that is selected no more. */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Under hashed file names a page may meet this module twice.
if (!customElements.get("broadcast-listener")) customElements.define("broadcast-listener", BroadcastListener);
