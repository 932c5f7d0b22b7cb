/**
 * Plays a recording that comes in publications, live, in a `<video>`.
 *
 * It promises: whatever it is handed, the element shows whole pictures, near the newest that came (`live-edge.js`).
 * After the header, after what was skipped and after a fault it waits for bytes that a newcomer can start at. A new
 * header of the same type goes on in the same element without a black moment. What was shown is given back after a
 * while. A recording that cannot be decoded is begun again at the next key frame; one that never can is given up.
 *
 * Events: `state` with the detail `{name, reason}`: "waiting" (no picture yet), "playing", "stalled" (nothing came for a
 * while), "blocked" (the browser wants a person to press play first), "failed" (with a `reason`); `header` with what is in the recording;
 * `late`: the data is so late that it is better to start again at the newest.
 */
import { AppendQueue } from "./append-queue.js";
import { LiveEdge } from "./live-edge.js";
import { readHeader } from "./media.js";
import { say, text } from "../socket/language.js";

const KEPT = 10; // seconds of what was shown
const SLACK = 10; // more of it, before something is given back
const SILENCE = 3000; // milliseconds without anything new
const FAULTS = 3; // in a row that are lived through
const SOUND = 5; // seconds without one, and they are forgotten
/** Whether its decoder wants as few clusters as can be. Others lose a frame where one is ended early. */
const JOINS = /\bFirefox\//.test(globalThis.navigator?.userAgent);
const NOTHING_DECODES = text("This recording cannot be decoded.");

export class Player extends EventTarget {
  #video;
  #MediaSource;
  #source = null;
  #queue = null;
  #edge = new LiveEdge();
  #header = null; // what the header says
  #headerBytes = null;
  #joiner = null; // what joins what comes, if anything does
  #id = null; // of the recording
  #type = null;
  #needsEntry = true;
  #state = { name: "waiting" };
  #held = false; // a person stopped it
  #faults = 0;
  #faultAt = -Infinity;
  #silence = null;

