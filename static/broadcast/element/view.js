/**
 * The look of a `<broadcast-listener>`: its style sheet and its markup, inside its shadow root.
 *
 * A page changes it from outside with the custom properties `--broadcast-…` and with `::part(…)`.
 */
import { say } from "../socket/language.js";

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
    container-type: inline-size; /* its own width counts, not that of the page */
    min-inline-size: min(100%, 16rem);
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
    text-align: start; /* also in a page whose texts are centred */
  }
  :host([hidden]) { display: none; }
  * { box-sizing: border-box; margin: 0; }

  .status {
    display: grid;
    grid-template-columns: auto minmax(0, 1fr) auto auto;
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
  .pause { grid-column: 4; grid-row: 1 / 3; display: grid; place-content: center; inline-size: 2.25rem; block-size: 2.25rem; padding: 0; }
  .pause::before { content: ""; inline-size: 0.625rem; block-size: 0.75rem; border: solid currentColor; border-width: 0 0.1875rem; }
  .pause[aria-pressed="true"] { color: var(--card); background: var(--brand); }
  .pause[aria-pressed="true"]::before { margin-inline-start: 0.1875rem; border-color: transparent; border-inline-start-color: currentColor; border-width: 0.375rem 0 0.375rem 0.625rem; inline-size: 0; block-size: 0; }

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
  :host(:not([state="live"], [state="idle"])) .empty { visibility: hidden; } /* who does not hear cannot know */

  ol { list-style: none; padding: 0; }
  li { overflow-wrap: anywhere; }
  ::slotted(li) { padding: 0.5rem 1rem; border-block-end: 1px solid var(--line); overflow-wrap: anywhere; }
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

  @container (max-width: 26rem) {
    .detail { grid-column: 2 / -1; min-block-size: 2.8em; }
    .retry, .pause { grid-row: 1; }
    .retry[hidden] { display: none; } /* where it is shown, the label is short */
    .publication { grid-template-columns: 1fr auto; padding-inline: 0.75rem; }
    .publication .body { grid-column: 1 / -1; grid-row: 2; }
    .status { padding-inline: 0.75rem; }
  }
`);

const markup = () => `
  <div class="status" part="status">
    <span class="dot" aria-hidden="true"></span>
    <strong class="label" part="label"></strong>
    <span class="detail" part="detail"></span>
    <button class="retry" type="button" hidden>${say("Try now")}</button>
    <button class="pause" type="button" aria-pressed="false" aria-label="${say("Pause the list")}" title="${say("Pause the list")}"></button>
  </div>
  <div class="stage">
    <div class="scroller" part="scroller" tabindex="0" role="region" aria-label="${say("Publications")}">
      <ol class="list" part="publications"></ol>
    </div>
    <p class="empty">${say("Nothing was published yet.")}</p>
    <button class="newer" type="button" hidden></button>
  </div>
  <p class="spoken" role="status"></p>
`;

const PARTS = ["stage", "label", "detail", "retry", "pause", "scroller", "list", "empty", "newer", "spoken"];

/** Fill a shadow root; answers its parts by the names of their classes. */
export function buildView(root) {
  root.adoptedStyleSheets = [STYLE];
  root.innerHTML = markup();
  return Object.fromEntries(PARTS.map((name) => [name, root.querySelector(`.${name}`)]));
}
