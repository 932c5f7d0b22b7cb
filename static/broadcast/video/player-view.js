/**
 * The look of a `Player` in a `<broadcast-listener>`: the picture, what is said over it, and its controls.
 *
 * It begins muted, since browsers let nothing else begin by itself, and offers to unmute. Whoever stops the picture, or
 * hides the page while it is muted, rests after a while: then nothing is loaded until they are back, and it goes on
 * live. With sound a hidden page goes on: somebody listens.
 */
import { Player } from "./player.js";
import { number, say } from "../socket/language.js";

const REST = 30_000; // milliseconds that nobody watches
const SHOWN_EVERY = 1000; // milliseconds
const LAG_BAD = 3; // seconds
const ONE_DIGIT = { minimumFractionDigits: 1, maximumFractionDigits: 1 };
const BACKLOG = 500; // milliseconds within which a newcomer to a stream without a streamer gets what is left of it

const STYLE = new CSSStyleSheet();
STYLE.replaceSync(`
  :host([media]) { block-size: var(--broadcast-player-height, auto); }
  :host(:not([media])) .screen, :host([media]) :is(.scroller, .empty, .newer, .pause) { display: none; }
  .screen { display: grid; grid-template-rows: minmax(0, 1fr) auto; block-size: 100%; background: #000; color: #f2f3f5; }
  .frame { position: relative; min-block-size: 0; aspect-ratio: var(--broadcast-player-ratio, 16 / 9); inline-size: 100%; overflow: hidden; }
  :host([media]) .stage { display: grid; grid-template-rows: minmax(0, 1fr); }
  .screen:fullscreen .frame { aspect-ratio: auto; }
  video { position: absolute; display: block; inline-size: 100%; block-size: 100%; object-fit: contain; }
  .curtain {
    position: absolute; inset: 0; display: grid; place-content: center; justify-items: center; gap: 0.75rem;
    padding: 1rem; text-align: center; background: rgb(8 9 11 / 78%);
  }
  .curtain[hidden] { display: none; }
  .curtain.light { background: rgb(8 9 11 / 35%); }
  .over {
    border-color: transparent; color: #111; background: #fff; font-weight: 600; box-shadow: 0 1px 6px rgb(0 0 0 / 40%);
  }
  .unmute { position: absolute; inset-block-end: 0.75rem; inset-inline: 0; margin-inline: auto; inline-size: fit-content; }
  .over[hidden] { display: none; }
  .over:hover { background: #e6e8ec; }
  .controls { display: flex; gap: 0.25rem 0.5rem; align-items: center; min-block-size: 3rem; padding: 0.25rem 0.5rem; background: #15171b; }
  .controls button {
    display: grid; place-content: center; inline-size: 2.5rem; block-size: 2.5rem; padding: 0;
    border: 0; color: inherit; background: none;
  }
  .controls button:hover { background: #2b2f37; }
  .controls [hidden] { display: none; }
  .screen :focus-visible { outline: 3px solid #8db4ff; outline-offset: 2px; }
  .controls :focus-visible { outline-offset: -2px; }
  .controls svg { inline-size: 1.25rem; block-size: 1.25rem; fill: currentColor; }
  .controls button[data-on] .off, .controls button:not([data-on]) .on { display: none; }
  .volume { inline-size: 5.5rem; accent-color: #f2f3f5; }
  .lag { margin-inline-start: auto; padding-inline: 0.5rem; color: #b9bec8; font-size: 0.8125rem; font-variant-numeric: tabular-nums; }
  .lag.bad { color: #f0ac4a; }
  @container (max-width: 26rem) { .volume { display: none; } }
`);