  constructor(video) {
    super();
    this.#video = video;
    this.#MediaSource = globalThis.MediaSource ?? globalThis.ManagedMediaSource;
    video.addEventListener("error", () => video.error && this.#failed());
    video.addEventListener("waiting", () => this.#stalled());
    video.addEventListener("timeupdate", () => this.#steer());
    video.addEventListener("loadedmetadata", () => this.#steer());
    video.addEventListener("loadeddata", () => this.#state.name === "waiting" && this.#become("playing"));
    video.addEventListener("playing", () => this.#become("playing"));
  }

  get state() {
    return this.#state;
  }

  /** How many seconds the picture is behind the newest that could be had; null: there is none. */
  get behind() {
    if (this.#video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) return null;
    return this.#edge.behind(this.#video.currentTime, now());
  }

  get held() {
    return this.#held;
  }

  /** A person stops the picture, or goes on: live. */
  hold(held) {
    this.#held = held;
    if (held) this.#video.pause();
    else this.resume();
  }

  /** Go on, unless a person stopped it: a browser stops by itself what nobody sees. */
  resume() {
    if (this.#held || !this.#source) return;
    this.#video.play().catch((error) => {
      // Else it was stopped again before it began, or began again.
      if (error.name === "NotAllowedError") this.#become("blocked");
    });
    this.#steer();
  }

  /**
   * The header of a recording, of which `id` is the name: the same one again means that what came and what comes belong
   * together. `contentType`: what the stream is said to be.
   */
  header(bytes, contentType, id) {
    if (this.#queue && id === this.#id) return this.interrupt();
    this.#id = id;
    const header = readHeader(bytes);
    const type = header?.mimeType ?? contentType;
    if (!this.#canPlay(type)) return this.#giveUp(refusal(type));
    this.#header = header;
    this.#headerBytes = bytes;
    this.#joiner = JOINS ? (header?.joiner() ?? null) : null;
    this.#faults = 0;
    if (this.#queue && type === this.#type && this.#state.name !== "failed") this.#replace();
    else this.#open(type);
    this.dispatchEvent(new CustomEvent("header", { detail: { ...header } }));
  }

  /** The next data does not continue the last. */
  interrupt() {
    this.#needsEntry = true;
    this.#edge.restart();
  }

  /** One publication. What cannot be shown is passed over. */
  append(bytes) {
    if (!this.#queue || this.#state.name === "failed") return;
    if (this.#needsEntry && this.#header && !this.#header.isEntry(bytes)) return;
    const arrivedAt = now();
    const joined = this.#joined(bytes);
    if (joined.length > 0) this.#queue.append(joined, () => this.#appended(arrivedAt));
    this.#watchSilence();
  }

  #joined(bytes) {
    try {
      if (this.#needsEntry || this.#joiner?.isLong(bytes)) {
        this.#needsEntry = false;
        this.#queue.abort();
        this.#joiner?.restart();
      }
      return this.#joiner?.push(bytes) ?? bytes;
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      this.interrupt();
      return new Uint8Array();
    }
  }

  /** Give everything back; the next header begins again. */
  stop() {
    clearTimeout(this.#silence);
    this.#leave();
    this.#header = this.#headerBytes = this.#id = null;
    this.#video.removeAttribute("src");
    this.#video.load();
    this.#become("waiting");
  }

  #canPlay(type) {
    return Boolean(this.#MediaSource && type && this.#MediaSource.isTypeSupported(type));
  }

  /** Keep the last picture until the first new one. */
  #replace() {
    this.interrupt();
    this.#queue.abort();
    this.#queue.remove(0, Infinity);
    this.#queue.append(this.#headerBytes);
  }

  #open(type) {
    this.#leave();
    this.interrupt();
    this.#type = type;
    const source = new this.#MediaSource();
    const queue = new AppendQueue({
      onchange: () => this.#changed(),
      onfull: () => queue.removeFirst(0, Math.max(0.1, this.#video.currentTime - 1)),
      onbroken: () => this.#failed(),
    });
    this.#source = source;
    this.#queue = queue;
    queue.append(this.#headerBytes);
    source.addEventListener("sourceopen", () => this.#opened(source, queue), { once: true });
    this.#video.disableRemotePlayback = true; // a ManagedMediaSource opens nowhere else
    this.#video.src = URL.createObjectURL(source);
    this.#become("waiting");
    this.resume();
  }

  #opened(source, queue) {
    URL.revokeObjectURL(this.#video.src);
    if (source !== this.#source) return;
    source.duration = Infinity;
    queue.attach(source.addSourceBuffer(this.#type));
  }

  #leave() {
    this.#queue?.close();
    this.#queue = this.#source = null;
  }

  // -- what became of it

  #appended(arrivedAt) {
    const newest = this.#ranges.at(-1)?.[1];
    if (newest !== undefined) this.#edge.arrived(newest, arrivedAt);
    if (!this.#edge.isLate(arrivedAt) || this.#held) return;
    this.interrupt();
    this.dispatchEvent(new CustomEvent("late"));
  }

  #changed() {
    this.#steer();
    this.#trim(this.#ranges);
  }

  #steer() {
    const video = this.#video;
    if (this.#held || !this.#queue || video.readyState === HTMLMediaElement.HAVE_NOTHING) return;
    const { seek, rate } = this.#edge.steer(this.#ranges, video.currentTime);
    if (seek !== null && !video.seeking) video.currentTime = seek;
    if (video.playbackRate !== rate) video.playbackRate = rate;
  }

  #trim(ranges) {
    const until = this.#video.currentTime - KEPT;
    if (this.#queue.length === 0 && ranges[0]?.[0] < until - SLACK) this.#queue.remove(0, until);
  }

  get #ranges() {
    const { buffered } = this.#video;
    return Array.from({ length: buffered.length }, (_, i) => [buffered.start(i), buffered.end(i)]);
  }

  #stalled() {
    if (!this.#held && this.#state.name === "playing") this.#edge.stalled();
  }

  #watchSilence() {
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => this.#become("stalled"), SILENCE);
    if (this.#state.name === "stalled") this.#become(this.#video.paused ? "waiting" : "playing");
  }

  /** Begin again, at the next key frame. */
  #failed() {
    if (!this.#source || !this.#headerBytes) return;
    if (now() - this.#faultAt > SOUND) this.#faults = 0;
    this.#faultAt = now();
    this.#faults += 1;
    if (this.#faults > FAULTS) this.#giveUp(say(NOTHING_DECODES));
    else this.#open(this.#type);
  }

  #giveUp(reason) {
    this.#leave();
    clearTimeout(this.#silence);
    this.#become("failed", reason);
  }

  #become(name, reason = "") {
    if (this.#state.name === name && this.#state.reason === reason) return;
    this.#state = { name, reason };
    this.dispatchEvent(new CustomEvent("state", { detail: this.#state }));
  }
}

function refusal(type) {
  if (!(globalThis.MediaSource ?? globalThis.ManagedMediaSource)) return say("This browser cannot play live video.");
  return type ? say("This browser cannot play {type}.", { type }) : say("This browser cannot play what is sent.");
}

/** Seconds. */
function now() {
  return performance.now() / 1000;
}