const markup = () => `
  <div class="screen" part="screen" role="group" aria-label="${say("Live picture")}">
    <div class="frame">
      <video part="video" playsinline muted></video>
      <div class="curtain" part="curtain"><p class="words"></p><button class="over begin" type="button" hidden></button></div>
      <button class="over unmute" type="button" hidden>${say("Unmute")}</button>
    </div>
    <div class="controls" part="controls">
      <button class="hold" type="button" aria-label="${say("Pause")}">
        <svg viewBox="0 0 24 24" aria-hidden="true"><path class="off" d="M6 5h4v14H6zM14 5h4v14h-4z"/><path class="on" d="M7 4v16l13-8z"/></svg>
      </button>
      <button class="mute" type="button" aria-label="${say("Unmute")}" data-on>
        <svg viewBox="0 0 24 24" aria-hidden="true"><path d="M3 9v6h4l5 5V4L7 9z"/><path class="off" d="M15 8.5a5 5 0 0 1 0 7v2.6a7.5 7.5 0 0 0 0-12.2z"/><path class="on" d="m15 9.4 1.4-1.4 2.1 2.1 2.1-2.1L22 9.4 19.9 11.5 22 13.6 20.6 15l-2.1-2.1L16.4 15 15 13.6l2.1-2.1z"/></svg>
      </button>
      <input class="volume" type="range" min="0" max="100" step="5" value="100" aria-label="${say("Volume")}">
      <span class="lag" part="lag"></span>
      <button class="full" type="button" aria-label="${say("Full screen")}">
        <svg viewBox="0 0 24 24" aria-hidden="true"><path class="off" d="M4 4h6v2H6v4H4zM14 4h6v6h-2V6h-4zM4 14h2v4h4v2H4zM18 14h2v6h-6v-2h4z"/><path class="on" d="M8 4h2v6H4V8h4zM14 4h2v4h4v2h-6zM4 14h6v6H8v-4H4zM14 14h6v2h-4v4h-2z"/></svg>
      </button>
    </div>
  </div>
`;

const PARTS = ["screen", "curtain", "words", "begin", "unmute", "controls", "hold", "mute", "volume", "lag", "full"];

export class PlayerView {
  #parts;
  #video;
  #player;
  #told;
  #sound = false; // whether the recording has any
  #picture = true;
  #connection = "connecting";
  #connectedAt = 0; // when that became so
  #fedAt = 0;
  #resting = false;
  #rest = null;
  #watching = null; // aborted: the page is watched no more
  #ticking = null;

  /**
   * In `stage` of a shadow root. `told`: `late()`, `rest()` (load nothing more) and `wake()` (go on, live) are for
   * the owner of the connection, `hold(held)` says that a person stopped the picture.
   */
  constructor(root, stage, told) {
    root.adoptedStyleSheets = [...root.adoptedStyleSheets, STYLE];
    stage.insertAdjacentHTML("beforeend", markup());
    this.#parts = Object.fromEntries(PARTS.map((name) => [name, stage.querySelector(`.${name}`)]));
    this.#video = stage.querySelector("video");
    this.#video.muted = true; // the attribute alone does not mute what was parsed as markup
    this.#told = told;
    this.#player = new Player(this.#video);
    this.#player.addEventListener("state", () => this.#show());
    this.#player.addEventListener("header", ({ detail }) => this.#became(detail));
    this.#player.addEventListener("late", () => told.late());
    this.#wire();
    this.#show();
  }

  get player() {
    return this.#player;
  }

  /** In the page, or out of it: what watches the page, watches while it is in. */
  connect() {
    if (this.#watching) return;
    this.#watching = new AbortController();
    const { signal } = this.#watching;
    document.addEventListener("visibilitychange", () => this.#attend(), { signal });
    document.addEventListener("fullscreenchange", () => this.#showFull(), { signal });
    this.#ticking = setInterval(() => this.#show(), SHOWN_EVERY);
    this.#attend();
  }

  disconnect() {
    this.#watching?.abort();
    this.#watching = null;
    clearInterval(this.#ticking);
    clearTimeout(this.#rest);
    this.#resting = false;
    this.#player.stop();
  }

  /** Show the state of the connection, by its name. */
  connection(name) {
    this.#connection = name;
    this.#connectedAt = performance.now();
    this.#show();
  }

  /** A publication of the stream in this epoch. */
  feed({ data, header, offset }, epoch, contentType) {
    this.#fedAt = performance.now();
    if (header) this.#player.header(data, contentType, `${epoch}:${offset}`);
    else this.#player.append(data);
  }

  /** A person stops the picture, or goes on. */
  hold(held) {
    this.#player.hold(held);
    this.#show();
    this.#attend();
  }

  #wire() {
    const { hold, mute, volume, unmute, begin, full, screen } = this.#parts;
    hold.addEventListener("click", () => this.#told.hold(!this.#player.held));
    mute.addEventListener("click", () => this.#mute(!this.#video.muted));
    unmute.addEventListener("click", () => {
      this.#mute(false);
      mute.focus();
    });
    begin.addEventListener("click", () => this.#begin());
    volume.addEventListener("input", () => this.#setVolume(volume.valueAsNumber / 100));
    full.hidden = !document.fullscreenEnabled && !this.#video.webkitEnterFullscreen;
    full.addEventListener("click", () => this.#full());
    screen.addEventListener("dblclick", ({ target }) => target.closest(".controls, button") || this.#full());
    this.#video.addEventListener("volumechange", () => this.#showSound());
    this.#video.addEventListener("pause", () => this.#paused());
  }

  #begin() {
    if (this.#player.held) this.#told.hold(false);
    else this.#player.resume();
    this.#parts.hold.focus();
  }

  #mute(muted) {
    this.#video.muted = muted;
    if (!muted && this.#video.volume === 0) this.#video.volume = 1;
    this.#player.resume();
    this.#attend();
  }

  #setVolume(volume) {
    this.#video.volume = volume;
    this.#video.muted = volume === 0;
    this.#attend();
  }

  #full() {
    const { screen } = this.#parts;
    if (document.fullscreenElement) document.exitFullscreen();
    else if (screen.requestFullscreen) screen.requestFullscreen();
    else this.#video.webkitEnterFullscreen();
  }

  /** A key of the keyboard or of the system stopped it: that is a person, unless the page is hidden. */
  #paused() {
    const stopped = document.visibilityState === "visible" && !this.#player.held && this.#player.state.name === "playing";
    if (stopped && this.#video.isConnected && !this.#video.error) this.#told.hold(true);
  }

  /** Rest while nobody sees or hears it. */
  #attend() {
    const hidden = document.visibilityState !== "visible";
    clearTimeout(this.#rest);
    if (this.#player.held || (hidden && (this.#video.muted || !this.#sound))) {
      this.#rest = setTimeout(() => this.#goToRest(), REST);
      return;
    }
    if (this.#resting) this.#wake();
    this.#player.resume();
  }

  #goToRest() {
    this.#resting = true;
    this.#told.rest();
    this.#show();
  }

  #wake() {
    this.#resting = false;
    this.#player.interrupt();
    this.#told.wake();
    this.#show();
  }

  #became({ hasVideo, hasAudio }) {
    this.#sound = hasAudio;
    this.#picture = hasVideo;
    this.#show();
  }

  // -- what is seen

  #show() {
    const { curtain, words, begin, hold } = this.#parts;
    const { held, state } = this.#player;
    const stopped = held || state.name === "blocked";
    setText(words, this.#words());
    begin.hidden = !stopped;
    setText(begin, held ? say("Go on, live") : say("Play"));
    curtain.hidden = !stopped && words.textContent === "";
    curtain.classList.toggle("light", held);
    hold.toggleAttribute("data-on", held);
    hold.setAttribute("aria-label", held ? say("Play") : say("Pause"));
    this.#showSound();
    this.#showLag();
  }

  #words() {
    const { held, state } = this.#player;
    if (state.name === "failed") return state.reason;
    if (held) return "";
    if (this.#isIdle) return say("Waiting for the streamer");
    if (!["live", "idle"].includes(this.#connection) && state.name !== "playing") return "";
    if (state.name === "waiting") return say("The picture is coming");
    if (state.name === "stalled") return say("Nothing is coming just now");
    return this.#picture ? "" : say("Sound only");
  }

  get #isLive() {
    const { held, state } = this.#player;
    return !held && state.name === "playing" && !this.#isIdle;
  }

  /** Nobody sends: no streamer, and no program that publishes without being one. */
  get #isIdle() {
    const isQuiet = this.#fedAt - this.#connectedAt < BACKLOG || this.#player.state.name === "stalled";
    return this.#connection === "idle" && isQuiet;
  }

  #showSound() {
    const { mute, volume, unmute } = this.#parts;
    const { muted } = this.#video;
    mute.hidden = volume.hidden = !this.#sound;
    unmute.hidden = !this.#sound || !muted || !this.#isLive;
    mute.toggleAttribute("data-on", muted);
    mute.setAttribute("aria-label", muted ? say("Unmute") : say("Mute"));
    volume.valueAsNumber = muted ? 0 : Math.round(this.#video.volume * 100);
  }

  #showLag() {
    const { lag } = this.#parts;
    const behind = this.#isLive ? this.#player.behind : null;
    if (behind !== null) setText(lag, say("{seconds}\u00a0s behind", { seconds: number(behind, ONE_DIGIT) }));
    else if (!this.#isLive) setText(lag, "");
    lag.classList.toggle("bad", behind > LAG_BAD);
  }

  #showFull() {
    const { full, screen } = this.#parts;
    const isFull = screen.getRootNode().fullscreenElement === screen;
    full.toggleAttribute("data-on", isFull);
    full.setAttribute("aria-label", isFull ? say("Leave full screen") : say("Full screen"));
  }
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
